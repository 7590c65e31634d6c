//! A client: it asks one node after another until one gives an answer.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use quorate_protocol::{Incarnation, ProposalId, SessionId};
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{Change, Reply, Request, receive, send};

/// Asks the nodes, the given one first.
pub(crate) struct Client {
    nodes: Vec<(u64, SocketAddr)>,
}

/// The end of a command that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The key has no value.
    NoValue,
    /// The key has another value than was expected.
    Conflict(Option<String>),
    /// The command line or the machine does not allow it.
    Usage(String),
    /// No node did anything.
    NotDone,
    /// A node may have done it, or may do it yet.
    Unknown,
}

impl Client {
    pub(crate) fn new(nodes: Vec<SocketAddr>, first: u64) -> Result<Self, Failure> {
        let mut nodes: Vec<(u64, SocketAddr)> = (1..).zip(nodes).collect();
        let at = nodes.iter().position(|(node, _)| *node == first);
        nodes.rotate_left(at.ok_or_else(|| Failure::Usage(format!("there is no node {first}")))?);
        Ok(Self { nodes })
    }

    pub(crate) async fn get(&self, key: String) -> Result<Option<String>, Failure> {
        match self.ask(&Request::Get { key }).await? {
            Reply::Value(value) => Ok(value),
            _ => Err(Failure::NotDone),
        }
    }

    pub(crate) async fn change(&self, key: String, change: Change) -> Result<(), Failure> {
        // An id that no other change has, so that this change may be tried on several nodes.
        let mut incarnation = [0; 16];
        getrandom::fill(&mut incarnation).map_err(|error| Failure::Usage(error.to_string()))?;
        let session = SessionId { incarnation: Incarnation(u128::from_le_bytes(incarnation)), start: 1 };
        let id = ProposalId { session, sequence: 1 };
        match self.ask(&Request::Change { key, id, change }).await? {
            Reply::Done => Ok(()),
            Reply::Conflict(value) => Err(Failure::Conflict(value)),
            _ => Err(Failure::Unknown),
        }
    }

    /// Asks one node after another, twice each, until one knows the answer.
    async fn ask(&self, request: &Request) -> Result<Reply, Failure> {
        let mut end = Failure::NotDone;
        for (node, address) in self.nodes.iter().chain(&self.nodes) {
            match ask_node(*address, request).await {
                Ok(reply) => return Ok(reply),
                Err(Trouble { reason, is_certain }) => {
                    eprintln!("register: node {node}: {reason}");
                    if !is_certain {
                        end = Failure::Unknown;
                    }
                }
            }
        }
        Err(end)
    }
}

/// Why a node gave no answer.
struct Trouble {
    reason: String,
    /// True if the node certainly did nothing.
    is_certain: bool,
}

async fn ask_node(address: SocketAddr, request: &Request) -> Result<Reply, Trouble> {
    let certain = |reason: String| Trouble { reason, is_certain: true };
    // From when the node has the request on, it may have carried it out before it failed.
    let uncertain = |reason: String| Trouble { reason, is_certain: false };
    let stream = TcpStream::connect(address).await.map_err(|error| certain(error.to_string()))?;
    let reply = timeout(PATIENCE, exchange(stream, request)).await;
    let reply = reply.map_err(|_| uncertain("it does not answer".to_owned()))?;
    match reply.map_err(|error| uncertain(error.to_string()))? {
        Some(Reply::NotDone(reason)) => Err(certain(reason)),
        Some(Reply::Unknown) => Err(uncertain("no quorum answered in time".to_owned())),
        Some(reply) => Ok(reply),
        None => Err(uncertain("it hung up".to_owned())),
    }
}

async fn exchange(stream: TcpStream, request: &Request) -> std::io::Result<Option<Reply>> {
    let mut stream = BufStream::new(stream);
    send(&mut stream, request).await?;
    receive(&mut stream).await
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NoValue | Self::Conflict(_) => 1,
            Self::Usage(_) => 2,
            Self::NotDone => 3,
            Self::Unknown => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue => f.write_str("the key has no value"),
            Self::Conflict(None) => f.write_str("nothing was changed: the key has no value"),
            Self::Conflict(Some(value)) => write!(f, "nothing was changed: the key has the value {value:?}"),
            Self::Usage(reason) => f.write_str(reason),
            Self::NotDone => f.write_str("no node could do it, and nothing was changed"),
            Self::Unknown => f.write_str("it is unknown whether the change took effect"),
        }
    }
}

/// Time for which a node is waited for. It is longer than the nodes take for a command.
const PATIENCE: Duration = Duration::from_secs(6);
