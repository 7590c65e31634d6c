//! Groups that are being added to a running node, or removed from it.

use std::collections::BTreeMap;

use quorate_protocol::GroupId;
use quorate_wal::StreamId;

use super::roster::Roster;
use super::{Node, NodeOutput};
use crate::group::change::{GroupError, NewGroup};
use crate::group::founding::Founding;
use crate::group::interface::{CallId, Members};
use crate::group::notice::Notice;
use crate::group::reply::Reply;

/// Changes of a node's groups that are not durable yet, with the calls that wait for them.
#[derive(Debug, Default)]
pub(super) struct Changing {
    adding: BTreeMap<GroupId, (NewGroup, CallId)>,
    removing: BTreeMap<GroupId, Vec<CallId>>,
}

impl Changing {
    /// Checks that a group can be added: it was never on this node.
    pub(super) fn check_new(&self, group: GroupId, roster: &Roster, is_open: bool) -> Result<(), GroupError> {
        if roster.is_removed(group) {
            Err(GroupError::Removed)
        } else if is_open || self.adding.contains_key(&group) {
            Err(GroupError::Exists)
        } else if roster.founding(group).is_some() {
            Err(GroupError::NotOpened)
        } else {
            Ok(())
        }
    }

    /// Keeps a group until its founding is durable.
    pub(super) fn add(&mut self, group: GroupId, new: NewGroup, call: CallId) {
        self.adding.insert(group, (new, call));
    }

    /// Keeps a call until the removal of the group is durable. Returns true if the removal begins with it.
    pub(super) fn remove(&mut self, group: GroupId, roster: &Roster, call: CallId) -> Result<bool, GroupError> {
        if let Some(calls) = self.removing.get_mut(&group) {
            calls.push(call);
            return Ok(false);
        }
        if roster.is_removed(group) {
            return Err(GroupError::Removed);
        }
        if roster.founding(group).is_none() {
            return Err(GroupError::NoGroup);
        }
        self.removing.insert(group, vec![call]);
        Ok(true)
    }

    /// Takes a group whose founding is durable, with the call to answer.
    pub(super) fn founded(&mut self, group: GroupId) -> Option<(NewGroup, CallId)> {
        self.adding.remove(&group)
    }

    /// Takes the calls to answer for a group whose removal is durable. Its founding may never have been written alone.
    pub(super) fn removed(&mut self, group: GroupId) -> Vec<(CallId, Result<(), GroupError>)> {
        let added = self.adding.remove(&group).map(|(_, call)| (call, Err(GroupError::Removed)));
        let calls = self.removing.remove(&group).unwrap_or_default();
        added.into_iter().chain(calls.into_iter().map(|call| (call, Ok(())))).collect()
    }

    /// Takes all calls, because nothing becomes durable any more.
    pub(super) fn fail(&mut self) -> Vec<(GroupId, CallId)> {
        let adding = std::mem::take(&mut self.adding).into_iter().map(|(group, (_, call))| (group, call));
        let removing = std::mem::take(&mut self.removing).into_iter();
        let removing = removing.flat_map(|(group, calls)| calls.into_iter().map(move |call| (group, call)));
        adding.chain(removing).collect()
    }
}

/// The node's part.
impl Node {
    pub(super) fn on_add(&mut self, group: GroupId, new: NewGroup, call: CallId) {
        let is_open = self.groups.contains_key(&group);
        let checked = self.changing.check_new(group, self.introductions.roster(), is_open);
        match self.check_log().and(checked) {
            Ok(()) => {
                self.introductions.found(group, Founding::new(new.made.channel(), new.members.clone()));
                self.changing.add(group, new, call);
            }
            Err(error) => self.reply(group, call, Err(error)),
        }
    }

    pub(super) fn on_remove(&mut self, group: GroupId, call: CallId) {
        let begun = self.check_log().and_then(|()| self.changing.remove(group, self.introductions.roster(), call));
        match begun {
            Ok(true) => self.introductions.remove(group),
            Ok(false) => {}
            Err(error) => self.reply(group, call, Err(error)),
        }
    }

    fn check_log(&self) -> Result<(), GroupError> {
        if self.log_failed.is_some() { Err(GroupError::LogFailed) } else { Ok(()) }
    }

    /// The founding of a new group is durable: from now on it runs.
    pub(super) fn on_founded(&mut self, group: GroupId) {
        let Some((new, call)) = self.changing.founded(group) else { return };
        self.counters.groups_added += 1;
        self.outputs.push_back(NodeOutput::Notice { group: Some(group), notice: Notice::Added });
        self.add(self.now, group, new.made);
        self.reply(group, call, Ok(()));
    }

    /// The removal of a group is durable: it ends, and its data are deleted.
    pub(super) fn on_removed(&mut self, group: GroupId, stream: StreamId) {
        self.counters.groups_removed += 1;
        self.peers.set(self.now.instant, group, Members::new());
        if let Some(index) = self.groups.remove(&group) {
            self.streams.remove(&stream);
            let slot = self.slots.remove(index);
            if let Some(deadline) = slot.armed {
                self.timers.remove(&(deadline, index));
            }
            self.resting.remove(index, group, slot.rest.as_deref());
            let answers = slot.dismiss().into_iter();
            self.outputs.extend(answers.map(|(call, reply)| NodeOutput::Reply { group, call, reply }));
        }
        self.outputs.push_back(NodeOutput::Notice { group: Some(group), notice: Notice::Removed });
        self.delete_leftovers(group, stream);
        for (call, result) in self.changing.removed(group) {
            self.reply(group, call, result);
        }
    }

    pub(super) fn reply(&mut self, group: GroupId, call: CallId, result: Result<(), GroupError>) {
        self.outputs.push_back(NodeOutput::Reply { group, call, reply: Reply::Changed(result) });
    }
}
