//! Converts the lines of a file into calls with their answers.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::datum::Datum;
use super::object::{Object, ObjectKind};
use super::pairing::{Call, Pairing};
use super::{EventKind, Function, HistoryEvent, Key, Reading, jepsen};

/// The calls of clients and their answers, in the order in which they happened.
///
/// ```
/// use quorate_simulation::history::{SearchBudget, History, Verdict};
/// let lines = r#"
/// {"process":1,"type":"invoke","f":"write","key":"x","value":7,"time":10}
/// {"process":1,"type":"ok","f":"write","key":"x","value":7,"time":20}
/// {"process":2,"type":"invoke","f":"read","key":"x","value":null,"time":30}
/// {"process":2,"type":"ok","f":"read","key":"x","value":null,"time":40}
/// "#;
/// let judgement = History::read(lines.as_bytes())?.judge(SearchBudget::default());
/// assert_eq!(judgement.verdict(), Verdict::Violated);
/// # Ok::<(), quorate_simulation::history::HistoryError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The calls, in the order they were made.
    pub(super) calls: Vec<Call>,
    /// The objects of the calls, by the numbers that the calls bear.
    pub(super) objects: Vec<Object>,
    /// Number of events with an earlier time than the event before.
    pub(super) times_back: usize,
}

impl History {
    /// Reads the lines of a file in their order, whatever their times. Empty lines are skipped.
    ///
    /// # Errors
    /// When a line is not an event, or does not follow from those before it: an answer without a call, a call of a
    /// process that waits for an answer, or a call that uses one key for two kinds of object.
    pub fn read(lines: impl BufRead) -> Result<Self, HistoryError> {
        Self::read_as(lines, Reading::default())
    }

    /// Like [`History::read`], with settings for what a file leaves open.
    ///
    /// # Errors
    /// The errors of [`History::read`].
    pub fn read_as(mut lines: impl BufRead, reading: Reading) -> Result<Self, HistoryError> {
        let mut pairing = Pairing::new(reading.model, true);
        let mut line = String::new();
        let mut is_json = false;
        for number in 1.. {
            let start = line.len();
            if lines.read_line(&mut line).map_err(HistoryError::Io)? == 0 {
                break;
            }
            let content = line[start..].trim();
            match Form::of(content) {
                // Blank lines at the start are kept, so that later lines are numbered correctly.
                None => continue,
                Some(form) if form == Form::Json || is_json => {
                    is_json = true;
                    let event = Recorded::read(content);
                    pairing.take(number, event.map_err(|problem| HistoryError::Line { line: number, problem })?)?;
                }
                Some(Form::Edn) => {
                    lines.read_to_string(&mut line).map_err(HistoryError::Io)?;
                    return Self::of(jepsen::edn(&line, reading)?, reading.model);
                }
                Some(_) => {
                    let as_json = Recorded::read(content).map(|_| Self::default());
                    lines.read_to_string(&mut line).map_err(HistoryError::Io)?;
                    let events = jepsen::console(&line, reading)?;
                    if events.is_empty() {
                        // No line is an operation, so the file is not a log either.
                        return as_json.map_err(|problem| HistoryError::Line { line: number, problem });
                    }
                    return Self::of(events, reading.model);
                }
            }
            line.clear();
        }
        pairing.finish()
    }

    /// Makes a history of these events.
    ///
    /// # Errors
    /// The errors of [`History::read`]. Events are numbered from 1, like lines.
    pub fn from_events(events: impl IntoIterator<Item = HistoryEvent>) -> Result<Self, HistoryError> {
        Self::of_model(events, None)
    }

    /// Like [`History::from_events`], for objects of this kind only.
    pub(super) fn of_model(
        events: impl IntoIterator<Item = HistoryEvent>,
        model: Option<ObjectKind>,
    ) -> Result<Self, HistoryError> {
        let mut pairing = Pairing::new(model, true);
        for (number, event) in (1..).zip(events) {
            pairing.take(number, event.into())?;
        }
        pairing.finish()
    }

    /// Makes a history from a file of Jepsen, which may have one register without a name.
    fn of(events: Vec<(usize, Recorded)>, model: Option<ObjectKind>) -> Result<Self, HistoryError> {
        let mut pairing = Pairing::new(model, false);
        for (line, event) in events {
            pairing.take(line, event)?;
        }
        pairing.finish()
    }

    /// Number of calls.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// True if there are no calls.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

/// Notation of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Edn,
    Console,
}

impl Form {
    /// The notation of a file with this first line; `None` for a blank line.
    fn of(line: &str) -> Option<Self> {
        let mut characters = line.chars().filter(|character| !character.is_whitespace());
        let (first, second) = (characters.next()?, characters.next());
        Some(match first {
            '{' if !matches!(second, Some('"' | '}') | None) => Self::Edn,
            '[' | '(' | ';' | '#' | ',' => Self::Edn,
            '{' => Self::Json,
            _ => Self::Console,
        })
    }
}

/// An event with its value in the original notation.
pub(super) struct Recorded {
    pub(super) process: u64,
    pub(super) kind: EventKind,
    pub(super) function: Function,
    pub(super) key: Option<Key>,
    pub(super) value: Datum,
    pub(super) time: u64,
}

impl Recorded {
    fn read(line: &str) -> Result<Self, String> {
        /// Like [`HistoryEvent`], but with numbers as text.
        #[derive(Deserialize)]
        struct Line<'a> {
            process: u64,
            #[serde(rename = "type")]
            kind: EventKind,
            #[serde(rename = "f")]
            function: Function,
            #[serde(default, borrow)]
            key: Option<&'a RawValue>,
            #[serde(default, borrow)]
            value: Option<&'a RawValue>,
            time: u64,
        }
        let Line { process, kind, function, key, value, time } =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        let value = value.map_or(Ok(Datum::Null), |value| Datum::parse(value.get()))?;
        let key = key.map_or(Ok(None), |key| key_of(key.get()))?;
        Ok(Self { process, kind, function, key, value, time })
    }
}

/// The key in a line; `None` for null.
fn key_of(text: &str) -> Result<Option<Key>, String> {
    // Most keys have this form.
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|text| !text.contains('\\'));
    if let Some(plain) = plain {
        return Ok(Some(Key::from(plain)));
    }
    match Datum::parse(text)? {
        Datum::Null => Ok(None),
        key => key.key().map(Some).ok_or_else(|| "a key is a string or a whole number".to_owned()),
    }
}

impl From<HistoryEvent> for Recorded {
    fn from(event: HistoryEvent) -> Self {
        let HistoryEvent { process, kind, function, key, value, time } = event;
        Self { process, kind, function, key, value: Datum::from(&value), time }
    }
}

/// Writes events as the lines of a history file.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_events<'a>(mut out: impl Write, events: impl IntoIterator<Item = &'a HistoryEvent>) -> io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Reason why a file is not a history.
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file cannot be read.
    Io(io::Error),
    /// A line is not an event, or contradicts those before it.
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Description of the problem.
        problem: String,
    },
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the history cannot be read: {error}"),
            Self::Line { line, problem } => write!(f, "line {line}: {problem}"),
        }
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line { .. } => None,
        }
    }
}
