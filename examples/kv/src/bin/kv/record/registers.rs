//! Calls on registers: reads, writes, removals, and writes of what is absent.

use quorate_kv::client::{Answer, Client};
use quorate_simulation::history::Function;
use serde_json::{Value, json};

use super::{Call, End, RecordError, Source, read_value};

/// A call on one key.
pub(super) struct RegisterCall {
    key: String,
    what: What,
}

enum What {
    /// `GET`
    Read,
    /// `SET`
    Write(u64),
    /// `DEL`: a write of no value.
    Remove,
    /// `SET NX`: a cas from no value.
    WriteIfAbsent(u64),
}

/// Draws a call.
pub(super) fn draw(source: &mut Source) -> RegisterCall {
    let key = source.key(0);
    let what = match source.random.between(0, 100) {
        0..50 => What::Read,
        50..80 => What::Write(source.value()),
        80..88 => What::Remove,
        _ => What::WriteIfAbsent(source.value()),
    };
    RegisterCall { key, what }
}

impl RegisterCall {
    fn command(&self) -> String {
        let key = &self.key;
        match self.what {
            What::Read => format!("GET {key}"),
            What::Write(value) => format!("SET {key} {value}"),
            What::Remove => format!("DEL {key}"),
            What::WriteIfAbsent(value) => format!("SET {key} {value} NX"),
        }
    }
}

impl Call for RegisterCall {
    fn function(&self) -> Function {
        match self.what {
            What::Read => Function::Read,
            What::Write(_) | What::Remove => Function::Write,
            What::WriteIfAbsent(_) => Function::Cas,
        }
    }

    fn key(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn value(&self) -> Value {
        match self.what {
            What::Read | What::Remove => Value::Null,
            What::Write(value) => json!(value),
            What::WriteIfAbsent(value) => json!([null, value]),
        }
    }

    fn make(&self, client: &mut Client) -> Result<End, RecordError> {
        let command = self.command();
        let answer = match client.ask(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>()) {
            Ok(answer) => answer,
            Err(error) => return End::of_broken(error),
        };
        match (&self.what, answer) {
            (_, Answer::Error(error)) => End::of_error(&error).ok_or(RecordError::Answer(Answer::Error(error))),
            (What::Read, Answer::Nil) => Ok(End::Done(Value::Null)),
            (What::Read, Answer::Bulk(text)) => Ok(End::Done(read_value(&text))),
            (What::Write(_) | What::WriteIfAbsent(_), Answer::Status(_)) | (What::Remove, Answer::Integer(_)) => {
                Ok(End::Done(self.value()))
            }
            (What::WriteIfAbsent(_), Answer::Nil) => Ok(End::NotMet),
            (_, answer) => Err(RecordError::Answer(answer)),
        }
    }
}
