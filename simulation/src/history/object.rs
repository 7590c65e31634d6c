//! The objects that calls are made on.

use std::fmt;

use super::datum::Datum;
use super::{Function, Key};

/// A kind of object. It decides which law the history must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ObjectKind {
    /// `read`, `write`, `cas`: linearizable.
    Register,
    /// `txn`: all transactions together are strictly serializable.
    Lists,
    /// `get`, `put`, `append`: linearizable.
    Text,
    /// `enqueue`, `dequeue`: linearizable, first in, first out.
    Queue,
    /// `add`, `read`: linearizable.
    Set,
    /// `add`, `increment`, `read`: linearizable.
    Counter,
    /// `transfer`, `read`: every read finds the same total, and no account below zero.
    Bank,
    /// `acquire`, `release`: linearizable, held by one at a time, and fencing tokens only grow.
    Lock,
    /// A lock that another client may take after a time: fencing tokens only grow. No call distinguishes it from a
    /// lock.
    Lease,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::Lists,
        Self::Text,
        Self::Queue,
        Self::Set,
        Self::Counter,
        Self::Bank,
        Self::Lock,
        Self::Lease,
    ];

    /// Name of the kind in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Lists => "lists",
            Self::Text => "text",
            Self::Queue => "queue",
            Self::Set => "set",
            Self::Counter => "counter",
            Self::Bank => "bank",
            Self::Lock => "lock",
            Self::Lease => "lease",
        }
    }

    /// The functions of this kind.
    pub(super) const fn functions(self) -> &'static [Function] {
        match self {
            Self::Register => &[Function::Read, Function::Write, Function::Cas],
            Self::Lists => &[Function::Txn],
            Self::Text => &[Function::Get, Function::Put, Function::Append],
            Self::Queue => &[Function::Enqueue, Function::Dequeue],
            Self::Set => &[Function::Read, Function::Add],
            Self::Counter => &[Function::Read, Function::Add, Function::Increment],
            Self::Bank => &[Function::Read, Function::Transfer],
            Self::Lock | Self::Lease => &[Function::Acquire, Function::Release],
        }
    }

    /// The kind that a call belongs to, if the function decides it.
    const fn told_by(function: Function) -> Option<Self> {
        match function {
            Function::Read | Function::Add => None,
            Function::Write | Function::Cas => Some(Self::Register),
            Function::Txn => Some(Self::Lists),
            Function::Get | Function::Put | Function::Append => Some(Self::Text),
            Function::Enqueue | Function::Dequeue => Some(Self::Queue),
            Function::Increment => Some(Self::Counter),
            Function::Transfer => Some(Self::Bank),
            Function::Acquire | Function::Release => Some(Self::Lock),
        }
    }

    /// Checks that a read of such an object can have this answer.
    pub(super) fn check_read(self, answer: &Datum) -> Result<(), String> {
        let is_of_kind = match (self, answer) {
            (Self::Set, Datum::List(_) | Datum::Set(_)) | (Self::Counter, Datum::Integer(_)) => true,
            (Self::Bank, Datum::Map(accounts)) => accounts.iter().all(|(_, balance)| balance.integer().is_some()),
            (Self::Set | Self::Counter | Self::Bank, _) => false,
            _ => true,
        };
        let wanted = match self {
            Self::Set => "the list of its members",
            Self::Counter => "a whole number",
            _ => "a map of accounts to whole numbers",
        };
        if is_of_kind { Ok(()) } else { Err(format!("a {self} cannot be read as {answer}, but as {wanted}")) }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object that calls are made on.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    /// `None` if it is the only object of its kind.
    pub(super) key: Option<Key>,
}

impl Object {
    /// Name of the object in explanations of violations.
    pub(super) fn name(&self) -> String {
        let kind = self.kind;
        match &self.key {
            _ if kind == ObjectKind::Lists => "the transactions".to_owned(),
            Some(key) => format!("{kind} {}", key.json()),
            None => format!("the {kind}"),
        }
    }
}

/// An [`Object`] of which not all calls are known yet.
pub(super) struct Guess {
    pub(super) key: Option<Key>,
    kind: Option<ObjectKind>,
    /// The first call that decided the kind, and the first `add`.
    told: Option<(Function, usize)>,
    added: Option<usize>,
    /// The first call.
    first: (Function, usize),
    /// The kind that the first non-null read indicates.
    read: Option<ObjectKind>,
}

impl Guess {
    pub(super) fn new(key: Option<Key>, kind: Option<ObjectKind>, first: (Function, usize)) -> Self {
        Self { key, kind, told: None, added: None, first, read: None }
    }

    /// Learns the kind of the object from a call.
    pub(super) fn note_call(&mut self, function: Function, line: usize) -> Result<(), String> {
        if function == Function::Add {
            self.added.get_or_insert(line);
        }
        let told = ObjectKind::told_by(function);
        let kind = self.kind.or(told);
        self.kind = kind;
        if told.is_some() {
            self.told.get_or_insert((function, line));
        }
        let Some(kind) = kind else { return Ok(()) };
        let told = self.told.filter(|(_, told)| *told != line);
        if !kind.functions().contains(&function) {
            return Err(told.map_or_else(
                || format!("{function} is no call of a {kind}"),
                |(told, line)| format!("{function} beside the {told} of line {line}, which is a call of a {kind}"),
            ));
        }
        match self.added {
            Some(added) if !kind.functions().contains(&Function::Add) => {
                Err(format!("{function} beside the add of line {added}, which is no call of a {kind}"))
            }
            _ => Ok(()),
        }
    }

    /// Learns the kind of the object from the value of a read.
    pub(super) fn note_read(&mut self, found: &Datum) {
        let kind = match found {
            Datum::List(_) | Datum::Set(_) => ObjectKind::Set,
            Datum::Integer(_) => ObjectKind::Counter,
            _ => return,
        };
        self.read.get_or_insert(kind);
    }

    /// Decides the kind. An error has the line of a call for the message.
    pub(super) fn settle(self, must_have_key: bool) -> Result<Object, (usize, String)> {
        let of_adds = self.read.filter(|_| self.added.is_some());
        let kind = self.kind.or(of_adds).or(self.added.map(|_| ObjectKind::Set)).unwrap_or(ObjectKind::Register);
        let needs_key = matches!(kind, ObjectKind::Register | ObjectKind::Text) && must_have_key;
        if needs_key && self.key.is_none() {
            let (function, line) = self.first;
            return Err((line, format!("{function} without a key")));
        }
        Ok(Object { kind, key: self.key })
    }
}

/// Objects with the same name are one object if their calls belong to the same family.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// Registers, sets, counters and banks, all of which have `read`.
    Read,
    Lists,
    Text,
    Queue,
    Lock,
}

impl Family {
    pub(super) const fn of(function: Function) -> Self {
        match function {
            Function::Read
            | Function::Write
            | Function::Cas
            | Function::Add
            | Function::Increment
            | Function::Transfer => Self::Read,
            Function::Txn => Self::Lists,
            Function::Get | Function::Put | Function::Append => Self::Text,
            Function::Enqueue | Function::Dequeue => Self::Queue,
            Function::Acquire | Function::Release => Self::Lock,
        }
    }
}
