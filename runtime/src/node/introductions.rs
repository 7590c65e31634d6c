//! The standing of nodes. An exchange between nodes detects a wiped disk, an older copy of a disk, and a peer that
//! founded a group otherwise.
//!
//! The rules, and the reasons why they suffice:
//!
//! - **Incarnations.** A node writes down the first incarnation that it meets under an id, and never another. It votes
//!   in a group only if every voter that the group was founded with has its incarnation durable and it has theirs. So
//!   if a node ever voted, every other founding voter knows its incarnation. If it comes back with an empty disk and
//!   another incarnation, no founding voter that kept its own disk introduces it, and it stays a non-voter. If a voter
//!   never met the old node, the old node never voted, and nothing is forgotten. A node that joined a group meets the
//!   voters of the group's configuration instead.
//! - **Disks that a configuration names.** The configuration of a group may name the incarnation of a member. Then that
//!   disk alone counts as the member in this group, whatever the nodes met before, and it need not be introduced: every
//!   node that counts the member has the incarnation in its log. A node whose disk was lost is admitted again in this
//!   way, and is no member until the configuration names its new disk. Other groups are not affected.
//! - **Starts.** A node sends no message of a group to a peer before the peer has stated that it has this start of the
//!   node durable. So if a node ever promised or acknowledged something to a peer, that peer knows this start or a
//!   later one. A node that runs on an older copy of its disk begins with a past start. The first peer that knows a
//!   later one notifies it, before it could send a message of a group to that peer. It writes down that it is an older
//!   copy, and never counts again. The node waits for no other peer, so this costs a round trip and a write at each
//!   start, but no liveness. Two cases are not detected: a copy that was made during the start which all peers know as
//!   the newest, and a copy that is put back while the peers that know a later start are down.
//! - **Foundings.** Each exchange contains the foundings of the sender's groups. If a peer founded a group otherwise,
//!   or has not stated in this start of the node that it has it, nothing is accepted from it or sent to it for that
//!   group. The exchange at a start contains the groups of that start. When a group is added or removed later, the node
//!   sends its whole list again, with an edition, until each peer has stated that it knows this edition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_protocol::{GroupId, Incarnation, Instant, NodeId, Standing, Ticket, VotingBar};
use quorate_transport::Sender;
use quorate_wal::StreamId;

use super::foundings::{self, Difference, FoundingRun, Stated};
use super::message::{Edition, NodeMessage};
use super::own_stream::{OwnStream, OwnWrite, Written};
use super::peers::Peers;
use super::roster::{Acquaintance, Roster, Start};
use crate::group::founding::Founding;
use crate::group::interface::Membership;
use crate::group::notice::Notice;

/// The node's knowledge of its peers, and the exchange that produces it.
#[derive(Debug)]
pub(super) struct Introductions {
    /// The roster, and the writes that make it durable.
    stream: OwnStream,
    /// The foundings of the groups that this node started with, as sent to peers.
    foundings: Vec<FoundingRun>,
    /// The same after groups were added or removed, if any were.
    changed: Option<(Edition, Vec<FoundingRun>)>,
    /// Peers that are not forgotten in this start: the configured peers, founding voters, and members of groups.
    kept: BTreeSet<NodeId>,
    /// State of each peer as heard in this start.
    seen: BTreeMap<NodeId, Seen>,
    /// Peers whose `Hello` is not answered until they are durably known. A subset of the known peers, hence bounded.
    unanswered: BTreeSet<NodeId>,
    /// A peer that knows this node under another incarnation, with that incarnation.
    barred: Option<(NodeId, Incarnation)>,
    effects: VecDeque<Effect>,
}

/// A peer as it was last heard from.
#[derive(Debug)]
struct Seen {
    incarnation: Incarnation,
    /// The peer has this start of this node durable, or knows that this node does not count.
    knows_us: bool,
    /// The newest edition of this node's groups that the peer knows.
    knows_groups: Edition,
    /// Its groups; `None` as long as it has not stated them.
    stated: Option<Stated>,
}

