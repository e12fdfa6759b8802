//! When a server's certificate expires, and a warning before that.
//!
//! If nobody renews a certificate, the clients notice: their handshakes suddenly fail. Only the
//! server can warn days before. `reload` asks when a chain comes into use, and once a day. Nothing
//! is refused here: the clients decide what to trust, and an expired certificate is better than
//! none.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use x509_parser::parse_x509_certificate;

use crate::shared::tls::material;
use crate::shared::tls::pem::Text;

/// The ends of the certificates in use, in the order of the chain. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Expiry(Arc<ArcSwap<Vec<i64>>>);

impl Expiry {
    pub(super) fn new(ends: Vec<i64>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(ends)))
    }

    /// Called when another chain comes into use.
    pub(super) fn set(&self, ends: Vec<i64>) {
        self.0.store(Arc::new(ends));
    }

    /// Returns the first of the ends, in Unix seconds.
    pub(super) fn not_after(&self) -> Option<i64> {
        self.0.load().iter().min().copied()
    }

    /// Warns of each certificate that expires soon, or has expired. Each one: an intermediate that
    /// few clients need must not hide the end of the server's own.
    pub(super) fn warn(&self) {
        let now = unix_now();
        for (place, &not_after) in self.0.load().iter().enumerate() {
            let place = Place(place);
            match Remaining::new(not_after, now) {
                Remaining::Enough => {}
                Remaining::Little(left) => tracing::warn!(
                    not_after,
                    left = ?left,
                    "{place} expires soon: whatever renews it should have by now"
                ),
                Remaining::Expired(ago) => tracing::warn!(
                    not_after,
                    ago = ?ago,
                    "{place} has expired, and clients {} it: renew it",
                    place.refusal()
                ),
            }
        }
    }
}

/// Returns when each certificate of `chain` expires, in Unix seconds. Empty if one cannot be read,
/// which is an error in rustls too.
pub(super) fn ends(chain: &Text) -> Vec<i64> {
    let not_after = |der: &[u8]| {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    let ends = material::chain(chain).ok().and_then(|chain| chain.iter().map(|der| not_after(der)).collect());
    ends.unwrap_or_default()
}

/// The position of a certificate in the chain; the server's own is the first.
#[derive(Clone, Copy, Debug)]
struct Place(usize);

impl Place {
    /// Says what clients do after it has expired. Those that find another way to a root (a
    /// cross-signed one, for instance) do not need it.
    fn refusal(self) -> &'static str {
        if self.0 == 0 { "refuse" } else { "may refuse" }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("the server's certificate"),
            n => write!(f, "certificate {} of the server's chain", n + 1),
        }
    }
}

/// Formats how much of a certificate's life is left.
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
        // "The notAfter date is the last second of validity" (RFC 5280 §4.1.2.5: the period is
        // inclusive).
        match seconds {
            ..0 => Self::Expired(distance),
            _ if distance <= WARNING_TIME => Self::Little(distance),
            _ => Self::Enough,
        }
    }
}

fn unix_now() -> i64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// cert-manager renews when a third of a certificate's life is left: 30 days of Let's Encrypt's 90.
/// So this warning means that renewal has failed for weeks. For a certificate that lives only a
/// week, it is early.
const WARNING_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often the warning is repeated.
pub(super) const WARNING_INTERVAL: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::shared::tls::pem::Pem;

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
            Pem::from(years.iter().map(|&year| certificate(year)).collect::<String>()).read().unwrap()
        };
        let first = |chain: Text| Expiry::new(ends(&chain)).not_after();
        assert_eq!(first(chain(&[2030])), Some(1_893_456_000));
        assert_eq!(first(chain(&[2040, 2030, 2050])), Some(1_893_456_000));
        // From 2050 on, dates have another format (RFC 5280 §4.1.2.5.2).
        assert_eq!(first(chain(&[2100])), Some(4_102_444_800));
        assert_eq!(first(Pem::from("no certificate").read().unwrap()), None);
    }
}
