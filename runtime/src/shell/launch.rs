//! Replicated logs with their usual settings.

use quorate_protocol::ReplicatedLog;
use quorate_protocol::replication::{Config, Election, LogCore, Settings, Start};

use crate::group::hostable::Hostable;
use crate::group::start::{BoxError, GroupStart};

/// A replicated log that can be started with its usual settings, as
/// [`ServerBuilder::replica`](crate::ServerBuilder::replica) does.
pub trait Launch: ReplicatedLog + Hostable {
    /// Returns the usual settings for a group that starts from this data.
    ///
    /// # Errors
    /// When the settings exceed the limits of the node's transport or log.
    fn config(start: &GroupStart) -> Result<Self::Config, BoxError>;
}

impl<E: Election> Launch for LogCore<E> {
    fn config(start: &GroupStart) -> Result<Config, BoxError> {
        let settings = Settings::default();
        let bytes_max = settings.batch_bytes_max + OVERHEAD_BYTES;
        if bytes_max > start.frame_bytes_max || bytes_max > start.write_bytes_max {
            return Err(
                format!("messages and writes take up to {bytes_max} bytes, and the node's bounds are lower").into()
            );
        }
        let node = start.identity.node;
        let is_founder = start.members.contains(node);
        let members = if is_founder { Start::Initial(start.members.clone()) } else { Start::Join };
        Ok(Config::new(node, start.seed, members, settings)?)
    }
}

/// Bytes beside the entries in a message, and around them in a write.
const OVERHEAD_BYTES: usize = 64 << 10;
