//! Reads the manifests, strictly.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

/// The folders of `deploy/` that hold manifests.
pub(super) const FOLDERS: [&str; 4] = ["base", "overlays/load", "overlays/endpointslices", "overlays/xds"];

/// Every object that the overlays apply.
pub(super) struct Manifests {
    pub(super) namespace: Namespace,
    pub(super) server_account: ServiceAccount,
    pub(super) deployment: Deployment,
    pub(super) service: Service,
    pub(super) headless: Service,
    pub(super) budget: PodDisruptionBudget,
    pub(super) job: Job,
    pub(super) job_patch: Job,
    pub(super) load_account: ServiceAccount,
    pub(super) role: Role,
    pub(super) binding: RoleBinding,
}

impl Manifests {
    pub(super) fn read() -> Self {
        let ([base, load, slices, _xds], object) =
            (FOLDERS, |folder: &str, file: &str| format!("{folder}/{file}.yaml"));
        let all = Self {
            namespace: manifest(&object(base, "namespace")),
            server_account: manifest(&object(base, "service-account")),
            deployment: manifest(&object(base, "deployment")),
            service: manifest(&object(base, "service")),
            headless: manifest(&object(base, "service-headless")),
            budget: manifest(&object(base, "pod-disruption-budget")),
            job: manifest(&object(load, "job")),
            job_patch: manifest(&object(slices, "job-patch")),
            load_account: manifest(&object(slices, "service-account")),
            role: manifest(&object(slices, "role")),
            binding: manifest(&object(slices, "role-binding")),
        };
        let listed: usize = FOLDERS.iter().map(|folder| files(folder).len() - 1).sum();
        assert_eq!(listed, 11 + 8, "a manifest that this test does not read");
        all
    }

    pub(super) fn server(&self) -> PodSpec {
        self.deployment.spec.clone().template.spec.unwrap()
    }

    /// The load over DNS, and what the patch makes of it.
    pub(super) fn jobs(&self) -> [PodSpec; 2] {
        [&self.job, &self.job_patch].map(|job| job.spec.clone().unwrap().template.spec.unwrap())
    }
}

/// What an argument `--name=value` of a container says.
pub(super) fn argument<'a>(container: &'a Container, name: &str) -> &'a str {
    let arguments = container.args.as_ref().unwrap();
    let value = arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{} has no {name}", container.name))
}

pub(super) fn duration(container: &Container, name: &str) -> Duration {
    humantime::parse_duration(argument(container, name)).unwrap()
}

/// Names of the files in a folder of `deploy/`.
pub(super) fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(deploy().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub(super) fn read(file: &str) -> Value {
    let text = fs::read_to_string(deploy().join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The object, if the API knows each of its fields by this name and type.
pub(crate) fn strict<T: DeserializeOwned + Serialize>(written: &Value) -> Result<T, String> {
    let object: T = serde_json::from_value(written.clone()).map_err(|error| error.to_string())?;
    let understood = serde_json::to_value(&object).map_err(|error| error.to_string())?;
    // What was not understood did not come back.
    match first_missing(written, &understood, String::new()) {
        Some(path) => Err(format!("the API does not know {path}")),
        None => Ok(object),
    }
}

pub(super) fn manifest<T: DeserializeOwned + Serialize>(file: &str) -> T {
    strict(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn first_missing(written: &Value, understood: &Value, path: String) -> Option<String> {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => written.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match understood.get(key) {
                Some(other) => first_missing(value, other, path),
                None => Some(path),
            }
        }),
        (Value::Array(written), Value::Array(understood)) if written.len() == understood.len() => {
            let pairs = written.iter().zip(understood).enumerate();
            pairs.into_iter().find_map(|(n, (one, other))| first_missing(one, other, format!("{path}[{n}]")))
        }
        (one, other) => (one != other).then_some(path),
    }
}

fn deploy() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy"))
}
