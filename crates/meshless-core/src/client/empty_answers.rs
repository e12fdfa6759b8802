//! Learns which methods answer OK without a message, to find a backend that is the only one to do
//! so.
//!
//! An OK without a message is an error to the caller of a unary method, and a normal end of a
//! stream. The channel does not know the kind of a method. But backends of one service answer
//! alike. While only one backend answers a method like this, it counts as that backend's failure.
//! Once a second one does, it no longer counts as a failure for this method. So two broken backends
//! at a time hide each other, and the very first empty answers of a streaming method count as
//! failures of one backend.
//!
//! The code that ends a call asks here, only after such an answer. The only lock is held for one
//! look-up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::endpoint::EndpointId;

/// The methods of one channel that have answered OK without a message.
#[derive(Debug, Default)]
pub struct EmptyAnswers {
    methods: Mutex<BTreeMap<Box<str>, Answered>>,
}

#[derive(Clone, Copy, Debug)]
enum Answered {
    OnlyBy(EndpointId),
    BySeveral,
}

impl EmptyAnswers {
    /// Records that `endpoint` has answered `method` like this. Returns true if other backends do
    /// so, too.
    pub fn is_usual(&self, method: &str, endpoint: EndpointId) -> bool {
        // Nothing panics while the lock is held, and the map is never half changed.
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = methods.len() < METHODS_MAX;
        match methods.get_mut(method) {
            Some(Answered::BySeveral) => true,
            Some(Answered::OnlyBy(only)) if *only == endpoint => false,
            Some(answered) => {
                *answered = Answered::BySeveral;
                true
            }
            None if has_room => {
                methods.insert(method.into(), Answered::OnlyBy(endpoint));
                false
            }
            // Too many methods: this client makes up their names, so nothing is learned.
            None => true,
        }
    }
}

/// Methods that are remembered; large services have a few dozen.
const METHODS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backend_alone_is_at_fault_and_two_are_the_method_s_way() {
        let answers = EmptyAnswers::default();
        let [a, b] = [1, 2].map(EndpointId::for_tests);
        for _ in 0..10 {
            assert!(!answers.is_usual("/shop.Orders/Get", a));
        }
        assert!(!answers.is_usual("/shop.Orders/List", b), "each method by itself");
        assert!(answers.is_usual("/shop.Orders/List", a));
        assert!(answers.is_usual("/shop.Orders/List", b));
        assert!(!answers.is_usual("/shop.Orders/Get", a));
    }

    #[test]
    fn methods_are_remembered_up_to_a_bound() {
        let answers = EmptyAnswers::default();
        for n in 0..METHODS_MAX {
            assert!(!answers.is_usual(&n.to_string(), EndpointId::for_tests(1)));
        }
        assert!(answers.is_usual("one more", EndpointId::for_tests(1)));
        assert_eq!(answers.methods.lock().unwrap().len(), METHODS_MAX);
    }
}
