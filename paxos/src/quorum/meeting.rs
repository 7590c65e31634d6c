//! Finds two quorums that have no node in common, or shows that there are none.
//!
//! The search builds the quorums of one rule item by item, each item in or out, and notes what the other rule loses
//! with every node that is taken. It gives up a way as soon as the other rule cannot be satisfied any more, and never
//! goes on twice from the same place: what is still needed of the one rule and what the other has lost decide
//! everything that follows. So nested majorities, sizes, weights and grids are quick, although their quorums are
//! countless. Whether two rules meet is in general as hard as any problem of logic, so the effort is bounded, and a
//! search that reaches the bound says so: it never guesses.

use std::collections::BTreeSet;

use quorate_protocol::NodeId;

use super::QuorumError;
use super::rule::{QuorumRule, Shape, total};

/// Two quorums without a common node, one of each rule; `None` if all quorums of one meet all quorums of the other. The
/// rules were checked.
pub(super) fn disjoint(one: &QuorumRule, other: &QuorumRule) -> Result<Option<Pair>, QuorumError> {
    if always_meet(one, other) {
        return Ok(None);
    }
    let nodes: Vec<NodeId> = one.nodes().union(&other.nodes()).copied().collect();
    let (first, second) = (Form::of(one, &nodes), Form::of(other, &nodes));
    // The search may be short in one direction and long in the other.
    let taken = match search(&first, &second) {
        Err(QuorumError::TooComplex) => search(&second, &first)?.map(|taken| !taken),
        found => found?,
    };
    Ok(taken.map(|taken| {
        let is_taken = |node: NodeId| nodes.binary_search(&node).is_ok_and(|at| taken & (1 << at) != 0);
        (smallest(one, is_taken), smallest(other, |node| !is_taken(node)))
    }))
}

/// A quorum of each of two rules.
pub(super) type Pair = (BTreeSet<NodeId>, BTreeSet<NodeId>);

/// True if the rules have the same lists, and need more of each than there is for both: then two satisfied rules share
/// a satisfied item, and so on down to a node.
fn always_meet(one: &QuorumRule, other: &QuorumRule) -> bool {
    match (&one.shape, &other.shape) {
        (Shape::Node(one), Shape::Node(other)) => one == other,
        (Shape::AtLeast { needed: first, of: one }, Shape::AtLeast { needed: second, of: other }) => {
            let is_alike =
                |(one, other): (&QuorumRule, &QuorumRule)| one.weight == other.weight && always_meet(one, other);
            first.saturating_add(*second) > total(one)
                && one.len() == other.len()
                && one.iter().zip(other).all(is_alike)
        }
        _ => false,
    }
}

/// A quorum among the nodes for which `has` is true, all of which are needed.
fn smallest(rule: &QuorumRule, has: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
    let mut quorum: BTreeSet<NodeId> = rule.nodes().into_iter().filter(|node| has(*node)).collect();
    for node in rule.nodes() {
        quorum.remove(&node);
        if has(node) && !rule.is_quorum(|node| quorum.contains(&node)) {
            quorum.insert(node);
        }
    }
    quorum
}

/// A rule as lists that refer to each other by number. A list comes before the lists that it contains.
struct Form {
    lists: Vec<List>,
    /// The lists that name a node, by the node's number, with its weight there.
    named: Vec<Vec<(usize, u32)>>,
    /// The nodes that more than one list names, as bits.
    repeated: u128,
}

struct List {
    needed: u32,
    items: Vec<(u32, Item)>,
    /// The weight of the items from each place on.
    rest: Vec<u32>,
    /// The list that contains this one, and the weight of this one there.
    parent: Option<(usize, u32)>,
    /// The number after those of the lists within this one.
    end: usize,
}

#[derive(Clone, Copy)]
enum Item {
    Node(usize),
    List(usize),
}

impl Form {
    fn of(rule: &QuorumRule, nodes: &[NodeId]) -> Self {
        let mut form = Self { lists: Vec::new(), named: vec![Vec::new(); nodes.len()], repeated: 0 };
        match &rule.shape {
            Shape::Node(_) => form.add(1, std::slice::from_ref(rule), None, nodes),
            Shape::AtLeast { needed, of } => form.add(*needed, of, None, nodes),
        };
        let repeated = form.named.iter().enumerate().filter(|(_, lists)| lists.len() > 1);
        form.repeated = repeated.fold(0, |bits, (node, _)| bits | 1 << node);
        form
    }

