//! Until when a server's certificate is valid, and a warning before that is over.
//!
//! A certificate that nobody renews shows at the clients, in handshakes that fail from one second to the next; the server is
//! the one who can tell days before. Asked by `reload` when a chain comes into use, and once a day. It refuses nothing:
//! whom to trust is up to the clients, and an expired certificate serves better than none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::parse_x509_certificate;

use crate::tls::pem::{self, Text};

/// The end of the chain in use. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Expiry(Arc<AtomicI64>);

impl Expiry {
    pub(super) fn new(not_after: Option<i64>) -> Self {
        Self(Arc::new(AtomicI64::new(not_after.unwrap_or(UNKNOWN))))
    }

    /// Another chain came into use.
    pub(super) fn set(&self, not_after: Option<i64>) {
        self.0.store(not_after.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// Unix time in seconds.
    pub(super) fn not_after(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&not_after| not_after != UNKNOWN)
    }

    /// Says so if the end is near, or past.
    pub(super) fn warn(&self) {
        let Some(not_after) = self.not_after() else { return };
        match Remaining::new(not_after, unix_now()) {
            Remaining::Enough => {}
            Remaining::Little(left) => tracing::warn!(
                not_after,
                left = ?left,
                "the server's certificate expires soon: whatever renews it should have by now"
            ),
            Remaining::Expired(ago) => tracing::warn!(
                not_after,
                ago = ?ago,
                "the server's certificate has expired, and clients refuse it: renew it"
            ),
        }
    }
}

/// When the first certificate of `chain` expires, in Unix seconds: one is enough to make clients refuse all. `None` if one
/// cannot be read, which rustls would say too.
pub(super) fn not_after(chain: &Text) -> Option<i64> {
    let not_after = |der: &[u8]| {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    let ends: Option<Vec<_>> = pem::chain(chain).ok()?.iter().map(|der| not_after(der)).collect();
    ends?.into_iter().min()
}

/// How much of a certificate's life is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    Enough,
    Little(Duration),
    Expired(Duration),
}

impl Remaining {
    fn new(not_after: i64, now: i64) -> Self {
        let seconds = not_after.saturating_sub(now);
        let distance = Duration::from_secs(seconds.unsigned_abs());
        // "The notAfter date is the last second of validity" (RFC 5280 §4.1.2.5: the period is inclusive).
        match seconds {
            ..0 => Self::Expired(distance),
            _ if distance <= WARNING_TIME => Self::Little(distance),
            _ => Self::Enough,
        }
    }
}

fn unix_now() -> i64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(UNKNOWN)
}

/// No certificate lives until then.
const UNKNOWN: i64 = i64::MAX;

/// cert-manager renews when a third of a certificate's life is left: 30 days of Let's Encrypt's 90, and then something has been
/// wrong for weeks. Of one that lives for a week only, the warning is early.
const WARNING_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often is it said.
pub(super) const WARNING_INTERVAL: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_valid_to_its_last_second() {
        let day = 24 * 3600;
        let left = |seconds: i64| Remaining::new(2_000_000_000, 2_000_000_000 - seconds);
        assert_eq!(left(7 * day + 1), Remaining::Enough);
        assert_eq!(left(7 * day), Remaining::Little(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(left(0), Remaining::Little(Duration::ZERO));
        assert_eq!(left(-1), Remaining::Expired(Duration::from_secs(1)));
    }

    #[test]
    fn the_first_of_a_chain_to_expire_counts() {
        let certificate = |year| {
            let mut params = CertificateParams::new(["backend.test".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
        };
        let chain = |years: &[i32]| -> Text {
            years.iter().map(|&year| certificate(year)).collect::<String>().into_bytes().into()
        };
        assert_eq!(not_after(&chain(&[2030])), Some(1_893_456_000));
        assert_eq!(not_after(&chain(&[2040, 2030, 2050])), Some(1_893_456_000));
        // Beyond 2049 dates are written in another way (RFC 5280 §4.1.2.5.2).
        assert_eq!(not_after(&chain(&[2100])), Some(4_102_444_800));
        assert_eq!(not_after(&b"no certificate"[..].into()), None);
    }
}
