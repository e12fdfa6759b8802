//! Reads the entries of a SETTINGS frame as its payload passes. h2 applies them, but does not
//! expose the peer's longest header list.

/// Parses entries, however the bytes are cut.
#[derive(Debug, Default)]
pub(crate) struct SettingsReader {
    entry: [u8; ENTRY_LEN],
    filled: usize,
}

impl SettingsReader {
    /// Reads a part of the payload. Calls `on_setting` with the identifier and value of each entry
    /// that ends in it.
    pub(crate) fn pass(&mut self, payload: &[u8], mut on_setting: impl FnMut(u16, u32)) {
        for byte in payload {
            self.entry[self.filled] = *byte;
            self.filled += 1;
            if self.filled == ENTRY_LEN {
                self.filled = 0;
                let [i1, i0, v3, v2, v1, v0] = self.entry;
                on_setting(u16::from_be_bytes([i1, i0]), u32::from_be_bytes([v3, v2, v1, v0]));
            }
        }
    }
}

/// SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// "A 16-bit setting identifier … and a 32-bit value" (RFC 9113 §6.5.1).
const ENTRY_LEN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_however_they_are_cut() {
        let payload = [0, 3, 0, 0, 0, 100, 0, 6, 0, 1, 0, 0];
        for cut in 0..=payload.len() {
            let (mut reader, mut read) = (SettingsReader::default(), Vec::new());
            for part in [&payload[..cut], &payload[cut..]] {
                reader.pass(part, |id, value| read.push((id, value)));
            }
            assert_eq!(read, [(3, 100), (MAX_HEADER_LIST_SIZE, 65_536)]);
        }
    }
}
