//! What can happen to a service under load: the events of the churn experiment, by name.
//!
//! An event is a script, data that a fleet obeys: what is done to which backend, when. Here also stands, in one place,
//! from when to when each event's convergence is measured. Nothing here does anything.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::fault::Fault;
use crate::network::DnsTrouble;
use crate::pacer::Pacing;

/// Something that happens to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// Connections reach their age all the time.
    Ageing,
    /// Every backend is replaced.
    Rolling,
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
}

/// Something done at a moment of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Since the event began.
    pub(crate) at: Duration,
    /// What is done.
    pub(crate) action: Action,
    /// What a picture calls this moment, if it is worth a line.
    pub(crate) mark: Option<&'static str>,
}

/// What is done to a fleet. Backends go by their index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Nothing: a moment to be marked.
    Nothing,
    /// Start these; nobody knows of them yet.
    Start(Vec<usize>),
    /// The control plane says from now on that these are the service: DNS and the virtual address.
    List(Vec<usize>),
    /// SIGTERM: no new calls, those in flight finish.
    Terminate(Vec<usize>),
    /// SIGKILL.
    Kill(Vec<usize>),
    /// SIGSTOP: the kernel still accepts and acknowledges, the process does nothing.
    Suspend(usize),
    /// The network of this one swallows everything.
    Swallow(usize),
    /// This one has a fault.
    Fault(usize, Fault),
    /// DNS is in trouble, or no longer.
    Dns(Option<DnsTrouble>),
}

/// When a client has got over an event. What is measured is the time from the event's begin, or from the mark that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convergence {
    /// There is nothing to get over: the event goes on all the time.
    None,
    /// No call that was due from then on failed. `since` is the mark from which the time counts.
    NoFailure {
        /// Name of the mark.
        since: &'static str,
    },
    /// In no half second that began from then on did more than 5 % of the calls fail. For events in which connections age
    /// quickly all the while: what a client loses at rotations does not end with the event.
    FewFail,
    /// The new backends get at least 90 % of their share of the calls.
    NewHaveShare,
    /// The backend that was hurt gets less than half of its share.
    HurtShunned,
}

