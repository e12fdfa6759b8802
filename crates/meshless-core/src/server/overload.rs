//! What a server does with more calls than it can work on: keep some waiting, and send the others
//! away early.
//!
//! A server that takes every call makes all of them late. Two ways out, both before the handler
//! runs:
//!
//! - **Queue, then shed**: calls wait in the order of their arrival; when the queue is full, the
//!   next call fails with RESOURCE_EXHAUSTED, at once.
//! - **Bounce**: a call that finds all workers busy is refused with REFUSED_STREAM, which proves to
//!   the client that nothing was executed; a channel of this crate tries it elsewhere, and marks
//!   it. A marked call is not refused for being busy: it may wait. So most calls find an idle
//!   server although no client knows which one is idle. Near the capacity, where no server is idle,
//!   what counts is the shorter queue: a marked call that finds as many waiting as are worked on is
//!   refused once more, in an answer that such a channel knows. Its third attempt, which may go
//!   back to the first server, is never bounced, so that no call is sent round in circles: it runs
//!   or waits, or is shed if the queue is full, which one of length 0 always is. Simulated at 0.95
//!   of the capacity (10 servers of 4 workers, `least_request`), p99.9 is 12 mean service times
//!   without bouncing, 10 with one refusal, 8 with two; and with one refusal, two servers and
//!   `least_request` every call that both refuse ends at the busier one, whose queue then grows
//!   without limit.
//!
//! Asked by the server for each call that finds every worker busy.

/// How many calls a server works on at once, on all connections together, and what it does with the
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimit {
    running: usize,
    queued: usize,
    bounces: bool,
}

/// How often a call has been sent away before it came here, as far as it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierRefusals {
    /// It does not say that it was.
    None,
    /// Once, and its client takes a second refusal for what it is.
    Once,
    /// More often, or its client knows no second refusal.
    Enough,
}

/// What becomes of a call that finds every worker busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyAnswer {
    /// It waits for its turn.
    Wait,
    /// It is refused with REFUSED_STREAM.
    Bounce,
    /// It is refused in an answer that a channel of this crate knows.
    BounceAgain,
    /// It fails with RESOURCE_EXHAUSTED.
    Shed,
}

impl CallLimit {
    /// At most so many calls at once, and as many that wait. Zero counts as one.
    ///
    /// A stream counts until it ends: this is for services of short calls. Health checks and load
    /// reports apart from calls are not counted.
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

    /// Refuses a call's first attempt when all workers are busy, rather than let it wait.
    ///
    /// A channel's second attempt is refused as well where as many calls wait as are worked on, or
    /// as may wait. The third is never bounced: when all workers are busy it waits, or fails with
    /// RESOURCE_EXHAUSTED if the queue is full, as it always is with [`queue(0)`](Self::queue).
    ///
    /// For fleets whose clients try a refused call elsewhere, and say so: channels of this crate
    /// do; so does a gRPC retry policy (`grpc-previous-rpc-attempts`). Other gRPC clients repeat a
    /// refused call once on their own and do not mark it; when both servers are busy, they report
    /// UNAVAILABLE.
    #[must_use]
    pub fn bounce(mut self) -> Self {
        self.bounces = true;
        self
    }

    /// How many calls may run at once.
    pub fn running(&self) -> usize {
        self.running
    }

    /// What becomes of a call that finds every worker busy, and before it `queued` calls that wait.
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

/// As many as a semaphore of tokio's has permits.
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
