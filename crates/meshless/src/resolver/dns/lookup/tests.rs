//! The parts of a lookup that need no DNS: which names, which addresses.

use super::*;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{RData, Record};

/// A pod's search path in namespace `shop`.
fn search() -> Vec<Name> {
    ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        .map(|name| name.parse().unwrap())
        .to_vec()
}

fn tried(host: &str, ndots: usize) -> Vec<String> {
    names(host, ndots, &search()).unwrap().iter().map(Name::to_ascii).collect()
}

#[test]
fn a_pods_search_path_comes_before_the_name_itself() {
    assert_eq!(
        tried("echo.shop", 5),
        [
            "echo.shop.shop.svc.cluster.local.",
            "echo.shop.svc.cluster.local.",
            "echo.shop.cluster.local.",
            "echo.shop."
        ]
    );
}

#[test]
fn a_name_with_enough_dots_comes_first() {
    assert_eq!(tried("echo.shop", 1)[0], "echo.shop.");
    assert_eq!(tried("echo", 1).last().unwrap(), "echo.");
    assert_eq!(tried("echo.shop", 1).len(), 4);
}

#[test]
fn a_final_dot_leaves_the_search_path_out() {
    assert_eq!(tried("echo.shop.", 5), ["echo.shop."]);
}

#[test]
fn a_root_in_the_search_path_is_not_asked_twice() {
    let names = names("echo.shop", 5, &[Name::root()]).unwrap();
    assert_eq!(names.len(), 1);
}

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

#[test]
fn both_families_add_up_and_the_shortest_ttl_counts() {
    let answers = [(Some(records(v4(), 30)), false), (Some(records(v6(), 5)), false)];
    let (found, known) = combine(answers, |_| true).unwrap();
    assert_eq!(found, Found { addresses: vec![v4(), v6()], ttl: Duration::from_secs(5) });
    assert!(known.ipv4 && known.ipv6);
}

#[test]
fn half_an_answer_counts_unless_the_other_half_is_known_to_exist() {
    for (failing, known, ok) in [
        (ResponseCode::ServFail, false, true),
        (ResponseCode::ServFail, true, false),
        // A statement, not a failure: the family is gone.
        (ResponseCode::NoError, true, true),
        (ResponseCode::NXDomain, true, true),
    ] {
        let answers = [(Some(records(v4(), 30)), true), (Some(code(failing)), known)];
        assert_eq!(combine(answers, |_| true).is_ok(), ok, "{failing}, known before: {known}");
    }
}

#[test]
fn no_address_at_all_is_a_failure_before_it_is_a_statement() {
    let error = |a, aaaa| combine([(Some(code(a)), false), (Some(code(aaaa)), false)], |_| true).unwrap_err();
    assert_eq!(Negative::of(&error(ResponseCode::NXDomain, ResponseCode::ServFail)), None);
    let nothing = error(ResponseCode::NXDomain, ResponseCode::NoError);
    assert_eq!(Negative::of(&nothing), Some(Negative::NoAddresses));
    assert_eq!(
        Negative::of(&error(ResponseCode::NXDomain, ResponseCode::NXDomain)),
        Some(Negative::NoSuchName)
    );
}