/// An effect of an introduction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Send(NodeId, NodeMessage),
    Persist(OwnWrite),
    /// The peer's standing may have changed: ask [`Introductions::standing`] and [`Introductions::foreign`] for each
    /// group.
    Standing(NodeId),
    /// Another process than before speaks for the peer.
    NewVoice(NodeId),
    /// The peer has started anew.
    NewStart(NodeId),
    /// This node's own standing may have changed: ask [`Introductions::voting_bar`] for each group.
    SelfStanding,
    /// The founding of a new group is durable.
    Founded(GroupId),
    /// The removal of a group is durable. It had this stream.
    Removed(GroupId, StreamId),
    Notice(Notice),
}

impl Introductions {
    pub(super) fn new(roster: Roster, peers: &BTreeSet<NodeId>) -> Self {
        let founding_voters = roster.groups.values().flat_map(|bound| bound.founding.voters());
        Self {
            foundings: foundings::runs(&roster.groups),
            changed: None,
            kept: peers.iter().copied().chain(founding_voters).collect(),
            stream: OwnStream::new(roster),
            seen: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            barred: None,
            effects: VecDeque::new(),
        }
    }

    pub(super) fn roster(&self) -> &Roster {
        self.stream.roster()
    }

    /// The peers are these now. One that was a peer before must introduce itself again when it is one again.
    pub(super) fn follow(&mut self, peers: &Peers) {
        self.kept.extend(peers.nodes());
        for gone in self.seen.keys().copied().filter(|peer| !peers.contains(*peer)).collect::<Vec<_>>() {
            self.seen.remove(&gone);
            self.unanswered.remove(&gone);
            self.effects.push_back(Effect::Standing(gone));
        }
    }

    /// Notes the incarnation under which a peer was heard from, before any of its messages is passed on.
    pub(super) fn on_frame(&mut self, from: Sender) {
        if self.seen.get(&from.node).is_some_and(|seen| seen.incarnation == from.incarnation) {
            return;
        }
        let (knows_groups, stated) = (Edition::default(), None);
        let seen = Seen { incarnation: from.incarnation, knows_us: false, knows_groups, stated };
        self.seen.insert(from.node, seen);
        self.effects.extend([Effect::NewVoice(from.node), Effect::Standing(from.node)]);
        if let Some(known) = self.roster().peers.get(&from.node)
            && known.incarnation != from.incarnation
        {
            let (found, known) = (from.incarnation, known.incarnation);
            self.effects.push_back(Effect::Notice(Notice::PeerStranger { peer: from.node, found, known }));
        }
    }

    /// Founds a new group. [`Effect::Founded`] comes when that is durable.
    pub(super) fn found(&mut self, group: GroupId, founding: Founding) {
        self.kept.extend(founding.voters());
        self.stream.found(group, founding);
        self.write();
    }

    /// Removes a group for good. [`Effect::Removed`] comes when that is durable.
    pub(super) fn remove(&mut self, group: GroupId) {
        self.stream.remove(group);
        self.write();
    }

    /// Asks a peer for an introduction, unless both already know everything of each other. States the groups of this
    /// node if they have changed and the peer does not know that.
    pub(super) fn greet(&mut self, peer: NodeId) {
        if let (Some((edition, foundings)), Some(seen)) = (&self.changed, self.seen.get(&peer))
            && seen.knows_groups < *edition
        {
            let groups = NodeMessage::Groups { edition: *edition, foundings: foundings.clone() };
            self.effects.push_back(Effect::Send(peer, groups));
        }
        let is_acquainted = self.seen.get(&peer).is_some_and(|seen| seen.knows_us && seen.stated.is_some());
        let is_final = self.is_introduced(peer) || self.is_stranger(peer) || self.barred.is_some();
        if !is_acquainted || !is_final {
            let known = self.stream.durable(peer).map(|known| known.incarnation);
            let (start, is_older) = (self.roster().start, self.roster().is_older);
            let hello = NodeMessage::Hello { known, start, is_older, foundings: self.foundings.clone() };
            self.effects.push_back(Effect::Send(peer, hello));
        }
    }

