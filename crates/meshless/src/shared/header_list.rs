//! The size of a header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts it.

use http::HeaderMap;

/// "The length of the name and value in units of octets plus an overhead of 32 octets for each
/// field" (RFC 9113 §6.5.2).
pub(crate) fn list_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum()
}

/// What a field adds to the size of a list beside its name and value.
pub(crate) const FIELD_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_32_bytes_beside_its_own() {
        let headers = HeaderMap::from_iter([(http::header::TE, "trailers".parse().unwrap())]);
        assert_eq!(list_size(&headers), 2 + 8 + 32);
    }
}
