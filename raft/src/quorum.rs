//! Majorities: what a configuration's voters have agreed on.

use quorate_protocol::{Configuration, NodeId};

/// The greatest value that a quorum has reached, where `reached` says how far each voter is. In a joint
/// configuration a quorum of both sets is needed (Raft §6). The smallest value when nobody votes.
pub(crate) fn reached_by_quorum<T: Ord + Copy + Default>(
    configuration: &Configuration,
    reached: impl Fn(NodeId) -> T,
) -> T {
    let newer = majority_of(configuration.voters().map(&reached));
    if configuration.is_joint() { newer.min(majority_of(configuration.outgoing_voters().map(&reached))) } else { newer }
}

/// What the votes cast so far mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// A quorum said yes.
    Won,
    /// No quorum can say yes any more.
    Lost,
    /// Neither yet.
    Open,
}

/// Counts votes: `vote` gives each voter's, if it was cast.
pub(crate) fn tally(configuration: &Configuration, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
    if reached_by_quorum(configuration, |node| vote(node) == Some(true)) {
        return Tally::Won;
    }
    let still_possible = reached_by_quorum(configuration, |node| vote(node) != Some(false));
    if still_possible { Tally::Open } else { Tally::Lost }
}

/// The greatest value that more than half of `values` have reached.
fn majority_of<T: Ord + Copy + Default>(values: impl Iterator<Item = T>) -> T {
    let mut few = [T::default(); FEW];
    let mut count = 0;
    let mut many = Vec::new();
    for value in values {
        if count < FEW {
            few[count] = value;
        } else {
            if many.is_empty() {
                many.extend_from_slice(&few);
            }
            many.push(value);
        }
        count += 1;
    }
    let values = if many.is_empty() { &mut few[..count] } else { &mut many[..] };
    if values.is_empty() {
        return T::default();
    }
    values.sort_unstable();
    // Of n values the one at (n - 1) / 2 is reached by all above it and itself: n / 2 + 1 of them.
    values[(count - 1) / 2]
}

/// Up to so many voters are counted without allocating.
const FEW: usize = 9;

#[cfg(test)]
mod tests;