    /// Handles a peer's request for an introduction.
    pub(super) fn on_hello(&mut self, from: Sender, hello: &Hello<'_>) {
        if !self.meet(from) {
            return;
        }
        self.compare(from.node, Edition { start: hello.start.counter, changes: 0 }, hello.foundings);
        let known = self.roster().peers[&from.node];
        if known.incarnation == from.incarnation {
            // A smaller counter may come from a greeting that was long under way; the answer shows it. A counter is
            // used only once.
            let is_newer = hello.start.counter > known.start.counter;
            let is_forked = hello.start.counter == known.start.counter && hello.start != known.start;
            let is_older = known.is_older || hello.is_older || is_forked;
            if is_newer && let Some(seen) = self.seen.get_mut(&from.node) {
                // Its new start knows nothing of what the one before was told.
                seen.knows_groups = Edition::default();
                self.effects.push_back(Effect::NewStart(from.node));
            }
            if is_newer || is_older != known.is_older {
                let start = if is_newer { hello.start } else { known.start };
                self.stream.change_peer(from.node, |known| (known.start, known.is_older) = (start, is_older));
            }
        }
        self.unanswered.insert(from.node);
        match hello.known {
            Some(known) if known == self.roster().identity.incarnation => self.note_mutual(from),
            Some(known) => self.bar(from, known),
            None => {}
        }
        self.answer();
        self.write();
    }

    /// A peer has this node, or its predecessor, durable.
    pub(super) fn on_known(&mut self, from: Sender, incarnation: Incarnation, hello: &Hello<'_>) {
        if incarnation != self.roster().identity.incarnation || !self.meet(from) {
            return;
        }
        self.compare(from.node, Edition::default(), hello.foundings);
        self.note_mutual(from);
        let (known, own) = (hello.start, self.roster().start);
        let is_later = known.counter > own.counter || (known.counter == own.counter && known.begun_ms != own.begun_ms);
        // A stranger's statement about this node does not count, and this node's messages do not count there either.
        let is_vouched_for = self.roster().peers[&from.node].incarnation == from.incarnation;
        if is_vouched_for && (is_later || hello.is_older) && !self.roster().is_older {
            self.stream.note_older();
            let notice = Notice::SelfOlder { peer: from.node, known_start: known.counter, start: own.counter };
            self.effects.extend([Effect::Notice(notice), Effect::SelfStanding]);
            // Every peer must be notified.
            self.seen.values_mut().for_each(|seen| seen.knows_us = false);
        }
        let knows_start = known == own && (hello.is_older || !self.roster().is_older);
        if (knows_start || hello.is_older || !is_vouched_for)
            && let Some(seen) = self.seen.get_mut(&from.node)
        {
            seen.knows_us = true;
        }
        self.write();
    }

    /// A peer knows another incarnation under this node's id.
    pub(super) fn on_mismatch(&mut self, from: Sender, known: Incarnation, foundings: &[FoundingRun]) {
        if known == self.roster().identity.incarnation || !self.meet(from) {
            return;
        }
        self.compare(from.node, Edition::default(), foundings);
        self.bar(from, known);
        // The peer takes this node for a stranger, so this node's messages do not count there.
        if let Some(seen) = self.seen.get_mut(&from.node) {
            seen.knows_us = true;
        }
        self.write();
    }

    /// The groups of a peer have changed since it started.
    pub(super) fn on_groups(&mut self, from: Sender, edition: Edition, foundings: &[FoundingRun]) {
        if !self.meet(from) {
            return;
        }
        self.compare(from.node, edition, foundings);
        let start = self.roster().start.counter;
        self.effects.push_back(Effect::Send(from.node, NodeMessage::GroupsKnown { edition, start }));
        self.write();
    }

    /// A peer knows this edition of the groups of this node.
    pub(super) fn on_groups_known(&mut self, from: Sender, edition: Edition, start: u32) {
        // An answer of an earlier start of the peer does not count: the new one knows nothing of it.
        let is_current = self.roster().peers.get(&from.node).is_some_and(|known| known.start.counter == start);
        if let Some(seen) = self.seen.get_mut(&from.node).filter(|_| is_current) {
            seen.knows_groups = seen.knows_groups.max(edition);
        }
    }

    /// A peer has lost data that it acknowledged, so it runs on an older copy of its disk. It is notified once that is
    /// durable here.
    pub(super) fn note_older(&mut self, peer: NodeId) {
        let incarnation = self.seen.get(&peer).map(|seen| seen.incarnation);
        let known = self.roster().peers.get(&peer).filter(|known| Some(known.incarnation) == incarnation);
        if known.is_none_or(|known| known.is_older) {
            return;
        }
        self.stream.change_peer(peer, |known| known.is_older = true);
        self.effects.push_back(Effect::Standing(peer));
        self.unanswered.insert(peer);
        self.write();
    }

