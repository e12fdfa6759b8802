//! Records which parts of a document were read, and the warnings about the rest.
//!
//! Every field that is read is recorded here. At the end, each unread field gets a warning, with
//! the fields that are supported in its place. Objects from which no field was read are skipped:
//! they are the settings of policies that are not used.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ptr;

use super::document::Json;

/// The record of one document. Values are told apart by their address in memory.
#[derive(Debug, Default)]
pub(super) struct Audit {
    read: RefCell<BTreeSet<*const Json>>,
    /// The names that were asked for in each object.
    asked: RefCell<BTreeMap<*const Json, BTreeSet<&'static str>>>,
    warnings: RefCell<Vec<String>>,
}

impl Audit {
    /// Records that the value was read.
    pub(super) fn read(&self, value: &Json) {
        self.read.borrow_mut().insert(ptr::from_ref(value));
    }

    /// Records that `object` supports a field of this name; with `None`, no field.
    pub(super) fn ask(&self, object: &Json, name: Option<&'static str>) {
        self.asked.borrow_mut().entry(ptr::from_ref(object)).or_default().extend(name);
    }

    /// Adds a warning about the value at `path`.
    pub(super) fn warn(&self, path: &str, what: &str) {
        self.warnings.borrow_mut().push(format!("{path}: {what}"));
    }

    /// Returns all warnings, also about unread fields of `root`.
    pub(super) fn finish(self, root: &Json) -> Vec<String> {
        self.warn_of_unread(root, "");
        self.warnings.into_inner()
    }

    fn warn_of_unread(&self, value: &Json, path: &str) {
        match value {
            Json::Object(fields) => {
                for (name, field) in fields {
                    let path = child_path(path, name);
                    if self.read.borrow().contains(&ptr::from_ref(field)) {
                        self.warn_of_unread(field, &path);
                    } else if let Some(known) = self.known(value) {
                        self.warn(&path, &format!("is not understood and has no effect; {known}"));
                    }
                }
            }
            Json::Array(elements) => {
                for (n, element) in elements.iter().enumerate() {
                    self.warn_of_unread(element, &format!("{path}[{n}]"));
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    /// Lists the supported fields of this object. `None` if it was not read.
    fn known(&self, object: &Json) -> Option<String> {
        let asked = self.asked.borrow();
        let names: Vec<_> = asked.get(&ptr::from_ref(object))?.iter().copied().collect();
        Some(match names.is_empty() {
            true => "there is nothing to set here".to_owned(),
            false => format!("known here: {}", names.join(", ")),
        })
    }
}

/// Returns the path of a field of the object at `path`.
pub(super) fn child_path(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