impl Event {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 17] = [
        Self::Ageing,
        Self::Rolling,
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
    ];

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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ageing => "ageing",
            Self::Rolling => "rolling",
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
        }
    }

    /// What happens, in one sentence for the report.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Ageing => "Every server ends its connections at their age, again and again.",
            Self::Rolling => {
                "One backend after another is replaced: the new one starts, takes the old one's place in DNS and behind the \
                 virtual address, and only a lame duck's time later the old one gets SIGTERM and drains."
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
        }
    }

    /// When a client has got over it.
    pub(crate) fn convergence(self) -> Convergence {
        match self {
            Self::Ageing => Convergence::None,
            Self::Scale => Convergence::NewHaveShare,
            Self::Slow => Convergence::HurtShunned,
            Self::Outage => Convergence::NoFailure { since: BACK },
            Self::Overload => Convergence::NoFailure { since: OVER },
            event if event.ages_quickly() => Convergence::FewFail,
            _ => Convergence::NoFailure { since: BEGINS },
        }
    }

    /// Whether all servers age their connections quickly, whatever the strategy: so that clients must connect, and ask DNS,
    /// during the event.
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

    /// Calls that a backend works on at a time, where that is limited.
    pub(crate) fn workers(self) -> Option<usize> {
        (self == Self::Overload).then_some(OVERLOAD_WORKERS)
    }

    /// How long to watch, from its begin, when `watch` is what most events are given.
    pub(crate) fn watched(self, watch: Duration) -> Duration {
        match self {
            // Two changes, and clients that look every few seconds.
            Self::Scale => watch * 3 / 2,
            _ => watch,
        }
    }

    /// The calls of a run in which the event begins after [`before`]`(watch)`.
    pub(crate) fn pacing(self, rate: f64, watch: Duration, seed: u64) -> Pacing {
        let before = before(watch);
        if self != Self::Overload {
            return Pacing::Poisson { rate, length: before + self.watched(watch), seed };
        }
        let (calm, storm) = (OVERLOAD_CAPACITY / 4.0, OVERLOAD_CAPACITY * 2.0);
        Pacing::Steps { rates: vec![calm, storm, storm, calm, calm], each: before }
    }

    /// What is done, in order, to a fleet of three backends of which `hurt` is the one that something happens to.
    pub(crate) fn script(self, watch: Duration, hurt: usize) -> Vec<Step> {
        let all = || (0..BACKENDS).collect::<Vec<_>>();
        let but_hurt = || (0..BACKENDS).filter(|index| *index != hurt).collect::<Vec<_>>();
        let begin = |action| marked(Duration::ZERO, action, BEGINS);
        // What a control plane needs to notice a death: a container's exit is seen at once, the list of endpoints and the
        // records follow.
        let unlisted = LISTING_LAG.min(watch / 4);
        match self {
            Self::Ageing => vec![begin(Action::Nothing)],
            Self::Rolling => rolling(watch),
            Self::Scale => vec![
                step(Duration::ZERO, Action::Start((BACKENDS..FLEET).collect())),
                begin(Action::List((0..FLEET).collect())),
                marked(watch * 13 / 20, Action::List(all()), "scale-in"),
                step(watch * 18 / 20, Action::Terminate((BACKENDS..FLEET).collect())),
            ],
            Self::Sigkill => {
                vec![begin(Action::Kill(vec![hurt])), step(unlisted, Action::List(but_hurt()))]
            }
            Self::FailFast => vec![begin(Action::Fault(hurt, Fault::FailFast))],
            Self::Slow => vec![begin(Action::Fault(hurt, Fault::Slow(SLOWNESS)))],
            Self::Hung => vec![begin(Action::Suspend(hurt))],
            Self::BlackHole => vec![begin(Action::Swallow(hurt))],
            Self::DnsServfail => trouble(watch, DnsTrouble::ServerFailure),
            Self::DnsNxdomain => trouble(watch, DnsTrouble::NoSuchName),
            Self::DnsEmpty => trouble(watch, DnsTrouble::NoAddress),
            Self::DnsSlow => trouble(watch, DnsTrouble::Slow(DNS_SLOWNESS)),
            Self::DnsTruncated => trouble(watch, DnsTrouble::Truncated),
            Self::DnsStale => vec![begin(Action::Kill(vec![hurt]))],
            Self::DnsFlap => {
                let flaps = (watch / 2).as_millis() / FLAP.as_millis();
                let mut steps = vec![begin(Action::Nothing)];
                for flap in 0..flaps as u32 {
                    let listed = if flap % 2 == 0 { vec![hurt] } else { all() };
                    steps.push(step(FLAP * flap, Action::List(listed)));
                }
                steps.push(marked(watch / 2, Action::List(all()), OVER));
                steps
            }
            Self::Outage => vec![
                begin(Action::Kill(all())),
                step(watch / 8, Action::List(Vec::new())),
                step(watch / 4, Action::Start(all())),
                marked(watch / 4, Action::List(all()), BACK),
            ],
            Self::Overload => vec![begin(Action::Nothing), marked(watch / 2, Action::Nothing, OVER)],
        }
    }
}

/// How long a run goes on before the event, for comparison.
pub(crate) fn before(watch: Duration) -> Duration {
    watch / 4
}

/// The n-th old backend makes room for the n-th new one; the times overlap, as with a surge of one and a lame duck.
fn rolling(watch: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    for turn in 0..BACKENDS {
        let at = watch * (3 * turn as u32) / 20;
        let mark = if turn == 0 { BEGINS } else { "next" };
        steps.push(step(at, Action::Start(vec![BACKENDS + turn])));
        steps.push(marked(at, Action::List((turn + 1..=BACKENDS + turn).collect()), mark));
        steps.push(step(at + watch * 7 / 20, Action::Terminate(vec![turn])));
    }
    steps.sort_by_key(|step| step.at);
    steps
}

fn trouble(watch: Duration, trouble: DnsTrouble) -> Vec<Step> {
    vec![
        marked(Duration::ZERO, Action::Dns(Some(trouble)), BEGINS),
        marked(watch / 2, Action::Dns(None), OVER),
    ]
}

