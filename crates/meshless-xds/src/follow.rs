//! Files that are read again when they change, such as those of a mounted ConfigMap.
//!
//! They are looked at once a second and compared by their content: Kubernetes swaps links, and
//! editors write new files. A file that becomes wrong changes nothing.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use tokio::task::AbortHandle;

use crate::control_plane::StartError;
use crate::source::FILE_INTERVAL;

/// Reads a file.
pub(crate) fn read<T, E: Display>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StartError> {
    let refused = |reason: String| StartError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    parse(&text).map_err(|error| refused(error.to_string()))
}

/// Reads a file again and again, and tells what it says when that is something else.
pub(crate) fn start<T, E>(
    path: PathBuf,
    parse: impl Fn(&str) -> Result<T, E> + Send + 'static,
    tell: impl Fn(T) + Send + 'static,
) -> AbortHandle
where
    T: Send + 'static,
    E: Display,
{
    let mut last = std::fs::read_to_string(&path).ok();
    let task = tokio::spawn(async move {
        let mut unreadable = false;
        loop {
            tokio::time::sleep(FILE_INTERVAL).await;
            let text = match tokio::fs::read_to_string(&path).await {
                Ok(text) => text,
                Err(error) => {
                    if !std::mem::replace(&mut unreadable, true) {
                        tracing::warn!(path = %path.display(), %error, "cannot be read; what it said holds");
                    }
                    continue;
                }
            };
            unreadable = false;
            if last.as_ref() == Some(&text) {
                continue;
            }
            match parse(&text) {
                Ok(parsed) => {
                    tracing::info!(path = %path.display(), "read again");
                    tell(parsed);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "is wrong; what it said before holds");
                }
            }
            last = Some(text);
        }
    });
    task.abort_handle()
}
