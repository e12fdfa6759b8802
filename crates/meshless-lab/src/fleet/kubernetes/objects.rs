//! What a run applies, as data: servers with their Services, the load, and the right to read
//! EndpointSlices.
//!
//! The pods are those of `deploy/base` with other numbers; a test holds them to it. Everything
//! carries the labels of its run, by which it is found and deleted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Resource;
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::fleet::load::Conditions;
use crate::worker::PORT;

/// What the objects of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    /// Name of everything that it applies, and value of its label.
    pub(crate) run: String,
    pub(crate) image: String,
    /// Pods that make the load.
    pub(crate) workers: u32,
    /// Whether channels read EndpointSlices.
    pub(crate) endpoint_slices: bool,
}

/// Something to apply.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) resource: ApiResource,
    pub(crate) value: Value,
}

/// Name of the servers that age their connections, or of those that do not.
pub(crate) fn fleet_name(run: &str, ages: bool) -> String {
    format!("{run}-{}", if ages { "ageing" } else { "steady" })
}

/// Name of the headless Service of these servers. Their other one has their own.
pub(crate) fn headless_name(fleet: &str) -> String {
    format!("{fleet}-pods")
}

/// Servers and their two Services.
pub(crate) fn servers(
    blueprint: &Blueprint,
    conditions: &Conditions,
    replicas: i32,
    ages: bool,
) -> Vec<Object> {
    let name = fleet_name(&blueprint.run, ages);
    // Longer than any call.
    let drain = DRAIN_S.max(conditions.deadline.as_secs() + 1);
    let seconds = |duration: Duration| format!("{}ms", duration.as_millis());
    let mut args = vec![
        "serve".to_owned(),
        format!("--listen=0.0.0.0:{PORT}"),
        "--name=$(POD_NAME)".to_owned(),
        format!("--service-time={}", seconds(conditions.service_time)),
        format!("--lame-duck={LAME_DUCK_S}s"),
        format!("--drain-timeout={drain}s"),
    ];
    if ages {
        args.push(format!("--max-connection-age={}", seconds(conditions.max_age)));
        args.push(format!("--max-connection-age-grace={}", seconds(conditions.max_age_grace)));
    }
    let selector = json!({ INSTANCE: blueprint.run, "app.kubernetes.io/name": name });
    let mut container = container(blueprint, "server", args);
    container["env"] =
        json!([{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    container["ports"] = json!([{ "name": "grpc", "containerPort": PORT }]);
    container["readinessProbe"] =
        json!({ "grpc": { "port": PORT }, "periodSeconds": 2, "failureThreshold": 1, "timeoutSeconds": 1 });
    let mut pod = pod(container);
    pod["terminationGracePeriodSeconds"] = json!(LAME_DUCK_S + drain + SPARE_S);
    pod["topologySpreadConstraints"] = spread_over_nodes(&selector);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(blueprint, &name),
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": selector },
            "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": labels(blueprint, &name) }, "spec": pod },
        },
    });
    let ports =
        json!([{ "name": "grpc", "port": PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c" }]);
    let service = |name: &str, spec: Value| {
        let value = json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata(blueprint, name), "spec": spec });
        object::<Service>(value)
    };
    vec![
        object::<Deployment>(deployment),
        service(&name, json!({ "selector": selector, "ports": ports })),
        service(&headless_name(&name), json!({ "clusterIP": "None", "selector": selector, "ports": ports })),
    ]
}

/// A load whose workers all play `score`. It ends by itself after `limit`, also if nobody is left
/// who waits for it.
pub(crate) fn load(blueprint: &Blueprint, name: &str, score: &str, limit: Duration) -> Object {
    let container = container(blueprint, "worker", vec!["worker".into(), format!("--score={score}")]);
    let labels = labels(blueprint, name);
    let mut pod = pod(container);
    pod["restartPolicy"] = json!("Never");
    pod["topologySpreadConstraints"] = spread_over_nodes(&labels);
    if blueprint.endpoint_slices {
        pod["serviceAccountName"] = json!(blueprint.run);
        pod["automountServiceAccountToken"] = json!(true);
    }
    object::<Job>(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(blueprint, name),
        "spec": {
            "completionMode": "Indexed", "completions": blueprint.workers, "parallelism": blueprint.workers,
            // A worker that died has not measured, and the moment to measure is gone.
            "backoffLimit": 0, "activeDeadlineSeconds": limit.as_secs(), "ttlSecondsAfterFinished": 600,
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    }))
}