fn step(at: Duration, action: Action) -> Step {
    Step { at, action, mark: None }
}

fn marked(at: Duration, action: Action, mark: &'static str) -> Step {
    Step { at, action, mark: Some(mark) }
}

impl Convergence {
    /// The definition, for the report.
    pub(crate) fn definition(self) -> String {
        match self {
            Self::None => "not defined: the event does not end".into(),
            Self::NoFailure { since: BEGINS } => "from its begin to the last call that failed".into(),
            Self::NoFailure { since } => format!("from “{since}” to the last call that failed"),
            Self::FewFail => {
                "from its begin to the last call that failed in a half second in which more than 5 % did; connections age \
                 meanwhile, and what that costs goes on"
                    .into()
            }
            Self::NewHaveShare => {
                "from the listing of the new backends until they get at least 90 % of their share within half a second".into()
            }
            Self::HurtShunned => {
                "from its begin until the slow backend gets less than half of its share within half a second".into()
            }
        }
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
        let found = Self::ALL.into_iter().find(|event| event.name() == name);
        found.ok_or_else(|| UnknownEvent { name: name.into() })
    }
}

/// There is no event of this name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("there is no event `{name}`; choose from {}", Event::ALL.map(Event::name).join(", "))]
pub(crate) struct UnknownEvent {
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
const BACK: &str = "back";
const OVER: &str = "over";

const SLOWNESS: f64 = 3.0;

/// Longer than the 250 ms after which the lab's tonic clients ask again, shorter than the 5 s after which a channel gives up.
const DNS_SLOWNESS: Duration = Duration::from_millis(2500);

/// How long a list of backends lasts while DNS flaps.
const FLAP: Duration = Duration::from_millis(250);

/// From a backend's death until it is no longer listed.
const LISTING_LAG: Duration = Duration::from_secs(1);

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
        for event in Event::ALL {
            assert_eq!(event.name().parse::<Event>().unwrap(), event);
        }
        let message = "earthquake".parse::<Event>().unwrap_err().to_string();
        assert!(message.contains("`earthquake`") && message.contains("dns-truncated"), "{message}");
    }

    #[test]
    fn every_script_begins_at_once_and_stays_in_order_and_in_time() {
        for event in Event::ALL {
            let script = event.script(WATCH, 1);
            let begin = script.iter().find(|step| step.mark.is_some()).unwrap();
            assert_eq!((begin.at, begin.mark), (Duration::ZERO, Some(BEGINS)), "{event}");
            assert!(script.is_sorted_by_key(|step| step.at), "{event}: {script:?}");
            assert!(script.iter().all(|step| step.at < WATCH), "{event}: {script:?}");
        }
    }

    #[test]
    fn what_convergence_counts_from_is_marked_in_the_script() {
        for event in Event::ALL {
            if let Convergence::NoFailure { since } = event.convergence() {
                assert!(event.script(WATCH, 0).iter().any(|step| step.mark == Some(since)), "{event}");
            }
        }
    }

    #[test]
    fn a_rolling_restart_lists_only_what_runs_and_ends_nothing_that_is_listed() {
        let (mut running, mut listed) = (vec![0, 1, 2], vec![0, 1, 2]);
        for Step { action, .. } in Event::Rolling.script(WATCH, 0) {
            match action {
                Action::Start(indices) => running.extend(indices),
                Action::List(indices) => listed = indices,
                Action::Terminate(indices) => running.retain(|index| !indices.contains(index)),
                other => panic!("{other:?}"),
            }
            assert!(listed.len() == 3 && listed.iter().all(|index| running.contains(index)), "{listed:?}");
        }
        assert_eq!((running, listed), (vec![3, 4, 5], vec![3, 4, 5]));
    }

    #[test]
    fn overload_is_twice_the_capacity_for_half_of_the_time() {
        let offsets: Vec<_> = Event::Overload.pacing(0.0, WATCH, 1).offsets().collect();
        let within = |from: u64, to: u64| {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            offsets.iter().filter(|at| (from..to).contains(*at)).count()
        };
        assert_eq!((within(0, 1), within(1, 3), within(3, 5), within(5, 99)), (75, 1200, 150, 0));
    }
}
