//! The subscriptions of one node's clients, and the messages that wait for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;

use bytes::Bytes;

use crate::command::matches;

use super::request::{Answer, Request};
use super::{Delivery, Message, Topic};

/// Bounds of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// Maximum bytes of messages that wait for one client. One message may be larger. A client that would exceed it is
    /// to be disconnected.
    pub client_bytes_max: usize,
    /// Maximum bytes of messages that wait for all clients together. Beyond them, a client for which more than
    /// `scarce_bytes_max` wait is to be disconnected once there is another message for it.
    pub waiting_bytes_max: usize,
    /// See `waiting_bytes_max`.
    pub scarce_bytes_max: usize,
    /// Maximum bytes of the subscriptions of one client.
    pub client_subscriptions_bytes_max: usize,
    /// Maximum bytes of the subscriptions of all clients.
    pub subscriptions_bytes_max: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            client_bytes_max: 32 * 1024 * 1024,
            waiting_bytes_max: 256 * 1024 * 1024,
            scarce_bytes_max: 64 * 1024,
            client_subscriptions_bytes_max: 64 * 1024 * 1024,
            subscriptions_bytes_max: 512 * 1024 * 1024,
        }
    }
}

/// A change of a client's subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The client subscribes.
    Added(Topic, Bytes),
    /// The client does not subscribe any more.
    Removed(Topic, Bytes),
}

/// So many messages wait for the client that it must be disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client takes its messages too slowly")]
pub struct Overflow;

/// The subscriptions of one node's clients, which are known by the numbers of their connections, and the messages that
/// wait for them.
///
/// ```
/// use std::task::Waker;
/// use bytes::Bytes;
/// use quorate_kv::pubsub::{Change, Hub, Message, Topic};
///
/// let mut hub = Hub::default();
/// hub.change(1, vec![Change::Added(Topic::Pattern, Bytes::from_static(b"news.*"))]);
/// let (channel, payload) = (Bytes::from_static(b"news.it"), Bytes::from_static(b"hello"));
/// assert_eq!(hub.publish(&Message { topic: Topic::Channel, channel, payload }), 1);
/// hub.watch(1, Waker::noop()).unwrap();
/// assert_eq!(hub.take(1).unwrap().message.payload, "hello");
/// ```
#[derive(Debug, Default)]
pub struct Hub {
    limits: HubLimits,
    /// The subscribers by kind of name and name.
    subscribers: [BTreeMap<Bytes, BTreeSet<i64>>; 3],
    /// The clients that have subscriptions.
    clients: BTreeMap<i64, Mailbox>,
    /// Bytes of messages that wait for all clients.
    waiting_bytes: usize,
    /// Bytes of all subscriptions.
    subscriptions_bytes: usize,
}

#[derive(Debug, Default)]
struct Mailbox {
    subscriptions: BTreeSet<(Topic, Bytes)>,
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    has_overflowed: bool,
    waker: Option<Waker>,
}

