//! Raft on a server of `quorate-runtime`, with its usual settings.

use quorate_runtime::{BoxError, GroupStart, Launch};

use crate::{Config, Raft, Settings, Start};

impl Launch for Raft {
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
