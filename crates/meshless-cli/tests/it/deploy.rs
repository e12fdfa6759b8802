//! The manifests in `deploy/`: valid by the API types of the current Kubernetes, and in agreement
//! with each other.
//!
//! What is checked here needs no cluster. Every object is read strictly: a field that the API does
//! not know is an error, as with `kubectl --validate=strict`. Then come the sums that no API server
//! makes: periods of grace, ports, names.

mod manifest;
mod serving;
mod xds;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

pub(crate) use manifest::strict;
use manifest::{FOLDERS, Manifests, argument, duration, files, read};

#[test]
fn the_servers_finish_their_calls_before_they_are_killed() {
    let pod = Manifests::read().server();
    let container = &pod.containers[0];
    let (lame_duck, drain) = (duration(container, "--lame-duck"), duration(container, "--drain-timeout"));
    assert!(
        container.lifecycle.is_none(),
        "a preStop hook comes on top of the lame duck: add it to this sum"
    );
    let grace = Duration::from_secs(pod.termination_grace_period_seconds.unwrap().try_into().unwrap());
    assert!(lame_duck + drain + GOODBYE + MARGIN <= grace, "{lame_duck:?} + {drain:?} do not fit {grace:?}");
}

#[test]
fn nobody_is_sent_to_a_pod_that_is_going_by_the_end_of_its_lame_duck() {
    let pod = Manifests::read().server();
    let probe = pod.containers[0].readiness_probe.clone().unwrap();
    assert!(probe.grpc.is_some());
    let misses =
        probe.period_seconds.unwrap() * probe.failure_threshold.unwrap() + probe.timeout_seconds.unwrap();
    let noticed = Duration::from_secs(misses.try_into().unwrap());
    assert!(noticed < duration(&pod.containers[0], "--lame-duck"), "{noticed:?}");
}

#[test]
fn a_call_may_last_as_long_as_its_deadline_wherever_its_connection_stands() {
    let manifests = Manifests::read();
    let server = manifests.server();
    for job in manifests.jobs() {
        let deadline = duration(&job.containers[0], "--deadline");
        for limit in ["--max-connection-age-grace", "--drain-timeout"] {
            assert!(deadline <= duration(&server.containers[0], limit), "{deadline:?} exceeds {limit}");
        }
    }
}

#[test]
fn a_node_can_be_drained() {
    let manifests = Manifests::read();
    let replicas = manifests.deployment.spec.replicas.unwrap();
    let Some(IntOrString::Int(available)) = manifests.budget.spec.unwrap().min_available else {
        panic!("minAvailable is a number");
    };
    assert!((1..replicas).contains(&available), "{available} of {replicas}");
}

#[test]
fn every_selector_finds_the_servers_and_nothing_else() {
    let manifests = Manifests::read();
    let deployment = manifests.deployment.spec.clone();
    let labels = deployment.template.metadata.unwrap().labels.unwrap();
    for service in [&manifests.service, &manifests.headless] {
        assert_eq!(service.spec.as_ref().unwrap().selector.as_ref(), Some(&labels));
    }
    assert_eq!(deployment.selector.match_labels.as_ref(), Some(&labels));
    assert_eq!(manifests.budget.spec.clone().unwrap().selector.unwrap().match_labels, Some(labels.clone()));
    let spread = manifests.server().topology_spread_constraints.unwrap();
    assert!(spread.iter().all(|s| s.label_selector.as_ref().unwrap().match_labels.as_ref() == Some(&labels)));
    let job = manifests.job.spec.clone().unwrap().template.metadata.unwrap().labels.unwrap();
    assert_ne!(job, labels);
}

#[test]
fn one_port_leads_from_the_target_to_the_server() {
    let manifests = Manifests::read();
    let server = manifests.server();
    let container = &server.containers[0];
    let port = container.ports.as_ref().unwrap()[0].clone();
    assert!(argument(container, "--listen").ends_with(&format!(":{}", port.container_port)));
    assert_eq!(container.readiness_probe.clone().unwrap().grpc.unwrap().port, port.container_port);
    for service in [&manifests.service, &manifests.headless] {
        let ports = service.spec.clone().unwrap().ports.unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0].target_port, Some(IntOrString::String(port.name.clone().unwrap())));
        // Of a headless Service, clients reach the pod's own port whatever the Service says.
        assert_eq!(ports[0].port, port.container_port);
    }
    assert_eq!(manifests.headless.spec.clone().unwrap().cluster_ip.as_deref(), Some("None"));
    let namespace = manifests.namespace.metadata.name.clone().unwrap();
    let service = manifests.headless.metadata.name.clone().unwrap();
    let targets = manifests.jobs().map(|job| argument(&job.containers[0], "--target").to_owned());
    assert_eq!(
        targets,
        [
            format!("dns:///{service}.{namespace}.svc:{}", port.container_port),
            format!("kubernetes:///{service}.{namespace}:{}", port.container_port)
        ]
    );
}

