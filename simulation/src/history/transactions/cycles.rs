//! Cycles among dependencies: for each knot a shortest one of each of the worst kinds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::super::linearizability::{SearchBudget, Spent};
use super::graph::{Edge, EdgeKind, Graph};

/// A cycle of dependencies: each transaction comes before the next for the stated reason, and the last comes before the
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    pub(super) name: String,
    pub(super) steps: Vec<(usize, EdgeKind)>,
}

/// For each knot (strongly connected component) a shortest cycle of each kind, except those that a worse one implies.
/// If the budget runs out before one was found, any cycle.
pub(super) fn find(graph: &Graph, budget: &mut SearchBudget) -> Vec<Cycle> {
    let knots = Knots::of(graph, |_| true);
    let mut smaller = SmallerKnots::default();
    let mut cycles = Vec::new();
    for knot in 0..knots.members.len().min(CYCLES_MAX) {
        let mut found: Vec<Class> = Vec::new();
        for class in classes() {
            if found.iter().any(|worse| worse.implies(&class)) {
                continue;
            }
            let members = &knots.members[knot];
            if let Some(steps) = shortest(graph, members, smaller.of(graph, &class), &class, budget) {
                // The search is not complete, so that one of a worse kind can turn up late.
                let class = classes().find(|class| class.is_of(&steps)).unwrap_or(class);
                cycles.push(Cycle { name: class.name(), steps });
                found.push(class);
            }
        }
        if found.is_empty() {
            cycles.extend(any(graph, &knots, knot));
        }
    }
    cycles
}

/// The knots that are left if only dependencies of a class are used. Without such a knot there is no cycle of it.
#[derive(Default)]
struct SmallerKnots(BTreeMap<(MadeOf, Order), Knots>);

impl SmallerKnots {
    fn of(&mut self, graph: &Graph, class: &Class) -> &Knots {
        let key = (class.base.made_of, class.order);
        self.0.entry(key).or_insert_with(|| {
            Knots::of(graph, |kind| kind == EdgeKind::Through || class.may_have(kind) || (class.base.has)(kind))
        })
    }
}

/// Some cycle of a knot, under the name of the worst kind that it belongs to.
fn any(graph: &Graph, knots: &Knots, knot: usize) -> Option<Cycle> {
    let from = knots.members[knot].iter().copied().find(|node| *node < graph.transactions)?;
    let mut ways = graph.edges[from].iter().filter(|edge| knots.of_node[edge.to] == knot);
    let everything = Class { base: &BASES[BASES.len() - 1], order: Order::RealTime };
    let steps = ways.find_map(|edge| {
        let mut edges = vec![(from, *edge)];
        let mut budget = SearchBudget::of_steps(u64::MAX);
        edges.extend(way_back(graph, knots, edge, from, &everything, &mut budget).ok()??);
        Some(dependencies(graph, &edges))
    })?;
    let name = classes().find(|class| class.is_of(&steps)).map_or_else(|| "cycle".to_owned(), |class| class.name());
    Some(Cycle { name, steps })
}

/// A kind of cycle: the dependency that it must have, and those that it may have.
struct Base {
    name: &'static str,
    words: &'static str,
    /// The words for a cycle in a session or in real time.
    late_words: &'static str,
    /// The dependencies of which the cycle consists.
    made_of: MadeOf,
    /// True for the dependency that the cycle must have.
    has: fn(EdgeKind) -> bool,
    may_have: fn(EdgeKind) -> bool,
    /// True if two anti-dependencies may follow each other.
    may_follow: bool,
}

/// From the worst kind on. A kind is searched only where none was found that implies it, so that cycles with one
/// anti-dependency come before cycles with several.
const BASES: [Base; 5] = [
    Base {
        name: "G0",
        words: "write cycle",
        late_words: "writes against the order of time",
        made_of: MadeOf::Appends,
        has: is_ww,
        may_have: is_ww,
        may_follow: true,
    },
    Base {
        name: "G1c",
        words: "circular information flow",
        late_words: "read from the future",
        made_of: MadeOf::AppendsAndReads,
        has: is_wr,
        may_have: |kind| is_ww(kind) || is_wr(kind),
        may_follow: true,
    },
    Base {
        name: "G-single-item",
        words: "read skew",
        late_words: "stale read",
        made_of: MadeOf::All,
        has: is_rw,
        may_have: |kind| is_ww(kind) || is_wr(kind),
        may_follow: true,
    },
    Base {
        name: "G-nonadjacent-item",
        words: "anti-dependencies apart from each other",
        late_words: "several stale reads",
        made_of: MadeOf::All,
        has: is_rw,
        may_have: |kind| is_ww(kind) || is_wr(kind) || is_rw(kind),
        may_follow: false,
    },
    Base {
        name: "G2-item",
        words: "anti-dependency cycle",
        late_words: "anti-dependency cycle",
        made_of: MadeOf::All,
        has: is_rw,
        may_have: |kind| is_ww(kind) || is_wr(kind) || is_rw(kind),
        may_follow: true,
    },
];

