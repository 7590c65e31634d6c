//! Registers: `read`, `write`, `cas`.

use std::collections::HashMap;

use super::super::datum::Datum;
use super::super::micro::old_and_new;
use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, Model, Register, RegisterOperation, SearchBudget, Timed};
use super::judged::Judged;
use super::searched::{Described, Searched, state_after};

pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget, explaining: &mut SearchBudget) -> Judged {
    let mut numbers = ValueNumbers { numbers: HashMap::new(), values: vec![&Datum::Null] };
    let model = NamedRegister { values: Vec::new() };
    let mut searched = Searched::new(model, calls, |call| operation(call, &mut numbers));
    searched.model.values = numbers.values;
    searched.judge(budget, explaining)
}

/// A register that knows its values by name.
struct NamedRegister<'a> {
    values: Vec<&'a Datum>,
}

impl Model for NamedRegister<'_> {
    type State = u32;
    type Operation = RegisterOperation;

    fn initial(&self) -> u32 {
        Register.initial()
    }

    fn apply(&self, state: &u32, operation: &RegisterOperation) -> Option<u32> {
        Register.apply(state, operation)
    }

    fn reads_only(&self, operation: &RegisterOperation) -> bool {
        Register.reads_only(operation)
    }

    fn overwrites(&self, operation: &RegisterOperation) -> bool {
        Register.overwrites(operation)
    }

    fn wants(&self, operation: &RegisterOperation) -> Option<u32> {
        Register.wants(operation)
    }

    fn leaves(&self, operation: &RegisterOperation) -> Option<u32> {
        Register.leaves(operation)
    }
}

impl Described for NamedRegister<'_> {
    fn words(&self, operation: &RegisterOperation) -> String {
        match *operation {
            RegisterOperation::Read(value) => format!("read {}", self.value(value)),
            RegisterOperation::Write(value) => format!("write {}", self.value(value)),
            RegisterOperation::Cas(old, new) => format!("cas {} to {}", self.value(old), self.value(new)),
        }
    }

    fn reason(
        &self,
        all: &[Timed<RegisterOperation>],
        order: &[&RegisterOperation],
        blocked: &RegisterOperation,
    ) -> String {
        let Some(wanted) = self.wants(blocked) else { return "what others saw excludes it".to_owned() };
        let is_written = all.iter().any(|timed| self.leaves(&timed.operation) == Some(wanted));
        let held = self.value(state_after(self, order));
        if wanted != RegisterOperation::ABSENT && !is_written {
            return format!("the register holds {held}, and nobody ever wrote {}", self.value(wanted));
        }
        format!("the register holds {held}, not {}", self.value(wanted))
    }
}

impl NamedRegister<'_> {
    fn value(&self, value: u32) -> String {
        if value == RegisterOperation::ABSENT { "nothing".to_owned() } else { self.values[value as usize].to_string() }
    }
}

/// The effect that a call had or may have had; `None` if the call contains no information: it failed, or it is a read
/// without an answer.
fn operation<'a>(call: &'a Call, numbers: &mut ValueNumbers<'a>) -> Option<RegisterOperation> {
    if call.outcome == CallOutcome::Fail {
        return None;
    }
    match call.function {
        Function::Read => {
            (call.outcome == CallOutcome::Ok).then(|| RegisterOperation::Read(numbers.number(&call.answered)))
        }
        Function::Write => Some(RegisterOperation::Write(numbers.number(&call.called))),
        Function::Cas => {
            let (old, new) = old_and_new(&call.called).ok()?;
            Some(RegisterOperation::Cas(numbers.number(old), numbers.number(new)))
        }
        _ => None,
    }
}

/// Small numbers for values. Null is the first, [`RegisterOperation::ABSENT`].
struct ValueNumbers<'a> {
    numbers: HashMap<&'a Datum, u32>,
    values: Vec<&'a Datum>,
}

impl<'a> ValueNumbers<'a> {
    fn number(&mut self, value: &'a Datum) -> u32 {
        if value.is_null() {
            return RegisterOperation::ABSENT;
        }
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            u32::try_from(self.values.len() - 1).expect("fewer than 2^32 values")
        })
    }
}