#[test]
fn pods_may_do_nothing_that_they_need_not() {
    let manifests = Manifests::read();
    let enforced = manifests.namespace.metadata.labels.clone().unwrap();
    assert_eq!(enforced["pod-security.kubernetes.io/enforce"], "restricted");
    let [load, _patched] = manifests.jobs();
    for pod in [manifests.server(), load] {
        assert_restricted(&pod);
        assert_eq!(pod.automount_service_account_token, Some(false));
    }
    for account in [&manifests.server_account, &manifests.load_account] {
        assert_eq!(account.automount_service_account_token, Some(false));
    }
}

#[test]
fn only_the_load_that_reads_endpoint_slices_may_read_them_and_nothing_else() {
    let manifests = Manifests::read();
    let [_load, reader] = manifests.jobs();
    assert_eq!(reader.automount_service_account_token, Some(true));
    assert_eq!(reader.service_account_name, manifests.load_account.metadata.name);
    let rules = manifests.role.rules.unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].api_groups, Some(vec!["discovery.k8s.io".to_owned()]));
    assert_eq!(rules[0].resources, Some(vec!["endpointslices".to_owned()]));
    assert_eq!(rules[0].verbs, ["get", "list", "watch"]);
    assert_eq!(Some(manifests.binding.role_ref.name), manifests.role.metadata.name);
    let subjects = manifests.binding.subjects.unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!(
        (Some(&subjects[0].name), subjects[0].kind.as_str()),
        (reader.service_account_name.as_ref(), "ServiceAccount")
    );
}

#[test]
fn every_file_is_part_of_its_kustomization() {
    for folder in FOLDERS {
        let kustomization: Value = read(&format!("{folder}/kustomization.yaml"));
        assert_eq!(kustomization["namespace"], "meshless", "{folder}");
        let resources =
            kustomization["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        let named: BTreeSet<_> = resources
            .filter(|name| name.ends_with(".yaml"))
            .chain(patches.map(|patch| patch["path"].as_str().unwrap()))
            .map(str::to_owned)
            .collect();
        let apart = ["kustomization.yaml", NAMESPACE];
        let found: BTreeSet<_> =
            files(folder).into_iter().filter(|name| !apart.contains(&name.as_str())).collect();
        assert_eq!(named, found, "{folder}");
    }
}

#[test]
fn whoever_administrates_the_namespace_can_apply_everything_but_the_namespace() {
    for folder in FOLDERS {
        let kustomization: Value = read(&format!("{folder}/kustomization.yaml"));
        for name in kustomization["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
            if !name.ends_with(".yaml") {
                continue;
            }
            let object = read(&format!("{folder}/{name}"));
            let kind = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
            assert!(GRANTED_BY_ADMIN.contains(&kind), "{folder}/{name}: {kind:?}");
        }
    }
}

#[test]
fn the_documented_commands_make_the_namespace_where_it_is_missing_before_they_use_it() {
    let document = include_str!("../../../../docs/start/kubernetes.md");
    let commands: Vec<_> = document.lines().filter(|line| line.starts_with("$ ")).collect();
    let at = |words: &str| commands.iter().position(|command| command.contains(words));
    let makes = "kubectl get namespace meshless || kubectl apply -f deploy/base/namespace.yaml";
    let (made, used) = (at(makes), at("kubectl apply -k deploy/base"));
    assert!(made.is_some() && made < used, "{commands:#?}");
}

#[test]
fn the_image_runs_as_the_user_and_listens_on_the_port_of_the_manifests() {
    let lines = include_str!("../../../../Dockerfile").lines().map(str::trim).collect::<Vec<_>>();
    let server = Manifests::read().server();
    let port = server.containers[0].ports.as_ref().unwrap()[0].container_port;
    assert!(
        lines.contains(&format!("USER {USER}:{USER}").as_str())
            && lines.contains(&format!("EXPOSE {port}").as_str())
    );
    assert_eq!(server.security_context.unwrap().run_as_group, Some(USER));
}

#[test]
fn a_misspelt_field_is_noticed() {
    let misspelt = "apiVersion: v1\nkind: Service\nmetadata: { name: echo }\nspec: { clusterIp: None }\n";
    let error = strict::<Service>(&serde_saphyr::from_str(misspelt).unwrap()).unwrap_err();
    assert!(error.contains("spec.clusterIp"), "{error}");
}

/// The "restricted" Pod Security Standard, and a root file system that cannot be written.
fn assert_restricted(pod: &PodSpec) {
    let context = pod.security_context.clone().unwrap();
    assert_eq!((context.run_as_non_root, context.run_as_user), (Some(true), Some(USER)));
    assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
    for container in &pod.containers {
        let context = container.security_context.clone().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
        let requests = container.resources.clone().unwrap().requests.unwrap();
        assert!(requests.contains_key("cpu") && requests.contains_key("memory"));
    }
}

/// Made by whoever may, apart from everything else.
const NAMESPACE: &str = "namespace.yaml";

/// Kinds that the ClusterRole `admin`, bound in one namespace, lets its holder apply
/// (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go).
const GRANTED_BY_ADMIN: [(&str, &str); 9] = [
    ("v1", "ServiceAccount"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("batch/v1", "Job"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];

/// What a server needs after its drain timeout, to tell the connections that it cuts.
const GOODBYE: Duration = Duration::from_secs(1);

/// For the signal to arrive and the process to end.
const MARGIN: Duration = Duration::from_secs(2);

/// Of the image.
const USER: i64 = 65532;
