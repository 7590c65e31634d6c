//! The subscriptions of a connection, its messages, and the answers of all nodes.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use crate::command::{Command, PubSubCommand, Question, SessionCommand, Spec};
use crate::entry::{ENTRY_BYTES_MAX, Published, put_receivers};
use crate::pubsub::{Answer, Change, Delivery, Message, Request, Topic, subscription_bytes};
use crate::resp::{Encoder, Reply, Version};

use super::requests::Group;
use super::{Connection, Reason, State, Work};

/// The names that the client of a connection subscribes to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// The names by kind.
    names: [BTreeSet<Bytes>; 3],
    bytes: usize,
    /// Bytes that may be added.
    room: usize,
    /// Changes of which the node was not told yet.
    changes: Vec<Change>,
}

/// Work that all nodes do.
#[derive(Debug)]
pub(super) enum Asking {
    /// This number of messages is on its way.
    Messages(usize),
    /// Messages of a transaction or script are on their way, whose replies are known but for the numbers of receivers.
    Outcome { replies: Bytes, published: Vec<Option<usize>> },
    /// A question.
    Question(Question),
}

impl Subscriptions {
    /// Returns true if the client subscribes to nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// Number of names of a kind.
    pub(super) fn len(&self, topic: Topic) -> usize {
        self.names[topic as usize].len()
    }

    /// The names of a kind.
    pub(super) fn names(&self, topic: Topic) -> Vec<&[u8]> {
        self.names[topic as usize].iter().map(|name| &**name).collect()
    }