    /// Adds a list and all lists within it, and returns its number.
    fn add(&mut self, needed: u32, of: &[QuorumRule], parent: Option<(usize, u32)>, nodes: &[NodeId]) -> usize {
        let number = self.lists.len();
        self.lists.push(List { needed, items: Vec::new(), rest: Vec::new(), parent, end: 0 });
        let mut items = Vec::new();
        for rule in of {
            let weight = u32::from(rule.weight);
            let item = match &rule.shape {
                Shape::Node(node) => {
                    let at = nodes.partition_point(|earlier| earlier < node);
                    self.named[at].push((number, weight));
                    Item::Node(at)
                }
                Shape::AtLeast { needed, of } => Item::List(self.add(*needed, of, Some((number, weight)), nodes)),
            };
            items.push((weight, item));
        }
        let end = self.lists.len();
        let list = &mut self.lists[number];
        list.rest = (0..=of.len()).map(|at| total(&of[at..])).collect();
        (list.items, list.end) = (items, end);
        number
    }

    /// Takes a node away. `lost` is what each list has lost so far.
    fn lose(&self, node: usize, lost: &mut [u32]) {
        for &(list, weight) in &self.named[node] {
            let mut next = Some((list, weight));
            while let Some((number, weight)) = next.take() {
                let list = &self.lists[number];
                if lost[number] == FAILED {
                    break;
                }
                lost[number] += weight;
                if lost[number] > list.rest[0] - list.needed {
                    // What the lists within it lose does not matter any more.
                    lost[number..list.end].fill(FAILED);
                    next = list.parent;
                }
            }
        }
    }
}

/// In place of what a list has lost: it cannot be satisfied any more.
const FAILED: u32 = u32::MAX;

/// A place of the search. Equal places lead on to the same places.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The lists that are being satisfied, the innermost last.
    open: Vec<Open>,
    /// What each list of the other rule has lost.
    lost: Vec<u32>,
    /// The nodes taken that may come again.
    again: u128,
}

/// A list that is being satisfied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    list: usize,
    next: usize,
    needed: u32,
}

/// Nodes that are a quorum of the first rule, and without which the second can be satisfied; as bits.
fn search(first: &Form, second: &Form) -> Result<Option<u128>, QuorumError> {
    let root = Open { list: 0, next: 0, needed: first.lists[0].needed };
    let mut waiting = vec![(Place { open: vec![root], lost: vec![0; second.lists.len()], again: 0 }, 0_u128)];
    let mut seen = BTreeSet::new();
    let mut effort = 0;
    while let Some((mut place, taken)) = waiting.pop() {
        while place.open.pop_if(|open| open.needed == 0).is_some() {}
        let Some(&open) = place.open.last() else { return Ok(Some(taken)) };
        let list = &first.lists[open.list];
        if list.rest[open.next] < open.needed {
            continue;
        }
        effort += 3 * place.open.len() + place.lost.len() + PLACE_EFFORT;
        if effort > EFFORT_MAX {
            return Err(QuorumError::TooComplex);
        }
        if !seen.insert(place.clone()) {
            continue;
        }
        let (weight, item) = list.items[open.next];
        let without = place.go_on(0);
        let mut with = place.go_on(weight);
        let mut taken_with = taken;
        match item {
            Item::List(list) => with.open.push(Open { list, next: 0, needed: first.lists[list].needed }),
            Item::Node(node) if taken & (1 << node) == 0 => {
                taken_with |= 1 << node;
                with.again |= first.repeated & (1 << node);
                second.lose(node, &mut with.lost);
            }
            Item::Node(_) => {}
        }
        waiting.push((without, taken));
        if with.lost[0] != FAILED {
            waiting.push((with, taken_with));
        }
    }
    Ok(None)
}

impl Place {
    /// The place after the next item of the innermost list, which gets this weight.
    fn go_on(&self, weight: u32) -> Self {
        let mut place = self.clone();
        if let Some(open) = place.open.last_mut() {
            open.next += 1;
            open.needed = open.needed.saturating_sub(weight);
        }
        place
    }
}

/// Bound of one search, in numbers that are kept.
const EFFORT_MAX: usize = 1 << 21;
/// What a place takes besides its numbers.
const PLACE_EFFORT: usize = 16;
