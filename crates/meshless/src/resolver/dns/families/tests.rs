//! The joined answers for A and AAAA, in virtual time.

use super::*;
use hickory_resolver::net::{DnsError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::RecordType;

use FamilyAnswer::{Answered, NotAsked, Pending};

fn v4() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

fn v6() -> IpAddr {
    "fd00::1".parse().unwrap()
}

#[test]
fn a_family_without_a_route_is_left_out_unless_it_is_all_there_is() {
    let both = || [vec![v4()], vec![v6()]];
    assert_eq!(reachable(both(), |_| true), [v4(), v6()]);
    assert_eq!(reachable(both(), |ip| ip.is_ipv4()), [v4()]);
    assert_eq!(reachable(both(), |ip| ip.is_ipv6()), [v6()]);
    assert_eq!(reachable(both(), |_| false), [v4(), v6()]);
    assert_eq!(reachable([vec![], vec![v6()]], |_| false), [v6()]);
}

#[test]
fn this_host_has_a_route_to_itself() {
    assert!(has_route(IpAddr::from([127, 0, 0, 1])));
}

fn records(ip: IpAddr, ttl: u32) -> Result<Lookup, NetError> {
    let name: Name = "echo.".parse().unwrap();
    let data = match ip {
        IpAddr::V4(v4) => RData::from(v4),
        IpAddr::V6(v6) => RData::from(v6),
    };
    let query = Query::query(name.clone(), data.record_type());
    Ok(Lookup::new_with_max_ttl(query, [Record::from_rdata(name, ttl, data)]))
}

fn code(code: ResponseCode) -> Result<Lookup, NetError> {
    match code {
        ResponseCode::NXDomain | ResponseCode::NoError => {
            let query = Query::query("echo.".parse().unwrap(), RecordType::A);
            Err(NoRecords::new(query, code).into())
        }
        code => Err(NetError::Dns(DnsError::ResponseCode(code))),
    }
}

/// The lookups of one name.
#[derive(Default)]
struct Lookups(Families);

impl Lookups {
    fn join(&mut self, answers: [FamilyAnswer; 2]) -> Result<FoundAddresses, NetError> {
        let name: Name = "echo.".parse().unwrap();
        self.0.join(Instant::now(), &name, answers, |_| true)
    }

    /// Returns a name that has had these addresses.
    fn that_found(answers: [FamilyAnswer; 2]) -> Self {
        let mut lookups = Self::default();
        assert!(lookups.join(answers).unwrap().complete);
        lookups
    }
}

fn v4_of(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn failures() -> [FamilyAnswer; 6] {
    use ResponseCode::{FormErr, NotImp, Refused, ServFail};
    let [a, b, c, d] = [ServFail, FormErr, NotImp, Refused].map(|failure| Answered(code(failure)));
    [a, b, c, d, Answered(Err(NetError::Timeout)), Pending]
}

#[test]
fn both_families_add_up_and_the_shortest_ttl_counts() {
    let found = Lookups::default().join([Answered(records(v4(), 30)), Answered(records(v6(), 5))]).unwrap();
    let ttl = Duration::from_secs(5);
    assert_eq!(found, FoundAddresses { addresses: vec![v4(), v6()], ttl, complete: true });
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_keeps_its_addresses_and_the_other_one_changes() {
    for failure in failures() {
        let mut lookups = Lookups::that_found([Answered(records(v4(), 30)), Answered(records(v6(), 30))]);
        let found = lookups.join([Answered(records(v4_of(2), 30)), failure]).unwrap();
        assert_eq!((found.addresses, found.complete), (vec![v4_of(2), v6()], false));
    }
    for failure in failures() {
        let mut lookups = Lookups::that_found([Answered(records(v4(), 30)), Answered(records(v6(), 30))]);
        let other: IpAddr = "fd00::2".parse().unwrap();
        let found = lookups.join([failure, Answered(records(other, 30))]).unwrap();
        assert_eq!((found.addresses, found.complete), (vec![v4(), other], false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_is_not_kept_for_ever() {
    let mut lookups = Lookups::that_found([Answered(records(v4(), 5)), Answered(records(v6(), 5))]);
    let mut lookup = |failure| lookups.join([Answered(records(v4(), 5)), failure]).unwrap().addresses.len();
    for _ in 0..12 {
        assert_eq!(lookup(Pending), 2);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(lookup(Answered(Err(NetError::Timeout))), 1);
    // After one answer, the addresses are kept for the full time again.
    assert_eq!(lookup(Answered(records(v6(), 5))), 2);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(lookup(Pending), 2, "it has only now begun to fail");
}

#[test]
fn what_is_said_to_be_gone_is_gone() {
    for answer in [ResponseCode::NXDomain, ResponseCode::NoError] {
        let mut lookups = Lookups::that_found([Answered(records(v4(), 30)), Answered(records(v6(), 30))]);
        let found = lookups.join([Answered(records(v4(), 30)), Answered(code(answer))]).unwrap();
        assert_eq!((found.addresses, found.complete), (vec![v4()], true), "{answer}");
    }
}

#[test]
fn another_name_of_the_search_path_inherits_nothing() {
    let mut lookups = Lookups::that_found([Answered(records(v4(), 30)), Answered(records(v6(), 30))]);
    let other: Name = "echo.other.".parse().unwrap();
    let record = Record::from_rdata(other.clone(), 30, RData::from(std::net::Ipv4Addr::new(10, 0, 0, 2)));
    let lookup = Lookup::new_with_max_ttl(Query::query(other.clone(), RecordType::A), [record]);
    let answers = [Answered(Ok(lookup)), Pending];
    assert_eq!(lookups.0.join(Instant::now(), &other, answers, |_| true).unwrap().addresses, [v4_of(2)]);
}

#[test]
fn without_an_address_a_failure_comes_before_a_statement() {
    for failure in failures().into_iter().filter(|failure| !matches!(failure, Pending)) {
        let mut lookups = Lookups::that_found([Answered(records(v4(), 30)), NotAsked]);
        let error = lookups.join([Answered(code(ResponseCode::NXDomain)), failure]).unwrap_err();
        assert!(Negative::of(&error).is_none_or(|reason| reason == Negative::Refused), "{error}");
    }
    let both = |a, b| Lookups::default().join([Answered(code(a)), Answered(code(b))]).unwrap_err();
    let (no_such_name, no_address) = (ResponseCode::NXDomain, ResponseCode::NoError);
    assert_eq!(Negative::of(&both(no_such_name, no_address)), Some(Negative::NoAddresses));
    assert_eq!(Negative::of(&both(no_such_name, no_such_name)), Some(Negative::NoSuchName));
}

#[test]
fn addresses_that_no_server_can_have_are_left_out() {
    for blocked in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
        let blocked: IpAddr = blocked.parse().unwrap();
        let answers = match blocked {
            IpAddr::V4(_) => [Answered(records(blocked, 30)), Answered(code(ResponseCode::NoError))],
            IpAddr::V6(_) => [Answered(code(ResponseCode::NoError)), Answered(records(blocked, 30))],
        };
        let error = Lookups::default().join(answers).unwrap_err();
        assert!(error.to_string().contains("a filter may block the name"), "{blocked}: {error}");
        assert_eq!(Negative::of(&error), None);
    }
}
