//! Placement from the configuration of other programs.

mod crush;
mod file;
mod haproxy;
mod nginx;
mod redis;
mod swift;
mod twemproxy;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

pub(crate) use self::crush::CephCluster;
use self::file::{File, ring};
pub(crate) use self::swift::SwiftCluster;
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
    /// Ceph: a CRUSH map as `crushtool -d` prints it, with `--pg-num` and others for the pool; keys are names of
    /// objects.
    Crush,
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

    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// What programs do not keep in the file that says where keys are.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// `swift_hash_path_prefix` of the cluster.
    #[arg(long, value_name = "TEXT", default_value = "")]
    swift_prefix: String,

    /// `swift_hash_path_suffix` of the cluster.
    #[arg(long, value_name = "TEXT", default_value = "")]
    swift_suffix: String,

    #[command(flatten)]
    ceph: crush::PoolOptions,
}

impl Source {
    /// The placement of the file, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Built>, Failure> {
        let (Some(path), Some(format)) = (&self.config, self.format) else { return Ok(None) };
        self.cluster.read(path, format, self.section.as_deref()).map(Some)
    }
}

impl Cluster {
    /// The placement of a configuration, of the section if there are several.
    pub(crate) fn read(&self, path: &Path, format: Format, section: Option<&str>) -> Result<Built, Failure> {
        let bytes = input::read(path)?;
        let file = File { path, bytes: &bytes, section };
        match format {
            Format::Nginx => ring(nginx::read(&file)?),
            Format::Haproxy => ring(haproxy::read(&file)?),
            Format::Twemproxy => twemproxy::read(&file),
            Format::RedisNodes => redis::read(&file),
            Format::Crush => crush::read(&file, &self.ceph),
            Format::Swift => swift::read(&file, self.swift_prefix.as_bytes(), self.swift_suffix.as_bytes()),
        }
    }
}
