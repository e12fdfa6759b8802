//! A JSON value and where in its document it stands, so that an error can say which field is wrong.
//!
//! Reads as protobuf's JSON mapping has it: absent and `null` are the same, whole numbers may come as strings.

use std::time::Duration;

use meshless_core::Code;
use serde_json::{Map, Value};

use super::ServiceConfigError;
use super::duration::parse_duration;

/// A value in a document.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// As in `methodConfig[0].timeout`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn error(&self, what: impl Into<String>) -> ServiceConfigError {
        ServiceConfigError { path: self.path.clone(), what: what.into() }
    }

    /// The value as an object.
    pub(super) fn fields(&self) -> Result<&'a Map<String, Value>, ServiceConfigError> {
        self.value.as_object().ok_or_else(|| self.error("must be an object"))
    }

    /// A field of the value, which is an object.
    pub(super) fn field(&self, name: &str) -> Result<Option<Self>, ServiceConfigError> {
        let value = self.fields()?.get(name).filter(|value| !value.is_null());
        Ok(value.map(|value| self.child(name, value)))
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Self, ServiceConfigError> {
        self.field(name)?.ok_or_else(|| self.child(name, self.value).error("is missing"))
    }

    /// The values of an array.
    pub(super) fn elements(&self) -> Result<Vec<Self>, ServiceConfigError> {
        let values = self.value.as_array().ok_or_else(|| self.error("must be an array"))?;
        let element = |(n, value)| Self { value, path: format!("{}[{n}]", self.path) };
        Ok(values.iter().enumerate().map(element).collect())
    }

    /// The name and value of an object's only field.
    pub(super) fn only_field(&self) -> Result<(&'a str, Self), ServiceConfigError> {
        let mut fields = self.fields()?.iter();
        match (fields.next(), fields.next()) {
            (Some((name, value)), None) => Ok((name, self.child(name, value))),
            _ => Err(self.error("must have exactly one field")),
        }
    }

    pub(super) fn string(&self) -> Result<&'a str, ServiceConfigError> {
        self.value.as_str().ok_or_else(|| self.error("must be a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool, ServiceConfigError> {
        self.value.as_bool().ok_or_else(|| self.error("must be true or false"))
    }

    /// A whole number from `min` on. What is above `u32::MAX` counts as that.
    pub(super) fn whole_number(&self, min: u32) -> Result<u32, ServiceConfigError> {
        let number = match self.value {
            Value::String(digits) => digits.parse::<i64>().ok().map(|number| number as f64),
            value => value.as_f64(),
        };
        match number.filter(|number| number.fract() == 0.0) {
            None => Err(self.error("must be a whole number")),
            Some(number) if number < f64::from(min) => Err(self.error(format!("must be at least {min}"))),
            // Saturates.
            Some(number) => Ok(number as u32),
        }
    }

    pub(super) fn number(&self) -> Result<f64, ServiceConfigError> {
        self.value.as_f64().ok_or_else(|| self.error("must be a number"))
    }

    pub(super) fn duration(&self) -> Result<Duration, ServiceConfigError> {
        let text = self.value.as_str().and_then(parse_duration);
        text.ok_or_else(|| self.error("must be a duration in seconds that is not negative, such as \"1.5s\""))
    }

    /// A duration above zero.
    pub(super) fn positive_duration(&self) -> Result<Duration, ServiceConfigError> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.error("must be above zero")) } else { Ok(duration) }
    }

    /// Status codes, each by its name in any case or by its number.
    pub(super) fn codes(&self) -> Result<Vec<Code>, ServiceConfigError> {
        self.elements()?.iter().map(Node::code).collect()
    }

    fn code(&self) -> Result<Code, ServiceConfigError> {
        let code = match self.value {
            Value::String(name) => name.parse(),
            _ => i32::try_from(self.whole_number(0)?).unwrap_or(i32::MAX).try_into(),
        };
        code.map_err(|error: meshless_core::UnknownCodeError| self.error(error.to_string()))
    }

    fn child(&self, name: &str, value: &'a Value) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { value, path }
    }
}
