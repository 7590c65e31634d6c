//! Quorum systems byte by byte, as they stand in state records and configurations. All numbers are little-endian.
//!
//! ```text
//!  0         1           2           3
//! +---------+-----------+-----------+--------------------------+-------+--------+
//! | version | rules (1) | nodes (1) | their ids, ascending (8) | rule  | (rule) |
//! +---------+-----------+-----------+--------------------------+-------+--------+
//! ```
//!
//! There is one rule if it is the same in both phases, otherwise that of the first phase comes first. A rule is a node,
//! as its place among the ids, or a list:
//!
//! ```text
//!  0         1            5            6
//! +---------+------------+------------+-------------------------------+
//! | 255     | needed (4) | length (1) | items: weight (2) and rule    |
//! +---------+------------+------------+-------------------------------+
//! ```
//!
//! Equal systems have equal bytes on every node and in every release, and each system has exactly one form.

use bytes::{Buf, BufMut, BytesMut};
use quorate_protocol::{NodeId, StateError};

use super::rule::{QuorumRule, Shape};
use super::{ACCEPTORS_MAX, QuorumSystem, RULE_DEPTH_MAX, RULE_TERMS_MAX};

/// Encodes a system.
pub(super) fn encode(system: &QuorumSystem, out: &mut BytesMut) {
    let nodes: Vec<NodeId> = system.acceptors.iter().copied().collect();
    let rules = if system.prepare == system.accept { 1 } else { 2 };
    out.put_u8(VERSION);
    out.put_u8(rules);
    out.put_u8(byte(nodes.len()));
    for node in &nodes {
        out.put_u64_le(node.0);
    }
    put_rule(&system.prepare, &nodes, out);
    if rules == 2 {
        put_rule(&system.accept, &nodes, out);
    }
}

/// Decodes a system from all of `bytes`, and checks it like a new one.
pub(super) fn decode(bytes: &[u8]) -> Result<QuorumSystem, StateError> {
    if bytes.len() > SYSTEM_BYTES_MAX {
        return Err(StateError::Malformed);
    }
    let mut rest = bytes;
    match rest.try_get_u8() {
        Ok(VERSION) => {}
        Ok(version) => return Err(StateError::Version(version)),
        Err(_) => return Err(StateError::Malformed),
    }
    let system = get_system(&mut rest).filter(|_| rest.is_empty()).ok_or(StateError::Malformed)?;
    let mut again = BytesMut::new();
    encode(&system, &mut again);
    if again == bytes { Ok(system) } else { Err(StateError::Malformed) }
}

fn get_system(rest: &mut &[u8]) -> Option<QuorumSystem> {
    let rules = rest.try_get_u8().ok()?;
    let count = rest.try_get_u8().ok()?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(NodeId(rest.try_get_u64_le().ok()?));
    }
    let prepare = get_rule(rest, &nodes, RULE_DEPTH_MAX)?;
    match rules {
        1 => QuorumSystem::symmetric(prepare).ok(),
        2 => QuorumSystem::new(prepare, get_rule(rest, &nodes, RULE_DEPTH_MAX)?).ok(),
        _ => None,
    }
}

fn put_rule(rule: &QuorumRule, nodes: &[NodeId], out: &mut BytesMut) {
    match &rule.shape {
        Shape::Node(node) => out.put_u8(byte(nodes.partition_point(|earlier| earlier < node))),
        Shape::AtLeast { needed, of } => {
            out.put_u8(LIST);
            out.put_u32_le(*needed);
            out.put_u8(byte(of.len()));
            for item in of {
                out.put_u16_le(item.weight);
                put_rule(item, nodes, out);
            }
        }
    }
}

fn get_rule(rest: &mut &[u8], nodes: &[NodeId], depth: usize) -> Option<QuorumRule> {
    let first = rest.try_get_u8().ok()?;
    if first != LIST {
        return nodes.get(usize::from(first)).copied().map(QuorumRule::from);
    }
    let depth = depth.checked_sub(1)?;
    let needed = rest.try_get_u32_le().ok()?;
    let mut of = Vec::new();
    for _ in 0..rest.try_get_u8().ok()? {
        let weight = rest.try_get_u16_le().ok()?;
        of.push(get_rule(rest, nodes, depth)?.weighing(weight));
    }
    Some(QuorumRule::at_least(needed, of))
}

/// Numbers of nodes and of items are bounded by [`ACCEPTORS_MAX`] and [`RULE_TERMS_MAX`].
fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Largest size of an encoded system.
pub(crate) const SYSTEM_BYTES_MAX: usize = 3 + 8 * ACCEPTORS_MAX + 8 * RULE_TERMS_MAX;

const VERSION: u8 = 1;
const LIST: u8 = 255;