impl Hub {
    /// A hub without subscriptions.
    pub fn new(limits: HubLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Bytes of subscriptions that a client may add which has this many.
    pub fn room(&self, client_bytes: usize) -> usize {
        let client = self.limits.client_subscriptions_bytes_max.saturating_sub(client_bytes);
        client.min(self.limits.subscriptions_bytes_max.saturating_sub(self.subscriptions_bytes))
    }

    /// Changes a client's subscriptions. Messages that it would get by a removed one and has not taken are dropped.
    pub fn change(&mut self, client: i64, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Added(topic, name) => self.add(client, topic, name),
                Change::Removed(topic, name) => self.remove(client, topic, &name),
            }
        }
        if self.clients.get(&client).is_some_and(|mailbox| mailbox.subscriptions.is_empty()) {
            self.leave(client);
        }
    }

    /// Forgets a client.
    pub fn leave(&mut self, client: i64) {
        let Some(mailbox) = self.clients.remove(&client) else {
            return;
        };
        self.waiting_bytes -= mailbox.bytes;
        for (topic, name) in mailbox.subscriptions {
            self.forget(client, topic, &name);
        }
    }

    /// Puts a message into the mailboxes of its subscribers and wakes them. Returns the number of copies: a client has
    /// one for its subscription to the channel, and one for each pattern that matches.
    pub fn publish(&mut self, message: &Message) -> u64 {
        let mut count = 0;
        if let Some(clients) = self.subscribers[message.topic as usize].get(&message.channel) {
            for client in clients {
                let mailbox = self.clients.get_mut(client).expect("a subscriber has a mailbox");
                let delivery = Delivery { pattern: None, message: message.clone() };
                count += mailbox.push(delivery, &self.limits, &mut self.waiting_bytes);
            }
        }
        if message.topic != Topic::Channel {
            return count;
        }
        for (pattern, clients) in &self.subscribers[Topic::Pattern as usize] {
            if !matches(pattern, &message.channel) {
                continue;
            }
            for client in clients {
                let mailbox = self.clients.get_mut(client).expect("a subscriber has a mailbox");
                let delivery = Delivery { pattern: Some(pattern.clone()), message: message.clone() };
                count += mailbox.push(delivery, &self.limits, &mut self.waiting_bytes);
            }
        }
        count
    }

    /// Has the client's task woken when the next message comes for it.
    ///
    /// # Errors
    /// When the client must be disconnected.
    pub fn watch(&mut self, client: i64, waker: &Waker) -> Result<(), Overflow> {
        let Some(mailbox) = self.clients.get_mut(&client) else {
            return Ok(());
        };
        if mailbox.has_overflowed {
            return Err(Overflow);
        }
        match &mut mailbox.waker {
            Some(known) => known.clone_from(waker),
            None => mailbox.waker = Some(waker.clone()),
        }
        Ok(())
    }

    /// The next message for a client.
    pub fn take(&mut self, client: i64) -> Option<Delivery> {
        let mailbox = self.clients.get_mut(&client)?;
        let delivery = mailbox.deliveries.pop_front()?;
        let bytes = delivery.bytes();
        mailbox.bytes -= bytes;
        self.waiting_bytes -= bytes;
        Some(delivery)
    }

    /// Carries out what a node asks, with this node's clients alone.
    pub fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Publish(messages) => {
                Answer::Counts(messages.iter().map(|message| self.publish(message)).collect())
            }
            Request::Names { topic, pattern } => {
                let names = self.subscribers[*topic as usize].keys();
                let is_asked = |name: &&Bytes| pattern.as_ref().is_none_or(|pattern| matches(pattern, name));
                Answer::Names(names.filter(is_asked).cloned().collect())
            }
            Request::Counts { topic, names } => {
                let count = |name: &Bytes| self.subscribers[*topic as usize].get(name).map_or(0, BTreeSet::len) as u64;
                Answer::Counts(names.iter().map(count).collect())
            }
        }
    }

    /// Number of clients that have subscriptions.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Number of names of a kind that have subscribers.
    pub fn names(&self, topic: Topic) -> usize {
        self.subscribers[topic as usize].len()
    }

    fn add(&mut self, client: i64, topic: Topic, name: Bytes) {
        if self.clients.entry(client).or_default().subscriptions.insert((topic, name.clone())) {
            self.subscriptions_bytes += subscription_bytes(&name);
            self.subscribers[topic as usize].entry(name).or_default().insert(client);
        }
    }

    fn remove(&mut self, client: i64, topic: Topic, name: &Bytes) {
        let Some(mailbox) = self.clients.get_mut(&client) else {
            return;
        };
        if !mailbox.subscriptions.remove(&(topic, name.clone())) {
            return;
        }
        let before = mailbox.bytes;
        mailbox.deliveries.retain(|delivery| !delivery.came_by(topic, name));
        mailbox.bytes = mailbox.deliveries.iter().map(Delivery::bytes).sum();
        self.waiting_bytes -= before - mailbox.bytes;
        self.forget(client, topic, name);
    }

    fn forget(&mut self, client: i64, topic: Topic, name: &Bytes) {
        let subscribers = &mut self.subscribers[topic as usize];
        let clients = subscribers.get_mut(name).expect("a subscription is listed by its name");
        clients.remove(&client);
        if clients.is_empty() {
            subscribers.remove(name);
        }
        self.subscriptions_bytes -= subscription_bytes(name);
    }
}

impl Mailbox {
    /// Adds a message. Returns the number of messages that were added.
    fn push(&mut self, delivery: Delivery, limits: &HubLimits, waiting_bytes: &mut usize) -> u64 {
        if self.has_overflowed {
            return 0;
        }
        let bytes = delivery.bytes();
        let is_scarce = *waiting_bytes + bytes > limits.waiting_bytes_max;
        let bytes_max = if is_scarce { limits.scarce_bytes_max } else { limits.client_bytes_max };
        let fits = self.bytes + bytes <= bytes_max || self.deliveries.is_empty();
        if fits {
            self.bytes += bytes;
            *waiting_bytes += bytes;
            self.deliveries.push_back(delivery);
        } else {
            *waiting_bytes -= std::mem::take(&mut self.bytes);
            self.deliveries = VecDeque::new();
            self.has_overflowed = true;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        u64::from(fits)
    }
}

impl Delivery {
    /// Bytes that count for it.
    fn bytes(&self) -> usize {
        let pattern = self.pattern.as_ref().map_or(0, Bytes::len);
        size_of::<Self>() + pattern + self.message.channel.len() + self.message.payload.len()
    }

    fn came_by(&self, topic: Topic, name: &Bytes) -> bool {
        match &self.pattern {
            Some(pattern) => topic == Topic::Pattern && pattern == name,
            None => topic == self.message.topic && self.message.channel == name,
        }
    }
}

/// Bytes that count for a subscription to this name.
pub(crate) fn subscription_bytes(name: &[u8]) -> usize {
    name.len() + SUBSCRIPTION_BYTES
}

/// Bytes that a subscription takes beside its name: its places in three trees.
const SUBSCRIPTION_BYTES: usize = 256;

#[cfg(test)]
mod tests;
