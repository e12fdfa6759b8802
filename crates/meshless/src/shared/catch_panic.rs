//! Makes a panic in a task a value that the task's owner can act on.
//!
//! A task that panics ends without a word, and whoever waits for its next event waits for ever. So
//! each task of the library that somebody waits for runs what can panic within [`catch_panic`], and
//! reports the text like any other failure. What can panic is the code of others: a user's
//! resolver, connector or request stream, and libraries fed by a peer.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::shared::peer_text::peer_text;

/// Runs `future`.
///
/// # Errors
/// The panic's text, cut and escaped, if it panics. The panic hook has run by then, so the text is
/// on stderr, too.
///
/// What `future` worked on must not be used afterwards unless it holds in any state: it was left in
/// the middle.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, String> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|payload| text(&*payload))
}

/// The text of a panic.
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
