//! The nodes with which this node exchanges frames: those of its settings, and the members of its groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, Instant, NodeId};

use crate::group::interface::Members;

/// The peers, and the groups that name them.
#[derive(Debug)]
pub(super) struct Peers {
    own: NodeId,
    /// The peers of the settings. They always stay.
    fixed: BTreeSet<NodeId>,
    /// Nodes that groups name, and those that leave.
    named: BTreeMap<NodeId, Named>,
    /// The members that each group names now.
    of_group: BTreeMap<GroupId, Arc<Members>>,
    /// The same, each different set once: most groups have the same members.
    shared: BTreeSet<Arc<Members>>,
    /// The peers with their contexts, newest first, as last computed.
    now: BTreeMap<NodeId, Vec<Bytes>>,
    /// The peers as the shell was last told.
    told: BTreeMap<NodeId, Vec<Bytes>>,
    /// Something changed since `now` was computed.
    is_stale: bool,
    /// The earliest time at which a node leaves.
    next_leaves_at: Option<Instant>,
}

/// A node that groups name.
#[derive(Debug, Default)]
struct Named {
    /// Number of groups that name it, once for each context.
    groups: usize,
    /// Its contexts, newest first. When no group names it any more, the last ones stay until it leaves.
    contexts: Vec<NamedContext>,
    /// The time at which it leaves, because no group names it any more.
    leaves_at: Option<Instant>,
}

/// A context of a node.
#[derive(Debug)]
struct NamedContext {
    context: Bytes,
    /// Number of groups whose configuration has it.
    groups: usize,
}

impl Peers {
    pub(super) fn new(own: NodeId, fixed: BTreeSet<NodeId>) -> Self {
        let now: BTreeMap<_, _> = fixed.iter().map(|peer| (*peer, Vec::new())).collect();
        Self {
            own,
            fixed,
            named: BTreeMap::new(),
            of_group: BTreeMap::new(),
            shared: BTreeSet::new(),
            told: now.clone(),
            now,
            is_stale: false,
            next_leaves_at: None,
        }
    }

    /// The group has these members now, in place of those that it had before.
    pub(super) fn set(&mut self, now: Instant, group: GroupId, members: Members) {
        let before = self.of_group.get(&group).cloned();
        if before.as_deref() == Some(&members) {
            return;
        }
        let members = self.share(members);
        for (node, context) in members.iter().filter(|(node, _)| *node != self.own) {
            self.is_stale |= self.named.entry(*node).or_default().add(context);
        }
        self.of_group.insert(group, members);
        let Some(before) = before else { return };
        for (node, context) in before.iter().filter(|(node, _)| *node != self.own) {
            let named = self.named.get_mut(node).expect("a node that the group named");
            self.is_stale |= named.remove(context, now);
        }
        self.unshare(&before);
    }

    /// Computes the peers anew if they may have changed. Returns true if it did.
    pub(super) fn refresh(&mut self, now: Instant) -> bool {
        if !self.is_stale && self.next_leaves_at.is_none_or(|at| now < at) {
            return false;
        }
        self.is_stale = false;
        // A node that the shell was never told about needs no time to leave.
        let told = &self.told;
        self.named.retain(|node, named| named.leaves_at.is_none_or(|at| now < at && told.contains_key(node)));
        self.next_leaves_at = self.named.values().filter_map(|named| named.leaves_at).min();
        self.now = self.fixed.iter().map(|peer| (*peer, Vec::new())).collect();
        self.now.extend(self.named.iter().map(|(node, named)| (*node, named.contexts())));
        true
    }

    /// The peers with their contexts, newest first, if they differ from those that were last taken.
    pub(super) fn take_news(&mut self) -> Option<BTreeMap<NodeId, Vec<Bytes>>> {
        if self.told == self.now {
            return None;
        }
        self.told.clone_from(&self.now);
        Some(self.told.clone())
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.now.contains_key(&node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.now.keys().copied()
    }

    fn share(&mut self, members: Members) -> Arc<Members> {
        if let Some(shared) = self.shared.get(&members) {
            return shared.clone();
        }
        let members = Arc::new(members);
        self.shared.insert(members.clone());
        members
    }

    /// Drops members that no group has any more.
    fn unshare(&mut self, members: &Arc<Members>) {
        const SHARED_AND_BORROWED: usize = 2;
        if Arc::strong_count(members) == SHARED_AND_BORROWED {
            self.shared.remove(members);
        }
    }
}

impl Named {
    /// One more group names the node with this context. Returns true if that changes its contexts or brings it back.
    fn add(&mut self, context: &Bytes) -> bool {
        let is_back = self.groups == 0;
        if is_back {
            self.leaves_at = None;
            self.contexts.clear();
        }
        self.groups += 1;
        let known = self.contexts.iter_mut().find(|known| known.context == *context);
        let is_new = known.is_none();
        match known {
            Some(known) => known.groups += 1,
            None => self.contexts.insert(0, NamedContext { context: context.clone(), groups: 1 }),
        }
        is_back || is_new
    }

    /// One group fewer names the node with this context. Returns true if it was the last one.
    fn remove(&mut self, context: &Bytes, now: Instant) -> bool {
        let known = self.contexts.iter_mut().find(|known| known.context == *context).expect("a context that was added");
        known.groups -= 1;
        self.groups -= 1;
        let is_last = known.groups == 0;
        if self.groups == 0 {
            self.leaves_at = Some(now.after(LEAVING));
        } else {
            self.contexts.retain(|known| known.groups > 0);
        }
        is_last
    }

    /// An empty context says nothing.
    fn contexts(&self) -> Vec<Bytes> {
        let contexts = self.contexts.iter().map(|known| &known.context).filter(|context| !context.is_empty());
        contexts.take(CONTEXTS_MAX).cloned().collect()
    }
}

/// Time for which a node stays a peer after the last group stopped naming it, so that it learns from the group that it
/// was removed.
const LEAVING: Duration = Duration::from_secs(5);

/// Maximum number of contexts of one node, the newest ones. There is more than one while groups are moved one after the
/// other.
const CONTEXTS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_protocol::{GroupId, Instant, NodeId};

    use super::{CONTEXTS_MAX, Peers};
    use crate::group::interface::Members;

    fn members(context: String) -> Members {
        [(NodeId(1), Bytes::new()), (NodeId(2), Bytes::from(context))].into()
    }

    #[test]
    fn equal_members_are_kept_once() {
        let mut peers = Peers::new(NodeId(1), [NodeId(3)].into());
        let mut computed = 0;
        for context in ["here", "there"] {
            for group in 0..10_000 {
                peers.set(Instant::ZERO, GroupId(group), members(context.to_owned()));
                computed += u64::from(peers.refresh(Instant::ZERO));
            }
        }
        assert_eq!((computed, peers.shared.len(), peers.named.len()), (3, 1, 1));
        assert_eq!(peers.take_news().map(|news| news[&NodeId(2)].clone()), Some(vec![Bytes::from("there")]));
    }

    #[test]
    fn the_newest_contexts_are_taken_and_no_more() {
        let mut peers = Peers::new(NodeId(1), [].into());
        for group in 0..10 {
            peers.set(Instant::ZERO, GroupId(group), members(group.to_string()));
        }
        assert!(peers.refresh(Instant::ZERO));
        let taken = peers.take_news().expect("there is news").remove(&NodeId(2)).expect("it is named");
        assert_eq!(taken, ["9", "8", "7", "6"].map(Bytes::from));
        assert_eq!(taken.len(), CONTEXTS_MAX);
        assert!(peers.take_news().is_none());
    }
}
