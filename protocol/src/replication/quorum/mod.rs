//! Majorities: values that a quorum of a configuration's voters has reached.

use crate::{Configuration, NodeId};

/// Returns the greatest value that a quorum has reached. `reached` returns the value of a voter. In a joint
/// configuration a quorum of both sets is needed (Raft §6). Without voters it is the smallest value.
pub(crate) fn reached_by_quorum<T: Ord + Copy + Default>(
    configuration: &Configuration,
    reached: impl Fn(NodeId) -> T,
) -> T {
    let newer = majority_of(configuration.voters().map(&reached));
    if configuration.is_joint() { newer.min(majority_of(configuration.outgoing_voters().map(&reached))) } else { newer }
}

/// State of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// A quorum has granted its votes.
    Won,
    /// No quorum can grant its votes any more.
    Lost,
    /// Not decided yet.
    Open,
}

/// Counts votes. `vote` returns a voter's vote, if it was cast.
pub(crate) fn tally(configuration: &Configuration, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
    if reached_by_quorum(configuration, |node| vote(node) == Some(true)) {
        return Tally::Won;
    }
    let still_possible = reached_by_quorum(configuration, |node| vote(node) != Some(false));
    if still_possible { Tally::Open } else { Tally::Lost }
}

/// Returns the greatest value that more than half of `values` have reached.
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
    // Of n sorted values, the one at (n - 1) / 2 is reached by itself and all above it: n / 2 + 1 values.
    values[(count - 1) / 2]
}

/// Up to this number of voters are counted without an allocation.
const FEW: usize = 9;

#[cfg(test)]
mod tests;
