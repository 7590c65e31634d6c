//! Hosts registers on a server of `quorate-runtime`.

mod group;
mod handle;

use quorate_protocol::Protocol;
use quorate_runtime::group::{ChannelId, Group};
use quorate_runtime::{BoxError, GroupStart};

pub use group::Registers;
pub use handle::RegisterHandle;

use super::{Config, Functions, Register, Roles, Settings};
use crate::QuorumSystem;

/// Makes the group for [`ServerBuilder::group`](quorate_runtime::ServerBuilder::group): all nodes with which it is
/// founded propose and accept, and majorities are quorums. Its messages travel on [`CHANNEL`].
///
/// [`RegisterHandle::change_roles`] changes the roles later. A node that joins is hosted in the same way, and is a
/// joining one of its builder ([`joining_node`](quorate_runtime::ServerBuilder::joining_node)): it has no role until it
/// is added.
///
/// # Errors
/// When the settings do not fit the node's transport and log, or the content of the disk cannot be decoded.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_paxos::register::{self, ChangeOutcome, Functions, RegisterHandle, Settings};
/// use quorate_paxos::runtime::Server;
/// use quorate_protocol::GroupId;
/// let server = Server::builder("demo", "data")
///     .node(1, "127.0.0.1:7101")
///     .node(2, "127.0.0.1:7102")
///     .node(3, "127.0.0.1:7103")
///     .group(GroupId(1), |start| register::host(start, Functions::default(), Settings::default()))
///     .open(1)
///     .await?;
/// let registers = RegisterHandle::new(server.handle(), GroupId(1));
/// // The server must run while this waits: `tokio::spawn(server.run())`, or another thread.
/// match registers.set("colour", "blue").await {
///     ChangeOutcome::Done(found) => println!("version {}", found.version),
///     ChangeOutcome::Unknown(trace) => println!("{:?}", registers.resolve("colour", trace).await),
///     other => println!("not written: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub fn host(start: GroupStart, functions: Functions, settings: Settings) -> Result<Box<dyn Group>, BoxError> {
    let roles = match Register::founded(&start.recovery)? {
        Some(founded) => founded,
        None => Roles::of(QuorumSystem::majority(start.members.voters())?),
    };
    host_with(start, roles, functions, settings)
}

/// Like [`host`], with other roles and quorums for the founding.
///
/// # Errors
/// The errors of [`host`], and when this node is among the first members and has no role, or the roles differ from
/// those with which the group was founded.
pub fn host_with(
    start: GroupStart,
    roles: Roles,
    functions: Functions,
    settings: Settings,
) -> Result<Box<dyn Group>, BoxError> {
    let bytes_max = settings.batch_bytes_max;
    if bytes_max > start.frame_bytes_max || bytes_max > start.write_bytes_max {
        return Err(format!("messages and writes take up to {bytes_max} bytes, and the node's bounds are lower").into());
    }
    let node = start.identity.node;
    let make = if start.members.contains(node) { Config::new } else { Config::joining };
    let config = make(node, start.seed, roles, functions, settings)?;
    let core = Register::recover(start.now, config, start.recovery)?;
    let founders = start.members.members().iter().map(|member| (member.node, member.context.clone())).collect();
    Ok(Box::new(Registers::new(start.group, start.session, founders, core)))
}

/// The channel of messages about registers.
pub const CHANNEL: ChannelId = ChannelId(19);