    /// Returns true if the node was told all changes.
    pub(super) fn is_settled(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The number that a reply tells: of channels and patterns together, or of shard channels.
    fn count(&self, topic: Topic) -> i64 {
        let count = match topic {
            Topic::Shard => self.len(Topic::Shard),
            Topic::Channel | Topic::Pattern => self.len(Topic::Channel) + self.len(Topic::Pattern),
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Adds a name. Returns false if there is no room for it.
    fn add(&mut self, topic: Topic, name: &[u8]) -> bool {
        if self.names[topic as usize].contains(name) {
            return true;
        }
        let bytes = subscription_bytes(name);
        let Some(room) = self.room.checked_sub(bytes) else {
            return false;
        };
        self.room = room;
        self.bytes += bytes;
        let name = Bytes::copy_from_slice(name);
        self.names[topic as usize].insert(name.clone());
        self.changes.push(Change::Added(topic, name));
        true
    }

    fn remove(&mut self, topic: Topic, name: &[u8]) {
        if let Some(name) = self.names[topic as usize].take(name) {
            self.bytes -= subscription_bytes(&name);
            self.changes.push(Change::Removed(topic, name));
        }
    }

    /// Removes all names.
    pub(super) fn clear(&mut self) {
        for topic in Topic::ALL {
            for name in std::mem::take(&mut self.names[topic as usize]) {
                self.changes.push(Change::Removed(topic, name));
            }
        }
        self.bytes = 0;
    }
}

impl Connection {
    /// Returns true if the client subscribes to anything.
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Bytes of the client's subscriptions.
    pub fn subscriptions_bytes(&self) -> usize {
        self.subscriptions.bytes
    }

    /// Sets the bytes of subscriptions that the client may add.
    pub fn set_subscriptions_room(&mut self, bytes: usize) {
        self.subscriptions.room = bytes;
    }

    /// Returns true if the client can take a message.
    pub fn wants_messages(&self) -> bool {
        self.output.len() < MESSAGES_BYTES
    }

    /// Takes a message for the client. It comes before all replies that were not sent yet.
    pub fn on_message(&mut self, delivery: &Delivery) {
        let Delivery { pattern, message: Message { topic, channel, payload } } = delivery;
        let mut encoder = Encoder::new(&mut self.output, self.session.version);
        encoder.push(if pattern.is_some() { 4 } else { 3 });
        encoder.bulk(match (pattern, topic) {
            (Some(_), _) => b"pmessage",
            (None, Topic::Shard) => b"smessage",
            (None, _) => b"message",
        });
        if let Some(pattern) = pattern {
            encoder.bulk(pattern);
        }
        encoder.bulk(channel);
        encoder.bulk(payload);
    }

    /// Takes the answer of all nodes.
    ///
    /// # Panics
    /// When the slot does not wait for such an answer.
    pub fn on_asked(&mut self, slot: u64, answer: Answer) {
        let pending = self.slot_mut(slot);
        let State::Asking(asking) = &mut pending.state else {
            panic!("a slot that asks nothing was answered");
        };
        let mut replies = BytesMut::new();
        let mut encoder = Encoder::new(&mut replies, pending.version);
        match (asking, answer) {
            (Asking::Messages(sent), Answer::Counts(counts)) => {
                assert_eq!(*sent, counts.len(), "each message has a number of receivers");
                for count in counts {
                    encoder.integer(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            (Asking::Outcome { replies: known, published }, Answer::Counts(counts)) => {
                let places = published.iter().zip(counts).filter_map(|(place, count)| Some(((*place)?, count)));
                replies = put_receivers(known, places);
            }
            (Asking::Question(question), answer) => encoder.reply(&question.clone().reply(answer)),
            (asking, answer) => panic!("{asking:?} is not answered by {answer:?}"),
        }
        self.reading -= 1;
        self.settle(slot, replies);
    }

    /// Takes the messages of an entry that was applied, which are to be published before its replies leave.
    pub(super) fn publish_outcome(&mut self, slot: u64, replies: Bytes, published: Vec<Published>) {
        let (messages, places) = published.into_iter().map(|it| (it.message, it.place)).unzip();
        self.slot_mut(slot).state = State::Asking(Asking::Outcome { replies, published: places });
        self.reading += 1;
        self.outcomes.push_back(Work::Ask { slot, request: Request::Publish(messages) });
    }

    /// Carries out a command about messages and subscriptions. `None` if it must not begin yet.
    pub(super) fn take_pub_sub(
        &mut self,
        command: PubSubCommand<'_>,
        length: usize,
        group: &mut Option<Group>,
    ) -> Option<()> {
        match command {
            PubSubCommand::Subscribe(topic, names) => {
                self.check_is_idle(group.as_ref())?;
                for name in names {
                    self.subscribe(topic, name);
                }
            }
            PubSubCommand::Unsubscribe(topic, names) => {
                self.check_is_idle(group.as_ref())?;
                self.unsubscribe(topic, names);
            }
            PubSubCommand::Publish(_) if length > self.limits.command_bytes_max.min(ENTRY_BYTES_MAX) => {
                if group.is_some() {
                    return None;
                }
                self.reply(length, &Reply::error(Reason::TooLarge.to_string()));
            }
            PubSubCommand::Publish(message) => return self.join_messages(group, message, length),
            PubSubCommand::Ask(question) => {
                if group.is_some() || self.writing > 0 {
                    return None;
                }
                *group = Some(Group::Question(question));
            }
        }
        Some(())
    }

    /// Replies to changed subscriptions are sent at once, so that messages which come by them follow. So there must be
    /// no earlier request without a reply.
    fn check_is_idle(&self, group: Option<&Group>) -> Option<()> {
        (group.is_none() && self.slots.is_empty()).then_some(())
    }

    fn subscribe(&mut self, topic: Topic, name: &[u8]) {
        if self.subscriptions.add(topic, name) {
            self.tell_change(["subscribe", "psubscribe", "ssubscribe"][topic as usize], topic, Some(name));
        } else {
            self.reply(0, &Reply::error("ERR there are too many subscriptions"));
        }
    }

    fn unsubscribe(&mut self, topic: Topic, names: Vec<&[u8]>) {
        let known = &self.subscriptions.names[topic as usize];
        let all: Vec<Bytes> = if names.is_empty() { known.iter().cloned().collect() } else { Vec::new() };
        if names.is_empty() && all.is_empty() {
            self.tell_change(UNSUBSCRIBE[topic as usize], topic, None);
        }
        for name in names.into_iter().chain(all.iter().map(|name| &name[..])) {
            self.subscriptions.remove(topic, name);
            self.tell_change(UNSUBSCRIBE[topic as usize], topic, Some(name));
        }
    }

    fn tell_change(&mut self, change: &str, topic: Topic, name: Option<&[u8]>) {
        let count = self.subscriptions.count(topic);
        let mut encoder = Encoder::new(&mut self.output, self.session.version);
        encoder.push(3);
        encoder.bulk(change.as_bytes());
        encoder.bulk_or_null(name);
        encoder.integer(count);
    }

    /// Adds a message to the group. `None` if it must not begin yet.
    fn join_messages(&mut self, group: &mut Option<Group>, message: Message, length: usize) -> Option<()> {
        if self.writing > 0 {
            return None;
        }
        match group.get_or_insert_with(|| Group::Messages { messages: Vec::new(), bytes: 0 }) {
            Group::Messages { messages, bytes }
                if messages.is_empty() || (messages.len() < MESSAGES_MAX && *bytes + length <= MESSAGES_BYTES) =>
            {
                messages.push(message);
                *bytes += length;
                Some(())
            }
            _ => None,
        }
    }

    /// The refusal of a command that a subscriber must not give in RESP2, in which its reply could be taken for a
    /// message.
    pub(super) fn refuse_to_subscriber(&self, spec: &Spec, parsed: &Command<'_>, arguments: &[&[u8]]) -> Option<Reply> {
        let is_allowed = match parsed {
            Command::PubSub(command) => {
                matches!(command, PubSubCommand::Subscribe(..) | PubSubCommand::Unsubscribe(..))
            }
            Command::Session(command) => matches!(
                command,
                SessionCommand::Ping(_) | SessionCommand::Quit | SessionCommand::Reset | SessionCommand::HttpRequest
            ),
            _ => false,
        };
        if is_allowed || !self.is_restricted() {
            return None;
        }
        let name = spec.full_name(arguments);
        let allowed = "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET";
        Some(Reply::error(format!("ERR Can't execute '{name}': only {allowed} are allowed in this context")))
    }

    /// Returns true if the client takes messages in the place of replies.
    pub(super) fn is_restricted(&self) -> bool {
        self.session.version == Version::Resp2 && self.is_subscribed()
    }

    /// The reply to `PING` of such a client.
    pub(super) fn pong(text: Option<&[u8]>) -> Reply {
        let text = Bytes::copy_from_slice(text.unwrap_or_default());
        Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(text)])
    }
}

const UNSUBSCRIBE: [&str; 3] = ["unsubscribe", "punsubscribe", "sunsubscribe"];
/// Maximum number of messages that nodes exchange at once.
const MESSAGES_MAX: usize = 128;
/// Maximum bytes of messages that nodes exchange at once, and that wait in a connection for a client. One message may
/// be larger.
const MESSAGES_BYTES: usize = 64 * 1024;
