//! The control plane's manifests.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::manifest::manifest;
use super::*;

const FOLDER: &str = "overlays/xds";

fn object<T: serde::de::DeserializeOwned + serde::Serialize>(file: &str) -> T {
    manifest(&format!("{FOLDER}/{file}.yaml"))
}

fn pod() -> PodSpec {
    object::<Deployment>("deployment").spec.template.spec.unwrap()
}

#[test]
fn two_replicas_of_which_one_stays() {
    let deployment = object::<Deployment>("deployment").spec;
    assert_eq!(deployment.replicas, Some(2));
    let budget = object::<PodDisruptionBudget>("pod-disruption-budget").spec.unwrap();
    assert_eq!(budget.min_available, Some(IntOrString::Int(1)));
    let labels = deployment.template.metadata.unwrap().labels;
    assert_eq!(budget.selector.unwrap().match_labels, labels);
    assert_eq!(object::<Service>("service").spec.unwrap().selector, labels);
    let policy = object::<NetworkPolicy>("network-policy").spec.unwrap();
    assert_eq!(policy.pod_selector.unwrap().match_labels, labels);
}

#[test]
fn it_may_read_endpoint_slices_and_do_nothing_else() {
    let pod = pod();
    assert_restricted(&pod);
    assert_eq!(pod.automount_service_account_token, Some(true));
    let account = object::<ServiceAccount>("service-account");
    assert_eq!(account.automount_service_account_token, Some(false));
    assert_eq!(pod.service_account_name, account.metadata.name);
    let rules = object::<Role>("role").rules.unwrap();
    let [rule] = &rules[..] else { panic!("{rules:?}") };
    assert_eq!(rule.resources.as_deref(), Some(&["endpointslices".to_owned()][..]));
    assert_eq!(rule.verbs, ["get", "list", "watch"]);
    let binding = object::<RoleBinding>("role-binding");
    assert_eq!(binding.role_ref.name, "meshless-xds");
    assert_eq!(binding.subjects.unwrap()[0].name, "meshless-xds");
}

#[test]
fn one_port_leads_from_the_clients_to_the_control_plane() {
    let pod = pod();
    let container = &pod.containers[0];
    let ports = container.ports.clone().unwrap();
    let port =
        |name: &str| ports.iter().find(|port| port.name.as_deref() == Some(name)).unwrap().container_port;
    assert_eq!(argument(container, "--listen"), format!("0.0.0.0:{}", port("xds")));
    assert_eq!(argument(container, "--status"), format!("0.0.0.0:{}", port("status")));
    assert_eq!(container.readiness_probe.clone().unwrap().grpc.unwrap().port, port("xds"));
    let service = object::<Service>("service").spec.unwrap().ports.unwrap();
    assert_eq!((service.len(), service[0].port), (1, port("xds")));
    let ingress = object::<NetworkPolicy>("network-policy").spec.unwrap().ingress.unwrap();
    let allowed: Vec<_> = ingress.iter().map(|rule| rule.ports.clone().unwrap()[0].port.clone()).collect();
    assert_eq!(allowed, [port("xds"), port("status")].map(|port| Some(IntOrString::Int(port))));
    let server = object::<ConfigMap>("config-map").data.unwrap()["server"].clone();
    assert_eq!(server, argument(container, "--advertise").replace("$(POD_NAMESPACE)", "meshless"));
}

#[test]
fn its_policy_can_be_read() {
    let data = object::<ConfigMap>("config-map").data.unwrap();
    let book = meshless_xds::PolicyBook::from_json(&data["policy.json"]).unwrap();
    assert!(book.warnings().is_empty(), "{:?}", book.warnings());
}
