//! `kv serve`: one node, one process.

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use quorate_kv::config::{ClusterConfig, Exposure};
use quorate_kv::descriptors;
use quorate_kv::http::record_metrics;
use quorate_kv::node::{NodeOptions, RunningNode};
use quorate_kv::tls::NodeTls;
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the node until a signal stops it. If it stops by itself, that is an error.
pub(crate) fn run(config: &ClusterConfig, id: u64, exposure: Exposure, spins: bool) -> Result<(), Box<dyn Error>> {
    let at = config.listeners(id, exposure)?;
    // Keys, passwords' hashes and all else that is written here is for the owner of the process alone.
    umask(Mode::RWXG | Mode::RWXO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // From here on closing the terminal does not end the process. Until the node runs, a signal to stop ends the
    // process at once.
    let hangups = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let metrics = record_metrics()?;
    let tls = config.load_tls(id)?;
    let options = NodeOptions {
        cluster: config.name.clone(),
        id,
        peers: config.peers(),
        joining: config.joining(),
        clients: config.clients(),
        https: config.https(),
        clients_max: descriptors::clients_max(descriptors::raise_limit()?, 1),
        data: config.data.clone(),
        snapshot_entries: config.snapshot_entries,
        memory_max: config.memory_max,
        spin: if spins { SPIN } else { Duration::ZERO },
        engine: config.engine,
        shards: config.shards,
        redirect: config.redirect,
        first_password: config.first_password(),
        tls: tls.clone(),
        peer: at.peer,
        client: bind(at.client)?,
        http: Some((bind(at.http)?, metrics)),
    };
    let mut running = RunningNode::start(options)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
            _ = terminate.recv() => Ok(()),
            never = reload(hangups, tls.as_deref()) => never,
            reason = running.stopped() => Err(Box::<dyn Error>::from(format!("node {id} stopped by itself: {reason}"))),
        }
    })?;
    Ok(running.shutdown()?)
}

/// Reads the certificates and keys again at each hang-up. Nothing else can change while a node runs.
async fn reload(mut hangups: Signal, tls: Option<&NodeTls>) -> Result<(), Box<dyn Error>> {
    while hangups.recv().await.is_some() {
        match tls.map(NodeTls::reload) {
            None => tracing::info!("SIGHUP changes nothing: the cluster file is read when a node starts"),
            Some(Ok(())) => tracing::info!("SIGHUP: the certificates and keys were read again"),
            Some(Err(error)) => tracing::error!(%error, "SIGHUP: the certificates and keys before stay in use"),
        }
    }
    std::future::pending().await
}

/// Time for which a node that spins looks for work before it sleeps. Longer than a sync of a fast disk takes.
const SPIN: Duration = Duration::from_micros(300);

fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    TcpListener::bind(address).map_err(|error| format!("{address}: {error}").into())
}
