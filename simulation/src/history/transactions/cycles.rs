//! Cycles among dependencies, the worst and shortest of each knot.

use std::collections::VecDeque;

use super::super::linearizability::{Budget, Spent};
use super::graph::{Edge, Graph, Kind};

/// A cycle of dependencies: each transaction comes before the next, for the reason that stands beside it, and the last
/// before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    pub(super) name: &'static str,
    pub(super) steps: Vec<(usize, Kind)>,
}

/// The worst cycle of each knot (strongly connected component), and of its kind a shortest; when the budget runs out, any.
pub(super) fn find(graph: &Graph, budget: &mut Budget) -> Vec<Cycle> {
    let knots = Knots::of(graph);
    let knots_told = 0..knots.members.len().min(CYCLES_MAX);
    let told = knots_told.filter_map(|knot| {
        let worst = CLASSES.iter().find_map(|class| shortest(graph, &knots, knot, class, budget));
        worst.or_else(|| any(graph, &knots, knot))
    });
    told.collect()
}

/// Some cycle of a knot, under the name of the worst kind that it is.
fn any(graph: &Graph, knots: &Knots, knot: usize) -> Option<Cycle> {
    let from = knots.members[knot].iter().copied().find(|node| *node < graph.transactions)?;
    let mut ways = graph.edges[from].iter().filter(|edge| knots.of_node[edge.to] == knot);
    let steps = ways.find_map(|edge| {
        let mut edges = vec![(from, *edge)];
        edges.extend(way_back(graph, knots, edge.to, from, |_| true, &mut Budget::of_steps(u64::MAX)).ok()??);
        Some(dependencies(graph, &edges))
    })?;
    let is_of = |class: &&Class| {
        steps.iter().any(|(_, kind)| (class.has)(*kind))
            && steps.iter().all(|(_, kind)| (class.has)(*kind) || (class.may_have)(*kind))
    };
    let name = CLASSES.iter().find(is_of).map_or("dependency cycle", |class| class.name);
    Some(Cycle { name, steps })
}

/// A kind of cycle: one dependency it must have, and those it may have beside.
struct Class {
    name: &'static str,
    has: fn(Kind) -> bool,
    may_have: fn(Kind) -> bool,
}

/// From the worst on. A class is looked for only where no worse one was found.
const CLASSES: [Class; 8] = [
    Class { name: "G0, write cycle", has: is_ww, may_have: is_ww },
    Class { name: "G1c, circular information flow", has: is_wr, may_have: |kind| is_ww(kind) || is_wr(kind) },
    Class { name: "G-single, read skew", has: is_rw, may_have: |kind| is_ww(kind) || is_wr(kind) },
    Class { name: "G2, anti-dependency cycle", has: is_rw, may_have: |kind| !is_real_time(kind) },
    Class { name: "G0-realtime, write cycle", has: is_ww, may_have: |kind| is_ww(kind) || is_real_time(kind) },
    Class { name: "G1c-realtime, read from the future", has: is_wr, may_have: |kind| !is_rw(kind) },
    Class { name: "G-single-realtime, stale read", has: is_rw, may_have: |kind| !is_rw(kind) },
    Class { name: "G2-realtime, anti-dependency cycle", has: is_rw, may_have: |_| true },
];

fn is_ww(kind: Kind) -> bool {
    matches!(kind, Kind::Ww { .. })
}

fn is_wr(kind: Kind) -> bool {
    matches!(kind, Kind::Wr { .. })
}

fn is_rw(kind: Kind) -> bool {
    matches!(kind, Kind::Rw { .. })
}

fn is_real_time(kind: Kind) -> bool {
    kind == Kind::RealTime
}

fn shortest(graph: &Graph, knots: &Knots, knot: usize, class: &Class, budget: &mut Budget) -> Option<Cycle> {
    let mut best: Option<Vec<(usize, Kind)>> = None;
    let members = &knots.members[knot];
    let starts = members.iter().flat_map(|from| graph.edges[*from].iter().map(move |edge| (*from, *edge)));
    let starts = starts.filter(|(_, edge)| (class.has)(edge.kind) && knots.of_node[edge.to] == knot);
    for (from, edge) in starts.take(STARTS_MAX) {
        let way = match way_back(graph, knots, edge.to, from, class.may_have, budget) {
            Ok(Some(way)) => way,
            Ok(None) => continue,
            Err(Spent) => break,
        };
        let mut edges = vec![(from, edge)];
        edges.extend(way);
        let steps = dependencies(graph, &edges);
        if best.as_ref().is_none_or(|best| steps.len() < best.len()) {
            best = Some(steps);
        }
    }
    best.map(|steps| Cycle { name: class.name, steps })
}

