//! Certificates and keys from PEM text, and errors that help if the text is something else.
//!
//! Every error names the file, says what it contains instead, and names the command that converts
//! it. This module never checks if a certificate is valid, only if it can be used.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};

use super::error::{Kind, TlsError};
use super::pem::Text;
use super::sections::{Section, sections};
use super::strange;

/// What a text must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Certificate,
    Key,
}

/// The authorities of a bundle, and warnings about those that cannot be used.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) roots: RootCertStore,
    pub(crate) warnings: Vec<String>,
}

/// Returns a certificate and its intermediates.
///
/// # Errors
/// If there is none, or one cannot be read.
pub(crate) fn chain(text: &Text) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let sections = sections(text.bytes());
    let chain = sections.iter().filter(|section| section.label == CERTIFICATE).map(|section| {
        certificate(section).map_err(|why| unusable(text, &format!("{}: {why}", section.place())))
    });
    let chain: Vec<_> = chain.collect::<Result<_, _>>()?;
    if chain.is_empty() { Err(missing(text, Wanted::Certificate, &sections)) } else { Ok(chain) }
}

/// Returns a certificate with its intermediates, and its private key.
///
/// # Errors
/// If one of them is missing or cannot be used, or the key does not match the certificate.
pub(crate) fn identity(chain_text: &Text, key_text: &Text) -> Result<Identity, TlsError> {
    let chain = chain(chain_text)?;
    let key = key(key_text)?;
    let signing = default_provider().key_provider.load_private_key(key.clone_key());
    let signing = signing.map_err(|_| unusable(key_text, UNSUPPORTED_KEY))?;
    match keys_match(chain.clone(), &signing) {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((chain, key)),
        Err(Error::InconsistentKeys(_)) => {
            let is_of_another =
                |other: &CertificateDer<'static>| keys_match(vec![other.clone()], &signing).is_ok();
            let advice = match chain.iter().position(is_of_another) {
                Some(place) => format!(
                    "the key belongs to certificate {} of the file; move that one to the top, its intermediates follow",
                    place + 1
                ),
                None => format!(
                    "give the pair that was made together; these two commands print the same for such a pair: \
                     `openssl x509 -noout -pubkey -in {}` and `openssl pkey -pubout -in {}`",
                    chain_text.file(),
                    key_text.file()
                ),
            };
            let what = format!("does not belong to the key in {}; {advice}", key_text.name());
            Err(unusable(chain_text, &format!("its certificate {what}")))
        }
        Err(error) => Err(unusable(chain_text, &format!("its certificate cannot be used: {error}"))),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Returns the authorities. One that cannot be used does not invalidate the others: bundles also
/// hold very old certificates.
///
/// # Errors
/// If none can be used.
pub(crate) fn authorities(text: &Text) -> Result<Authorities, TlsError> {
    let sections = sections(text.bytes());
    let (mut roots, mut refused) = (RootCertStore::empty(), Vec::new());
    for section in sections.iter().filter(|section| section.label == CERTIFICATE) {
        let added = certificate(section).and_then(|certificate| {
            roots.add(certificate).map_err(|error| format!("it is no certificate: {error}"))
        });
        if let Err(why) = added {
            refused.push(format!("{}: {why}", section.place()));
        }
    }
    match (roots.is_empty(), refused.first()) {
        (true, None) => Err(missing(text, Wanted::Certificate, &sections)),
        (true, Some(first)) => Err(unusable(text, first)),
        (false, _) => {
            let warning = |why| format!("{}: {why}; the other authorities are used", text.name());
            Ok(Authorities { roots, warnings: refused.into_iter().map(warning).collect() })
        }
    }
}

fn keys_match(chain: Vec<CertificateDer<'static>>, key: &Arc<dyn SigningKey>) -> Result<(), Error> {
    CertifiedKey::new(chain, key.clone()).keys_match()
}

fn certificate(section: &Section) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(&section.pem).map_err(|_| section.damage())
}

fn key(text: &Text) -> Result<PrivateKeyDer<'static>, TlsError> {
    let sections = sections(text.bytes());
    let is_key = |section: &&Section| KEYS.contains(&section.label.as_str());
    let Some(section) = sections.iter().find(is_key) else {
        return Err(missing(text, Wanted::Key, &sections));
    };
    if section.is_encrypted() {
        return Err(unusable(text, &strange::encrypted(text)));
    }
    PrivateKeyDer::from_pem_slice(&section.pem)
        .map_err(|_| unusable(text, &format!("{}: {}", section.place(), section.damage())))
}

fn missing(text: &Text, wanted: Wanted, sections: &[Section]) -> TlsError {
    unusable(text, &strange::explain(text, wanted, sections))
}

fn unusable(text: &Text, why: &str) -> TlsError {
    TlsError(Kind::Unusable(format!("{}: {why}", text.name())))
}

const CERTIFICATE: &str = "CERTIFICATE";

/// PKCS #8, PKCS #1 and SEC 1.
const KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The kinds of keys that ring signs with.
const UNSUPPORTED_KEY: &str = "the private key is of a kind that is not supported; use RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519 \
     (`openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out tls.key`)";
