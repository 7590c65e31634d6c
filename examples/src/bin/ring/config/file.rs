//! Configuration files, and what their readers have in common.

use std::path::Path;
use std::str;

use quorate_consistent_hash::Weight;
use quorate_consistent_hash::compat::{CompatRing, RingSystem, Server};

use crate::algorithm::Built;
use crate::error::Failure;
use crate::input;

/// A configuration file.
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
    /// The requested section.
    pub(super) section: Option<&'a str>,
}

impl File<'_> {
    /// The lines with their numbers, which must be text.
    pub(super) fn lines(&self) -> Result<Vec<(usize, &str)>, Failure> {
        let text = |(number, line)| str::from_utf8(line).map(|line| (number, line)).map_err(|_| (number, line));
        input::lines(self.bytes)
            .map(text)
            .collect::<Result<_, _>>()
            .map_err(|(line, _)| self.fail(line, "this is no text"))
    }

    pub(super) fn fail(&self, line: usize, reason: impl Into<String>) -> Failure {
        Failure::Line { path: self.path.into(), line, reason: reason.into() }
    }

    /// An error about the whole file.
    pub(super) fn refuse(&self, reason: impl Into<String>) -> Failure {
        Failure::File { path: self.path.into(), reason: reason.into() }
    }

    /// The requested section of the file: by its name, or because there is no other.
    pub(super) fn only<T>(&self, what: &str, sections: Vec<(String, T)>) -> Result<T, Failure> {
        let names = sections.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let mut wanted: Vec<_> =
            sections.into_iter().filter(|(name, _)| self.section.is_none_or(|wanted| wanted == name)).collect();
        match (wanted.pop(), wanted.is_empty()) {
            (Some((_, section)), true) => Ok(section),
            (None, _) if names.is_empty() => Err(self.refuse(format!("there is no {what}"))),
            (None, _) => Err(self.refuse(format!("there is no such {what}; there are: {names}"))),
            _ => Err(self.refuse(format!("there is more than one {what}, name one by --section: {names}"))),
        }
    }
}

/// A ring of another system with its servers.
pub(super) type SystemRing = (RingSystem, Vec<Server>);

pub(super) fn ring((system, servers): SystemRing) -> Result<Built, Failure> {
    let ring = CompatRing::of_servers(system, &servers)?;
    for name in ring.keyless() {
        eprintln!("ring: {name} gets no keys");
    }
    Ok(Built::Compat(ring))
}

pub(super) fn whole_weight(text: &str) -> Result<Option<Weight>, String> {
    let weight: u32 = text.parse().map_err(|_| format!("{text:?} is not a weight"))?;
    Ok(Weight::new(weight.into()).ok())
}
