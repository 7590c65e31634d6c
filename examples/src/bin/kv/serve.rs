//! `kv serve`: one node, one process.

use std::error::Error;
use std::net::TcpListener;

use quorate_examples::kv::config::{ClusterConfig, Exposure};
use quorate_examples::kv::http::record_metrics;
use quorate_examples::kv::node::{NodeOptions, RunningNode};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the node until it is told to stop, or stops by itself.
pub(crate) fn run(config: &ClusterConfig, id: u64, exposure: Exposure) -> Result<(), Box<dyn Error>> {
    let node = config.node(id, exposure)?;
    let metrics = record_metrics()?;
    let options = NodeOptions {
        cluster: config.name.clone(),
        id,
        peers: config.nodes.iter().map(|(id, node)| (*id, node.peer)).collect(),
        data: config.data.clone(),
        snapshot_entries: config.snapshot_entries,
        client: bind(node.client)?,
        http: Some((bind(node.http)?, metrics)),
    };
    let mut running = RunningNode::start(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
            () = running.stopped() => Ok(()),
        }
    })?;
    Ok(running.shutdown()?)
}

fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    TcpListener::bind(address).map_err(|error| format!("{address}: {error}").into())
}
