//! A schedule in a file, with its protocol.

use std::io;
use std::path::Path;

use quorate_simulation::schedule::Schedule;
use quorate_verification::protocols::{self, Protocol};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The content of a file: the fields of a [`Schedule`], and the protocol's name.
#[derive(Serialize, Deserialize)]
struct Named<S> {
    /// Absent in a schedule that was written by other means.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(flatten)]
    schedule: S,
}

/// Reason why a file cannot be replayed.
#[derive(Debug, Error)]
pub(crate) enum ReplayError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a schedule: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its protocol is unknown: {0}")]
    UnknownProtocol(String),
    #[error("it does not name its protocol: --protocol is needed")]
    NoProtocol,
    #[error("it is a schedule of {named}, not of {asked}")]
    OtherProtocol { named: &'static str, asked: &'static str },
}

/// The schedule in JSON, under the protocol's name.
pub(crate) fn to_json(protocol: &Protocol, schedule: &Schedule) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Named { protocol: Some(protocol.name.to_owned()), schedule })
}

/// Reads a schedule and its protocol: the one that the file names, or `asked` if it names none.
pub(crate) fn read(file: &Path, asked: Option<Protocol>) -> Result<(Protocol, Schedule), ReplayError> {
    let Named { protocol, schedule } = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let named = protocol.map(|name| protocols::protocol(&name).map_err(ReplayError::UnknownProtocol)).transpose()?;
    let protocol = match (named, asked) {
        (Some(named), Some(asked)) if named.name != asked.name => {
            return Err(ReplayError::OtherProtocol { named: named.name, asked: asked.name });
        }
        (named, asked) => named.or(asked).ok_or(ReplayError::NoProtocol)?,
    };
    Ok((protocol, schedule))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use quorate_simulation::schedule::{Generator, Schedule};
    use quorate_verification::protocols::{Protocol, protocol};

    use super::{ReplayError, read, to_json};

    fn written(json: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("schedule.json");
        std::fs::write(&file, json).expect("written");
        (folder, file)
    }

    fn read_text(json: &str, asked: Option<Protocol>) -> Result<(Protocol, Schedule), ReplayError> {
        let (_folder, file) = written(json);
        read(&file, asked)
    }

    #[test]
    fn a_schedule_is_replayed_with_the_protocol_it_was_written_for() {
        let schedule = Generator::default().schedule(1);
        let synod = protocol("synod").expect("known");
        let json = to_json(&synod, &schedule).expect("written");
        for asked in [None, Some(synod)] {
            let (named, read) = read_text(&json, asked).expect("readable");
            assert_eq!((named.name, &read), ("synod", &schedule));
        }
        let contradicted = read_text(&json, Some(protocol("raft").expect("known"))).expect_err("another protocol");
        assert_eq!(contradicted.to_string(), "it is a schedule of synod, not of raft");
        let unknown = read_text(&json.replace("synod", "chubby"), None);
        assert!(matches!(unknown, Err(ReplayError::UnknownProtocol(_))), "{unknown:?}");
    }

    #[test]
    fn a_schedule_without_a_name_needs_to_be_told_its_protocol() {
        let schedule = Generator::default().schedule(1);
        let json = serde_json::to_string(&schedule).expect("written");
        assert!(matches!(read_text(&json, None), Err(ReplayError::NoProtocol)));
        let (named, again) = read_text(&json, Some(protocol("raft").expect("known"))).expect("readable");
        assert_eq!((named.name, again), ("raft", schedule));
        assert!(matches!(read_text("[]", None), Err(ReplayError::Json(_))));
        assert!(matches!(read(Path::new("/nowhere/at/all"), None), Err(ReplayError::Io(_))));
    }

    #[test]
    fn the_schedule_that_is_shown_names_its_protocol() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/late-pre-votes.json");
        let (named, schedule) = read(&file, None).expect("readable");
        assert_eq!((named.name, schedule.seed), ("raft-core", 45));
    }
}
