//! A node: a group of registers on a server, and a listener for clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::register::{
    self, ChangeOutcome, CommandRefusal, Expected, Functions, ReadOutcome, RegisterHandle, Settings,
};
use quorate_paxos::runtime::{GroupId, Server};
use tokio::io::BufStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::client::Failure;
use crate::wire::{Change, Reply, Request, receive, send};

/// Runs a node until it is interrupted.
pub(crate) async fn serve(node: u64, data: &Path, peers: &[SocketAddr], clients: &[SocketAddr]) -> Result<(), Failure> {
    let usage = |error: &dyn ToString| Failure::Usage(error.to_string());
    if peers.len() != clients.len() {
        return Err(Failure::Usage("there must be as many --peers as --clients".to_owned()));
    }
    let at = usize::try_from(node).ok().and_then(|node| node.checked_sub(1)).and_then(|at| clients.get(at));
    let address = at.ok_or_else(|| Failure::Usage(format!("there is no node {node}")))?;

    // All nodes hold the registers of one group. Each accepts, and each proposes for its clients.
    let server = (1..)
        .zip(peers)
        .fold(Server::builder("register", data), |server, (id, peer)| server.node(id, peer.to_string()));
    let server = server.group(REGISTERS, |start| register::host(start, Functions::default(), Settings::default()));
    let running = server.spawn(node).map_err(|error| usage(&error))?;
    let registers = RegisterHandle::new(running.handle().clone(), REGISTERS);

    let listener = TcpListener::bind(address).await.map_err(|error| Failure::Usage(format!("{address}: {error}")))?;
    println!("node {node} answers clients at {address}");
    tokio::select! {
        () = accept(&listener, &registers) => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = running.handle().halted(REGISTERS) => return Err(Failure::Usage("the node has stopped".to_owned())),
    }
    running.handle().shutdown(PATIENCE).await;
    Ok(())
}

/// Answers clients, each in a task of its own.
async fn accept(listener: &TcpListener, registers: &RegisterHandle) {
    let room = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let registers = registers.clone();
                tokio::spawn(async move {
                    // A client that hangs up or says nothing loses only its answer.
                    let _ = timeout(PATIENCE, answer(stream, &registers)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                eprintln!("register: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the requests of one client.
async fn answer(stream: TcpStream, registers: &RegisterHandle) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    while let Some(request) = receive(&mut stream).await? {
        let reply = match request {
            Request::Get { key } => match registers.get(key).await {
                ReadOutcome::Found(found) => Reply::Value(found.value.map(text)),
                ReadOutcome::Failed(reason) => Reply::NotDone(said(reason)),
                _ => Reply::Unknown,
            },
            Request::Change { key, id, change } => match registers.change(key, id, change.into()).await {
                ChangeOutcome::Done(_) | ChangeOutcome::DoneBefore { .. } => Reply::Done,
                ChangeOutcome::Conflict(found) => Reply::Conflict(found.value.map(text)),
                ChangeOutcome::NotTried(reason) => Reply::NotDone(said(reason)),
                _ => Reply::Unknown,
            },
        };
        send(&mut stream, &reply).await?;
    }
    Ok(())
}

impl From<Change> for register::Change {
    fn from(change: Change) -> Self {
        match change {
            Change::Set { value } => Self::Set(value.into()),
            Change::CompareAndSet { expect, value } => {
                Self::CompareAndSet { expected: Expected::Value(expect.map(Bytes::from)), value: Some(value.into()) }
            }
            Change::Delete => Self::Delete,
        }
    }
}

fn said(reason: CommandRefusal) -> String {
    match reason {
        CommandRefusal::Key => "keys have 1 to 1024 bytes".to_owned(),
        CommandRefusal::NotIntroduced => "it has not met every other node yet".to_owned(),
        CommandRefusal::TimedOut => "no majority answered in time".to_owned(),
        other => format!("it refuses: {other:?}"),
    }
}

fn text(value: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(value.as_ref()).into_owned()
}

/// The group of the registers.
const REGISTERS: GroupId = GroupId(1);
/// Largest number of clients at a time. Others wait.
const CLIENTS_MAX: usize = 1_000;
/// Time for which a client, or the end of the node, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
