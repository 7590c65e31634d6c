//! What clients and nodes say to each other: one request and one reply, each a line of JSON.

use quorate_protocol::ProposalId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A request of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Get {
        key: String,
    },
    /// A change under an id of the client. Under the same id it takes effect at most once, on however many nodes it is
    /// tried: this is what lets a client go to another node when the first does not answer.
    Change {
        key: String,
        id: ProposalId,
        change: Change,
    },
}

/// A change of a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Set {
        value: String,
    },
    /// Takes effect if the value is `expect`, or if there is none and `expect` is `None`.
    CompareAndSet {
        expect: Option<String>,
        value: String,
    },
    Delete,
}

/// The reply of a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The value of the key.
    Value(Option<String>),
    /// The change took effect, now or when it was tried before.
    Done,
    /// The key has this value, and the change does not take effect.
    Conflict(Option<String>),
    /// This node did nothing, for this reason.
    NotDone(String),
    /// It is not known whether the change took effect, or will.
    Unknown,
}

/// Sends a line.
pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

/// Receives a line; `None` if the other side sends no more.
pub(crate) async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return if line.is_empty() { Ok(None) } else { Err(std::io::ErrorKind::InvalidData.into()) };
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Longest line.
const LINE_BYTES_MAX: u64 = 1 << 20;
