//! What is planned for a request, on machines of which the tests say what they can do.

use super::*;
use crate::fleet::Local;
use crate::fleet::local::Limits;

/// A machine that can do all of it.
pub(super) const MANY: Limits = Limits { file_descriptors: 100_000, addresses: 200 };

/// One without addresses.
pub(super) const FEW: Limits = Limits { addresses: 0, ..MANY };

/// A machine with these limits and without a proxy.
pub(super) fn here(request: &CompareRequest, limits: Limits) -> Site {
    Site::Here(Local::for_tests(request, limits).unwrap())
}

pub(super) fn of(experiment: &str, strategies: &[Strategy]) -> CompareRequest {
    CompareRequest {
        experiments: vec![experiment.parse().unwrap()],
        strategies: strategies.to_vec(),
        ..CompareRequest::default()
    }
}

/// Steps of each experiment that is planned.
fn steps(request: &CompareRequest, limits: Limits) -> Result<Vec<u64>, PlanError> {
    let planned = plan(request, &here(request, limits), &mut Vec::new())?;
    Ok(planned.iter().map(|planned| planned.steps()).collect())
}

#[test]
fn too_few_descriptors_for_anything_are_refused() {
    let request = CompareRequest::default();
    let error = Local::for_tests(&request, Limits { file_descriptors: 64, ..MANY }).unwrap_err();
    assert_eq!(error, PlanError::FileDescriptors(64));
    assert!(error.to_string().contains("ulimit -n"));
}

#[test]
fn grpc_go_needs_its_client() {
    let error = Local::for_tests(&of("spread", &[Strategy::GrpcGo]), MANY).unwrap_err();
    assert_eq!(error, PlanError::NoGrpcGo);
}

#[test]
fn a_build_without_kubernetes_says_how_to_get_it() {
    let request = of("spread", &[Strategy::RoundRobin, Strategy::RoundRobinKubernetes]);
    let mut notes = Vec::new();
    let site = here(&request, MANY);
    let taking_part = Planning { request: &request, site: &site, notes: &mut notes }.strategies(&[]);
    let takes_part = taking_part.contains(&Strategy::RoundRobinKubernetes);
    assert_eq!(takes_part, cfg!(feature = "kubernetes"));
    let said = notes.iter().filter(|note| note.contains("--no-default-features")).count();
    assert_eq!(said, usize::from(!takes_part), "{notes:?}");
}

#[test]
fn what_servers_do_is_measured_if_asked_for_or_in_a_full_run() {
    assert_eq!(steps(&CompareRequest::default(), MANY).unwrap().len(), 3);
    let full = CompareRequest { full: true, ..CompareRequest::default() };
    assert_eq!(steps(&full, MANY).unwrap()[3..], [2 * (5 + 24), 5 * (8 + 24)]);
    let asked = CompareRequest { seconds: Some(2), ..of("servers", &[Strategy::RoundRobin]) };
    // Two rows of the bounce, and no longer warm-up than what is measured.
    assert_eq!(steps(&asked, MANY).unwrap(), [2 * (2 + 2)]);
    let nobody = steps(&of("servers", &[Strategy::L7Proxy]), MANY).unwrap_err();
    assert!(nobody.to_string().contains("least_request"), "{nobody}");
    assert!(steps(&of("servers", &[]), FEW).unwrap_err().to_string().contains("127.0.0.11"));
}

#[test]
fn a_run_of_nothing_says_why() {
    let error = steps(&of("churn", &[]), FEW).unwrap_err().to_string();
    assert!(error.contains("The churn was left out") && error.contains("127.0.0.7"), "{error}");
}

#[cfg(feature = "kubernetes")]
#[test]
fn on_a_cluster_there_are_spread_and_churn() {
    use crate::request::{ClusterRequest, Place};
    let place = Place::Cluster(ClusterRequest::default());
    let planned = |request: CompareRequest| {
        let request = CompareRequest { place: place.clone(), ..request };
        plan(&request, &Site::Cluster, &mut Vec::new()).map(|planned| planned.len())
    };
    assert_eq!(planned(CompareRequest::default()), Ok(2));
    assert_eq!(planned(CompareRequest { full: true, ..CompareRequest::default() }), Ok(2));
    assert_eq!(planned(of("burst", &[])), Err(PlanError::NothingOnCluster));
    assert_eq!(planned(of("spread", &[Strategy::L7Proxy])), Err(PlanError::NothingOnCluster));
}

#[test]
fn an_unknown_experiment_is_answered_with_the_known_ones() {
    let error = "storm".parse::<ExperimentName>().unwrap_err().to_string();
    assert_eq!(error, "there is no experiment `storm`; choose from burst, spread, churn, servers");
}
