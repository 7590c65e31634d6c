//! Publish and subscribe.

use bytes::Bytes;

use crate::pubsub::{Answer, Message, Request, Topic};
use crate::resp::{Encoder, Reply};

use super::context::Change;
use super::errors::{is, number, unknown_subcommand, wrong_arity};
use super::spec::{Kind, Spec};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::connection("psubscribe", -2, LISTEN, Kind::Psubscribe)
        .about("pubsub", "Listens to channels whose names match patterns."),
    Spec::message("publish", 3, &["pubsub", "loading", "stale", "fast"], |change, rest, out| {
        publish(change, Topic::Channel, rest, out)
    })
    .about("pubsub", "Sends a message to the subscribers of a channel."),
    Spec::connection("pubsub", -2, &["pubsub", "loading", "stale"], Kind::Pubsub)
        .container()
        .about("pubsub", "Tells which channels have subscribers."),
    Spec::connection("punsubscribe", -1, LISTEN, Kind::Punsubscribe)
        .about("pubsub", "Stops listening to channels whose names match patterns."),
    Spec::message("spublish", 3, &["pubsub", "loading", "stale", "fast"], |change, rest, out| {
        publish(change, Topic::Shard, rest, out)
    })
    .about("pubsub", "Sends a message to the subscribers of a shard channel."),
    Spec::connection("ssubscribe", -2, LISTEN, Kind::Ssubscribe).about("pubsub", "Listens to shard channels."),
    Spec::connection("subscribe", -2, LISTEN, Kind::Subscribe).about("pubsub", "Listens to channels."),
    Spec::connection("sunsubscribe", -1, LISTEN, Kind::Sunsubscribe)
        .about("pubsub", "Stops listening to shard channels."),
    Spec::connection("unsubscribe", -1, LISTEN, Kind::Unsubscribe).about("pubsub", "Stops listening to channels."),
];

const LISTEN: &[&str] = &["pubsub", "noscript", "loading", "stale"];

/// A command about messages and subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PubSubCommand<'a> {
    /// Subscribes to these names.
    Subscribe(Topic, Vec<&'a [u8]>),
    /// Ends the subscriptions to these names, or to all names of the kind if the list is empty.
    Unsubscribe(Topic, Vec<&'a [u8]>),
    /// Publishes a message.
    Publish(Message),
    /// Asks all nodes about their subscriptions.
    Ask(Question),
}

/// A question about the subscriptions of all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The names that have subscribers.
    Names {
        /// The kind of the names.
        topic: Topic,
        /// The pattern that they match.
        pattern: Option<Bytes>,
    },
    /// Names with the numbers of their subscribers.
    Counts {
        /// The kind of the names.
        topic: Topic,
        /// The names.
        names: Vec<Bytes>,
    },
    /// The number of patterns.
    Patterns,
}

impl<'a> PubSubCommand<'a> {
    /// `PUBLISH` or `SPUBLISH`.
    pub(super) fn publish(spec: &Spec, rest: &[&[u8]]) -> Self {
        let topic = if spec.name == "publish" { Topic::Channel } else { Topic::Shard };
        Self::Publish(message(topic, rest))
    }

    /// The command of this kind. `None` if it is another.
    pub(super) fn parse(kind: Kind, rest: &[&'a [u8]]) -> Option<Result<Self, Reply>> {
        let names = || rest.to_vec();
        Some(Ok(match kind {
            Kind::Subscribe => Self::Subscribe(Topic::Channel, names()),
            Kind::Psubscribe => Self::Subscribe(Topic::Pattern, names()),
            Kind::Ssubscribe => Self::Subscribe(Topic::Shard, names()),
            Kind::Unsubscribe => Self::Unsubscribe(Topic::Channel, names()),
            Kind::Punsubscribe => Self::Unsubscribe(Topic::Pattern, names()),
            Kind::Sunsubscribe => Self::Unsubscribe(Topic::Shard, names()),
            Kind::Pubsub => return Some(Question::parse(rest[0], &rest[1..]).map(Self::Ask)),
            _ => return None,
        }))
    }
}

impl Question {
    fn parse(name: &[u8], rest: &[&[u8]]) -> Result<Self, Reply> {
        let bytes = |text: &&[u8]| Bytes::copy_from_slice(text);
        let names = |topic| match rest {
            [] => Ok(Self::Names { topic, pattern: None }),
            [pattern] => Ok(Self::Names { topic, pattern: Some(bytes(pattern)) }),
            _ => {
                let start = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
                Err(Reply::Error([start, name, b"'. Try PUBSUB HELP."].concat()))
            }
        };
        let counts = |topic| Self::Counts { topic, names: rest.iter().map(bytes).collect() };
        match rest {
            _ if is(name, "channels") => names(Topic::Channel),
            _ if is(name, "shardchannels") => names(Topic::Shard),
            _ if is(name, "numsub") => Ok(counts(Topic::Channel)),
            _ if is(name, "shardnumsub") => Ok(counts(Topic::Shard)),
            [] if is(name, "numpat") => Ok(Self::Patterns),
            _ if is(name, "numpat") => Err(wrong_arity("pubsub|numpat")),
            _ => Err(unknown_subcommand("pubsub", name)),
        }
    }

    /// The question as nodes ask it.
    pub fn request(&self) -> Request {
        match self {
            Self::Names { topic, pattern } => Request::Names { topic: *topic, pattern: pattern.clone() },
            Self::Counts { topic, names } => Request::Counts { topic: *topic, names: names.clone() },
            Self::Patterns => Request::Names { topic: Topic::Pattern, pattern: None },
        }
    }

    /// The reply to the client.
    pub fn reply(self, answer: Answer) -> Reply {
        match (self, answer) {
            (Self::Names { .. }, Answer::Names(found)) => Reply::Array(found.into_iter().map(Reply::Bulk).collect()),
            (Self::Patterns, Answer::Names(found)) => Reply::Integer(number(found.len())),
            (Self::Counts { names, .. }, Answer::Counts(counts)) => {
                let pair =
                    |(name, count)| [Reply::Bulk(name), Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))];
                Reply::Array(names.into_iter().zip(counts).flat_map(pair).collect())
            }
            (question, answer) => unreachable!("{question:?} is not answered by {answer:?}"),
        }
    }
}

/// In an entry of the log. The number of receivers is put in when the message was published.
fn publish(change: &mut Change<'_>, topic: Topic, rest: &[&[u8]], out: &mut Encoder<'_>) -> Result<(), Reply> {
    change.publish(message(topic, rest), out.len())?;
    out.integer(0);
    Ok(())
}

fn message(topic: Topic, rest: &[&[u8]]) -> Message {
    let [channel, payload] = [rest[0], rest[1]].map(Bytes::copy_from_slice);
    Message { topic, channel, payload }
}
