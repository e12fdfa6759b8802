//! Readable texts for h2's errors: which side ended what, with which code, and the server's reason.
//!
//! h2's text is `connection error received: not a result of an error (b"max_age")`. A status or a
//! log line says `the server sent GOAWAY: NO_ERROR "max_age"`.

use crate::shared::peer_text::peer_text;

/// Describes an error of a stream or of a connection.
pub(crate) fn describe(error: &h2::Error) -> String {
    let Some(code) = error.reason() else { return peer_text(error.to_string()) };
    let subject = match (error.is_go_away(), error.is_remote(), error.is_library()) {
        (true, true, _) => "the server sent GOAWAY: ",
        (true, _, true) => "the connection was closed because the server broke HTTP/2's rules: ",
        (false, true, _) => "the server sent RST_STREAM: ",
        (false, _, true) => "the stream was reset because the server broke HTTP/2's rules: ",
        _ => "",
    };
    let debug_data = debug_data(error);
    if debug_data.is_empty() {
        format!("{subject}{code:?}")
    } else {
        format!("{subject}{code:?} \"{debug_data}\"")
    }
}

/// Returns the debug data of a GOAWAY, cut and escaped; empty if there is none.
///
/// h2 has it only in its error's text, as `… (b"…")` with control characters and quotation marks
/// escaped.
pub(crate) fn debug_data(error: &h2::Error) -> String {
    if !error.is_go_away() {
        return String::new();
    }
    let text = error.to_string();
    let data = text.split_once(" (b\"").and_then(|(_, data)| data.strip_suffix("\")"));
    data.map(peer_text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_connection_is_its_code() {
        assert_eq!(describe(&h2::Error::from(h2::Reason::CANCEL)), "CANCEL");
        assert_eq!(debug_data(&h2::Error::from(h2::Reason::CANCEL)), "");
    }
}
