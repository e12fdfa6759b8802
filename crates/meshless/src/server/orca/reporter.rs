//! What a server's author has in hand to report the load.

use meshless_core::LoadReport;

use super::measure::Measurement;
use super::out_of_band::OpenRcaService;
use super::service::ReportLoad;

/// Measures the load of this process, and reports it: with the responses of the services that it
/// wraps, or apart from them. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct LoadReporter {
    load: Measurement,
}

impl LoadReporter {
    /// Returns a reporter that has counted no call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns `service` with a report at the end of every response.
    pub fn wrap<S>(&self, service: S) -> ReportLoad<S> {
        ReportLoad::new(service, self.load.clone())
    }

    /// Returns a service that sends the same reports apart from calls, to clients that ask for it:
    /// `xds.service.orca.v3.OpenRcaService`.
    ///
    /// [Wrap](Self::wrap) the other services as well: calls are counted there, and a report without
    /// calls per second has no weight.
    pub fn out_of_band(&self) -> OpenRcaService {
        // The first sample: the first listener's report then covers the time since now.
        self.report();
        OpenRcaService::new(self.load.clone())
    }

    /// Sets the application's own utilization (of a queue, a pool, a lock): 0 is idle, 1 is full,
    /// more is overload. Clients then use it instead of the processor's utilization; 0 undoes that.
    pub fn set_application_utilization(&self, utilization: f64) {
        self.load.set_application_utilization(utilization);
    }

    /// Sets the application's own count of calls per second (gRFC A51's `setQpsMetric`). Reports
    /// then carry it instead of the measured count; 0 undoes that.
    ///
    /// This is for services with long calls: a call is counted when it ends, with a status, by a
    /// reset or by a drop. A server that holds a thousand streams for an hour each has almost no
    /// calls per second, and a report without calls per second has no weight. Set a number that
    /// stands for the work done, of the same kind on all replicas: messages per second, or open
    /// streams. Errors per second are still measured here.
    pub fn set_calls_per_second(&self, calls: f64) {
        self.load.set_calls_per_second(calls);
    }

    /// Returns the last measured load, after a new measurement if that is more than a second old.
    /// All zero in the first second.
    pub fn report(&self) -> LoadReport {
        self.load.report()
    }
}