    /// Stream 0 keeps the log's oldest segment from being deleted: writes the whole stream again.
    pub(super) fn on_compact_requested(&mut self) {
        self.stream.note_compaction();
        self.write();
    }

    /// Every write of stream 0 up to `ticket` is durable.
    pub(super) fn on_persisted(&mut self, ticket: Ticket) {
        let (before, founded, removed) = match self.stream.on_persisted(ticket) {
            None => return,
            Some(Written::Part(next)) => return self.effects.push_back(Effect::Persist(next)),
            Some(Written::Complete { before, founded, removed }) => (before, founded, removed),
        };
        for (peer, known) in self.stream.durable_peers().collect::<Vec<_>>() {
            self.announce(peer, known, before.get(&peer));
        }
        self.effects.push_back(Effect::SelfStanding);
        self.on_groups_changed(&founded, &removed);
        self.answer();
        self.write();
    }

    /// The foundings and removals of these groups are durable: states the groups of this node to all peers.
    fn on_groups_changed(&mut self, founded: &[GroupId], removed: &[GroupId]) {
        if founded.is_empty() && removed.is_empty() {
            return;
        }
        self.effects.extend(founded.iter().map(|group| Effect::Founded(*group)));
        for group in removed {
            self.effects.extend(self.stream.forget(*group).map(|stream| Effect::Removed(*group, stream)));
        }
        let start = self.roster().start.counter;
        let changes = self.changed.as_ref().map_or(0, |(edition, _)| edition.changes) + 1;
        self.changed = Some((Edition { start, changes }, foundings::runs(&self.roster().groups)));
        for peer in self.seen.keys().copied().collect::<Vec<_>>() {
            self.compare_again(peer);
            self.greet(peer);
        }
    }

    /// A write found no room and was not made. It is retried from time to time, and when the disk has room.
    pub(super) fn on_refused(&mut self, now: Instant, ticket: Ticket) {
        if self.stream.on_refused(now, ticket) {
            self.effects.push_back(Effect::Notice(Notice::OwnStreamRefused));
        }
    }

    /// Retries a refused write because the disk has room again.
    pub(super) fn retry(&mut self) {
        self.effects.extend(self.stream.retry().map(Effect::Persist));
    }

    /// Retries a refused write if the last try is long enough ago.
    pub(super) fn retry_if_due(&mut self, now: Instant) {
        self.effects.extend(self.stream.retry_if_due(now).map(Effect::Persist));
    }

    /// The log accepts no more writes, so nothing new becomes known in this start.
    pub(super) fn on_persist_failed(&mut self) {
        self.stream.on_persist_failed();
    }

    /// Returns a peer's standing in a group. A member's last incarnation is the one that the group names, or else the
    /// durably known one, it runs on its newest disk, and it founded the group as this node did.
    pub(super) fn standing(&self, peer: NodeId, group: GroupId, membership: &Membership) -> Standing {
        let is_stranger = match membership.disks.get(&peer) {
            Some(disk) => !self.is_on_disk(peer, *disk),
            None => self.is_stranger(peer),
        };
        let is_member = !is_stranger && self.has_same_founding(peer, group);
        if is_member { Standing::Member } else { Standing::Stranger }
    }

    /// Returns true if frames of a group are accepted from a peer: it has stated in this start how it founded the
    /// group, and founded it as this node did.
    pub(super) fn has_same_founding(&self, peer: NodeId, group: GroupId) -> bool {
        self.seen.get(&peer).and_then(|seen| seen.stated.as_ref()).is_some_and(|stated| stated.shares(group))
    }

    /// Returns true if frames of a group may be sent to a peer: it also knows this start of the node.
    pub(super) fn may_speak(&self, peer: NodeId, group: GroupId) -> bool {
        self.seen.get(&peer).is_some_and(|seen| seen.knows_us) && self.has_same_founding(peer, group)
    }

