//! One lookup: names to try, A and AAAA at once, within a time limit.
//!
//! A client that keeps long-lived sets needs two rules stricter than a program that wants one
//! address once. *The search path* continues with the next name only if DNS says that this one has
//! no address; after a failure, the next name could be another service's. *A late family* does not
//! delay the other one: after RFC 8305's resolution delay, the addresses that have arrived are
//! used. The rest is added when it arrives, or asked for again.

use std::pin::pin;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Negative};
use super::config::AddressFamilies;
use super::families::{Families, FamilyAnswer, has_route};
use super::question::{Early, FoundAddresses, LookUp, Question};
use crate::resolver::ResolveError;

/// Looks one name up.
pub(super) struct DnsLookup {
    question: Question,
    families: Families,
    /// True if name servers are first asked with EDNS.
    edns: bool,
}

impl DnsLookup {
    pub(super) fn new(question: Question) -> Self {
        Self { question, families: Families::default(), edns: true }
    }

    async fn look_once(&mut self, early: &Early<'_>) -> Result<FoundAddresses, ResolveError> {
        // A new client each time: a changed `resolv.conf` or hosts file counts at once, and no TCP
        // connection to the name server stays open, or dead, between two lookups.
        let client = Client::new(&self.question, self.edns).map_err(|error| self.failure(&error))?;
        let mut negative = Negative::NoSuchName;
        for name in &client.names {
            let answer = self.ask(&client, name, early).await;
            self.edns = client.uses_edns();
            match answer {
                Ok(found) => return Ok(found),
                Err(error) => match Negative::of(&error) {
                    Some(reason) => negative = negative.max(reason),
                    None => return Err(self.failure(&error)),
                },
            }
        }
        let name = self.question.host.clone();
        Err(match negative {
            Negative::NoSuchName => ResolveError::NoSuchName { name },
            Negative::NoAddresses => ResolveError::NoAddresses { name },
            Negative::Refused => {
                ResolveError::Dns { name, reason: "the name server refused to answer".to_owned() }
            }
        })
    }

    /// Looks up the addresses of one fully qualified name.
    async fn ask(
        &mut self,
        client: &Client,
        name: &Name,
        early: &Early<'_>,
    ) -> Result<FoundAddresses, NetError> {
        use FamilyAnswer::{Answered, NotAsked};
        let records = |kind| client.records(name, kind);
        let answers = match self.question.config.families {
            AddressFamilies::Both => return self.ask_for_both(client, name, early).await,
            AddressFamilies::Ipv4 => [Answered(records(RecordType::A).await), NotAsked],
            AddressFamilies::Ipv6 => [NotAsked, Answered(records(RecordType::AAAA).await)],
        };
        self.families.join(Instant::now(), name, answers, has_route)
    }

    async fn ask_for_both(
        &mut self,
        client: &Client,
        name: &Name,
        early: &Early<'_>,
    ) -> Result<FoundAddresses, NetError> {
        let (mut a, mut aaaa) =
            (pin!(client.records(name, RecordType::A)), pin!(client.records(name, RecordType::AAAA)));
        let (mut ipv4, mut ipv6) = (None, None);
        // The first addresses with their arrival, and the end of the wait for the rest.
        let mut first: Option<(Instant, FoundAddresses)> = None;
        let mut until = None;
        loop {
            tokio::select! {
                biased;
                answer = &mut a, if ipv4.is_none() => ipv4 = Some(answer),
                answer = &mut aaaa, if ipv6.is_none() => ipv6 = Some(answer),
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    let answers = [pending_or(&ipv4), pending_or(&ipv6)];
                    let now = Instant::now();
                    let found = match first.take() {
                        // The time for the rest is over too: the next lookup asks for it again.
                        Some((at, found)) => return Ok(found.aged(now - at)),
                        None => self.families.join(now, name, answers, has_route)?,
                    };
                    early.publish(&found);
                    until = Some(now + REST_MAX.min(self.question.config.lookup_timeout / 2));
                    first = Some((now, found));
                }
            }
            if let (Some(_), Some(_)) = (&ipv4, &ipv6) {
                break;
            }
            if until.is_none() && (has_addresses(&ipv4) || has_addresses(&ipv6) || says_no_such_name(&ipv4)) {
                until = Some(Instant::now() + RESOLUTION_DELAY);
            }
        }
        let answers = [pending_or(&ipv4), pending_or(&ipv6)];
        let found = self.families.join(Instant::now(), name, answers, has_route)?;
        Ok(match first {
            Some((at, _)) => found.aged(at.elapsed()),
            None => found,
        })
    }

    fn failure(&self, error: &NetError) -> ResolveError {
        let name = self.question.host.clone();
        match error {
            NetError::Timeout => ResolveError::Timeout { name, after: self.question.config.lookup_timeout },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                ResolveError::Dns { name, reason: format!("the name server answered {code}") }
            }
            // "long answers" since UDP works here, and only TCP is blocked.
            NetError::Io(error) => ResolveError::Dns {
                name,
                reason: format!(
                    "the name server cannot be asked over UDP, or over TCP for a long answer: {error}"
                ),
            },
            error => ResolveError::Dns { name, reason: error.to_string() },
        }
    }
}

impl LookUp for DnsLookup {
    async fn look(&mut self, early: &Early<'_>) -> Result<FoundAddresses, ResolveError> {
        let after = self.question.config.lookup_timeout;
        let result = match tokio::time::timeout(after, self.look_once(early)).await {
            Ok(result) => result,
            // The time limit passed during the wait for the rest of an answer.
            Err(_) => match early.take() {
                Some(found) => Ok(found),
                None => Err(ResolveError::Timeout { name: self.question.host.clone(), after }),
            },
        };
        if result.as_ref().is_err_and(ResolveError::says_gone) {
            self.families.clear();
        }
        result
    }
}

type Records = Option<Result<Lookup, NetError>>;

fn pending_or(answer: &Records) -> FamilyAnswer {
    answer.clone().map_or(FamilyAnswer::Pending, FamilyAnswer::Answered)
}

fn has_addresses(answer: &Records) -> bool {
    let is_address = |record: &Record| record.data.ip_addr().is_some();
    matches!(answer, Some(Ok(lookup)) if lookup.answers().iter().any(is_address))
}

/// Returns true if the name has neither family. Only an answer for A counts: old servers say
/// NXDOMAIN for AAAA when they only mean that there is none (RFC 4074 §4.2).
fn says_no_such_name(answer: &Records) -> bool {
    let code = |error: &NetError| matches!(Negative::of(error), Some(Negative::NoSuchName));
    matches!(answer, Some(Err(error)) if code(error))
}

/// "A recommended value for the Resolution Delay is 50 milliseconds" (RFC 8305 §8).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long the other family may still arrive while the first is in use. hickory repeats a query
/// after 0.33 s or more, so one or two lost datagrams do no harm.
const REST_MAX: Duration = Duration::from_secs(2);

#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::fuzz;
