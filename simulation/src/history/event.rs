//! The lines of a history file.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::datum::{Datum, quoted};

/// One line of a history file: a client's call, or the end of its call.
///
/// ```
/// use quorate_simulation::history::{HistoryEvent, EventKind, Function};
/// let line = r#"{"process":1,"type":"invoke","f":"write","key":"x","value":7,"time":1000}"#;
/// let event: HistoryEvent = serde_json::from_str(line)?;
/// assert_eq!((event.kind, event.function), (EventKind::Invoke, Function::Write));
/// assert_eq!(serde_json::to_string(&event)?, line);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// Number of the client. It has at most one call under way. After `info` it may call again.
    pub process: u64,
    /// The call or a kind of its end.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The function that was called.
    #[serde(rename = "f")]
    pub function: Function,
    /// Name of the register or other object. `None` for transactions, and if there is only one queue, set, counter,
    /// bank or lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The value written or read (null if absent or not known yet), `[old, new]` of a cas, or the list of a
    /// transaction. For other functions see [`Function`].
    #[serde(default)]
    pub value: Value,
    /// Time in nanoseconds, for people only. The order of the lines is the order of the events.
    pub time: u64,
}

/// The name of a register or other object: a text or a whole number. The text `"1"` and the number 1 are two keys.
/// Files from Jepsen may have keywords too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: KeyKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum KeyKind {
    Text,
    Number,
    /// Printed in its original notation.
    Symbol,
}

impl Key {
    /// The key of a whole number of any size, in its canonical notation.
    pub(super) fn of_number(number: &str) -> Option<Self> {
        let is_whole = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_whole.then(|| Self { kind: KeyKind::Number, text: number.to_owned() })
    }

    /// The key that a value stands for: a text, a symbol or a whole number.
    pub(super) fn of_datum(datum: &Datum) -> Option<Self> {
        match datum {
            Datum::Text(text) => Some(Self::from(&**text)),
            Datum::Symbol(text) => Some(Self::of_symbol(text)),
            Datum::Integer(number) => Self::of_number(&number.to_string()),
            Datum::Number(number) => Self::of_number(number),
            _ => None,
        }
    }

    /// The key of a value that is neither a text nor a number, in its original notation.
    pub(super) fn of_symbol(text: &str) -> Self {
        Self { kind: KeyKind::Symbol, text: text.to_owned() }
    }

    /// The text, or the digits of the number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key in JSON: a text in quotation marks, a number without.
    pub(super) fn json(&self) -> String {
        if self.kind == KeyKind::Text { quoted(&self.text) } else { self.text.clone() }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self { kind: KeyKind::Text, text: text.to_owned() }
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self { kind: KeyKind::Text, text }
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self { kind: KeyKind::Number, text: number.to_string() }
    }
}

/// Prints a number as it is, and a text as it is unless it looks like a number or a keyword.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looks_otherwise = self.text.parse::<f64>().is_ok() || self.text.starts_with(':');
        let is_doubtful = self.kind == KeyKind::Text && looks_otherwise;
        if is_doubtful { f.write_str(&self.json()) } else { f.write_str(&self.text) }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.kind == KeyKind::Number {
            let raw = RawValue::from_string(self.text.clone()).map_err(serde::ser::Error::custom)?;
            return raw.serialize(serializer);
        }
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let datum = Datum::parse(raw.get()).map_err(serde::de::Error::custom)?;
        Key::of_datum(&datum).ok_or_else(|| serde::de::Error::custom("a key is a string or a whole number"))
    }
}

/// The call of a client, or one of its possible ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The client made the call.
    Invoke,
    /// The call took effect, with this value.
    Ok,
    /// The call certainly took no effect and never will.
    Fail,
    /// The outcome is unknown: the call may take effect at any later time, or never. A time-out ends like this.
    Info,
}

/// The function that a client calls, on a kind of object. A `read` may be of a register, set, counter or bank; the
/// other calls on its key decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Function {
    /// Reads a register (its value), a set (the list of its members), a counter (a number) or a bank (the balance of
    /// each account).
    Read,
    /// Writes a register; null removes the value.
    Write,
    /// Writes a register if it holds the old value.
    Cas,
    /// Appends to lists and reads lists in one transaction. It has no key.
    Txn,
    /// Reads a text; an absent text is empty.
    Get,
    /// Replaces a text.
    Put,
    /// Adds to the end of a text.
    Append,
    /// Appends a value to a queue.
    Enqueue,
    /// Removes the value at the head of a queue. The answer is null if the queue was empty.
    Dequeue,
    /// Adds a member to a set, or an amount to a counter.
    Add,
    /// Adds an amount to a counter (1 for null) and answers the new count, or null if the system does not return it.
    Increment,
    /// Moves money: `{"from":account,"to":account,"amount":number}`.
    Transfer,
    /// Acquires a lock and answers its fencing token, a number, or null if the system has no tokens.
    Acquire,
    /// Releases a lock. The value is the holder's token, or null if the system has no tokens.
    Release,
}

impl Function {
    /// Name of the function in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Cas => "cas",
            Self::Txn => "txn",
            Self::Get => "get",
            Self::Put => "put",
            Self::Append => "append",
            Self::Enqueue => "enqueue",
            Self::Dequeue => "dequeue",
            Self::Add => "add",
            Self::Increment => "increment",
            Self::Transfer => "transfer",
            Self::Acquire => "acquire",
            Self::Release => "release",
        }
    }

    /// The function with this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Read,
            Self::Write,
            Self::Cas,
            Self::Txn,
            Self::Get,
            Self::Put,
            Self::Append,
            Self::Enqueue,
            Self::Dequeue,
            Self::Add,
            Self::Increment,
            Self::Transfer,
            Self::Acquire,
            Self::Release,
        ];
        all.into_iter().find(|function| function.name() == name)
    }

    /// True if the call has no argument except the key.
    pub(super) const fn asks_only(self) -> bool {
        matches!(self, Self::Read | Self::Get | Self::Dequeue | Self::Acquire)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
