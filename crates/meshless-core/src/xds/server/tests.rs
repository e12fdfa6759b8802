use super::*;

/// A control plane without endpoints: contents by name.
struct Plane {
    stream: AdsStream,
    states: BTreeMap<&'static str, ResourceState>,
}

use ResourceKind::{Endpoints, Listener};
use ResourceState::{Known, Missing, Pending};

impl Plane {
    fn new(states: impl IntoIterator<Item = (&'static str, ResourceState)>) -> Self {
        Self { stream: AdsStream::new(10), states: states.into_iter().collect() }
    }

    fn ask(&mut self, kind: ResourceKind, names: &[&str], version: &str, nonce: u64) -> Verdict {
        let nonce = if nonce == 0 { String::new() } else { nonce.to_string() };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = AdsRequest { kind, names, version, nonce: &nonce, refusal: None };
        self.stream.handle_request(request).unwrap()
    }

    fn refuse(&mut self, kind: ResourceKind, names: &[&str], nonce: u64) -> Verdict {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let nonce = nonce.to_string();
        let request = AdsRequest { kind, names, version: "", nonce: &nonce, refusal: Some("bad field") };
        self.stream.handle_request(request).unwrap()
    }

    fn set(&mut self, name: &'static str, state: ResourceState) {
        self.states.insert(name, state);
    }

    /// The nonce, and what is sent: names, and names that are missing behind an exclamation mark.
    fn next(&mut self) -> Option<(u64, String)> {
        let states = &self.states;
        let response = self.stream.poll_response(|_, name| *states.get(name).unwrap_or(&Missing))?;
        let sent = response.resources.iter().map(|name| name.to_string());
        let missing = response.missing.iter().map(|name| format!("!{name}"));
        Some((response.nonce, sent.chain(missing).collect::<Vec<_>>().join(" ")))
    }
}

fn sent(nonce: u64, text: &str) -> Option<(u64, String)> {
    Some((nonce, text.to_owned()))
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let mut plane = Plane::new([("a", Known(1))]);
    assert_eq!(plane.next(), None, "nobody has asked");
    plane.ask(Listener, &["a"], "", 0);
    assert_eq!(plane.next(), sent(1, "a"));
    assert_eq!(plane.ask(Listener, &["a"], "1", 1), Verdict::Acked);
    assert_eq!(plane.next(), None);
    assert_eq!(plane.ask(Listener, &["a"], "1", 1), Verdict::None, "the same verdict twice is one");
    plane.set("a", Known(2));
    assert_eq!(plane.next(), sent(2, "a"));
}

#[test]
fn a_client_that_comes_back_is_answered_although_its_version_is_the_same() {
    let mut plane = Plane::new([("a", Known(1))]);
    for kind in ResourceKind::ALL {
        plane.ask(kind, &["a"], "the newest", 0);
    }
    assert_eq!((1..=4).map(|_| plane.next().unwrap().1).collect::<Vec<_>>(), ["a"; 4]);
}

#[test]
fn one_response_is_in_flight_and_the_next_has_the_newest_state() {
    let mut plane = Plane::new([("a", Known(1))]);
    plane.ask(Endpoints, &["a"], "", 0);
    assert_eq!(plane.next(), sent(1, "a"));
    for content in 2..100 {
        plane.set("a", Known(content));
        assert_eq!(plane.next(), None);
    }
    assert!(plane.stream.is_in_flight());
    plane.ask(Endpoints, &["a"], "1", 1);
    assert_eq!(plane.next(), sent(2, "a"));
    plane.set("a", Known(99));
    plane.ask(Endpoints, &["a"], "2", 2);
    assert_eq!(plane.next(), None, "it has the newest");
}

#[test]
fn listeners_are_sent_whole_and_endpoints_only_as_they_change() {
    let mut plane = Plane::new([("a", Known(1)), ("b", Known(1))]);
    plane.ask(Listener, &["a"], "", 0);
    plane.ask(Endpoints, &["a"], "", 0);
    assert_eq!((plane.next(), plane.next()), (sent(1, "a"), sent(2, "a")));
    plane.ask(Listener, &["a", "b"], "1", 2);
    plane.ask(Endpoints, &["a", "b"], "1", 1);
    assert_eq!((plane.next(), plane.next()), (sent(3, "b"), sent(4, "a b")));
    plane.ask(Listener, &["b"], "1", 4);
    plane.ask(Endpoints, &["b"], "1", 3);
    assert_eq!(plane.next(), None, "nobody needs to be told that a name was dropped");
}

#[test]
fn a_name_that_was_dropped_and_is_asked_for_again_is_sent_again() {
    let mut plane = Plane::new([("a", Known(1)), ("b", Known(1))]);
    for (kind, again) in [(Listener, "a b"), (Endpoints, "b")] {
        plane.ask(kind, &["a", "b"], "", 0);
        let (nonce, _) = plane.next().unwrap();
        plane.ask(kind, &["a"], "v", nonce);
        assert_eq!(plane.next(), None);
        plane.ask(kind, &["a", "b"], "v", nonce);
        let (nonce, text) = plane.next().unwrap();
        assert_eq!(text, again, "{kind:?}: an idle channel has come back");
        plane.ask(kind, &[], "v", nonce);
        plane.ask(kind, &["b"], "v", nonce);
        assert_eq!(plane.next().map(|(_, text)| text), Some("b".to_owned()));
    }
}

#[test]
fn names_that_change_while_a_response_is_in_flight_are_answered_after_its_verdict() {
    let mut plane = Plane::new([("a", Known(1)), ("b", Known(1))]);
    plane.ask(Listener, &["a"], "", 0);
    assert_eq!(plane.next(), sent(1, "a"));
    assert_eq!(plane.ask(Listener, &["a", "b"], "", 0), Verdict::None, "sent before the response was read");
    assert_eq!(plane.next(), None);
    assert_eq!(plane.ask(Listener, &["a", "b"], "1", 1), Verdict::Acked);
    assert_eq!(plane.next(), sent(2, "a b"));
}

#[test]
fn what_was_refused_is_sent_again_only_when_it_changes() {
    let mut plane = Plane::new([("a", Known(1))]);
    plane.ask(Endpoints, &["a"], "", 0);
    assert_eq!(plane.next(), sent(1, "a"));
    assert_eq!(plane.refuse(Endpoints, &["a"], 1), Verdict::Nacked);
    for _ in 0..1000 {
        assert_eq!(plane.refuse(Endpoints, &["a"], 1), Verdict::None);
        assert_eq!(plane.next(), None, "endless refusals are not answered");
    }
    plane.set("a", Known(2));
    assert_eq!(plane.next(), sent(2, "a"));
}

#[test]
fn a_verdict_on_an_older_response_says_nothing() {
    let mut plane = Plane::new([("a", Known(1))]);
    plane.ask(Endpoints, &["a"], "", 0);
    assert_eq!(plane.next(), sent(1, "a"));
    plane.ask(Endpoints, &["a"], "1", 1);
    plane.set("a", Known(2));
    assert_eq!(plane.next(), sent(2, "a"));
    assert_eq!(plane.refuse(Endpoints, &["a"], 1), Verdict::None);
    plane.set("a", Known(3));
    assert_eq!(plane.next(), None, "the second is still in flight");
    for strange in [0, 7, u64::MAX] {
        assert_eq!(plane.ask(Endpoints, &["a"], "1", strange), Verdict::None);
    }
}

#[test]
fn nothing_is_said_before_it_is_known() {
    let mut plane = Plane::new([("a", Pending)]);
    for kind in ResourceKind::ALL {
        plane.ask(kind, &["a"], "", 0);
    }
    assert_eq!(plane.next(), None, "no empty answer");
    plane.set("a", Known(1));
    assert_eq!((1..=4).map(|_| plane.next().unwrap().1).collect::<Vec<_>>(), ["a"; 4]);
}

#[test]
fn a_client_with_a_cache_is_told_nothing_with_holes() {
    let mut plane = Plane::new([("a", Known(1)), ("b", Pending)]);
    plane.ask(Listener, &["a", "b"], "an earlier version", 0);
    assert_eq!(plane.next(), None, "without b, b would be deleted");
    plane.set("b", Known(1));
    assert_eq!(plane.next(), sent(1, "a b"));

    let mut plane = Plane::new([("a", Known(1)), ("b", Pending)]);
    plane.ask(Listener, &["a", "b"], "", 0);
    assert_eq!(plane.next(), sent(1, "a"), "a new client need not wait for b");
    plane.ask(Listener, &["a", "b"], "1", 1);
    plane.set("b", Known(1));
    assert_eq!(plane.next(), sent(2, "a b"));
    plane.ask(Listener, &["a", "b"], "2", 2);
    plane.set("a", Known(2));
    plane.set("b", Pending);
    assert_eq!(plane.next(), None, "it has b");
}

#[test]
fn what_does_not_exist_is_said_once() {
    let mut plane = Plane::new([("a", Known(1))]);
    plane.ask(Listener, &["a", "x"], "", 0);
    assert_eq!(plane.next(), sent(1, "a !x"));
    plane.ask(Listener, &["a", "x"], "1", 1);
    assert_eq!(plane.next(), None);
    plane.set("x", Known(1));
    assert_eq!(plane.next(), sent(2, "a x"));
    plane.ask(Listener, &["a", "x"], "2", 2);
    plane.set("x", Missing);
    assert_eq!(plane.next(), sent(3, "a !x"), "it was deleted");
    plane.ask(Listener, &["a", "x"], "3", 3);
    assert_eq!(plane.next(), None);
    plane.ask(Endpoints, &["x"], "", 0);
    assert_eq!(plane.next(), sent(4, "!x"));
}

#[test]
fn versions_follow_from_the_content_alone() {
    let version = |path: &[(&'static str, ResourceState)]| {
        let mut plane = Plane::new([]);
        let mut last = None;
        for (name, state) in path {
            plane.set(name, *state);
            let nonce = plane.stream.last_nonce;
            plane.ask(Endpoints, &["a", "b"], "", nonce);
            let states = plane.states.clone();
            let response = plane.stream.poll_response(|_, name| *states.get(name).unwrap_or(&Pending));
            last = response.map(|response| response.version).or(last);
        }
        last
    };
    let direct = version(&[("a", Known(1)), ("b", Known(2))]);
    assert_eq!(version(&[("b", Known(2)), ("a", Known(7)), ("a", Known(1))]), direct);
    assert_ne!(version(&[("a", Known(2)), ("b", Known(1))]), direct);
}

#[test]
fn too_many_names_are_refused() {
    let mut stream = AdsStream::new(2);
    let names = |count: usize| (0..count).map(|n| n.to_string()).collect();
    let request =
        |count| AdsRequest { kind: Listener, names: names(count), version: "", nonce: "", refusal: None };
    assert!(stream.handle_request(request(2)).is_ok());
    assert_eq!(stream.handle_request(request(3)), Err(TooManyNamesError { asked: 3, most: 2 }));
    assert_eq!(stream.subscribed(Listener), 2);
}

/// A client as gRPC's are: it accepts or refuses each response, and keeps what it has.
#[derive(Default)]
struct Client {
    names: BTreeSet<&'static str>,
    nonce: u64,
    has: BTreeMap<String, u64>,
}

impl Client {
    /// Takes in a response; of a complete kind, what is missing in it is gone.
    fn take(&mut self, response: &AdsResponse, contents: &BTreeMap<&'static str, ResourceState>) {
        if response.kind.is_complete() {
            self.has.clear();
        }
        for name in &response.resources {
            let Known(content) = contents[&**name] else { panic!("{name} is not known, and was sent") };
            self.has.insert(name.to_string(), content);
        }
    }
}

/// What can happen between a client and its control plane.
#[derive(Clone, Debug)]
enum Step {
    /// The client wants the names of these bits.
    Want(u8),
    /// A resource is in this state.
    Set(usize, ResourceState),
    /// The client reads a response, and accepts it or not.
    Answer(bool),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let state = prop_oneof![4 => (0..5_u64).prop_map(Known), 1 => Just(Missing)];
    let step = prop_oneof![
        (0..16_u8).prop_map(Step::Want),
        (0..NAMES.len(), state).prop_map(|(at, state)| Step::Set(at, state)),
        any::<bool>().prop_map(Step::Answer),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest::proptest! {
    /// Whatever has happened: once the client has answered what it was sent, it has the newest state
    /// of all that it wants, and is told nothing more.
    #[test]
    fn a_client_ends_with_the_newest_state(steps in steps(), complete in proptest::bool::ANY) {
        let kind = if complete { Listener } else { Endpoints };
        let mut plane = Plane::new(NAMES.map(|name| (name, Missing)));
        let mut client = Client::default();
        let mut last: Option<AdsResponse> = None;
        let request = |plane: &mut Plane, client: &Client, refuse: bool| {
            let names: Vec<&str> = client.names.iter().copied().collect();
            match refuse {
                true => plane.refuse(kind, &names, client.nonce),
                false => plane.ask(kind, &names, "", client.nonce),
            };
        };
        let poll = |plane: &mut Plane| {
            let states = plane.states.clone();
            plane.stream.poll_response(|_, name| states[name])
        };
        for step in steps {
            match step {
                Step::Want(bits) => {
                    let wanted = NAMES.into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
                    client.names = wanted.map(|(_, name)| name).collect();
                    client.has.retain(|name, _| client.names.contains(&**name));
                    request(&mut plane, &client, false);
                }
                Step::Set(at, state) => plane.set(NAMES[at], state),
                Step::Answer(accept) => {
                    if let Some(response) = last.take() {
                        client.nonce = response.nonce;
                        request(&mut plane, &client, !accept);
                    }
                }
            }
            if let Some(response) = poll(&mut plane) {
                assert!(last.is_none(), "two in flight");
                client.take(&response, &plane.states.clone());
                client.has.retain(|name, _| client.names.contains(&**name));
                last = Some(response);
            }
        }
        let mut rounds = 0;
        while let Some(response) = last.take() {
            client.nonce = response.nonce;
            request(&mut plane, &client, false);
            last = poll(&mut plane);
            if let Some(response) = &last {
                client.take(response, &plane.states.clone());
            }
            rounds += 1;
            assert!(rounds < 5, "it never comes to rest");
        }
        let wanted = client.names.iter().filter_map(|name| match plane.states[name] {
            Known(content) => Some(((*name).to_owned(), content)),
            _ => None,
        });
        let mut has = client.has.clone();
        // Endpoints that are gone are left with the client: their cluster is.
        has.retain(|name, _| plane.states[&**name] != Missing || complete);
        assert_eq!(has, wanted.collect::<BTreeMap<_, _>>());
    }
}
