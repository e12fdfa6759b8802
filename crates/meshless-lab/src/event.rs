//! What can happen to a service under load: the events of the churn experiment, by name.
//!
//! Here stands in one place what each event is, and from when to when its convergence is measured;
//! its script says what is done to which backend, when. Nothing here does anything: a fleet obeys.
//! On a cluster other events happen, which its API brings about (`fleet/kubernetes/event.rs`).

mod convergence;
mod script;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::pacer::Pacing;
use crate::results::EventNote;

pub(crate) use convergence::Convergence;
pub(crate) use script::Action;

/// Something that happens to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Connections reach their age all the time.
    Ageing,
    /// Every backend is replaced.
    Rolling,
    /// All backends are replaced at once, without a lame duck.
    QuickRollout,
    /// Twice the backends, and back.
    Scale,
    /// A backend is killed.
    Sigkill,
    /// A backend answers UNAVAILABLE at once.
    FailFast,
    /// A backend is slow.
    Slow,
    /// A backend accepts, and answers nothing.
    Hung,
    /// A backend's network is gone.
    BlackHole,
    /// DNS says SERVFAIL.
    DnsServfail,
    /// DNS says NXDOMAIN.
    DnsNxdomain,
    /// DNS gives no address.
    DnsEmpty,
    /// DNS takes its time.
    DnsSlow,
    /// DNS still names a backend that is dead.
    DnsStale,
    /// DNS changes its mind.
    DnsFlap,
    /// DNS truncates what it sends over UDP.
    DnsTruncated,
    /// All backends are down, and come back.
    Outage,
    /// Twice the calls that the backends can work on.
    Overload,
    /// The same, and the backends turn away what they cannot work on.
    OverloadShed,
    /// `kubectl delete pod`.
    PodDeletion,
}

/// What was done to the servers of a load, in time since the load began.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    /// Moments by name; the first is the begin.
    pub(crate) marks: Vec<(&'static str, Duration)>,
    /// Names of the servers that it is about: the new ones, or the one that was hurt.
    pub(crate) concerned: Vec<String>,
    /// When a client has got over it.
    pub(crate) convergence: Convergence,
}

impl Event {
    /// Those that happen to processes of this machine, in the order of the report.
    pub const HERE: [Self; 19] = [
        Self::Ageing,
        Self::Rolling,
        Self::QuickRollout,
        Self::Scale,
        Self::Sigkill,
        Self::FailFast,
        Self::Slow,
        Self::Hung,
        Self::BlackHole,
        Self::DnsServfail,
        Self::DnsNxdomain,
        Self::DnsEmpty,
        Self::DnsSlow,
        Self::DnsStale,
        Self::DnsFlap,
        Self::DnsTruncated,
        Self::Outage,
        Self::Overload,
        Self::OverloadShed,
    ];

    /// Those that happen to pods of a cluster, in the order of the report.
    pub const ON_CLUSTER: [Self; 3] = [Self::Scale, Self::Rolling, Self::PodDeletion];

    /// Those that tell most in the least time: one of each kind.
    pub(crate) const DEFAULT: [Self; 9] = [
        Self::Ageing,
        Self::Rolling,
        Self::Scale,
        Self::Sigkill,
        Self::FailFast,
        Self::Slow,
        Self::Hung,
        Self::DnsServfail,
        Self::Outage,
    ];

