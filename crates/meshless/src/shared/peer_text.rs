//! Makes text from a peer, a name server or an API server safe for statuses and logs.
//!
//! Call this before such a text becomes part of an error. Otherwise a megabyte would end up in
//! every status and log line, and control characters could forge lines or control a terminal.

use std::fmt::Write;

/// Returns at most [`PEER_TEXT_BYTES_MAX`] bytes of `text`, with control characters escaped. `…`
/// replaces the rest.
pub(crate) fn peer_text(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    // An escaped character only gets longer, so nothing beyond the bound can be needed.
    let head = &text[..text.len().min(PEER_TEXT_BYTES_MAX)];
    let mut fit = String::with_capacity(head.len());
    let mut cut = text.len() > head.len();
    for character in String::from_utf8_lossy(head).chars() {
        let mark = fit.len();
        if steers(character) {
            let _ = write!(fit, "{}", character.escape_default());
        } else {
            fit.push(character);
        }
        if fit.len() > PEER_TEXT_BYTES_MAX {
            fit.truncate(mark);
            cut = true;
            break;
        }
    }
    if cut {
        fit.truncate(fit.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        fit.push('…');
    }
    fit
}

/// Returns true for control characters, and those of Unicode that break lines or change the writing
/// direction.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Enough for the messages of servers: an API server's denial with all its names has 200 bytes.
/// Short enough for a log line.
pub(crate) const PEER_TEXT_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept() {
        for text in ["", "connection refused", "zu spät", "\u{1f980}"] {
            assert_eq!(peer_text(text), text);
        }
    }

    #[test]
    fn what_steers_a_terminal_or_a_log_is_escaped() {
        assert_eq!(peer_text("a\nb\r\t\0\u{1b}[2J\u{9b}"), "a\\nb\\r\\t\\u{0}\\u{1b}[2J\\u{9b}");
        assert_eq!(peer_text("\u{202e}\u{2028}"), "\\u{202e}\\u{2028}");
        assert_eq!(peer_text(b"\xff\xfe ok"), "\u{fffd}\u{fffd} ok");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        for unit in ["x", "ä", "\n", "\u{1f980}", "\0"] {
            for count in [250, 256, 257, 1_000_000] {
                let fit = peer_text(unit.repeat(count));
                assert!(
                    fit.len() <= PEER_TEXT_BYTES_MAX + '…'.len_utf8(),
                    "{unit:?} × {count}: {}",
                    fit.len()
                );
                let is_long = peer_text(unit).len() * count > PEER_TEXT_BYTES_MAX;
                assert_eq!(fit.ends_with('…'), is_long, "{unit:?} × {count}");
                assert!(!fit.contains(char::REPLACEMENT_CHARACTER), "{unit:?} × {count}");
            }
        }
    }
}
