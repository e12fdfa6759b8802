//! Recognizes what users often give in place of PEM, and names the command that converts it.
//!
//! Called only if the wanted section was not found.

use super::material::Wanted;
use super::pem::Text;
use super::sections::Section;

/// Explains what `text` contains in place of what is wanted, and what to do.
pub(super) fn explain(text: &Text, wanted: Wanted, sections: &[Section]) -> String {
    let noun = match wanted {
        Wanted::Certificate => "certificate",
        Wanted::Key => "private key",
    };
    let holds = match sections.iter().find_map(|section| of_label(&section.label, wanted, text)) {
        Some(holds) => holds,
        None => match sections.first() {
            Some(first) => format!("its PEM is of another kind: {}", first.label),
            None => without_pem(text, wanted),
        },
    };
    format!("no {noun} found: {holds}")
}

/// Returns the message for a key that needs a pass phrase.
pub(super) fn encrypted(text: &Text) -> String {
    format!(
        "the private key is encrypted with a pass phrase; write it without: `openssl pkey -in {} -out plain.key`, and keep that \
         file readable for its owner alone",
        text.file()
    )
}

fn of_label(label: &str, wanted: Wanted, text: &Text) -> Option<String> {
    let name = text.file();
    Some(match (label, wanted) {
        ("ENCRYPTED PRIVATE KEY", Wanted::Key) => encrypted(text),
        ("CERTIFICATE", Wanted::Key) => "it holds a certificate; are certificate and key swapped?".into(),
        (label, Wanted::Certificate) if label.ends_with("PRIVATE KEY") => {
            "it holds a private key; are certificate and key swapped?".into()
        }
        ("OPENSSH PRIVATE KEY", Wanted::Key) => {
            "it holds a key of SSH; make one for TLS with `openssl genpkey`, and a certificate with it".into()
        }
        ("DSA PRIVATE KEY", Wanted::Key) => {
            "it holds a DSA key, which TLS has given up; make one of ECDSA or RSA".into()
        }
        ("PUBLIC KEY" | "RSA PUBLIC KEY", _) => "it holds a public key alone".into(),
        ("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", _) => {
            "it holds a request for a certificate; give what the authority made of it".into()
        }
        ("TRUSTED CERTIFICATE" | "X509 CERTIFICATE", Wanted::Certificate) => {
            format!("it is in a form of OpenSSL's own; convert it: `openssl x509 -in {name} -out tls.crt`")
        }
        ("PKCS7", Wanted::Certificate) => {
            format!("it is PKCS #7; convert it: `openssl pkcs7 -print_certs -in {name} -out tls.crt`")
        }
        ("X509 CRL", _) => "it holds a list of revoked certificates".into(),
        _ => return None,
    })
}

fn without_pem(text: &Text, wanted: Wanted) -> String {
    let (bytes, name) = (text.bytes(), text.file());
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() {
        return "it is empty".into();
    }
    if bytes.starts_with(UTF16_LITTLE) || bytes.starts_with(UTF16_BIG) {
        return "it is UTF-16; save it as UTF-8 or ASCII".into();
    }
    if bytes.starts_with(JAVA_KEYSTORE) {
        return format!(
            "it is a Java key store; convert it: `keytool -importkeystore -srckeystore {name} -destkeystore store.p12 \
             -deststoretype pkcs12`, then `openssl pkcs12 -in store.p12 -nodes -out all.pem`"
        );
    }
    if bytes.starts_with(DER_SEQUENCE) {
        return binary(bytes, &name, wanted);
    }
    if trimmed.starts_with(BASE64_OF_PEM) {
        return "it is PEM in Base64, as in a Secret's `data`; decode it: `base64 -d`".into();
    }
    match trimmed.windows(BEGIN.len()).any(|part| part == BEGIN) {
        true => "its lines have run together; each -----BEGIN and -----END must have a line of its own, with no \\n in letters".into(),
        false => "it is not PEM, whose first line is -----BEGIN …-----".into(),
    }
}

fn binary(bytes: &[u8], name: &str, wanted: Wanted) -> String {
    // PKCS #12 begins with its version, 3 (RFC 7292 §4), behind a header of two to six bytes.
    let is_pkcs12 = (2..=6).any(|header| bytes.get(header..header + 3) == Some(&[0x02, 0x01, 0x03]));
    match wanted {
        _ if is_pkcs12 => {
            format!("it is PKCS #12; convert it: `openssl pkcs12 -in {name} -nodes -out all.pem`")
        }
        Wanted::Certificate => {
            format!("it is DER; convert it: `openssl x509 -inform der -in {name} -out tls.crt`")
        }
        Wanted::Key => format!("it is DER; convert it: `openssl pkey -inform der -in {name} -out tls.key`"),
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const UTF16_LITTLE: &[u8] = &[0xFF, 0xFE];
const UTF16_BIG: &[u8] = &[0xFE, 0xFF];
const JAVA_KEYSTORE: &[u8] = &[0xFE, 0xED, 0xFE, 0xED];
const DER_SEQUENCE: &[u8] = &[0x30];

/// `-----BEGIN` in Base64.
const BASE64_OF_PEM: &[u8] = b"LS0tLS1CRUdJ";
