//! A JSON value and where in its document it stands, so that an error can say which field is wrong.
//!
//! Read by the modules beside it. Field names are read as gRPC's documents write them.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::Value;

use super::PolicyError;

/// A value in a document.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
    warnings: &'a RefCell<Vec<String>>,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, warnings: &'a RefCell<Vec<String>>) -> Self {
        Self { value, path: String::new(), warnings }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> PolicyError {
        PolicyError { path: self.path.clone(), what: what.into() }
    }

    /// Says something about the value that does not make it wrong.
    pub(super) fn warn(&self, what: &str) {
        self.warnings.borrow_mut().push(format!("{}: {what}", self.path));
    }

    /// Warns of each field of an object that is not among these.
    pub(super) fn expect_fields(&self, known: &[&str]) -> Result<(), PolicyError> {
        for (name, field) in self.fields()? {
            if !known.contains(&name.as_str()) {
                field.warn("is not known and has no effect");
            }
        }
        Ok(())
    }

    /// A field of an object. `null` is the same as absent.
    pub(super) fn field(&self, name: &str) -> Result<Option<Self>, PolicyError> {
        let Value::Object(fields) = self.value else { return Err(self.error("must be an object")) };
        Ok(fields.get(name).filter(|value| !value.is_null()).map(|value| self.child(name, value)))
    }

    /// A field, read by `read`, if it is there.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self) -> Result<T, PolicyError>,
    ) -> Result<Option<T>, PolicyError> {
        self.field(name)?.map(|node| read(&node)).transpose()
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Self, PolicyError> {
        self.field(name)?.ok_or_else(|| self.child(name, self.value).error("is missing"))
    }

    /// The fields of an object.
    pub(super) fn fields(&self) -> Result<Vec<(&'a String, Self)>, PolicyError> {
        let Value::Object(fields) = self.value else { return Err(self.error("must be an object")) };
        Ok(fields.iter().map(|(name, value)| (name, self.child(name, value))).collect())
    }

    /// The values of an array.
    pub(super) fn elements(&self) -> Result<Vec<Self>, PolicyError> {
        let Value::Array(values) = self.value else { return Err(self.error("must be an array")) };
        let element =
            |(n, value)| Self { value, path: format!("{}[{n}]", self.path), warnings: self.warnings };
        Ok(values.iter().enumerate().map(element).collect())
    }

    /// The name and value of an object's only field.
    pub(super) fn only_field(&self) -> Result<(&'a String, Self), PolicyError> {
        match <[_; 1]>::try_from(self.fields()?) {
            Ok([field]) => Ok(field),
            Err(_) => Err(self.error("must have exactly one field")),
        }
    }

    pub(super) fn string(&self) -> Result<&'a str, PolicyError> {
        self.value.as_str().ok_or_else(|| self.error("must be a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool, PolicyError> {
        self.value.as_bool().ok_or_else(|| self.error("must be true or false"))
    }

    /// A whole number within these bounds.
    pub(super) fn whole_number(&self, least: u32, most: u32) -> Result<u32, PolicyError> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.error(format!("must be a whole number from {least} to {most}")))
    }

    pub(super) fn number(&self) -> Result<f64, PolicyError> {
        self.value.as_f64().ok_or_else(|| self.error("must be a number"))
    }

    /// Seconds with an `s`, as protobuf writes durations in JSON.
    pub(super) fn duration(&self) -> Result<Duration, PolicyError> {
        let seconds = self.value.as_str().and_then(|text| text.strip_suffix('s')).filter(|text| {
            text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.is_empty()
        });
        let seconds = seconds.and_then(|text| text.parse::<f64>().ok());
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration
            .filter(|duration| *duration <= DURATION_MAX)
            .ok_or_else(|| self.error("must be a duration in seconds, such as \"1.5s\", of at most a year"))
    }

    /// A duration above zero.
    pub(super) fn positive_duration(&self) -> Result<Duration, PolicyError> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.error("must be above zero")) } else { Ok(duration) }
    }

    fn child(&self, name: &str, value: &'a Value) -> Self {
        // A key with dots, such as a service's name, would read as a path.
        let name = if name.contains('.') { format!("[{name:?}]") } else { name.to_owned() };
        let dot = if self.path.is_empty() || name.starts_with('[') { "" } else { "." };
        Self { value, path: format!("{}{dot}{name}", self.path), warnings: self.warnings }
    }
}

const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