/// A way with the fewest dependencies from `start` to `goal` within their knot, if there is one.
fn way_back(
    graph: &Graph,
    knots: &Knots,
    start: usize,
    goal: usize,
    may_use: fn(Kind) -> bool,
    budget: &mut Budget,
) -> Result<Option<Vec<(usize, Edge)>>, Spent> {
    let mut came_by: std::collections::HashMap<usize, Option<(usize, Edge)>> = [(start, None)].into();
    // Going on from a node that only stands for something costs nothing, so it goes to the front.
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        if node == goal {
            let mut way = Vec::new();
            let mut at = goal;
            while let Some((from, edge)) = came_by[&at] {
                way.push((from, edge));
                at = from;
            }
            way.reverse();
            return Ok(Some(way));
        }
        budget.charge(1 + graph.edges[node].len())?;
        for edge in &graph.edges[node] {
            let is_free = edge.kind == Kind::Through;
            let is_usable = knots.of_node[edge.to] == knots.of_node[goal] && (is_free || may_use(edge.kind));
            if is_usable && !came_by.contains_key(&edge.to) {
                came_by.insert(edge.to, Some((node, *edge)));
                if is_free {
                    queue.push_front(edge.to);
                } else {
                    queue.push_back(edge.to);
                }
            }
        }
    }
    Ok(None)
}

/// Edges between transactions alone: the nodes between are left out.
fn dependencies(graph: &Graph, edges: &[(usize, Edge)]) -> Vec<(usize, Kind)> {
    let is_dependency = |(from, edge): &&(usize, Edge)| *from < graph.transactions && edge.kind != Kind::Through;
    edges.iter().filter(is_dependency).map(|(from, edge)| (*from, edge.kind)).collect()
}

/// Strongly connected components with more than one node (Tarjan, "Depth-First Search and Linear Graph Algorithms",
/// SIAM J. Comput. 1972), without recursion.
struct Knots {
    /// The knot of each node; [`NONE`] for nodes in none.
    of_node: Vec<usize>,
    members: Vec<Vec<usize>>,
}

impl Knots {
    fn of(graph: &Graph) -> Self {
        let count = graph.edges.len();
        let mut knots = Self { of_node: vec![NONE; count], members: Vec::new() };
        let mut walk = Walk { number: vec![NONE; count], low: vec![NONE; count], next: 0, open: Vec::new() };
        let mut is_open = vec![false; count];
        for root in 0..count {
            if walk.number[root] != NONE {
                continue;
            }
            let mut path = vec![(root, 0)];
            walk.enter(root, &mut is_open);
            while let Some((node, edge)) = path.last_mut() {
                let node = *node;
                if let Some(to) = graph.edges[node].get(*edge).map(|edge| edge.to) {
                    *edge += 1;
                    if walk.number[to] == NONE {
                        walk.enter(to, &mut is_open);
                        path.push((to, 0));
                    } else if is_open[to] {
                        walk.low[node] = walk.low[node].min(walk.number[to]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    walk.low[*parent] = walk.low[*parent].min(walk.low[node]);
                }
                if walk.low[node] == walk.number[node] {
                    knots.close(walk.leave(node, &mut is_open));
                }
            }
        }
        knots
    }

    fn close(&mut self, mut members: Vec<usize>) {
        if members.len() > 1 {
            members.sort_unstable();
            for member in &members {
                self.of_node[*member] = self.members.len();
            }
            self.members.push(members);
        }
    }
}

struct Walk {
    number: Vec<usize>,
    low: Vec<usize>,
    next: usize,
    open: Vec<usize>,
}

impl Walk {
    fn enter(&mut self, node: usize, is_open: &mut [bool]) {
        self.number[node] = self.next;
        self.low[node] = self.next;
        self.next += 1;
        self.open.push(node);
        is_open[node] = true;
    }

    fn leave(&mut self, root: usize, is_open: &mut [bool]) -> Vec<usize> {
        let from = self.open.iter().rposition(|node| *node == root).expect("a root is open until it is left");
        let members = self.open.split_off(from);
        for member in &members {
            is_open[*member] = false;
        }
        members
    }
}

const NONE: usize = usize::MAX;
const CYCLES_MAX: usize = 8;
/// So many dependencies of a knot are tried for the shortest cycle through them.
const STARTS_MAX: usize = 256;
