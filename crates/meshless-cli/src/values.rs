//! Parses the values of flags. A refusal is a sentence that says what to write.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use meshless::resolver::Address;

/// Parses a whole number within bounds.
pub(crate) fn whole<T>(
    bounds: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => {
            Err(format!("write a whole number from {} to {}, in digits alone", bounds.start(), bounds.end()))
        }
    }
}

pub(crate) fn listen_address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("write a path after unix:, such as unix:/run/echo.sock".into()),
        Some(path) => Ok(Address::Unix(path.into())),
        None => text.parse().map(Address::Tcp).map_err(|_| {
            "write an IP address and a port, such as 0.0.0.0:3001 or [::]:3001, or unix: and a path".into()
        }),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a number and a unit, such as 100ms, 2s or 1m".to_owned())
}

pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than zero, such as 100ms, 2s or 1m".into()),
        duration => Ok(duration),
    }
}

pub(crate) fn program(text: &str) -> Result<PathBuf, String> {
    // A plain name is a file here, not on PATH: exactly the named file runs.
    let path = std::path::absolute(text).ok().filter(|path| path.is_file());
    path.ok_or_else(|| {
        "there is no such file; build it with `go -C peers/go build -o ../../target/ ./lab`, and name target/lab".into()
    })
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("give a number of calls per second above 0, at most {RATE_MAX}")),
    }
}

/// One pacing thread cannot start more calls.
const RATE_MAX: f64 = 200_000.0;
