//! The scripts of the events: what is done to a fleet, in order, as data.

use std::time::Duration;

use super::{BACK, BACKENDS, BEGINS, Event, FLEET, OVER, REPLACED, SCALE_IN};
use crate::fault::Fault;
use meshless_testkit::dns_server::DnsTrouble;

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

impl Event {
    /// What is done, in order, to a fleet of three backends of which `hurt` is the one that
    /// something happens to.
    pub(crate) fn script(self, watch: Duration, hurt: usize) -> Vec<Step> {
        let all = || (0..BACKENDS).collect::<Vec<_>>();
        let but_hurt = || (0..BACKENDS).filter(|index| *index != hurt).collect::<Vec<_>>();
        let begin = |action| marked(Duration::ZERO, action, BEGINS);
        // What a control plane needs to notice a death: a container's exit is seen at once, the
        // list of endpoints and the records follow.
        let unlisted = LISTING_LAG.min(watch / 4);
        match self {
            Self::Ageing => vec![begin(Action::Nothing)],
            Self::Rolling => rolling(watch),
            Self::QuickRollout => vec![
                begin(Action::Start((BACKENDS..FLEET).collect())),
                marked(watch / 4, Action::List((BACKENDS..FLEET).collect()), REPLACED),
                step(watch / 4, Action::Terminate(all())),
            ],
            Self::Scale => vec![
                step(Duration::ZERO, Action::Start((BACKENDS..FLEET).collect())),
                begin(Action::List((0..FLEET).collect())),
                // A client may look only after 2 s, DNS's floor, and its share is read off the half
                // second that follows.
                marked(watch * 16 / 20, Action::List(all()), SCALE_IN),
                step(watch * 21 / 20, Action::Terminate((BACKENDS..FLEET).collect())),
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
            Self::Overload | Self::OverloadShed => {
                vec![begin(Action::Nothing), marked(watch / 2, Action::Nothing, OVER)]
            }
            // Nobody asks for it here.
            Self::PodDeletion => Vec::new(),
        }
    }
}

/// The n-th old backend makes room for the n-th new one; the times overlap, as with a surge of one
/// and a lame duck.
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

const SLOWNESS: f64 = 3.0;

/// Longer than the 250 ms after which the lab's tonic clients ask again, shorter than the 5 s after
/// which a channel gives up.
const DNS_SLOWNESS: Duration = Duration::from_millis(2500);

/// How long a list of backends lasts while DNS flaps.
const FLAP: Duration = Duration::from_millis(250);

/// From a backend's death until it is no longer listed.
const LISTING_LAG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: Duration = Duration::from_secs(4);

    #[test]
    fn every_script_begins_at_once_and_stays_in_order_and_in_time() {
        for event in Event::HERE {
            let script = event.script(WATCH, 1);
            let begin = script.iter().find(|step| step.mark.is_some()).unwrap();
            assert_eq!((begin.at, begin.mark), (Duration::ZERO, Some(BEGINS)), "{event}");
            assert!(script.is_sorted_by_key(|step| step.at), "{event}: {script:?}");
            assert!(script.iter().all(|step| step.at < event.watched(WATCH)), "{event}: {script:?}");
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
}
