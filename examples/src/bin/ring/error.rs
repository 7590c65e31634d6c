//! The errors of the tool.

use std::io;
use std::path::PathBuf;

use quorate_consistent_hash::{BuildError, PlanError, RemoveError, ReplicaError, ZoneError};
use thiserror::Error;

/// Reason why the tool stops. All but `Output` are mistakes in its input.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {reason}")]
    Line { path: PathBuf, line: usize, reason: String },
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("{0}")]
    Nodes(#[from] BuildError),
    #[error("{0}")]
    Removal(#[from] RemoveError),
    #[error("{0}")]
    Replicas(#[from] ReplicaError),
    #[error("{0}")]
    Zones(#[from] ZoneError),
    #[error("{0}")]
    Plan(#[from] PlanError),
    #[error("{0}")]
    Usage(String),
    #[error("cannot write: {0}")]
    Output(io::Error),
}
