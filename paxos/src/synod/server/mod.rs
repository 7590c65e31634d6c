//! Hosts a decision on a server of `quorate-runtime`.

mod decision;
mod handle;

use std::collections::BTreeSet;

use quorate_protocol::{NodeId, Protocol};
use quorate_runtime::group::{ChannelId, Group};
use quorate_runtime::{BoxError, GroupStart};

pub use decision::{Decision, WAITING_MAX};
pub use handle::SynodHandle;

use super::{Config, GroupRoles, Settings, Synod};
use crate::QuorumSystem;

/// Makes the group for [`ServerBuilder::group`](quorate_runtime::ServerBuilder::group): all nodes of the server
/// propose, accept and learn, and majorities are quorums. A group that has written anything keeps the acceptors and
/// quorums with which it was founded; nodes that are added later are learners. Its messages travel on [`CHANNEL`].
///
/// # Errors
/// When the settings do not fit the node's transport and log, or the content of the disk cannot be decoded.
///
/// ```no_run
/// use quorate_paxos::runtime::{GroupId, Server};
/// use quorate_paxos::synod::{self, Settings, SynodHandle};
/// let server = Server::builder("demo", "data")
///     .node(1, "127.0.0.1:7101")
///     .node(2, "127.0.0.1:7102")
///     .node(3, "127.0.0.1:7103")
///     .group(GroupId(1), |start| synod::host(start, Settings::default()))
///     .spawn(1)?;
/// let decision = SynodHandle::new(server.handle().clone(), GroupId(1));
/// let outcome = decision.propose("a value").wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn host(start: GroupStart, settings: Settings) -> Result<Box<dyn Group>, BoxError> {
    let quorums = match Synod::founded(&start.recovery)? {
        Some(founded) => founded,
        None => QuorumSystem::majority(start.members.voters())?,
    };
    let group = GroupRoles::of(quorums);
    // Nodes that were added later are learners.
    let learners: BTreeSet<NodeId> = group.learners().iter().copied().chain(start.members.nodes()).collect();
    host_with(start, group.with_learners(learners), settings)
}

/// Like [`host`], with other roles and quorums.
///
/// # Errors
/// The errors of [`host`], and when this node has no role, or the quorums differ from those with which the group was
/// founded.
pub fn host_with(start: GroupStart, group: GroupRoles, settings: Settings) -> Result<Box<dyn Group>, BoxError> {
    let bytes_max = settings.value_bytes_max.saturating_add(OVERHEAD_BYTES);
    if bytes_max > start.frame_bytes_max || bytes_max > start.write_bytes_max {
        return Err(format!("messages and writes take up to {bytes_max} bytes, and the node's bounds are lower").into());
    }
    let config = Config::new(start.identity.node, start.seed, group, settings)?;
    let core = Synod::recover(start.now, config, start.recovery)?;
    Ok(Box::new(Decision::new(start.group, start.session, core)))
}

/// The channel of messages about decisions.
pub const CHANNEL: ChannelId = ChannelId(17);

/// Bytes beside the value in a message, and around it in a write.
const OVERHEAD_BYTES: usize = 4096;
