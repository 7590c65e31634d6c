//! The other nodes of the group: when they were heard from, which of them count, and how they founded the group.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::{Incarnation, Instant, MemberChange, NodeId, Standing, VotingBar};
use quorate_transport::Sender;

use crate::group::founding::Founding;

/// Contacts with the other nodes, and what the node has established about them and about itself.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// One for each node that was heard from.
    contacts: Vec<Contact>,
    /// Nodes that count, because their incarnations are the known ones. At first none does.
    members: BTreeSet<NodeId>,
    /// Reason why this node does not vote according to the introductions. The core knows other reasons.
    introduction_bar: Option<VotingBar>,
    /// The founding of the group; `None` until the node has passed it.
    founding: Option<Founding>,
    /// Peers that founded the group otherwise. None of them is a member.
    founded_otherwise: BTreeSet<NodeId>,
}

/// The last contact with a node.
#[derive(Clone, Copy, Debug)]
struct Contact {
    node: NodeId,
    /// The disk that the newest frame came from; `None` if only its life was reported.
    incarnation: Option<Incarnation>,
    /// Never goes back.
    heard_at: Instant,
}

impl Peers {
    /// Notes that a node was alive at this time.
    pub(super) fn on_alive(&mut self, node: NodeId, at: Instant) {
        match self.contacts.iter_mut().find(|contact| contact.node == node) {
            Some(contact) => contact.heard_at = contact.heard_at.max(at),
            None => self.contacts.push(Contact { node, incarnation: None, heard_at: at }),
        }
    }

    /// Notes that a frame of a node was received.
    pub(super) fn on_heard(&mut self, from: Sender, now: Instant) {
        self.on_alive(from.node, now);
        let contact = self.contacts.iter_mut().find(|contact| contact.node == from.node);
        contact.expect("just noted").incarnation = Some(from.incarnation);
    }

    /// Names the disk of a node that is admitted again under its id: the one that was heard from last.
    pub(super) fn with_incarnation(&self, mut change: MemberChange) -> MemberChange {
        if let MemberChange::Replace { old, new } = &mut change
            && *old == new.node
            && new.incarnation.is_none()
        {
            new.incarnation = self.contacts.iter().find(|contact| contact.node == *old).and_then(|it| it.incarnation);
        }
        change
    }

    pub(super) fn on_standing(&mut self, node: NodeId, standing: Standing) {
        match standing {
            Standing::Member => _ = self.members.insert(node),
            Standing::Stranger => _ = self.members.remove(&node),
        }
    }

    /// The node may no longer vote in the group, or may again, according to the introductions.
    pub(super) fn on_barred(&mut self, bar: Option<VotingBar>) {
        self.introduction_bar = bar;
    }

    pub(super) fn on_founded(&mut self, founding: Founding) {
        self.founding = Some(founding);
    }

    pub(super) fn on_founded_otherwise(&mut self, peers: BTreeSet<NodeId>) {
        self.founded_otherwise = peers;
    }

    /// Returns the reason why this node may not vote. The node knows best about introductions, the core about the
    /// configuration.
    pub(super) fn voting_bar(&self, of_core: Option<VotingBar>) -> Option<VotingBar> {
        self.introduction_bar.or(of_core)
    }

    /// Returns the reason why this node may not vote according to the introductions.
    pub(super) fn introduction_bar(&self) -> Option<VotingBar> {
        self.introduction_bar
    }

    /// Returns the reason why the other nodes treat this node as a stranger, if they do.
    pub(super) fn stranger_bar(&self) -> Option<VotingBar> {
        self.introduction_bar.filter(|bar| bar.is_stranger())
    }

    /// Returns true if a node does not count: its disk was wiped, or it belongs to another cluster that was founded
    /// under the same name.
    pub(super) fn is_stranger(&self, node: NodeId) -> bool {
        !self.members.contains(&node)
    }

    /// Returns the time since a node was last heard from.
    pub(super) fn silence(&self, node: NodeId, now: Instant) -> Option<Duration> {
        let contact = self.contacts.iter().find(|contact| contact.node == node)?;
        Some(now.since(contact.heard_at))
    }

    /// Returns true if a node was not heard from lately.
    pub(super) fn is_silent(&self, node: NodeId, now: Instant) -> bool {
        self.silence(node, now).is_none_or(|silence| silence >= SILENT_AFTER)
    }

    pub(super) fn founding(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    pub(super) fn founded_otherwise(&self) -> &BTreeSet<NodeId> {
        &self.founded_otherwise
    }
}

/// A node that was not heard from for this time is called silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
