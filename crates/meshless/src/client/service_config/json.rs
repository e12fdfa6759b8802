//! A JSON value with its position in the document, so that an error can name the field.
//!
//! It reads what grpc-go and protobuf's JSON mapping read. Field names match in any case (grpc-go
//! decodes with `encoding/json`) and with or without underscores (protobuf: "parsers accept both
//! the lowerCamelCase name and the original proto field name"). Absent and `null` are the same.
//! Numbers may come as strings.

use std::time::Duration;

use meshless_core::Code;

use super::audit::{Audit, child_path};
use super::document::Json;
use super::duration::parse_duration;
use super::error::ServiceConfigError;

/// A value in a document.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Json,
    path: String,
    audit: &'a Audit,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Json, audit: &'a Audit) -> Self {
        Self { value, path: String::new(), audit }.noted()
    }

    /// Returns the path, as in `methodConfig[0].timeout`, with the document's spelling.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn error(&self, what: impl Into<String>) -> ServiceConfigError {
        ServiceConfigError { path: self.path.clone(), what: what.into() }
    }

    /// Adds a warning about the value, which stays valid.
    pub(super) fn warn(&self, what: &str) {
        self.audit.warn(&self.path, what);
    }

    /// Returns an error unless the value is an object. Its unread fields get warnings.
    pub(super) fn expect_object(&self) -> Result<(), ServiceConfigError> {
        self.audit.ask(self.value, None);
        self.fields().map(drop)
    }

    /// Returns a field of the value, which is an object. Of duplicate fields the last one counts,
    /// as in Go.
    pub(super) fn field(&self, name: &'static str) -> Result<Option<Self>, ServiceConfigError> {
        self.audit.ask(self.value, Some(name));
        let matching = self.fields()?.iter().filter(|(given, _)| is_same_name(given, name));
        let mut last: Option<Self> = None;
        for (given, value) in matching {
            let field = self.child(given, value);
            if let Some(before) = last.replace(field.clone()) {
                field.warn(&format!("says again what {} says; this one counts", before.path));
            }
        }
        Ok(last.filter(|field| !matches!(field.value, Json::Null)))
    }

    /// Returns a field that must be there.
    pub(super) fn required(&self, name: &'static str) -> Result<Self, ServiceConfigError> {
        self.field(name)?.ok_or_else(|| self.child(name, self.value).error("is missing"))
    }

    /// Returns the values of an array.
    pub(super) fn elements(&self) -> Result<Vec<Self>, ServiceConfigError> {
        let Json::Array(values) = self.value else { return Err(self.error("must be an array")) };
        let element =
            |(n, value)| Self { value, path: format!("{}[{n}]", self.path), audit: self.audit }.noted();
        Ok(values.iter().enumerate().map(element).collect())
    }

    /// Returns the name and value of an object's only field.
    pub(super) fn only_field(&self) -> Result<(&'a str, Self), ServiceConfigError> {
        match self.fields()? {
            [(name, value)] => Ok((name, self.child(name, value))),
            _ => Err(self.error("must have exactly one field")),
        }
    }

    pub(super) fn string(&self) -> Result<&'a str, ServiceConfigError> {
        match self.value {
            Json::String(text) => Ok(text),
            _ => Err(self.error("must be a string")),
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, ServiceConfigError> {
        match self.value {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.error("must be true or false")),
        }
    }

    /// Reads a whole number from `min` on. A number above `u32::MAX` counts as that.
    pub(super) fn whole_number(&self, min: u32) -> Result<u32, ServiceConfigError> {
        let number = match self.value {
            Json::String(digits) => digits.parse::<i64>().ok().map(|number| number as f64),
            Json::Number(number) => number.as_f64(),
            _ => None,
        };
        match number.filter(|number| number.fract() == 0.0) {
            None => Err(self.error("must be a whole number")),
            Some(number) if number < f64::from(min) => Err(self.error(format!("must be at least {min}"))),
            // The cast saturates.
            Some(number) => Ok(number as u32),
        }
    }

    pub(super) fn number(&self) -> Result<f64, ServiceConfigError> {
        let number = match self.value {
            Json::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Json::Number(number) => number.as_f64(),
            _ => None,
        };
        number.ok_or_else(|| self.error("must be a number"))
    }

    pub(super) fn duration(&self) -> Result<Duration, ServiceConfigError> {
        let duration = match self.value {
            Json::String(text) => parse_duration(text),
            _ => None,
        };
        duration
            .ok_or_else(|| self.error("must be a duration in seconds that is not negative, such as \"1.5s\""))
    }

    /// Reads a duration above zero.
    pub(super) fn positive_duration(&self) -> Result<Duration, ServiceConfigError> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.error("must be above zero")) } else { Ok(duration) }
    }

    /// Reads status codes, each by its name in any case or by its number.
    pub(super) fn codes(&self) -> Result<Vec<Code>, ServiceConfigError> {
        self.elements()?.iter().map(Node::code).collect()
    }

    fn code(&self) -> Result<Code, ServiceConfigError> {
        let code = match self.value {
            Json::String(name) => name.parse(),
            _ => i32::try_from(self.whole_number(0)?).unwrap_or(i32::MAX).try_into(),
        };
        code.map_err(|error: meshless_core::UnknownCodeError| self.error(error.to_string()))
    }

    fn fields(&self) -> Result<&'a [(String, Json)], ServiceConfigError> {
        match self.value {
            Json::Object(fields) => Ok(fields),
            _ => Err(self.error("must be an object")),
        }
    }

    fn child(&self, name: &str, value: &'a Json) -> Self {
        Self { value, path: child_path(&self.path, name), audit: self.audit }.noted()
    }

    /// Records that the value was read.
    fn noted(self) -> Self {
        self.audit.read(self.value);
        self
    }
}

/// Compares a name in a document with a known name, in any case and with or without underscores.
fn is_same_name(given: &str, known: &str) -> bool {
    let letters = |name: &str| -> Vec<u8> {
        name.bytes().filter(|&byte| byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect()
    };
    letters(given) == letters(known)
}
