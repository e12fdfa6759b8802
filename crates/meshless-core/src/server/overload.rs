//! What a server does with more calls than it can work on: it queues some, and refuses the others
//! early.
//!
//! A server that takes every call makes all of them late. There are two ways out, both before the
//! handler runs:
//!
//! - **Queue, then shed**: calls wait in the order of their arrival. When the queue is full, the
//!   next call fails with RESOURCE_EXHAUSTED at once.
//! - **Bounce**: a call that finds all workers busy is refused with REFUSED_STREAM, which proves to
//!   the client that nothing was executed. A channel of this crate marks the call and tries it
//!   elsewhere. A marked call is not bounced just because workers are busy: it may wait. So most
//!   calls find an idle server although no client knows which one is idle.
//!
//! Near the capacity no server is idle, and the shorter queue counts. So a marked call that finds
//! as many waiting as running calls is refused once more, in an answer that such a channel knows.
//! Its third attempt may go back to the first server. It is never bounced, so that no call goes
//! round in circles: it runs, waits, or is shed if the queue is full (a queue of length 0 always
//! is).
//!
//! Simulated at 0.95 of the capacity (10 servers of 4 workers, `least_request`), p99.9 is 12 mean
//! service times without bouncing, 10 with one refusal, 8 with two. With one refusal, two servers
//! and `least_request`, every call that both refuse ends at the busier one, whose queue then grows
//! without limit.
//!
//! The server asks for each call that finds every worker busy.

/// How many calls a server runs at once, over all connections, and what it does with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimit {
    running: usize,
    queued: usize,
    bounces: bool,
}

/// How often a call was refused before it came here, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierRefusals {
    /// It does not say that it was refused.
    None,
    /// Once, and its client understands a second refusal.
    Once,
    /// More than once, or its client does not understand a second refusal.
    Enough,
}

/// What happens to a call that finds every worker busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyAnswer {
    /// It waits in the queue.
    Wait,
    /// It is refused with REFUSED_STREAM.
    Bounce,
    /// It is refused in an answer that a channel of this crate knows.
    BounceAgain,
    /// It fails with RESOURCE_EXHAUSTED.
    Shed,
}

impl CallLimit {
    /// Runs at most `calls` at once; as many may wait. Zero counts as one.
    ///
    /// A stream counts until it ends: this is for services with short calls. Health checks and
    /// separate load report streams do not count.
    pub fn new(calls: usize) -> Self {
        let running = calls.clamp(1, RUNNING_MAX);
        Self { running, queued: running, bounces: false }
    }

    /// How many calls may wait. Default: as many as may run. Zero: none.
    #[must_use]
    pub fn queue(mut self, calls: usize) -> Self {
        self.queued = calls;
        self
    }

    /// Refuses a call's first attempt when all workers are busy, in place of queueing it.
    ///
    /// A channel's second attempt is also refused if as many calls wait as run, or as may wait. The
    /// third is never bounced: when all workers are busy it waits, or fails with RESOURCE_EXHAUSTED
    /// if the queue is full, as it always is with [`queue(0)`](Self::queue).
    ///
    /// Use it for fleets whose clients try a refused call elsewhere, and say so. Channels of this
    /// crate do; so does a gRPC retry policy (`grpc-previous-rpc-attempts`). Other gRPC clients
    /// repeat a refused call once on their own and do not mark it; when both servers are busy, they
    /// report UNAVAILABLE.
    #[must_use]
    pub fn bounce(mut self) -> Self {
        self.bounces = true;
        self
    }

    /// Returns how many calls may run at once.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Returns what happens to a call that finds every worker busy and `queued` calls waiting.
    pub fn when_busy(&self, queued: usize, earlier: EarlierRefusals) -> BusyAnswer {
        let is_long = queued >= self.running.min(self.queued);
        match earlier {
            EarlierRefusals::None if self.bounces => BusyAnswer::Bounce,
            EarlierRefusals::Once if self.bounces && is_long => BusyAnswer::BounceAgain,
            _ if queued < self.queued => BusyAnswer::Wait,
            _ => BusyAnswer::Shed,
        }
    }
}

impl From<usize> for CallLimit {
    fn from(calls: usize) -> Self {
        Self::new(calls)
    }
}

/// The largest number of permits of a tokio semaphore.
const RUNNING_MAX: usize = usize::MAX >> 3;

#[cfg(test)]
mod tests {
    use super::*;
    use BusyAnswer::*;

    #[test]
    fn calls_wait_until_the_queue_is_full_and_are_then_shed() {
        let limit = CallLimit::new(2).queue(3);
        let answers = |earlier| [0, 1, 2, 3, 4].map(|queued| limit.when_busy(queued, earlier));
        for earlier in [EarlierRefusals::None, EarlierRefusals::Once, EarlierRefusals::Enough] {
            assert_eq!(answers(earlier), [Wait, Wait, Wait, Shed, Shed], "{earlier:?}");
        }
        assert_eq!(CallLimit::new(2).queue(0).when_busy(0, EarlierRefusals::None), Shed);
        assert_eq!(CallLimit::new(0).running(), 1);
    }

    #[test]
    fn a_call_is_bounced_twice_at_most() {
        let limit = CallLimit::new(2).queue(3).bounce();
        let answers = |earlier| [0, 1, 2, 3].map(|queued| limit.when_busy(queued, earlier));
        assert_eq!(answers(EarlierRefusals::None), [Bounce; 4]);
        assert_eq!(answers(EarlierRefusals::Once), [Wait, Wait, BounceAgain, BounceAgain]);
        assert_eq!(answers(EarlierRefusals::Enough), [Wait, Wait, Wait, Shed]);
        let short = CallLimit::new(8).queue(1).bounce();
        assert_eq!(short.when_busy(1, EarlierRefusals::Once), BounceAgain, "as many as may wait");
    }
}
