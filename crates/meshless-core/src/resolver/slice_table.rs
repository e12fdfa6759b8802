//! The slices of one Service as a list and a watch of them leave them.
//!
//! A Service with more than a hundred pods has several slices, and a pod may be in any; only all of
//! them together are the Service. The watch feeds this table, and hands its
//! [`snapshot`](SliceTable::snapshot) to the channels. It does no I/O, and its order is that of the
//! names, so the same slices are the same snapshot however they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::endpoint_slice::EndpointSlice;

/// All slices of a Service at one moment.
pub type SliceSnapshot = Arc<[Arc<EndpointSlice>]>;

/// The slices by name.
#[derive(Debug, Default)]
pub struct SliceTable {
    slices: BTreeMap<String, Arc<EndpointSlice>>,
    /// The sum over all slices.
    endpoints: usize,
}

/// A Service is larger than what is kept of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceTooLargeError {
    /// It has too many slices.
    #[error("the Service has more than {SLICES_MAX} EndpointSlices")]
    Slices,
    /// Its slices list too many endpoints.
    #[error("the Service's EndpointSlices have more than {ENDPOINTS_MAX} endpoints")]
    Endpoints,
}

impl SliceTable {
    /// A list is complete: what it does not name is gone.
    ///
    /// # Errors
    /// If it is too large. The table stays as it was.
    pub fn replace(
        &mut self,
        list: impl IntoIterator<Item = (String, EndpointSlice)>,
    ) -> Result<(), ServiceTooLargeError> {
        let mut replacement = Self::default();
        for (name, slice) in list {
            replacement.put(name, slice)?;
        }
        *self = replacement;
        Ok(())
    }

    /// A slice was added or modified. Which of the two does not matter, and after a reconnect may
    /// be told wrong. Returns true if it says anything new: controllers write to slices also what
    /// matters to no client.
    ///
    /// # Errors
    /// If the table becomes too large. It stays as it was.
    pub fn put(&mut self, name: String, slice: EndpointSlice) -> Result<bool, ServiceTooLargeError> {
        let known = self.slices.get(&name);
        if known.is_some_and(|known| **known == slice) {
            return Ok(false);
        }
        if known.is_none() && self.slices.len() >= SLICES_MAX {
            return Err(ServiceTooLargeError::Slices);
        }
        let replaced = known.map_or(0, |known| known.endpoints.len());
        let endpoints = self.endpoints - replaced + slice.endpoints.len();
        if endpoints > ENDPOINTS_MAX {
            return Err(ServiceTooLargeError::Endpoints);
        }
        self.endpoints = endpoints;
        self.slices.insert(name, Arc::new(slice));
        Ok(true)
    }

    /// A slice was deleted. Returns true if it was known.
    pub fn delete(&mut self, name: &str) -> bool {
        let Some(slice) = self.slices.remove(name) else { return false };
        self.endpoints -= slice.endpoints.len();
        true
    }

    /// All slices as they are now.
    pub fn snapshot(&self) -> SliceSnapshot {
        self.slices.values().cloned().collect()
    }

    /// How many endpoints all slices have, each as often as slices list it.
    pub fn endpoints(&self) -> usize {
        self.endpoints
    }
}

/// With 100 endpoints in each, which is the controller's default, twice as many as
/// [`ENDPOINTS_MAX`]: slices that are half full, as after a scale-in.
const SLICES_MAX: usize = 1_000;
/// 25 000 pods with two families. The largest clusters that Kubernetes is tested with have 150 000
/// pods of all Services. One endpoint takes some 200 bytes.
const ENDPOINTS_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::endpoint_slice::{EndpointCondition, EndpointIdentity, SliceEndpoint};
    use super::*;

    fn slice(endpoints: usize) -> EndpointSlice {
        let endpoint = |at: usize| {
            let ip = IpAddr::from([10, (at >> 16) as u8, (at >> 8) as u8, at as u8]);
            let ready = EndpointCondition::new(None, None, None);
            SliceEndpoint::new(ip, EndpointIdentity::Address(ip), ready)
        };
        EndpointSlice::new([], (0..endpoints).map(endpoint))
    }

    #[test]
    fn a_table_that_would_become_too_large_stays_as_it_was() {
        let mut table = SliceTable::default();
        for at in 0..SLICES_MAX {
            assert_eq!(table.put(format!("echo-{at}"), slice(1)), Ok(true));
        }
        assert_eq!(table.put("one-more".to_owned(), slice(0)), Err(ServiceTooLargeError::Slices));
        assert_eq!(table.put("echo-0".to_owned(), slice(2)), Ok(true), "a known one may change");
        assert_eq!(table.endpoints(), SLICES_MAX + 1);
        let half = slice(ENDPOINTS_MAX / 2);
        assert_eq!(table.put("echo-0".to_owned(), half.clone()), Ok(true));
        assert_eq!(table.put("echo-1".to_owned(), half.clone()), Err(ServiceTooLargeError::Endpoints));
        let before = table.snapshot();
        let list = ["a", "b", "c"].map(|name| (name.to_owned(), half.clone()));
        assert_eq!(table.replace(list), Err(ServiceTooLargeError::Endpoints));
        assert_eq!(table.snapshot(), before);
        assert!(table.delete("echo-0"));
        assert_eq!(table.endpoints(), SLICES_MAX - 1);
        assert_eq!(table.put("echo-1".to_owned(), half), Ok(true), "there is room again");
    }

    #[test]
    fn what_says_nothing_new_is_no_change() {
        let mut table = SliceTable::default();
        assert_eq!(table.put("echo".to_owned(), slice(3)), Ok(true));
        assert_eq!(table.put("echo".to_owned(), slice(3)), Ok(false));
        assert_eq!(table.put("echo".to_owned(), slice(2)), Ok(true));
        assert!(!table.delete("other"));
        assert!(table.delete("echo"));
        assert_eq!(table.endpoints(), 0);
    }
}
