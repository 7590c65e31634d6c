//! Converts the lines of a file into calls with their answers.

use std::io::{self, BufRead, Write};

use super::object::ObjectKind;
use super::pairing::{PairedCalls, Pairing};
use super::recorded::{HistoryError, Recorded};
use super::{HistoryEvent, Reading, jepsen};

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
    pub(super) paired: PairedCalls,
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
            if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len_utf8());
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
        Ok(Self { paired: pairing.finish()? })
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
        Ok(Self { paired: pairing.finish()? })
    }

    /// Makes a history from a file of Jepsen, which may have one register without a name.
    fn of(events: Vec<(usize, Recorded)>, model: Option<ObjectKind>) -> Result<Self, HistoryError> {
        let mut pairing = Pairing::new(model, false);
        for (line, event) in events {
            pairing.take(line, event)?;
        }
        Ok(Self { paired: pairing.finish()? })
    }

    /// Number of calls.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paired.calls.len()
    }

    /// True if there are no calls.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paired.calls.is_empty()
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

/// Some editors put it before the first line.
const BYTE_ORDER_MARK: char = '\u{feff}';

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
