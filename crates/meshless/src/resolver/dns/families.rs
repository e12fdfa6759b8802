//! Joins the answers for A and AAAA, and keeps the addresses of a family that did not answer.
//!
//! One family must not wait for the other: filters drop AAAA queries, and one lost datagram must
//! not halve a dual-stack service. So a family that fails, or is late, keeps its last addresses
//! while the other one is up to date, for at most [`FAMILY_KEPT_MAX`]. If neither has addresses,
//! the lookup has failed, and the balancer keeps the last good set.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::time::Instant;

use super::client::Negative;
use super::question::FoundAddresses;

/// The result of one family in a lookup.
pub(super) enum FamilyAnswer {
    /// It was not asked for.
    NotAsked,
    /// The name server has not answered yet.
    Pending,
    Answered(Result<Lookup, NetError>),
}

/// The known addresses of both families of a name.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// The name of the search path that the addresses belong to.
    name: Option<Name>,
    ipv4: Family,
    ipv6: Family,
}

#[derive(Debug, Default)]
struct Family {
    addresses: Vec<IpAddr>,
    /// When it first failed to answer while the other family did.
    missing_since: Option<Instant>,
}

impl Families {
    /// Joins the answers for `name`. Returns the more important error if neither has an address.
    pub(super) fn join(
        &mut self,
        now: Instant,
        name: &Name,
        [ipv4, ipv6]: [FamilyAnswer; 2],
        has_route: impl Fn(IpAddr) -> bool,
    ) -> Result<FoundAddresses, NetError> {
        let (mut ttl_s, mut complete) = (u32::MAX, true);
        let (mut failure, mut negative, mut any) = (None, None, false);
        let mut fresh = [None, None];
        for (fresh, answer) in fresh.iter_mut().zip([ipv4, ipv6]) {
            match answer {
                FamilyAnswer::NotAsked => *fresh = Some(Vec::new()),
                FamilyAnswer::Pending => complete = false,
                FamilyAnswer::Answered(Ok(lookup)) => match addresses(&lookup, name) {
                    // The aliases lead to no address.
                    Ok((addresses, _)) if addresses.is_empty() => *fresh = Some(addresses),
                    Ok((addresses, shortest)) => {
                        ttl_s = ttl_s.min(shortest);
                        any = true;
                        *fresh = Some(addresses);
                    }
                    Err(error) => (complete, failure) = (false, Some(error)),
                },
                FamilyAnswer::Answered(Err(error)) => match Negative::of(&error) {
                    Some(reason) if reason != Negative::Refused => {
                        *fresh = Some(Vec::new());
                        if negative.as_ref().is_none_or(|(before, _)| *before < reason) {
                            negative = Some((reason, error));
                        }
                    }
                    _ => {
                        complete = false;
                        failure = failure.or(Some(error));
                    }
                },
            }
        }
        if !any {
            let nothing = NetError::Message("the answer has no address");
            return Err(failure.or(negative.map(|(_, error)| error)).unwrap_or(nothing));
        }
        if self.name.as_ref() != Some(name) {
            *self = Self { name: Some(name.clone()), ..Self::default() };
        }
        for (family, fresh) in [&mut self.ipv4, &mut self.ipv6].into_iter().zip(fresh) {
            family.update(now, fresh);
        }
        let families = [self.ipv4.addresses.clone(), self.ipv6.addresses.clone()];
        let addresses = reachable(families, has_route);
        Ok(FoundAddresses { addresses, ttl: Duration::from_secs(ttl_s.into()), complete })
    }

    /// Called when the name has no address.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Family {
    fn update(&mut self, now: Instant, fresh: Option<Vec<IpAddr>>) {
        match fresh {
            Some(addresses) => *self = Self { addresses, missing_since: None },
            None => {
                let since = *self.missing_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= FAMILY_KEPT_MAX {
                    self.addresses.clear();
                }
            }
        }
    }
}

/// Returns the usable addresses of `name` and of its aliases, and the shortest TTL on the way. It
/// leaves out `0.0.0.0` and `::`: filters answer with them to block a name, but the system would
/// connect to this host.
fn addresses(lookup: &Lookup, name: &Name) -> Result<(Vec<IpAddr>, u32), NetError> {
    let ours: Vec<_> = records_of(name, lookup.answers()).collect();
    let ttl_s = ours.iter().map(|record| record.ttl).min().unwrap_or(u32::MAX);
    let all: Vec<_> = ours.iter().filter_map(|record| record.data.ip_addr()).collect();
    let usable: Vec<_> = all.iter().copied().filter(|ip| is_of_a_server(*ip)).collect();
    match (all.first(), usable.is_empty()) {
        (Some(ip), true) => Err(NetError::Msg(format!(
            "the answer is {ip}, which no server can have; a filter may block the name"
        ))),
        _ => Ok((usable, ttl_s)),
    }
}

/// Returns the records of a name and of its aliases. hickory also returns other records that a
/// server has added.
fn records_of<'a>(name: &'a Name, answers: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    let mut names = vec![name];
    for _ in 0..ALIASES_MAX {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if names.last() == Some(&&record.name) => Some(&target.0),
            _ => None,
        });
        match alias {
            Some(alias) if !names.contains(&alias) => names.push(alias),
            _ => break,
        }
    }
    answers.iter().filter(move |record| names.contains(&&record.name))
}

fn is_of_a_server(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

/// Leaves out a family that this host has no route for, if the other one has addresses that it can
/// reach.
fn reachable([ipv4, ipv6]: [Vec<IpAddr>; 2], has_route: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    let (routed4, routed6) = match (ipv4.first(), ipv6.first()) {
        (Some(v4), Some(v6)) => (has_route(*v4), has_route(*v6)),
        _ => (true, true),
    };
    match (routed4, routed6) {
        (true, false) => ipv4,
        (false, true) => ipv6,
        _ => [ipv4, ipv6].concat(),
    }
}

/// Asks the system's routing table: connecting a UDP socket sends nothing.
pub(super) fn has_route(to: IpAddr) -> bool {
    let any = match to {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((to, DISCARD_PORT))).is_ok()
}

/// How long a failed family stays in use while the other one answers. Longer than a restart of the
/// name servers, shorter than the reuse of a pod's address.
const FAMILY_KEPT_MAX: Duration = Duration::from_secs(60);
/// More aliases than the 8 that hickory follows by further queries; recursive name servers follow
/// about a dozen.
const ALIASES_MAX: usize = 16;
/// Any port is right to ask for a route.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests;
