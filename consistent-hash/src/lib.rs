#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod bounded;
pub mod compat;
mod digest;
mod error;
mod hash;
mod jump;
mod jump_back;
mod maglev;
mod memento;
mod migration;
mod movement;
mod node;
mod numbered;
mod placement;
#[cfg(feature = "std")]
mod publish;
mod rendezvous;
mod ring;
mod state;
mod token_placement;
mod zones;

pub use bounded::{BoundedLoads, Load, LoadFactor, LoadFactorError};
pub use error::{BuildError, RemoveError, ReplicaError, WeightError};
pub use hash::{HASH_VERSION, Hasher, KeyHash};
pub use jump::{Jump, jump};
pub use jump_back::{JumpBack, jump_back, jump_back_path};
pub use maglev::{Maglev, MaglevBuilder};
pub use memento::Memento;
pub use migration::{Generation, Migration, MigrationError, MigrationProgress, StepId};
pub use movement::{KeyRange, Movement, MovementPlan, PlanError};
pub use node::{NODES_MAX, Node, NodeIndex, Nodes, Weight};
pub use numbered::InOrder;
pub use placement::{Placement, REPLICAS_MAX, Replicas};
#[cfg(feature = "std")]
pub use publish::{Publisher, Reader};
pub use rendezvous::{Rendezvous, RendezvousDraw};
pub use ring::{Ring, RingBuilder, Token};
pub use state::{MaglevState, MementoState, RendezvousState, RingState, STATE_VERSION, StateRestoreError};
pub use token_placement::TokenPlacement;
pub use zones::{ZoneError, ZoneReplicas};
