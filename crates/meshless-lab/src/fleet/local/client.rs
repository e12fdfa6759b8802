//! The client process of a strategy: started, warmed up, and told to make calls.

use super::machine::Local;
use crate::control::{FromClient, RunTotals, Target, ToClient};
use crate::fleet::error::FleetError;
use crate::pacer::Pacing;
use crate::process::Process;
use crate::record::CallRecord;
use crate::strategy::Strategy;

/// Starts the client of a strategy and tells it whom to call.
pub(super) async fn start(local: &Local, target: Target) -> Result<Process, FleetError> {
    let pod = local.network.client_pod().await?;
    let mut client = match (target.strategy, &local.grpc_go) {
        (Strategy::GrpcGo, Some(program)) => Process::spawn_other(pod, "the client of grpc-go", program)?,
        _ => Process::spawn(pod, "the client", &["client".into()])?,
    };
    client.send(&ToClient::Target(target)).await?;
    Ok(client)
}

/// Has each client make a call that is not recorded.
pub(super) async fn warm_up(client: &mut Process) -> Result<(), FleetError> {
    match client.ask(&ToClient::WarmUp).await? {
        FromClient::Warm => Ok(()),
        other => Err(client.error(format!("answered a warm-up with {other:?}")).into()),
    }
}

/// Has the client make the calls of one run. `on_progress` hears how many have ended.
pub(super) async fn run(
    client: &mut Process,
    pacing: Pacing,
    first_id: u64,
    mut on_progress: impl FnMut(u64),
) -> Result<(Vec<CallRecord>, RunTotals), FleetError> {
    client.send(&ToClient::Run { pacing, first_id }).await?;
    let mut calls = Vec::new();
    loop {
        match client.receive().await? {
            FromClient::Warm => {}
            FromClient::Progress(ended) => on_progress(ended),
            FromClient::Calls(some) => calls.extend(some),
            FromClient::Done(totals) => return Ok((calls, totals)),
        }
    }
}
