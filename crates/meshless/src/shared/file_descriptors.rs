//! File descriptors: how many this process may have, how to see that none is left, and a small
//! reserve.
//!
//! A channel to very many backends could use all of them. Then neither the application nor the
//! resolver could open a socket, and the set of backends could not change.

#[cfg(feature = "dns")]
use std::fs::File;
use std::io;
#[cfg(feature = "dns")]
use std::sync::{Mutex, PoisonError};

/// Returns true if the process (EMFILE) or the system (ENFILE) has no file descriptor left.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// Returns how many files this process may have open: the soft limit. `None` if it is unknown.
pub(crate) fn limit() -> Option<usize> {
    // getrlimit(2) needs unsafe code or one more crate. Linux has it in a file too.
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// Descriptors that are held while no lookup runs, and released for each lookup. So DNS still works
/// when no other descriptor is left. Another thread may take them first; the next lookup follows
/// within seconds.
#[cfg(feature = "dns")]
pub(crate) struct Reserve(Mutex<Held>);

#[cfg(feature = "dns")]
struct Held {
    files: Vec<File>,
    /// How many lookups are running.
    users: usize,
}

/// A lookup that may use the reserve. Dropping it refills the reserve if no other lookup runs.
#[cfg(feature = "dns")]
pub(crate) struct InUse<'a>(&'a Reserve);

#[cfg(feature = "dns")]
impl Reserve {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Held { files: Vec::new(), users: 0 }))
    }

    /// Fills the reserve for later lookups.
    pub(crate) fn fill(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while cfg!(unix) && held.users == 0 && held.files.len() < RESERVED {
            let Ok(file) = File::open("/dev/null") else { return };
            held.files.push(file);
        }
    }

    /// Releases the reserve to the system for a lookup.
    pub(crate) fn release(&self) -> InUse<'_> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.users += 1;
        held.files.clear();
        InUse(self)
    }
}

#[cfg(feature = "dns")]
impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).users -= 1;
        self.0.fill();
    }
}

/// The same numbers on Linux, the BSDs and macOS.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// A lookup needs one for `resolv.conf` and the hosts file in turn, two UDP sockets, and two for
/// TCP.
#[cfg(feature = "dns")]
const RESERVED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_as_linux_writes_it() {
        let limits = |soft| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax processes  63  64  processes\nMax open files            {soft}                 1048576              files\n"
            )
        };
        assert_eq!(soft_limit(&limits("1024")), Some(1024));
        assert_eq!(soft_limit(&limits("unlimited")), Some(usize::MAX));
        assert_eq!(soft_limit(&limits("?")), None);
        assert_eq!(soft_limit(""), None);
        assert_eq!(limit().is_some(), cfg!(any(target_os = "linux", target_os = "android")));
    }

    #[test]
    fn only_a_want_of_descriptors_is_one() {
        for (code, exhausted) in [(EMFILE, true), (ENFILE, true), (111, false), (104, false)] {
            assert_eq!(is_exhausted(&io::Error::from_raw_os_error(code)), exhausted && cfg!(unix));
        }
        assert!(!is_exhausted(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[cfg(all(unix, feature = "dns"))]
    #[test]
    fn the_reserve_is_empty_while_any_lookup_runs() {
        let reserve = Reserve::new();
        let held = || reserve.0.lock().unwrap().files.len();
        reserve.fill();
        assert_eq!(held(), RESERVED);
        let (first, second) = (reserve.release(), reserve.release());
        assert_eq!(held(), 0);
        drop(first);
        assert_eq!(held(), 0);
        drop(second);
        assert_eq!(held(), RESERVED);
    }
}