/// Who the load is where it reads EndpointSlices, and its right to do so.
pub(crate) fn reader(blueprint: &Blueprint) -> Vec<Object> {
    let name = &blueprint.run;
    let group = "rbac.authorization.k8s.io";
    vec![
        object::<ServiceAccount>(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(blueprint, name),
            "automountServiceAccountToken": false,
        })),
        object::<Role>(json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata(blueprint, name),
            "rules": [{
                "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"],
            }],
        })),
        object::<RoleBinding>(json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata(blueprint, name),
            "roleRef": { "apiGroup": group, "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": name }],
        })),
    ]
}

impl Object {
    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }
}

fn object<K: Resource<DynamicType = ()>>(value: Value) -> Object {
    Object { resource: ApiResource::erase::<K>(&()), value }
}

fn metadata(blueprint: &Blueprint, name: &str) -> Value {
    json!({ "name": name, "labels": labels(blueprint, name) })
}

fn labels(blueprint: &Blueprint, name: &str) -> Value {
    json!({
        "app.kubernetes.io/part-of": "meshless", "app.kubernetes.io/managed-by": "meshless-lab",
        INSTANCE: blueprint.run, "app.kubernetes.io/name": name,
    })
}

/// What the strictest Pod Security Standard asks of a pod.
fn pod(container: Value) -> Value {
    json!({
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
    })
}

fn container(blueprint: &Blueprint, name: &str, args: Vec<String>) -> Value {
    json!({
        "name": name, "image": blueprint.image, "imagePullPolicy": "IfNotPresent", "args": args,
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "memory": "512Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        },
    })
}

fn spread_over_nodes(labels: &Value) -> Value {
    json!([{
        "topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": labels },
    }])
}

/// Label whose value is the run's name.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";

/// Longer than readiness needs to fail, so that everybody has heard.
const LAME_DUCK_S: u64 = 5;

/// At least.
const DRAIN_S: u64 = 10;

const SPARE_S: u64 = 5;

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::request::CompareRequest;

    fn blueprint(endpoint_slices: bool) -> Blueprint {
        Blueprint { run: "run-1".into(), image: "image".into(), workers: 2, endpoint_slices }
    }

    fn servers(ages: bool) -> Vec<Object> {
        let request =
            CompareRequest { max_connection_age: Duration::from_secs(2), ..CompareRequest::default() };
        super::servers(&blueprint(true), &Conditions::of(&request), 3, ages)
    }

    fn is_a<K: DeserializeOwned + serde::Serialize>(object: &Object) {
        let typed: K = serde_json::from_value(object.value.clone()).unwrap();
        // Every field is known to the type: none is lost on the way through it.
        assert_eq!(serde_json::to_value(&typed).unwrap(), object.value);
    }

    #[test]
    fn every_field_is_one_of_the_api() {
        let blueprint = blueprint(true);
        for ages in [true, false] {
            let servers = servers(ages);
            is_a::<Deployment>(&servers[0]);
            servers[1..].iter().for_each(is_a::<Service>);
        }
        is_a::<Job>(&load(&blueprint, "load", "{}", Duration::from_secs(9)));
        let reader = reader(&blueprint);
        is_a::<ServiceAccount>(&reader[0]);
        is_a::<Role>(&reader[1]);
        is_a::<RoleBinding>(&reader[2]);
    }

    #[test]
    fn everything_carries_the_label_of_its_run() {
        let blueprint = blueprint(true);
        let load = load(&blueprint, "l", "{}", Duration::ZERO);
        let all = servers(true).into_iter().chain(reader(&blueprint)).chain([load]);
        for object in all {
            assert_eq!(object.value["metadata"]["labels"][INSTANCE], blueprint.run, "{}", object.name());
        }
    }

    #[test]
    fn pods_are_as_safe_and_as_ready_as_those_of_the_manifests() {
        let manifest = include_str!("../../../../../deploy/base/deployment.yaml");
        let manifest: Value = serde_saphyr::from_str(manifest).unwrap();
        let ours = &servers(true)[0].value["spec"]["template"]["spec"];
        let theirs = &manifest["spec"]["template"]["spec"];
        for field in [
            "/securityContext",
            "/automountServiceAccountToken",
            "/containers/0/securityContext",
            "/containers/0/readinessProbe",
            "/containers/0/imagePullPolicy",
        ] {
            assert_eq!(ours.pointer(field), theirs.pointer(field), "{field}");
        }
    }

    #[test]
    fn servers_that_must_not_age_are_not_told_to() {
        let args =
            |ages| servers(ages)[0].value["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
        assert!(args(true).contains("--max-connection-age=2000ms"));
        assert!(!args(false).contains("connection-age"));
    }

    #[test]
    fn workers_get_a_token_only_where_they_read_endpoint_slices() {
        for reads in [false, true] {
            let load = load(&blueprint(reads), "l", "{}", Duration::ZERO);
            assert_eq!(load.value["spec"]["template"]["spec"]["automountServiceAccountToken"], reads);
        }
    }
}
