//! The lines of a history file.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::datum::{Datum, quoted};

/// One line of a history file: a client called, or learned what became of its call.
///
/// ```
/// use quorate_simulation::history::{Event, EventKind, Function};
/// let line = r#"{"process":1,"type":"invoke","f":"write","key":"x","value":7,"time":1000}"#;
/// let event: Event = serde_json::from_str(line)?;
/// assert_eq!((event.kind, event.function), (EventKind::Invoke, Function::Write));
/// assert_eq!(serde_json::to_string(&event)?, line);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Which client: it has at most one call under way. After `info` it may call again.
    pub process: u64,
    /// Whether this is the call or its end.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// What was called.
    #[serde(rename = "f")]
    pub function: Function,
    /// Which register; nothing for transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The value written or read (null: absent, or not yet known), `[old, new]` of a cas, the list of a transaction.
    #[serde(default)]
    pub value: Value,
    /// When, in nanoseconds. People are told by it; what came before what, the order of the lines says.
    pub time: u64,
}

/// The name of a register or list: a text or a whole number. The text `"1"` and the number 1 are two keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    is_number: bool,
    text: String,
}

impl Key {
    /// The key of a whole number in its canonical form, of whatever size.
    pub(super) fn of_number(number: &str) -> Option<Self> {
        let is_whole = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_whole.then(|| Self { is_number: true, text: number.to_owned() })
    }

    /// The text, or the digits of the number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key as JSON: a text in quotation marks, a number without.
    pub(super) fn json(&self) -> String {
        if self.is_number { self.text.clone() } else { quoted(&self.text) }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self { is_number: false, text: text.to_owned() }
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self { is_number: false, text }
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self { is_number: true, text: number.to_string() }
    }
}

/// A number as it is, and a text too unless it looks like a number.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_doubtful = !self.is_number && self.text.parse::<f64>().is_ok();
        if is_doubtful { f.write_str(&self.json()) } else { f.write_str(&self.text) }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_number {
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
        datum.key().ok_or_else(|| serde::de::Error::custom("a key is a string or a whole number"))
    }
}

/// Whether an event is a call or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The client calls.
    Invoke,
    /// The call took effect, with this value.
    Ok,
    /// The call certainly took no effect and never will.
    Fail,
    /// Nobody knows: it may take effect any time later, or never. A time-out is this.
    Info,
}

/// What a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Reads a register.
    Read,
    /// Writes a register; null removes the value.
    Write,
    /// Writes a register if it holds the old value.
    Cas,
    /// Appends to lists and reads lists, all at once.
    Txn,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Cas => "cas",
            Self::Txn => "txn",
        })
    }
}
