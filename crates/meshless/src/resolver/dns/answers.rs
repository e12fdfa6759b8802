//! The answers of a name's lookups, for those who wait for them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::resolver::ResolveError;

/// The last answer; `None` before the first.
pub(super) type DnsAnswer = Option<Addresses>;

/// All addresses, or the reason why they are not known.
pub(super) type Addresses = Result<Arc<[IpAddr]>, ResolveError>;

/// Publishes `answer`, and logs what is new.
pub(super) fn publish(answers: &watch::Sender<DnsAnswer>, answer: Addresses) {
    report(answers.borrow().as_ref(), &answer);
    answers.send_replace(Some(answer));
}

/// Returns true if `answer` equals the last one.
pub(super) fn is_known(answers: &watch::Sender<DnsAnswer>, answer: &Addresses) -> bool {
    match (&*answers.borrow(), answer) {
        (Some(Ok(before)), Ok(addresses)) => same_set(before, addresses),
        _ => false,
    }
}

/// Logs every change of the addresses, and the first of consecutive failures. At DEBUG, because
/// each channel reports failures itself.
fn report(before: Option<&Addresses>, answer: &Addresses) {
    match (before, answer) {
        (Some(Err(_)), Err(error)) => tracing::debug!(%error, "DNS still fails"),
        (_, Err(error)) => tracing::debug!(%error, "DNS fails"),
        (Some(Ok(before)), Ok(addresses)) if same_set(before, addresses) => {}
        (_, Ok(addresses)) => tracing::debug!(?addresses, "DNS answers with new addresses"),
    }
}

/// DNS servers shuffle their answers.
fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
    set(a) == set(b)
}
