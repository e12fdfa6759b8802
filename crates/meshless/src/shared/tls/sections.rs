//! The sections of a PEM text: `-----BEGIN X-----` to `-----END X-----`, each with the line on
//! which it begins.
//!
//! The text is read line by line, and blanks at the ends of lines are ignored. So a byte order
//! mark, the line ends of any system and the indentation of YAML do no harm. `rustls-pki-types`
//! checks the content of a section.

/// One section.
#[derive(Debug)]
pub(super) struct Section {
    /// The label, such as `CERTIFICATE`.
    pub(super) label: String,
    /// The section alone, from its first line to its last.
    pub(super) pem: Vec<u8>,
    /// Counts sections of this label, from 1.
    number: usize,
    line: usize,
    has_end: bool,
}

impl Section {
    /// Returns its place, as in "certificate 2 (line 31)".
    pub(super) fn place(&self) -> String {
        format!("{} {} (line {})", self.label.to_lowercase(), self.number, self.line)
    }

    /// Describes a section that cannot be read.
    pub(super) fn damage(&self) -> String {
        match self.has_end {
            false => format!("the line -----END {}----- is missing", self.label),
            true => "its text is damaged: it is not Base64; copy it again, whole".to_owned(),
        }
    }

    /// Returns true if the content needs a pass phrase (RFC 1421, "Proc-Type", used by OpenSSL's
    /// older formats).
    pub(super) fn is_encrypted(&self) -> bool {
        let header = b"Proc-Type: 4,ENCRYPTED";
        self.pem.windows(header.len()).any(|part| part == header)
    }
}

/// Returns all sections of a text, in order.
pub(super) fn sections(text: &[u8]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_open = false;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    for (n, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if let Some(label) = label(line, b"-----BEGIN ") {
            let number = 1 + sections.iter().filter(|section| section.label == label).count();
            sections.push(Section { label, pem: Vec::new(), number, line: n + 1, has_end: false });
            is_open = true;
        }
        let Some(section) = sections.last_mut().filter(|_| is_open) else { continue };
        section.pem.extend_from_slice(line);
        section.pem.push(b'\n');
        if label(line, b"-----END ").is_some_and(|label| label == section.label) {
            section.has_end = true;
            is_open = false;
        }
    }
    sections
}

fn label(line: &[u8], prefix: &[u8]) -> Option<String> {
    let label = line.strip_prefix(prefix)?.strip_suffix(b"-----")?;
    Some(String::from_utf8_lossy(label).into_owned())
}

/// The byte order mark of UTF-8, which editors on Windows write.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
