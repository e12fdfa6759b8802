//! Turns a panic in a task into a value for the task's owner.
//!
//! A task that panics ends silently, and its owner would wait for its next event for ever. So each
//! task of the library that has a waiting owner runs other people's code within [`catch_panic`]: a
//! user's resolver, connector or request stream, and libraries that a peer feeds. It reports the
//! text of a panic like any other failure.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::shared::peer_text::peer_text;

/// Runs `future`, and catches its panic.
///
/// # Errors
/// The text of the panic, cut and escaped. The panic hook has run before, so the text is on stderr
/// too.
///
/// After a panic, do not use what `future` worked on unless any state of it is valid: it was left
/// in the middle.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, String> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|payload| text(&*payload))
}

/// Returns the text of a panic.
pub(crate) fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    peer_text(text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_text() {
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
        assert_eq!(catch_panic(async { panic!("as is") }).await, Err::<(), _>("as is".to_owned()));
        let later = async {
            tokio::task::yield_now().await;
            panic!("number {}\n", 7)
        };
        assert_eq!(catch_panic(later).await, Err::<(), _>("number 7\\n".to_owned()));
        let other = async { std::panic::panic_any(7) };
        assert_eq!(catch_panic(other).await, Err::<(), _>("no text".to_owned()));
    }
}
