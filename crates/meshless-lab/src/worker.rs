//! `meshless worker`: one pod of the load. Hidden, for the Job that `compare --kubernetes` starts.
//!
//! It makes the calls of its score, open loop, and prints what became of them. It asks the cluster
//! for nothing, except for EndpointSlices where its score says so, and ends with exit code 0
//! however its calls fared. A signal ends it early: it prints what became of its calls until then.

pub(crate) mod score;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::client::{pace, warm_up};
use crate::clock;
use crate::connector::Counters;
use crate::control::Target;
use crate::interrupt::Interrupt;
use crate::pacer::Pacing;
use crate::record::CallRecord;
use crate::stats::{Latencies, PackedLatencies};
use crate::strategy::Entrance;
use score::{BIN, BinCalls, Line, Part, Score, Totals};

/// Plays a score. False means that a signal ended it early; what was measured by then is printed.
///
/// # Errors
/// If it is none, or this pod has no DNS.
pub async fn work(score: &str, interrupt: Interrupt) -> io::Result<bool> {
    let score: Score = serde_json::from_str(score)?;
    let index: u64 =
        std::env::var("JOB_COMPLETION_INDEX").ok().and_then(|index| index.parse().ok()).unwrap_or(0);
    let dns = Dns::of(&fs::read_to_string("/etc/resolv.conf")?)?;
    let begin = UNIX_EPOCH + Duration::from_millis(score.begin_ms);
    // Where the node's clock and ours are read once, the rest of the run counts on a clock that
    // nobody sets.
    let (now, here) = (SystemTime::now(), Instant::now());
    let late = now.duration_since(begin).unwrap_or_default();
    let begin = here + begin.duration_since(now).unwrap_or_default();
    say(&Line::Here { late_ms: late.as_millis() as u64 })?;
    let mut playing = JoinSet::new();
    for (number, part) in score.parts.into_iter().enumerate() {
        let counters = Arc::new(Counters::default());
        let target = dns.target(&part, score.deadline);
        let caller = Caller::new(&target, Arc::clone(&counters))?;
        let timing = Timing { begin: begin + part.at, missed: late.saturating_sub(part.at) };
        let interrupt = interrupt.clone();
        playing.spawn(async move {
            let (bins, totals) = play(&part, caller, &counters, timing, index, interrupt).await?;
            Ok::<_, io::Error>((number, bins, totals))
        });
    }
    let mut parts = Vec::new();
    while let Some(played) = playing.join_next().await {
        parts.push(played.map_err(io::Error::other)??);
    }
    // Said when all is over, not while others still call: packing and writing take time.
    for (part, bins, totals) in parts {
        for (index, calls) in bins.into_iter().enumerate() {
            say(&Line::Bin { part, index, bin: calls.pack() })?;
        }
        say(&Line::Totals { part, totals })?;
    }
    say(if interrupt.is_heard() { &Line::Stopped } else { &Line::End })?;
    Ok(!interrupt.is_heard())
}

/// When a part begins, and how much of it is over before its worker came.
#[derive(Clone, Copy, Debug)]
struct Timing {
    begin: Instant,
    missed: Duration,
}

/// Makes the calls of a part. What was due before its worker came is left out, and so is what has
/// not ended when a signal comes.
async fn play(
    part: &Part,
    caller: Caller,
    counters: &Counters,
    timing: Timing,
    worker: u64,
    mut interrupt: Interrupt,
) -> io::Result<(Vec<BinCalls>, Totals)> {
    let Timing { begin, missed } = timing;
    let ready = async {
        tokio::time::sleep_until((begin.checked_sub(WARM_UP).unwrap_or(begin)).into()).await;
        if part.strategy.keeps_connection() {
            warm_up(&caller).await;
        }
        tokio::time::sleep_until(begin.into()).await;
    };
    tokio::select! {
        () = ready => {}
        () = interrupt.wait() => return Ok((Vec::new(), Totals::default())),
    }
    let attempts_before = counters.attempts();
    let pacing =
        Pacing::Poisson { rate: part.rate, length: part.length, seed: part.seed.wrapping_add(worker) };
    let offsets: Vec<_> = pacing.offsets().filter_map(|offset| offset.checked_sub(missed)).collect();
    let cpu = clock::cpu_time();
    let (done, mut ended) = mpsc::channel(offsets.len().max(1));
    let pacer = pace(caller.clone(), Instant::now().max(begin), offsets, 1 + (worker << 40), done)?;
    let count = part.length.as_nanos().div_ceil(BIN.as_nanos()) as usize;
    let mut bins = vec![BinCalls::default(); count];
    let mut lag = Latencies::new();
    while let Some(call) = next(&mut ended, &mut interrupt).await {
        lag.record(call.started_ns.saturating_sub(call.scheduled_ns));
        let index = ((u128::from(call.scheduled_ns) + missed.as_nanos()) / BIN.as_nanos()) as usize;
        if let Some(calls) = bins.get_mut(index) {
            calls.add(call);
        }
    }
    if interrupt.is_heard() {
        // The pacing thread goes on until the process ends, which is at once.
        let measured = bins.iter().rposition(|calls| !calls.is_empty()).map_or(0, |last| last + 1);
        bins.truncate(measured);
    } else {
        pacer.join().map_err(|_| io::Error::other("the pacing thread panicked"))?;
    }
    let totals = Totals {
        connections_opened: counters.opened(),
        goaways_seen: counters.goaways(),
        attempts: counters.attempts() - attempts_before,
        cpu: clock::cpu_time().saturating_sub(cpu),
        lag: PackedLatencies::from(&lag),
        found_by: caller.found_by().await,
    };
    Ok((bins, totals))
}

