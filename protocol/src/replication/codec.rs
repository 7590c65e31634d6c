//! The state record, which this crate encodes itself, byte by byte.
//!
//! ```text
//!  0         1              9        10              18         22         23            27
//! +---------+--------------+--------+---------------+----------+----------+-------------+
//! | code    | term (8)     | voted? | voted for (8) | starts(4)| founded? | founding (4)|
//! +---------+--------------+--------+---------------+----------+----------+-------------+
//! ```
//!
//! All numbers are little-endian. The code is that of the protocol
//! ([`Election::CODE`](crate::replication::Election::CODE)). Without a vote the node is zero, and without a founding
//! its checksum is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::replication::durable::DurableState;
use crate::{NodeId, StateError, Term};

/// Encodes a state record of the protocol with this code.
pub(crate) fn encode_state(state: &DurableState, code: u8) -> Bytes {
    let mut out = BytesMut::with_capacity(STATE_BYTES);
    out.put_u8(code);
    out.put_u64_le(state.term.0);
    out.put_u8(u8::from(state.voted_for.is_some()));
    out.put_u64_le(state.voted_for.map_or(0, |node| node.0));
    out.put_u32_le(state.starts);
    out.put_u8(u8::from(state.founding.is_some()));
    out.put_u32_le(state.founding.unwrap_or(0));
    out.freeze()
}

/// Decodes the state record in `bytes`, which must hold nothing else and be of the protocol with this code.
pub(crate) fn decode_state(bytes: &[u8], code: u8) -> Result<DurableState, StateError> {
    let mut rest = bytes;
    let version = rest.try_get_u8().map_err(|_| StateError::Malformed)?;
    if version != code {
        return Err(StateError::Version(version));
    }
    if bytes.len() != STATE_BYTES {
        return Err(StateError::Malformed);
    }
    let term = Term(rest.get_u64_le());
    let voted_for = match (rest.get_u8(), rest.get_u64_le()) {
        (0, 0) => None,
        (1, node) => Some(NodeId(node)),
        _ => return Err(StateError::Malformed),
    };
    let starts = rest.get_u32_le();
    let founding = match (rest.get_u8(), rest.get_u32_le()) {
        (0, 0) => None,
        (1, checksum) => Some(checksum),
        _ => return Err(StateError::Malformed),
    };
    Ok(DurableState { term, voted_for, starts, founding })
}

const STATE_BYTES: usize = 27;
