//! Moves of slots between shards: requests for them, and the commands of `kv shard`.

mod command;
mod request;

pub use command::{ShardError, list, plan, run};
pub use request::{LayoutAnswer, LayoutRequest, LayoutStatus};
