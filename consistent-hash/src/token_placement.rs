//! Placements by tokens.

use crate::placement::Placement;
use crate::ring::table::TokenTable;

/// A placement by tokens, in which a node therefore owns ranges of key hashes. [`Ring`](crate::Ring) and
/// [`CompatRing`](crate::compat::CompatRing) implement it.
pub trait TokenPlacement: Placement + sealed::Table {}

pub(crate) mod sealed {
    /// Keeps [`TokenPlacement`](super::TokenPlacement) within this crate, because plans depend on how its rings break
    /// ties.
    pub trait Table {
        fn table(&self) -> &super::TokenTable;
    }
}
