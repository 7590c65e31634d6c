//! Parts that clusters of cores under test share: time, random numbers, the loop and the laws. The crate of each
//! protocol builds its own cluster from them, with the disks, applications and faults that its tests need.

mod faults;
mod laws;
mod stage;
mod timeline;

pub use faults::Faults;
pub use laws::Laws;
pub use stage::{Stage, deliver, run, run_until};
pub use timeline::Timeline;
