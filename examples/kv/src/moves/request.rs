//! Requests to change the layout, and what is told of it, as they are sent to a node's http port.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::credentials::Credentials;
use crate::shards::layout::{Layout, LayoutError, SlotMove};
use crate::status::{StatusError, request};

/// A change of the layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutRequest {
    /// Moves these slots.
    Move {
        /// The shard that holds them.
        from: u16,
        /// The shard that will hold them.
        to: u16,
        /// The slots.
        slots: Vec<u16>,
    },
    /// Moves half of a shard's slots to another one.
    Split {
        /// The shard.
        from: u16,
        /// The shard that gets them.
        to: u16,
    },
    /// Moves as few slots as possible, so that each shard holds its fair number.
    Rebalance,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutAnswer {
    /// These moves have begun.
    Begun {
        /// The moves.
        moves: Vec<SlotMove>,
    },
    /// The change cannot be made. Nothing was changed.
    Refused {
        /// The reason.
        reason: String,
    },
    /// No quorum answered, or others changed the layout at the same time. The same request may be sent again.
    NotNow {
        /// The reason.
        reason: String,
    },
}

/// The layout as a node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutStatus {
    /// The layout.
    pub layout: Layout,
    /// For each move under way the number of keys that are to move, as far as the node knows.
    pub keys_left: Vec<u64>,
}

impl LayoutRequest {
    /// The moves that are asked for.
    pub fn moves(&self, layout: &Layout) -> Vec<(u16, u16, Vec<u16>)> {
        match self {
            Self::Move { from, to, slots } => vec![(*from, *to, slots.clone())],
            Self::Split { from, to } => {
                let slots = layout.slots_of(*from);
                let half = slots.len() / 2;
                vec![(*from, *to, slots[slots.len() - half..].to_vec())]
            }
            Self::Rebalance => layout.balance(),
        }
    }

    /// The layout in which the moves have begun, and these.
    ///
    /// # Errors
    /// When the change cannot be made.
    pub fn begin(&self, layout: &Layout) -> Result<(Layout, Vec<SlotMove>), LayoutError> {
        let mut next = layout.clone();
        for (from, to, slots) in self.moves(layout) {
            next = next.begin(from, to, slots)?;
        }
        let begun = next.moves()[layout.moves().len()..].to_vec();
        Ok((next, begun))
    }
}

/// Sends a request to a node.
///
/// # Errors
/// When no answer came. The change may have been made.
pub(super) fn send(
    credentials: &Credentials,
    http: &Address,
    change: &LayoutRequest,
) -> Result<LayoutAnswer, StatusError> {
    let body = serde_json::to_string(change).map_err(|_| StatusError::Foreign)?;
    request(credentials, http, "POST /layout", &body, PATIENCE)
}

/// Asks a node for the layout. `None` if the store has one shard.
///
/// # Errors
/// When the node is not reached, or something else answers.
pub(super) fn fetch(credentials: &Credentials, http: &Address) -> Result<Option<LayoutStatus>, StatusError> {
    request(credentials, http, "GET /layout", "", PATIENCE)
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_moves_half_and_a_rebalance_as_little_as_possible() {
        let layout = Layout::grown(3);
        let (next, moves) = LayoutRequest::Split { from: 0, to: 2 }.begin(&layout).unwrap();
        assert_eq!((moves.len(), moves[0].slots.len(), moves[0].slots[0]), (1, 8192, 8192));
        assert_eq!(next.moves(), moves);
        let (_, moves) = LayoutRequest::Rebalance.begin(&layout).unwrap();
        assert_eq!(moves.iter().map(|it| it.slots.len()).sum::<usize>(), 10922);
        let none = LayoutRequest::Rebalance.begin(&Layout::even(4)).unwrap();
        assert_eq!(none, (Layout::even(4), Vec::new()));
        let unknown = LayoutRequest::Split { from: 0, to: 3 }.begin(&layout);
        assert_eq!(unknown, Err(LayoutError::UnknownShard(3)));
        assert_eq!(LayoutRequest::Split { from: 1, to: 2 }.begin(&layout), Err(LayoutError::Nothing));
    }
}
