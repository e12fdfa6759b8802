//! gRPC's status codes, and sets of them, which retry policies use.
//!
//! The core depends on no gRPC library, so it has its own type. Numbers and names are gRPC's
//! (grpc/doc/statuscodes.md).

use std::fmt;
use std::str::FromStr;

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The caller cancelled the call.
    Cancelled = 1,
    /// An error without more information.
    Unknown = 2,
    /// The request is invalid in any state of the server.
    InvalidArgument = 3,
    /// The deadline passed before the answer.
    DeadlineExceeded = 4,
    /// The requested entity does not exist.
    NotFound = 5,
    /// The entity to be created already exists.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A quota or a limit is used up.
    ResourceExhausted = 8,
    /// The server is not in a state to do this.
    FailedPrecondition = 9,
    /// A conflict with another call, such as a lost transaction.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// The server does not have this method.
    Unimplemented = 12,
    /// Something is broken.
    Internal = 13,
    /// The server cannot be reached, or cannot serve at the moment.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// The caller is not authenticated.
    Unauthenticated = 16,
}

impl Code {
    /// Every code, by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// gRPC's spelling, as in `DEADLINE_EXCEEDED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Code> for i32 {
    fn from(code: Code) -> Self {
        code as i32
    }
}

impl TryFrom<i32> for Code {
    type Error = UnknownCodeError;

    fn try_from(number: i32) -> Result<Self, UnknownCodeError> {
        let code = usize::try_from(number).ok().and_then(|index| Self::ALL.get(index));
        code.copied().ok_or_else(|| UnknownCodeError(number.to_string()))
    }
}

impl FromStr for Code {
    type Err = UnknownCodeError;

    /// Parses gRPC's spelling; gRFC A6 wants names in a service config "case insensitive".
    fn from_str(name: &str) -> Result<Self, UnknownCodeError> {
        let code = Self::ALL.into_iter().find(|code| code.as_str().eq_ignore_ascii_case(name));
        code.ok_or_else(|| UnknownCodeError(name.to_owned()))
    }
}

/// The text or number is no status code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a gRPC status code; use a name such as UNAVAILABLE, or a number from 0 to 16")]
pub struct UnknownCodeError(String);

/// A set of status codes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeSet(u32);

impl CodeSet {
    /// No code.
    pub const EMPTY: Self = Self(0);

    /// Returns true if `code` is in the set.
    #[inline]
    pub fn contains(self, code: Code) -> bool {
        self.0 & (1 << code as u8) != 0
    }

    /// Returns true if the set is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the codes, by number.
    pub fn iter(self) -> impl Iterator<Item = Code> {
        Code::ALL.into_iter().filter(move |code| self.contains(*code))
    }
}

impl FromIterator<Code> for CodeSet {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | 1 << code as u8))
    }
}

impl fmt::Debug for CodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_grpc_s() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(Code::try_from(number as i32), Ok(code));
            assert_eq!(i32::from(code), number as i32);
            assert_eq!(code.as_str().parse(), Ok(code));
            assert_eq!(code.as_str().to_lowercase().parse(), Ok(code));
        }
        assert!(Code::try_from(17).is_err() && Code::try_from(-1).is_err());
        let error = "DOWN".parse::<Code>().unwrap_err().to_string();
        assert!(error.starts_with("\"DOWN\" is not a gRPC status code"), "{error}");
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: CodeSet = [Code::Unavailable, Code::Aborted].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Code::Aborted, Code::Unavailable]);
        assert!(!set.contains(Code::Ok) && !set.is_empty() && CodeSet::EMPTY.is_empty());
        assert_eq!(Code::ALL.into_iter().collect::<CodeSet>().iter().count(), 17);
    }
}