/// Kinds of dependencies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MadeOf {
    /// `ww`.
    Appends,
    /// `ww` and `wr`.
    AppendsAndReads,
    /// `ww`, `wr` and `rw`.
    All,
}

/// The orders that a cycle may use in addition to reads and appends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    None,
    Process,
    RealTime,
}

struct Class {
    base: &'static Base,
    order: Order,
}

/// From the worst class on: a cycle that needs no clock is worse than one that does.
fn classes() -> impl Iterator<Item = Class> {
    let of_order = |order| BASES.iter().map(move |base| Class { base, order });
    [Order::None, Order::Process, Order::RealTime].into_iter().flat_map(of_order)
}

impl Class {
    /// True if a cycle of this class is worse than one of the other in each regard, so that the other tells nothing
    /// new. Cycles with and without anti-dependencies do not imply each other.
    fn implies(&self, other: &Self) -> bool {
        let severity = |class: &Self| BASES.iter().position(|base| base.name == class.base.name);
        let has_rw = |class: &Self| class.base.made_of == MadeOf::All;
        has_rw(self) == has_rw(other) && severity(self) <= severity(other) && self.order <= other.order
    }

    fn name(&self) -> String {
        let Base { name, words, late_words, .. } = self.base;
        match self.order {
            Order::None => format!("{name}, {words}"),
            Order::Process => format!("{name}-process, {late_words} of one process"),
            Order::RealTime => format!("{name}-realtime, {late_words}"),
        }
    }

    fn may_have(&self, kind: EdgeKind) -> bool {
        match kind {
            EdgeKind::Process => self.order != Order::None,
            EdgeKind::RealTime => self.order == Order::RealTime,
            kind => (self.base.may_have)(kind),
        }
    }

    /// True if `kind` may follow `before`.
    fn may_follow(&self, before: EdgeKind, kind: EdgeKind) -> bool {
        self.base.may_follow || !is_rw(before) || !is_rw(kind)
    }

    fn is_of(&self, steps: &[(usize, EdgeKind)]) -> bool {
        let at = |place: usize| steps[place % steps.len()].1;
        let kinds = || steps.iter().map(|(_, kind)| *kind);
        let has = kinds().filter(|kind| (self.base.has)(*kind)).count();
        has > 0
            && kinds().all(|kind| self.may_have(kind) || (has == 1 && (self.base.has)(kind)))
            && (0..steps.len()).all(|place| steps.len() == 1 || self.may_follow(at(place), at(place + 1)))
    }
}

fn is_ww(kind: EdgeKind) -> bool {
    matches!(kind, EdgeKind::Ww { .. })
}

fn is_wr(kind: EdgeKind) -> bool {
    matches!(kind, EdgeKind::Wr { .. })
}

fn is_rw(kind: EdgeKind) -> bool {
    matches!(kind, EdgeKind::Rw { .. })
}

fn shortest(
    graph: &Graph,
    members: &[usize],
    knots: &Knots,
    class: &Class,
    budget: &mut SearchBudget,
) -> Option<Vec<(usize, EdgeKind)>> {
    let mut best: Option<Vec<(usize, EdgeKind)>> = None;
    let members = members.iter().filter(|from| knots.of_node[**from] != NONE);
    let starts = members.flat_map(|from| graph.edges[*from].iter().map(move |edge| (*from, *edge)));
    let starts = starts.filter(|(from, edge)| (class.base.has)(edge.kind) && knots.are_one(*from, edge.to));
    let mut starts: Vec<(usize, Edge)> = starts.collect();
    // Transactions are numbered as they were called. Every cycle has a dependency that goes back, and those that go
    // back furthest are the likeliest to have a way forward again.
    starts.sort_by_key(|(from, edge)| (edge.to.cast_signed()).wrapping_sub(from.cast_signed()));
    let mut steps_kept = 0;
    for (from, edge) in starts.into_iter().take(STARTS_MAX) {
        if best.is_some() && budget.steps_left() < steps_kept {
            break;
        }
        let way = match way_back(graph, knots, &edge, from, class, budget) {
            Ok(Some(way)) => way,
            Ok(None) => continue,
            Err(Spent) => break,
        };
        let mut edges = vec![(from, edge)];
        edges.extend(way);
        let steps = dependencies(graph, &edges);
        if best.as_ref().is_none_or(|best| steps.len() < best.len()) && is_simple(&steps) {
            if best.is_none() {
                steps_kept = budget.steps_left().saturating_sub(SHORTER_STEPS_MAX);
            }
            best = Some(steps);
        }
    }
    best
}

