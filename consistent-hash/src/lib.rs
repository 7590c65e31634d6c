#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod compat;
mod error;
mod hash;
mod jump;
mod jump_back;
mod maglev;
mod memento;
mod node;
mod placement;
mod rendezvous;
mod ring;

pub use compat::{CompatRing, EnvoyHash, EnvoyMaglev, EnvoyRing, REDIS_SLOTS, RedisSlots, redis_slot};
pub use error::{BuildError, RemoveError, ReplicaError, WeightError};
pub use hash::{HASH_VERSION, Hasher, KeyHash};
pub use jump::{Jump, jump};
pub use jump_back::{JumpBack, jump_back};
pub use maglev::{Maglev, MaglevBuilder};
pub use memento::Memento;
pub use node::{NODES_MAX, Node, NodeIndex, Nodes, Weight};
pub use placement::{Placement, REPLICAS_MAX, Replicas};
pub use rendezvous::Rendezvous;
pub use ring::{Ring, RingBuilder, Token};
