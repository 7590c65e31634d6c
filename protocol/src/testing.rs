//! What clusters of cores under test have in common: time, chance, the loop and the laws. Each protocol's crate builds its own cluster
//! of them, with the disks, applications and faults that its tests rule.

mod faults;
mod laws;
mod stage;
mod timeline;

pub use faults::Faults;
pub use laws::Laws;
pub use stage::{Stage, deliver, run, run_until};
pub use timeline::Timeline;
