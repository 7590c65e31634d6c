//! Placement from the configuration of other programs.

mod haproxy;
mod nginx;
mod redis;
mod swift;
mod twemproxy;

use std::path::{Path, PathBuf};
use std::str;

use clap::{Args, ValueEnum};
use quorate_consistent_hash::compat::{CompatRing, RingSystem, Server};
use quorate_consistent_hash::{Node, Nodes, Weight};

use crate::algorithm::Built;
use crate::error::Failure;
use crate::input;

/// The program of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// nginx: an `upstream` with `hash ... consistent`.
    Nginx,
    /// HAProxy: a `backend` or `listen` with `hash-type consistent`.
    Haproxy,
    /// twemproxy: a pool.
    Twemproxy,
    /// Redis: the answer to `CLUSTER NODES`.
    RedisNodes,
    /// Swift: an `object.ring.gz`; keys are `/account/container/object`.
    Swift,
}

#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Places as the program with this configuration does.
    #[arg(long, value_name = "FILE", requires = "format")]
    pub(crate) config: Option<PathBuf>,

    /// The program of the configuration.
    #[arg(long, value_enum, requires = "config")]
    format: Option<Format>,

    /// The pool, backend or upstream of the configuration, if there are several.
    #[arg(long, value_name = "NAME", requires = "config")]
    section: Option<String>,

    /// `swift_hash_path_prefix` of the cluster.
    #[arg(long, value_name = "TEXT", default_value = "")]
    swift_prefix: String,

    /// `swift_hash_path_suffix` of the cluster.
    #[arg(long, value_name = "TEXT", default_value = "")]
    swift_suffix: String,
}

impl Source {
    /// The placement of the file, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Built>, Failure> {
        let (Some(path), Some(format)) = (&self.config, self.format) else { return Ok(None) };
        let bytes = input::read(path)?;
        let file = File { path, bytes: &bytes, section: self.section.as_deref() };
        Ok(Some(match format {
            Format::Nginx => ring(nginx::read(&file)?)?,
            Format::Haproxy => ring(haproxy::read(&file)?)?,
            Format::Twemproxy => twemproxy::read(&file)?,
            Format::RedisNodes => redis::read(&file)?,
            Format::Swift => swift::read(&file, self.swift_prefix.as_bytes(), self.swift_suffix.as_bytes())?,
        }))
    }
}

/// A configuration file.
struct File<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// The requested section.
    section: Option<&'a str>,
}

impl File<'_> {
    /// The lines with their numbers, which must be text.
    fn lines(&self) -> Result<Vec<(usize, &str)>, Failure> {
        let text = |(number, line)| str::from_utf8(line).map(|line| (number, line)).map_err(|_| (number, line));
        input::lines(self.bytes)
            .map(text)
            .collect::<Result<_, _>>()
            .map_err(|(line, _)| self.fail(line, "this is no text"))
    }

    fn fail(&self, line: usize, reason: impl Into<String>) -> Failure {
        Failure::Line { path: self.path.into(), line, reason: reason.into() }
    }

    /// An error about the whole file.
    fn refuse(&self, reason: impl Into<String>) -> Failure {
        Failure::File { path: self.path.into(), reason: reason.into() }
    }

    /// The requested section of the file: by its name, or because there is no other.
    fn only<T>(&self, what: &str, sections: Vec<(String, T)>) -> Result<T, Failure> {
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
type SystemRing = (RingSystem, Vec<Server>);

fn ring((system, servers): SystemRing) -> Result<Built, Failure> {
    let ring = CompatRing::of_servers(system, &servers)?;
    for name in ring.keyless() {
        eprintln!("ring: {name} gets no keys");
    }
    Ok(Built::Compat(ring))
}

fn whole_weight(text: &str) -> Result<Option<Weight>, String> {
    let weight: u32 = text.parse().map_err(|_| format!("{text:?} is not a weight"))?;
    Ok(Weight::new(weight.into()).ok())
}

/// Servers as nodes, for placements that take nodes.
fn nodes(servers: &[Server]) -> Result<Nodes, Failure> {
    let node = |server: &Server| Some(Node::new(server.name.clone()).with_weight(server.weight?));
    Ok(Nodes::new(servers.iter().filter_map(node))?)
}
