//! What a caller is told.

/// The answer to one call on a group. Plain data; typed handles make their own answers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The group stopped before the outcome was known: what was asked may or may not happen, or have happened.
    Unknown,
    /// A hosted core has told something: take it from `Hosted`.
    Told,
}