    /// Returns the peers that founded the group otherwise.
    pub(super) fn foreign(&self, group: GroupId) -> BTreeSet<NodeId> {
        let is_foreign = |seen: &Seen| seen.stated.as_ref().is_some_and(|stated| stated.foreign.contains(&group));
        self.seen.iter().filter(|(_, seen)| is_foreign(seen)).map(|(peer, _)| *peer).collect()
    }

    /// Returns the reason why this node may not vote in a group with these founding voters; `None` if it may.
    pub(super) fn voting_bar(
        &self,
        group: GroupId,
        voters: &BTreeSet<NodeId>,
        membership: &Membership,
    ) -> Option<VotingBar> {
        let identity = self.roster().identity;
        let named = membership.disks.get(&identity.node);
        if named.map_or(self.barred.is_some(), |disk| *disk != identity.incarnation) {
            return Some(VotingBar::WipedDisk);
        }
        if self.roster().is_older {
            return Some(VotingBar::OlderCopy);
        }
        if self.foreign(group).iter().any(|peer| voters.contains(peer) && !self.is_replaced(*peer)) {
            return Some(VotingBar::FoundedOtherwise);
        }
        let me = identity.node;
        let to_meet = if voters.contains(&me) { voters } else { &membership.voters };
        let is_met = |voter: &NodeId| *voter == me || self.is_introduced(*voter);
        let is_introduced = || !to_meet.is_empty() && to_meet.iter().all(is_met);
        if named.is_some() || is_introduced() { None } else { Some(VotingBar::NotIntroduced) }
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns true if both sides durably know each other.
    fn is_introduced(&self, peer: NodeId) -> bool {
        self.stream.durable(peer).is_some_and(|known| known.is_mutual)
    }

    /// Returns true if the peer, as it was last heard from, is not durably known, or runs on an older copy. The latter
    /// counts before it is durable here: the disk may have no room for it.
    fn is_stranger(&self, peer: NodeId) -> bool {
        let Some(known) = self.stream.durable(peer) else { return true };
        let is_older = known.is_older || self.roster().peers.get(&peer).is_some_and(|known| known.is_older);
        is_older || self.seen.get(&peer).is_some_and(|seen| seen.incarnation != known.incarnation)
    }

    /// Returns true if the peer was last heard from on this disk, and the disk is not known to be an older copy.
    fn is_on_disk(&self, peer: NodeId, disk: Incarnation) -> bool {
        let is_older = self.roster().peers.get(&peer).is_some_and(|known| known.incarnation == disk && known.is_older);
        !is_older && self.seen.get(&peer).is_some_and(|seen| seen.incarnation == disk)
    }

    /// Returns true if the peer was introduced on another disk than the one it was last heard from on. Then it says
    /// nothing about the founding: the disk that did is gone, and the new one was started with any description.
    fn is_replaced(&self, peer: NodeId) -> bool {
        let (known, seen) = (self.stream.durable(peer), self.seen.get(&peer));
        known.zip(seen).is_some_and(|(known, seen)| known.is_mutual && known.incarnation != seen.incarnation)
    }

    /// Remembers a peer that was never met. Returns false if there is no room for it.
    fn meet(&mut self, from: Sender) -> bool {
        if self.roster().peers.contains_key(&from.node) {
            return true;
        }
        if from.node == self.roster().identity.node {
            return false;
        }
        if !self.stream.meet(from.node, from.incarnation, &self.kept) {
            // One notice is enough, because the peer continues to greet.
            if self.seen.get(&from.node).is_some_and(|seen| seen.stated.is_none()) {
                self.effects.push_back(Effect::Notice(Notice::PeersFull { peer: from.node }));
                self.compare(from.node, Edition::default(), &[]);
            }
            return false;
        }
        true
    }

    /// Takes in the groups of a peer, unless a newer edition of them is known.
    fn compare(&mut self, peer: NodeId, edition: Edition, theirs: &[FoundingRun]) {
        let Some(seen) = self.seen.get_mut(&peer) else { return };
        if seen.stated.as_ref().is_none_or(|stated| stated.edition < edition) {
            let before = seen.stated.replace(Stated::new(edition, theirs.to_vec()));
            self.note_differences(peer, before.as_ref());
        }
    }

    /// Compares the groups of a peer with those of this node, which have changed.
    fn compare_again(&mut self, peer: NodeId) {
        let Some(stated) = self.seen.get_mut(&peer).and_then(|seen| seen.stated.as_mut()) else { return };
        let before = stated.clone();
        self.note_differences(peer, Some(&before));
    }

    /// Compares the groups of a peer with those of this node, and reports what is not as `before`.
    fn note_differences(&mut self, peer: NodeId, before: Option<&Stated>) {
        let Some(stated) = self.seen.get_mut(&peer).and_then(|seen| seen.stated.as_mut()) else { return };
        let differences = stated.compare(&self.stream.roster().groups);
        if before.is_some_and(|before| before.is_alike(stated)) {
            return;
        }
        let is_known = |group: &GroupId| before.is_some_and(|before| before.foreign.contains(group));
        for Difference { groups, ours, theirs } in differences {
            if !groups.iter().all(is_known) {
                self.effects.push_back(Effect::Notice(Notice::FoundedOtherwise { peer, groups, ours, theirs }));
            }
        }
        self.effects.extend([Effect::Standing(peer), Effect::SelfStanding]);
    }

    /// The peer has this node's incarnation durable.
    fn note_mutual(&mut self, from: Sender) {
        let known = &self.roster().peers[&from.node];
        if known.incarnation == from.incarnation && !known.is_mutual {
            self.stream.change_peer(from.node, |known| known.is_mutual = true);
        }
    }

    /// The peer knows this node under another incarnation. A stranger's statement does not count.
    fn bar(&mut self, from: Sender, known: Incarnation) {
        if self.barred.is_none() && self.roster().peers[&from.node].incarnation == from.incarnation {
            self.barred = Some((from.node, known));
            self.effects.push_back(Effect::Notice(Notice::SelfStranger { peer: from.node, known }));
            self.effects.push_back(Effect::SelfStanding);
        }
    }

    /// Reports the part of a peer's record that has become durable.
    fn announce(&mut self, peer: NodeId, known: Acquaintance, before: Option<&Acquaintance>) {
        if before.is_none_or(|before| before.is_older != known.is_older) {
            self.effects.push_back(Effect::Standing(peer));
            if known.is_older {
                self.effects.push_back(Effect::Notice(Notice::PeerOlder { peer }));
            }
        }
        if before.is_none() {
            self.greet(peer);
        }
        if known.is_mutual && before.is_none_or(|before| !before.is_mutual) {
            let incarnation = known.incarnation;
            self.effects.push_back(Effect::Notice(Notice::Introduced { peer, incarnation }));
        }
    }

    /// Answers every `Hello` whose content is durable.
    fn answer(&mut self) {
        let is_durable = |peer: &NodeId| {
            let (durable, known) = (self.stream.durable(*peer), self.roster().peers.get(peer));
            durable
                .zip(known)
                .is_some_and(|(durable, known)| (durable.start, durable.is_older) == (known.start, known.is_older))
        };
        let ready: Vec<NodeId> = self.unanswered.iter().filter(|peer| is_durable(peer)).copied().collect();
        for peer in ready {
            self.unanswered.remove(&peer);
            let Acquaintance { incarnation: known, start, is_older, .. } =
                *self.stream.durable(peer).expect("just checked");
            let is_same = self.seen.get(&peer).is_none_or(|seen| seen.incarnation == known);
            let foundings = self.foundings.clone();
            let answer = if is_same {
                NodeMessage::Known { incarnation: known, start, is_older, foundings }
            } else {
                NodeMessage::Mismatch { known, foundings }
            };
            self.effects.push_back(Effect::Send(peer, answer));
        }
    }

    /// Writes the changes, unless a write is under way or was refused.
    fn write(&mut self) {
        self.effects.extend(self.stream.write().map(Effect::Persist));
    }
}

/// Content of a greeting and of its answer.
#[derive(Debug)]
pub(super) struct Hello<'a> {
    /// In a greeting: the sender's known incarnation of the receiver, if it is durable.
    pub(super) known: Option<Incarnation>,
    /// In a greeting: the start of the sender. In an answer: the newest known start of the receiver.
    pub(super) start: Start,
    /// That node runs on an older copy of its disk.
    pub(super) is_older: bool,
    /// The foundings of the sender's groups.
    pub(super) foundings: &'a [FoundingRun],
}
