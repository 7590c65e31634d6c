//! Transactions over lists: `RPUSH` and `LRANGE` of several keys, in `MULTI` and `EXEC`, after `WATCH`, or alone.

use std::io;

use quorate_kv::client::{Answer, Client};
use quorate_simulation::history::Function;
use serde_json::{Value, json};

use super::{Call, End, RecordError, Source, read_value};

/// A transaction.
pub(super) struct Transaction {
    form: Form,
    steps: Vec<Step>,
}

/// The way in which a transaction is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A single command.
    Alone,
    /// All steps stand between `MULTI` and `EXEC`.
    Multi,
    /// The reads come first, each for itself, of watched keys; what is appended stands between `MULTI` and `EXEC`.
    Watched,
}

enum Step {
    /// `RPUSH`
    Append { key: String, element: u64 },
    /// `LRANGE` of the whole list.
    Read { key: String },
}

/// Draws a transaction over keys of this generation.
pub(super) fn draw(source: &mut Source, generation: u64) -> Transaction {
    let form = match source.random.between(0, 10) {
        0..2 => Form::Alone,
        2..7 => Form::Multi,
        _ => Form::Watched,
    };
    let count = if form == Form::Alone { 1 } else { source.random.between(2, 5) };
    let mut steps: Vec<_> = (0..count).map(|_| draw_step(source, generation)).collect();
    if form == Form::Watched {
        steps.sort_by_key(Step::is_append);
        if !steps.iter().any(Step::is_append) {
            steps.push(Step::Append { key: source.key(generation), element: source.value() });
        }
    }
    Transaction { form, steps }
}

fn draw_step(source: &mut Source, generation: u64) -> Step {
    let key = source.key(generation);
    if source.random.between(0, 2) == 0 { Step::Read { key } } else { Step::Append { key, element: source.value() } }
}

impl Step {
    fn is_append(&self) -> bool {
        matches!(self, Self::Append { .. })
    }

    fn key(&self) -> &str {
        let (Self::Append { key, .. } | Self::Read { key }) = self;
        key
    }

    fn command(&self) -> String {
        match self {
            Self::Append { key, element } => format!("RPUSH {key} {element}"),
            Self::Read { key } => format!("LRANGE {key} 0 -1"),
        }
    }

    /// The step as a history has it, with the answer if there is one.
    fn value(&self, answer: Option<&Answer>) -> Result<Value, RecordError> {
        match (self, answer) {
            (Self::Append { key, element }, None | Some(Answer::Integer(_))) => Ok(json!(["append", key, element])),
            (Self::Read { key }, None) => Ok(json!(["r", key, null])),
            (Self::Read { key }, Some(Answer::Array(list))) => {
                let element = |element: &Answer| match element {
                    Answer::Bulk(text) => Ok(read_value(text)),
                    other => Err(RecordError::Answer(other.clone())),
                };
                Ok(json!(["r", key, list.iter().map(element).collect::<Result<Vec<_>, _>>()?]))
            }
            (_, Some(answer)) => Err(RecordError::Answer(answer.clone())),
        }
    }
}

impl Call for Transaction {
    fn function(&self) -> Function {
        Function::Txn
    }

    fn key(&self) -> Option<&str> {
        None
    }

    fn value(&self) -> Value {
        self.steps.iter().map(|step| step.value(None).unwrap_or_default()).collect()
    }

    fn make(&self, client: &mut Client) -> Result<End, RecordError> {
        let reads = self.steps.iter().take_while(|step| !step.is_append()).count();
        let (before, within) = self.steps.split_at(if self.form == Form::Watched { reads } else { 0 });
        let mut answers = Vec::new();
        for step in before {
            // A read whose key is not watched is not made.
            let answer = match ask(client, &[format!("WATCH {}", step.key())]) {
                Ok(Answer::Status(_)) => ask(client, &[step.command()]),
                refused => refused,
            };
            // Nothing was sent that appends, so nothing is unknown if this fails.
            match answer {
                Ok(Answer::Error(error)) => return end_of_error(error).map(|_| End::Failed),
                Ok(answer) => answers.push(answer),
                Err(error) => return End::of_broken(error).map(|_| End::Failed),
            }
        }
        let mut commands: Vec<_> = within.iter().map(Step::command).collect();
        if self.form != Form::Alone {
            commands.insert(0, "MULTI".to_owned());
            commands.push("EXEC".to_owned());
        }
        match ask(client, &commands) {
            Ok(Answer::Error(error)) => return end_of_error(error),
            Ok(Answer::Nil) => return Ok(End::NotMet),
            Ok(Answer::Array(list)) if self.form != Form::Alone => answers.extend(list),
            Ok(answer) => answers.push(answer),
            Err(error) => return End::of_broken(error),
        }
        if answers.len() != self.steps.len() {
            return Err(RecordError::Answer(Answer::Array(answers)));
        }
        let steps = self.steps.iter().zip(&answers).map(|(step, answer)| step.value(Some(answer)));
        Ok(End::Done(Value::Array(steps.collect::<Result<_, _>>()?)))
    }
}

/// Sends commands together, and returns the answer to the last.
fn ask(client: &mut Client, commands: &[String]) -> io::Result<Answer> {
    let words: Vec<Vec<&[u8]>> =
        commands.iter().map(|command| command.split(' ').map(str::as_bytes).collect()).collect();
    client.send(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let answers: Vec<_> = commands.iter().map(|_| client.receive()).collect::<io::Result<_>>()?;
    answers.into_iter().next_back().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The end of a transaction that has no answer but an error. One of which a command was refused is discarded.
fn end_of_error(error: String) -> Result<End, RecordError> {
    let discarded = error.starts_with("EXECABORT").then_some(End::Failed);
    discarded.or_else(|| End::of_error(&error)).ok_or(RecordError::Answer(Answer::Error(error)))
}