/// True if no transaction occurs twice. One can, because the way to a transaction decides how the search continues.
fn is_simple(steps: &[(usize, EdgeKind)]) -> bool {
    let mut met: Vec<usize> = steps.iter().map(|(transaction, _)| *transaction).collect();
    met.sort_unstable();
    met.windows(2).all(|pair| pair[0] != pair[1])
}

/// A path with the fewest dependencies from the end of the edge `first` to `goal` within their knot, if there is one.
fn way_back(
    graph: &Graph,
    knots: &Knots,
    first: &Edge,
    goal: usize,
    class: &Class,
    budget: &mut SearchBudget,
) -> Result<Option<Vec<(usize, Edge)>>, Spent> {
    // The current node, and whether the last dependency was an anti-dependency, if that matters.
    type Place = (usize, bool);
    let place = |node, kind| (node, !class.base.may_follow && is_rw(kind));
    let start = place(first.to, first.kind);
    let mut came_by: HashMap<Place, Option<(Place, Edge)>> = [(start, None)].into();
    // Continuing from an auxiliary node costs nothing, so it goes to the front.
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        let (node, is_behind_rw) = at;
        // The first edge comes after the last.
        if node == goal && !is_behind_rw {
            let mut way = Vec::new();
            let mut at = at;
            while let Some((from, edge)) = came_by[&at] {
                way.push((from.0, edge));
                at = from;
            }
            way.reverse();
            return Ok(Some(way));
        }
        budget.charge(1 + graph.edges[node].len())?;
        for edge in &graph.edges[node] {
            let is_free = edge.kind == EdgeKind::Through;
            let is_allowed = is_free || (class.may_have(edge.kind) && !(is_behind_rw && is_rw(edge.kind)));
            let next = if is_free { (edge.to, is_behind_rw) } else { place(edge.to, edge.kind) };
            if is_allowed && knots.of_node[edge.to] == knots.of_node[goal] && !came_by.contains_key(&next) {
                came_by.insert(next, Some((at, *edge)));
                if is_free {
                    queue.push_front(next);
                } else {
                    queue.push_back(next);
                }
            }
        }
    }
    Ok(None)
}

/// Edges between transactions only: auxiliary nodes are left out.
fn dependencies(graph: &Graph, edges: &[(usize, Edge)]) -> Vec<(usize, EdgeKind)> {
    let is_dependency = |(from, edge): &&(usize, Edge)| *from < graph.transactions && edge.kind != EdgeKind::Through;
    edges.iter().filter(is_dependency).map(|(from, edge)| (*from, edge.kind)).collect()
}

/// Strongly connected components with more than one node (Tarjan, "Depth-First Search and Linear Graph Algorithms",
/// SIAM J. Comput. 1972), without recursion.
struct Knots {
    /// The knot of each node; [`NONE`] for nodes outside knots.
    of_node: Vec<usize>,
    members: Vec<Vec<usize>>,
}

impl Knots {
    /// The knots of the dependencies of some kinds.
    fn of(graph: &Graph, is_used: impl Fn(EdgeKind) -> bool) -> Self {
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
                if let Some(&Edge { to, kind }) = graph.edges[node].get(*edge) {
                    *edge += 1;
                    if !is_used(kind) {
                        continue;
                    }
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

    /// True if both nodes are in the same knot.
    fn are_one(&self, one: usize, other: usize) -> bool {
        self.of_node[one] != NONE && self.of_node[one] == self.of_node[other]
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
/// Number of dependencies of a knot that are tried for the shortest cycle through them.
const STARTS_MAX: usize = 256;
/// Number of steps in which a shorter cycle than the first is looked for.
const SHORTER_STEPS_MAX: u64 = 2_000_000;
