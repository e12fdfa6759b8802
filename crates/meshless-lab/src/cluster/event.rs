//! What happens to servers on a cluster, done through its API as their owner would.

use std::time::Duration;

use crate::results::EventNote;

/// Something that happens to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// `kubectl scale` to twice the replicas, and back.
    Scale,
    /// `kubectl rollout restart`.
    Rolling,
    /// `kubectl delete pod`.
    PodDeletion,
}

impl ClusterEvent {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Scale, Self::Rolling, Self::PodDeletion];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Rolling => "rolling",
            Self::PodDeletion => "pod-deletion",
        }
    }

    /// For the report.
    pub(crate) fn note(self, watched: Duration) -> EventNote {
        let (story, converged_when) = match self {
            Self::Scale => (
                "The Deployment is scaled to twice its replicas, and later back.",
                "from the moment the new pods are ready until they get at least 90 % of their share within half a second",
            ),
            Self::Rolling => (
                "The Deployment is restarted (kubectl rollout restart): pod after pod is replaced, new ones first.",
                NO_FAILURE,
            ),
            Self::PodDeletion => (
                "One pod is deleted (kubectl delete pod): it is told to go, and the Deployment starts another.",
                NO_FAILURE,
            ),
        };
        EventNote {
            event: self.name().into(),
            story: story.into(),
            converged_when: converged_when.into(),
            watched_ms: watched.as_secs_f64() * 1e3,
        }
    }
}

/// What was seen of an event at one group of servers, in time since the load began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happened {
    /// Moments by name; the first is the begin.
    pub(crate) marks: Vec<(&'static str, Duration)>,
    /// Pods that it is about: the new ones, or the deleted one.
    pub(crate) concerned: Vec<String>,
}

impl Happened {
    pub(crate) fn mark(&self, name: &str) -> Option<Duration> {
        Some(self.marks.iter().find(|(mark, _)| *mark == name)?.1)
    }
}

pub(crate) const BEGINS: &str = "begins";
pub(crate) const READY: &str = "ready";
pub(crate) const SCALE_IN: &str = "scale-in";

const NO_FAILURE: &str = "from its begin to the last call that failed";
