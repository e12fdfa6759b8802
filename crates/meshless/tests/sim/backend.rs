//! The backends: the library's own server on each host, and a service that behaves as it is told.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use meshless::server::{ConnectionConfig, LifetimeConfig};
use meshless::{Server, Shutdown, ShutdownHandle};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::body::Body;
use tower_service::Service;

use crate::log::{Designed, Execution, Log};
use crate::network::Network;
use crate::scenario::{Scenario, ms};

/// The servers of all hosts.
pub(crate) struct Backends {
    network: Arc<Network>,
    log: Arc<Log>,
    scenario: Scenario,
    moods: Vec<Arc<MoodOfHost>>,
    running: Mutex<Vec<Option<Process>>>,
    /// Processes that are on their way out.
    leaving: Mutex<Vec<Process>>,
    started: Mutex<u64>,
}

struct Process {
    shutdown: ShutdownHandle,
    task: JoinHandle<()>,
}

/// How the handlers of a host behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mood {
    pub(crate) designed: Designed,
    pub(crate) service_time: Duration,
}

/// The mood of one host, and those who wait for another. They are woken in their order, which
/// tokio's `watch` draws at random.
struct MoodOfHost {
    mood: Mutex<Mood>,
    changed: Notify,
}

impl MoodOfHost {
    fn new(mood: Mood) -> Self {
        Self { mood: Mutex::new(mood), changed: Notify::new() }
    }

    fn now(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.changed.notify_waiters();
    }

    async fn no_longer_hangs(&self) {
        loop {
            let changed = self.changed.notified();
            if self.now().designed != Designed::Hang {
                return;
            }
            changed.await;
        }
    }
}

impl Backends {
    pub(crate) fn new(hosts: usize, scenario: &Scenario, network: &Arc<Network>, log: &Arc<Log>) -> Self {
        let mood = Mood { designed: Designed::Answer, service_time: scenario.service_time };
        Self {
            network: Arc::clone(network),
            log: Arc::clone(log),
            scenario: scenario.clone(),
            moods: (0..hosts).map(|_| Arc::new(MoodOfHost::new(mood))).collect(),
            running: Mutex::new((0..hosts).map(|_| None).collect()),
            leaving: Mutex::default(),
            started: Mutex::default(),
        }
    }

    /// Starts a process on the host.
    pub(crate) fn start(&self, host: usize) {
        tracing::info!(host, "a process starts");
        *self.log.notes().started.entry(host).or_default() += 1;
        let started = {
            let mut started = self.started.lock().unwrap();
            *started += 1;
            *started
        };
        let Scenario { age, grace, idle, streams_max, seed, .. } = self.scenario;
        let limit = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let lifetime = LifetimeConfig::default().max_age(limit(age)).max_age_grace(limit(grace));
        let lifetime = lifetime.max_idle(limit(idle));
        let config = ConnectionConfig::default()
            .lifetime(lifetime.drain_timeout(DRAIN_TIMEOUT))
            .max_concurrent_streams(streams_max)
            .seed(seed ^ (started << 32));
        let shutdown = Shutdown::new();
        let handle = shutdown.handle();
        let service = Obedient { host, mood: Arc::clone(&self.moods[host]), log: Arc::clone(&self.log) };
        let server = Server::builder().connection_config(config).add_service(service);
        let socket = self.network.listen(host);
        let task = tokio::spawn(async move {
            server.serve_with_incoming_shutdown([socket], shutdown).await.unwrap();
        });
        let before = self.running.lock().unwrap()[host].replace(Process { shutdown: handle, task });
        assert!(before.is_none(), "one process for a host");
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&self, host: usize) {
        let process = self.running.lock().unwrap()[host].take();
        self.network.kill(host);
        if let Some(process) = process {
            process.task.abort();
        }
    }

    /// Begins the process's shutdown.
    pub(crate) fn drain(&self, host: usize) {
        if let Some(process) = self.running.lock().unwrap()[host].take() {
            tracing::info!(host, "a process drains");
            process.shutdown.begin();
            self.leaving.lock().unwrap().push(process);
        }
    }

    pub(crate) fn is_running(&self, host: usize) -> bool {
        self.running.lock().unwrap()[host].is_some()
    }

    pub(crate) fn set_mood(&self, host: usize, designed: Designed, factor: u32) {
        let service_time = (self.scenario.service_time * factor).max(ms(u64::from(factor - 1) * 20));
        self.moods[host].set(Mood { designed, service_time });
    }

    /// Drains everything, and says how many processes had not ended after the time that a drain may
    /// take.
    pub(crate) async fn end(&self) -> usize {
        (0..self.moods.len()).for_each(|host| self.drain(host));
        let leaving = std::mem::take(&mut *self.leaving.lock().unwrap());
        let by = Instant::now() + DRAIN_TIMEOUT + ms(2000);
        let mut late = 0;
        for process in leaving {
            late += usize::from(tokio::time::timeout_at(by, process.task).await.is_err());
        }
        late
    }
}

/// Notes each call that it is given, and does what its host's mood says.
#[derive(Clone)]
struct Obedient {
    host: usize,
    mood: Arc<MoodOfHost>,
    log: Arc<Log>,
}

impl tonic::server::NamedService for Obedient {
    const NAME: &'static str = "sim.Backend";
}

impl Service<http::Request<Body>> for Obedient {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let id = request.headers()[ID].to_str().unwrap().parse().unwrap();
        let mood = self.mood.now();
        let execution = Execution { host: self.host, at: Instant::now(), designed: mood.designed };
        self.log.notes().executions.entry(id).or_default().push(execution);
        let moods = Arc::clone(&self.mood);
        let streaming = request.uri().path().ends_with("/Stream");
        Box::pin(async move {
            // A request that breaks off has nobody who waits for the answer.
            let Ok(body) = request.into_body().collect().await else { return Ok(failure(Code::Cancelled)) };
            sleep(mood.service_time).await;
            Ok(match mood.designed {
                Designed::Answer => answer(body.to_bytes(), if streaming { MESSAGES } else { 1 }),
                Designed::Fail(code) => failure(code),
                Designed::Hang => {
                    moods.no_longer_hangs().await;
                    failure(Code::Unavailable)
                }
            })
        })
    }
}

fn failure(code: Code) -> http::Response<Body> {
    let response = http::Response::builder().header("content-type", "application/grpc");
    response.header("grpc-status", (code as i32).to_string()).body(Body::empty()).unwrap()
}

/// The request `messages` times, with pauses, and OK.
fn answer(message: Bytes, messages: usize) -> http::Response<Body> {
    let frames = futures_util::stream::unfold(0, move |sent| {
        let message = message.clone();
        async move {
            if sent > messages {
                return None;
            }
            if sent == messages {
                let trailers =
                    http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                return Some((Ok::<_, Infallible>(Frame::trailers(trailers)), sent + 1));
            }
            if sent > 0 {
                sleep(PAUSE).await;
            }
            Some((Ok(Frame::data(message)), sent + 1))
        }
    });
    let response = http::Response::builder().header("content-type", "application/grpc");
    response.body(Body::new(StreamBody::new(frames))).unwrap()
}

/// The header with a call's number.
pub(crate) const ID: &str = "sim-id";

/// Of a stream's response.
pub(crate) const MESSAGES: usize = 8;

/// Between two of them.
const PAUSE: Duration = ms(150);

/// Longer than any call takes that is not disturbed.
const DRAIN_TIMEOUT: Duration = ms(5000);