/// The next call that has ended, as long as no signal has come.
async fn next(ended: &mut mpsc::Receiver<CallRecord>, interrupt: &mut Interrupt) -> Option<CallRecord> {
    tokio::select! {
        call = ended.recv() => call,
        () = interrupt.wait() => None,
    }
}

/// The DNS of this pod.
#[derive(Debug, PartialEq)]
struct Dns {
    server: SocketAddr,
    domain: String,
}

impl Dns {
    /// As `/etc/resolv.conf` says: in a pod its second search domain is `svc.` and the cluster's
    /// own.
    fn of(conf: &str) -> io::Result<Self> {
        let words = |keyword: &'static str| {
            conf.lines().filter_map(move |line| {
                let mut words = line.split_whitespace();
                (words.next() == Some(keyword)).then_some(words)
            })
        };
        let server = words("nameserver").flatten().find_map(|word| word.parse::<IpAddr>().ok());
        let server = server.ok_or_else(|| io::Error::other("/etc/resolv.conf names no server"))?;
        let domain = words("search").flatten().find_map(|word| word.strip_prefix("svc."));
        let domain = domain.unwrap_or("cluster.local").trim_end_matches('.').to_owned();
        Ok(Self { server: (server, 53).into(), domain })
    }

    fn target(&self, part: &Part, deadline: Duration) -> Target {
        let named = part.strategy.entrance() == Entrance::Name && part.strategy.policy().is_some();
        let authority = match part.endpoint_slices && named {
            true => format!("kubernetes:///{}:{PORT}", part.service),
            false => format!("{}.svc.{}:{PORT}", part.service, self.domain),
        };
        Target {
            strategy: part.strategy,
            authority,
            dns: Some(self.server),
            api_server: None,
            deadline,
            clients: 1,
        }
    }
}

fn say(line: &Line) -> io::Result<()> {
    println!("{}", line.text()?);
    Ok(())
}

/// What is said when a signal ends a worker early.
pub const INTERRUPTED: &str = "told to stop before the load is over; what was measured until now follows";

/// Where servers listen.
pub(crate) const PORT: u16 = 3001;

/// Before a part begins its client connects: resolving and connecting take less.
const WARM_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;

    #[test]
    fn the_cluster_says_where_its_dns_is_and_how_it_calls_itself() {
        let conf = "search shop.svc.example.org svc.example.org example.org\nnameserver 10.96.0.10\noptions ndots:5\n";
        let dns = Dns::of(conf).unwrap();
        assert_eq!(dns, Dns { server: "10.96.0.10:53".parse().unwrap(), domain: "example.org".into() });
        assert_eq!(Dns::of("nameserver fd00::a").unwrap().domain, "cluster.local");
        assert!(Dns::of("search a").is_err());
    }

    #[test]
    fn only_channels_read_endpoint_slices() {
        let dns = Dns::of("nameserver 10.96.0.10").unwrap();
        let authority = |strategy| {
            let part = Part {
                strategy,
                service: "echo.shop".into(),
                endpoint_slices: true,
                at: Duration::ZERO,
                length: Duration::ZERO,
                rate: 1.0,
                seed: 0,
            };
            dns.target(&part, Duration::ZERO).authority
        };
        assert_eq!(authority(Strategy::RoundRobin), "kubernetes:///echo.shop:3001");
        assert_eq!(authority(Strategy::MaxAgeDns), "echo.shop.svc.cluster.local:3001");
    }
}