    /// Its name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ageing => "ageing",
            Self::Rolling => "rolling",
            Self::QuickRollout => "quick-rollout",
            Self::Scale => "scale",
            Self::Sigkill => "sigkill",
            Self::FailFast => "fail-fast",
            Self::Slow => "slow",
            Self::Hung => "hung",
            Self::BlackHole => "black-hole",
            Self::DnsServfail => "dns-servfail",
            Self::DnsNxdomain => "dns-nxdomain",
            Self::DnsEmpty => "dns-empty",
            Self::DnsSlow => "dns-slow",
            Self::DnsStale => "dns-stale",
            Self::DnsFlap => "dns-flap",
            Self::DnsTruncated => "dns-truncated",
            Self::Outage => "outage",
            Self::Overload => "overload",
            Self::OverloadShed => "overload-shed",
            Self::PodDeletion => "pod-deletion",
        }
    }

    /// What happens, in a sentence or two for the report.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Ageing => "Every server ends its connections at their age, again and again.",
            Self::Rolling => {
                "One backend after another is replaced: the new one starts, takes the old one's place in DNS and behind the \
                 virtual address, and only a lame duck's time later the old one gets SIGTERM and drains."
            }
            Self::QuickRollout => {
                "All backends are replaced at once: the new ones take the old ones' places in DNS and behind the virtual address, \
                 and at the same moment the old ones get SIGTERM, without a lame duck. What a client knows is then all out of date."
            }
            Self::Scale => {
                "Three backends are added; later they are taken out again, first from DNS, then by SIGTERM."
            }
            Self::Sigkill => "One backend is killed, and a second later no longer listed.",
            Self::FailFast => "One backend answers every call with UNAVAILABLE at once, and stays listed.",
            Self::Slow => "One backend takes three times as long for each call, and stays listed.",
            Self::Hung => {
                "One backend's process stands still (SIGSTOP): its kernel accepts connections and acknowledges data, nothing \
                 answers, and it stays listed."
            }
            Self::BlackHole => {
                "The way to one backend goes dark: no FIN, no RST, no answer to a SYN, and it stays listed. Made by a relay in \
                 front of each backend that stops forwarding, keeps its sockets open and fills its accept queue; its kernel \
                 still acknowledges what established connections send."
            }
            Self::DnsServfail => "DNS answers SERVFAIL while connections age quickly.",
            Self::DnsNxdomain => "DNS answers NXDOMAIN while connections age quickly.",
            Self::DnsEmpty => "DNS answers without an address while connections age quickly.",
            Self::DnsSlow => "DNS takes 2.5 s to answer while connections age quickly.",
            Self::DnsStale => {
                "One backend is killed, and DNS never stops naming it; connections age quickly."
            }
            Self::DnsFlap => {
                "DNS names now all backends and now only one, four times a second, while connections age quickly."
            }
            Self::DnsTruncated => {
                "DNS truncates its answers over UDP, so that clients must ask over TCP, while connections age quickly."
            }
            Self::Outage => {
                "All backends are killed at once; a while later they are back at the same addresses."
            }
            Self::Overload => {
                "Each backend works on two calls at a time and queues the others. The load doubles what all of them can do \
                 together, then falls back to a quarter of it."
            }
            Self::OverloadShed => {
                "The same load, and backends that limit themselves (`--max-concurrent-calls 2 --queue 2`): what would have to wait for \
                 long is answered with RESOURCE_EXHAUSTED at once, which `+retry` tries again within its throttle."
            }
            Self::PodDeletion => {
                "One pod is deleted (kubectl delete pod): it is told to go, and the Deployment starts another."
            }
        }
    }

    /// What it is on this machine, for the report.
    pub(crate) fn note(self, watched: Duration) -> EventNote {
        self.told(self.story(), self.convergence(), watched)
    }

    /// What it is, told in these words.
    pub(crate) fn told(self, story: &str, convergence: Convergence, watched: Duration) -> EventNote {
        EventNote {
            event: self.name().into(),
            story: story.into(),
            converged_when: convergence.definition(),
            watched_ms: watched.as_secs_f64() * 1e3,
        }
    }

    /// When a client has got over it, on this machine.
    pub(crate) fn convergence(self) -> Convergence {
        match self {
            Self::Ageing => Convergence::None,
            Self::Scale => Convergence::NewHaveShare { since: BEGINS },
            Self::Slow => Convergence::HurtShunned,
            Self::QuickRollout => Convergence::NoFailure { since: REPLACED },
            Self::Outage => Convergence::NoFailure { since: BACK },
            Self::Overload | Self::OverloadShed => Convergence::NoFailure { since: OVER },
            event if event.ages_quickly() => Convergence::FewFail,
            _ => Convergence::NoFailure { since: BEGINS },
        }
    }

    /// Whether all servers age their connections quickly, whatever the strategy: so that clients
    /// must connect, and ask DNS, during the event.
    pub(crate) fn ages_quickly(self) -> bool {
        matches!(
            self,
            Self::Ageing
                | Self::DnsServfail
                | Self::DnsNxdomain
                | Self::DnsEmpty
                | Self::DnsSlow
                | Self::DnsStale
                | Self::DnsFlap
                | Self::DnsTruncated
        )
    }

    /// Whether a relay stands in front of each backend.
    pub(crate) fn needs_relays(self) -> bool {
        self == Self::BlackHole
    }

    /// What its backends are started with, beside what all are: how many calls they work on at a
    /// time.
    pub(crate) fn server_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Overload => &["--workers", "2"],
            Self::OverloadShed => &["--max-concurrent-calls", "2", "--queue", "2"],
            _ => &[],
        }
    }

    /// How long to watch it on this machine, from its begin, when `watch` is what most are given.
    pub(crate) fn watched(self, watch: Duration) -> Duration {
        match self {
            // Two changes, and clients that look every few seconds.
            Self::Scale => watch * 3 / 2,
            _ => watch,
        }
    }

    /// The calls of a run in which the event begins after `before` and is watched for four times
    /// that or longer.
    pub(crate) fn pacing(self, rate: f64, before: Duration, watched: Duration, seed: u64) -> Pacing {
        if !matches!(self, Self::Overload | Self::OverloadShed) {
            return Pacing::Poisson { rate, length: before + watched, seed };
        }
        let (calm, storm) = (OVERLOAD_CAPACITY / 4.0, OVERLOAD_CAPACITY * 2.0);
        Pacing::Steps { rates: vec![calm, storm, storm, calm, calm], each: before }
    }
}

