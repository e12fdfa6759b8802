//! Takes the addresses of endpoints out of the statuses that a channel makes itself.
//!
//! A handler that passes an error on with `?` shows its own clients the addresses of the pods
//! behind it. With
//! [`ChannelBuilder::endpoints_in_statuses`](super::ChannelBuilder::endpoints_in_statuses) switched
//! off, every status that does not come from a server passes through here. Addresses are searched
//! in the finished text: they can come from anywhere, also from errors of the operating system or
//! of a name server.

use std::net::{Ipv4Addr, SocketAddr};

use tonic::Status;

use super::never_sent::NeverSent;

/// Returns the status with `<endpoint>` in place of each address.
pub(super) fn hide_endpoints(status: Status) -> Status {
    let message = without_addresses(status.message());
    if message == status.message() {
        return status;
    }
    let details = bytes::Bytes::copy_from_slice(status.details());
    let hidden =
        Status::with_details_and_metadata(status.code(), message, details, status.metadata().clone());
    if NeverSent::is_true_of(&status) { NeverSent::mark(hidden) } else { hidden }
}

fn without_addresses(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let within_a_word = shown.ends_with(|before: char| before.is_ascii_alphanumeric());
        let len = if within_a_word { None } else { address_len(rest) };
        match len {
            Some(_) => shown.push_str(HIDDEN),
            None => shown.push(first),
        }
        rest = &rest[len.unwrap_or(first.len_utf8())..];
    }
    shown
}

/// Returns the length of the address at the start of `text`. It is IPv4 with or without a port, or
/// IPv6 in brackets with a port.
fn address_len(text: &str) -> Option<usize> {
    if !text.starts_with(|first: char| first == '[' || first.is_ascii_digit()) {
        return None;
    }
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '%' | '[' | ']');
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len()).min(ADDRESS_LEN_MAX);
    let is_address = |text: &str| text.parse::<SocketAddr>().is_ok() || text.parse::<Ipv4Addr>().is_ok();
    (1..=end).rev().find(|&end| is_address(&text[..end]))
}

const HIDDEN: &str = "<endpoint>";

/// The length of an IPv6 address with a scope and a port, in brackets.
const ADDRESS_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hidden_wherever_they_stand() {
        for (text, shown) in [
            ("10.0.0.1:50051: the connection was lost", "<endpoint>: the connection was lost"),
            ("ipv4:10.0.0.1:1,10.0.0.2:1: no", "ipv4:<endpoint>,<endpoint>: no"),
            (
                "after 2 attempts: [fd00::7%3]:80: lost; 10.0.0.3:1: lost.",
                "after 2 attempts: <endpoint>: lost; <endpoint>: lost.",
            ),
            ("cannot ask 10.96.0.10.", "cannot ask <endpoint>."),
            ("the response of 255.255.255.255:65535", "the response of <endpoint>"),
        ] {
            assert_eq!(without_addresses(text), shown);
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in [
            "",
            "dns:///orders.shop:50051: the deadline passed",
            "a message of 10 bytes is longer than the 4.5 that 1.2.3 allows; std::io::Error [1]:2 ü",
            "v1.2.3.4",
        ] {
            assert_eq!(without_addresses(text), text);
        }
    }

    #[test]
    fn code_details_and_metadata_stay() {
        let mut status = Status::with_details(tonic::Code::Aborted, "at 10.0.0.1:1", vec![1, 2].into());
        status.metadata_mut().insert("x", "y".parse().unwrap());
        assert!(!NeverSent::is_true_of(&hide_endpoints(status.clone())));
        let hidden = hide_endpoints(NeverSent::mark(status));
        assert!(NeverSent::is_true_of(&hidden));
        assert_eq!((hidden.code(), hidden.message()), (tonic::Code::Aborted, "at <endpoint>"));
        assert_eq!(
            (hidden.details(), hidden.metadata().get("x").unwrap()),
            (&[1, 2][..], &"y".parse::<tonic::metadata::MetadataValue<_>>().unwrap())
        );
    }
}
