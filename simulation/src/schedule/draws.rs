//! Random choices that schedules and patterns share.

use quorate_protocol::Random;

use super::{FaultKind, Link, Partition, Who};
use crate::world::Loss;

/// A random loss of a power cut.
pub(super) fn any_loss(random: &mut Random) -> Loss {
    [Loss::Nothing, Loss::Unsynced, Loss::Torn, Loss::Garbage, Loss::Names][pick(random, 5)]
}

/// Makes a partition of this kind, around this node if it needs one.
pub(super) fn partition(random: &mut Random, kind: FaultKind, nodes: u64, node: Who) -> Partition {
    let order = shuffled(random, nodes);
    let side = || order[..order.len() / 2].to_vec();
    match kind {
        FaultKind::Isolate => Partition::Isolate { node },
        FaultKind::Halves => Partition::Halves { side: side() },
        FaultKind::Bridge => Partition::Bridge { node, side: side() },
        FaultKind::Star => Partition::Star { hub: node },
        FaultKind::Chain => Partition::Chain { order },
        FaultKind::Ring => Partition::Ring { order },
        FaultKind::Leaves if nodes >= 5 => {
            Partition::Leaves { leaves: vec![(order[0], order[1]), (order[2], order[3])] }
        }
        FaultKind::Leaves => Partition::Leaves { leaves: vec![(order[0], order[1])] },
        FaultKind::OneWay => match random.between(0, 3) {
            0 => Partition::Deaf { node },
            1 => Partition::Mute { node },
            _ => Partition::Links { links: links(random, nodes) },
        },
        other => unreachable!("{other} is no partition"),
    }
}

/// Some one-way links: from or to a node, or between two sides.
pub(super) fn links(random: &mut Random, nodes: u64) -> Vec<Link> {
    let node = random.between(1, nodes + 1);
    let side = shuffled(random, nodes)[..usize::try_from(nodes / 2).expect("few nodes")].to_vec();
    let shape = match random.between(0, 4) {
        0 => Partition::Isolate { node: Who::Node(node) },
        1 => Partition::Deaf { node: Who::Node(node) },
        2 => Partition::Mute { node: Who::Node(node) },
        _ => Partition::Halves { side },
    };
    shape.links(nodes, node)
}

fn shuffled(random: &mut Random, nodes: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (1..=nodes).collect();
    for place in (1..order.len()).rev() {
        order.swap(place, pick(random, place + 1));
    }
    order
}

/// A random number below `count`.
pub(super) fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.between(0, count as u64)).expect("small")
}