impl Happened {
    /// When the moment of this name was.
    pub(crate) fn mark(&self, name: &str) -> Option<Duration> {
        Some(self.marks.iter().find(|(mark, _)| *mark == name)?.1)
    }

    /// True if it is about this server.
    pub(crate) fn concerns(&self, backend: &str) -> bool {
        self.concerned.iter().any(|concerned| concerned == backend)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        let found = Self::HERE.into_iter().chain(Self::ON_CLUSTER).find(|event| event.name() == name);
        found.ok_or_else(|| UnknownEvent { name: name.into() })
    }
}

/// There is no event of this name.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "there is no event `{name}`; choose from {}, or with --kubernetes from {}",
    Event::HERE.map(Event::name).join(", "),
    Event::ON_CLUSTER.map(Event::name).join(", ")
)]
pub struct UnknownEvent {
    name: String,
}

/// Backends that a fleet begins with.
pub(crate) const BACKENDS: usize = 3;

/// Backends that it has at most, those that are started later included.
pub(crate) const FLEET: usize = 6;

/// How long a backend works on a call.
pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(20);

/// Marks that definitions name.
pub(crate) const BEGINS: &str = "begins";
pub(crate) const READY: &str = "ready";
pub(crate) const SCALE_IN: &str = "scale-in";
const REPLACED: &str = "replaced";
const BACK: &str = "back";
const OVER: &str = "over";

/// Calls that an overloaded backend works on at a time, as its arguments say.
const OVERLOAD_WORKERS: usize = 2;

/// Calls per second that all backends can work on.
const OVERLOAD_CAPACITY: f64 =
    BACKENDS as f64 * OVERLOAD_WORKERS as f64 * 1000.0 / SERVICE_TIME.as_millis() as f64;

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: Duration = Duration::from_secs(4);

    #[test]
    fn every_event_is_found_by_its_name_and_others_are_answered_with_the_known_ones() {
        for event in Event::HERE.into_iter().chain(Event::ON_CLUSTER) {
            assert_eq!(event.name().parse::<Event>().unwrap(), event);
        }
        let message = "earthquake".parse::<Event>().unwrap_err().to_string();
        assert!(message.contains("`earthquake`") && message.contains("dns-truncated"), "{message}");
    }

    #[test]
    fn what_convergence_counts_from_is_marked_in_the_script() {
        for event in Event::HERE {
            if let Convergence::NoFailure { since } = event.convergence() {
                assert!(event.script(WATCH, 0).iter().any(|step| step.mark == Some(since)), "{event}");
            }
        }
    }

    #[test]
    fn overload_is_twice_the_capacity_for_half_of_the_time() {
        let offsets: Vec<_> = Event::Overload.pacing(0.0, WATCH / 4, WATCH, 1).offsets().collect();
        let within = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            offsets.iter().filter(|at| (from..to).contains(*at)).count()
        };
        assert_eq!((within(0, 1), within(1, 3), within(3, 5), within(5, 99)), (75, 1200, 150, 0));
    }
}
