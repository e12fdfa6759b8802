//! The stream of load reports on a connection (gRFC A51): what it takes from the calls, and what is said when it fails.

use std::time::Duration;

use tokio::time::sleep;
use tonic::Code;

use super::network::*;
use super::orca::report;
use super::out_of_band::{framed, is_stream, out_of_band};
use crate::log::Log;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn streams_that_fail_again_and_again_are_said_aloud_once() {
    for reports in [0, 1] {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let mut network = Network::new();
        let channel = out_of_band(network.channel(&[backend(1), backend(2)]));
        let switches = network.switches();
        network.serve(100, move |mut call| match (is_stream(&call), reports) {
            (false, _) => call.answer(),
            // As an interceptor does that wants credentials.
            (true, 0) => call.fail(Code::Unauthenticated),
            (true, _) => {
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut body = call.respond.send_response(response.body(()).unwrap(), false).unwrap();
                body.send_data(framed(&report(0.5, 100.0)), true).unwrap();
            }
        });
        for _ in 0..60 {
            check(&channel).await.unwrap();
            sleep(10 * SECOND).await;
        }
        let dialled = switches.dialled();
        let said: Vec<_> = log.take().into_iter().filter(|line| line.contains("load reports")).collect();
        let warnings: Vec<_> = said.iter().filter(|line| line.starts_with("WARN")).collect();
        assert_eq!((dialled, warnings.len()), (2, 1), "{said:#?}");
        assert!(warnings[0].contains(&format!("reports={reports}")), "{warnings:?}");
        assert!(said.len() > 10, "the others can be seen: {said:#?}");
    }
}
