//! Keys from a running server: a Redis, or a node of a cluster of this program.

use std::io;
use std::time::Duration;

use crate::address::Address;
use crate::client::{Answer, Client};
use crate::credentials::Credentials;
use crate::store::parse_integer;

use super::TransferError;
use super::value::digits;

/// A connection from which keys are read.
pub(super) struct Source {
    server: String,
    client: Client,
    /// The server tells when a key ends, not only how long it still lives (Redis 7.0).
    tells_deadlines: bool,
}

/// A key with its dump, or the reason why there is none.
pub(super) struct Dumped {
    pub(super) key: Vec<u8>,
    pub(super) deadline: Option<u64>,
    pub(super) payload: Result<Vec<u8>, String>,
}

impl Source {
    /// Connects and selects a database.
    pub(super) fn open(address: &Address, credentials: &Credentials, database: u64) -> Result<Self, TransferError> {
        let server = address.to_string();
        let failed = |error| TransferError::Source { server: server.clone(), error };
        let client = credentials.connect(address, PATIENCE).map_err(failed)?;
        let mut source = Self { server, client, tells_deadlines: true };
        if database != 0 {
            source.ask(&[b"SELECT", &digits(database)])?;
        }
        let probe = source.client.ask(&[b"PEXPIRETIME", b"k"]).map_err(|error| source.failed(error))?;
        source.tells_deadlines = !matches!(probe, Answer::Error(_));
        Ok(source)
    }

    /// Number of keys by database.
    pub(super) fn databases(&mut self) -> Result<Vec<(u64, u64)>, TransferError> {
        let info = match self.ask(&[b"INFO", b"keyspace"])? {
            Answer::Bulk(info) => String::from_utf8_lossy(&info).into_owned(),
            _ => String::new(),
        };
        let databases = info.lines().filter_map(|line| {
            let (number, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
            let keys = rest.split(',').next()?;
            Some((number.parse().ok()?, keys.trim().parse().ok()?))
        });
        Ok(databases.collect())
    }

    /// The payload of `FUNCTION DUMP`, if the server has functions.
    pub(super) fn functions(&mut self) -> Result<Option<Vec<u8>>, TransferError> {
        match self.client.ask(&[b"FUNCTION", b"DUMP"]).map_err(|error| self.failed(error))? {
            Answer::Bulk(payload) => Ok(Some(payload.to_vec())),
            _ => Ok(None),
        }
    }

    /// Hands over all keys, some of them twice if the server moves them meanwhile.
    pub(super) fn keys(
        &mut self,
        mut take: impl FnMut(Dumped) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut cursor = b"0".to_vec();
        loop {
            let answer = self.ask(&[b"SCAN", &cursor, b"COUNT", SCAN_COUNT])?;
            let Some((next, keys)) = scanned(answer) else {
                return Err(self.failed(io::Error::other("the answer to SCAN is none")));
            };
            for keys in keys.chunks(DUMPS_AT_ONCE) {
                self.dump(keys)?.into_iter().try_for_each(&mut take)?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The values of keys, without those that are gone.
    fn dump(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Dumped>, TransferError> {
        let time = if self.tells_deadlines { 0 } else { self.time()? };
        let ask: &[u8] = if self.tells_deadlines { b"PEXPIRETIME" } else { b"PTTL" };
        let commands: Vec<[&[u8]; 2]> = keys.iter().flat_map(|key| [[ask, key], [&b"DUMP"[..], key]]).collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(|command| &command[..]).collect();
        self.client.send(&commands).map_err(|error| self.failed(error))?;
        let mut dumped = Vec::new();
        for key in keys {
            let (deadline, payload) = (self.receive()?, self.receive()?);
            let payload = match payload {
                Answer::Bulk(payload) => Ok(payload.to_vec()),
                Answer::Error(error) => Err(error),
                _ => continue,
            };
            let deadline = match deadline {
                Answer::Integer(ms) => u64::try_from(ms).ok().map(|ms| ms.saturating_add(time)),
                _ => None,
            };
            dumped.push(Dumped { key: key.clone(), deadline, payload });
        }
        Ok(dumped)
    }

    /// The server's clock in Unix ms.
    fn time(&mut self) -> Result<u64, TransferError> {
        let Answer::Array(parts) = self.ask(&[b"TIME"])? else { return Ok(0) };
        let number = |part: Option<&Answer>| match part {
            Some(Answer::Bulk(digits)) => parse_integer(digits).and_then(|number| u64::try_from(number).ok()),
            _ => None,
        };
        Ok(number(parts.first()).unwrap_or(0) * 1000 + number(parts.get(1)).unwrap_or(0) / 1000)
    }

    fn receive(&mut self) -> Result<Answer, TransferError> {
        self.client.receive().map_err(|error| self.failed(error))
    }

    fn ask(&mut self, command: &[&[u8]]) -> Result<Answer, TransferError> {
        match self.client.ask(command).map_err(|error| self.failed(error))? {
            Answer::Error(error) => Err(TransferError::Refused {
                server: self.server.clone(),
                command: String::from_utf8_lossy(command[0]).into_owned(),
                error,
            }),
            answer => Ok(answer),
        }
    }

    fn failed(&self, error: io::Error) -> TransferError {
        TransferError::Source { server: self.server.clone(), error }
    }
}

fn scanned(answer: Answer) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Answer::Array(parts) = answer else { return None };
    let [Answer::Bulk(next), Answer::Array(keys)] = &parts[..] else { return None };
    let bytes = |key: &Answer| if let Answer::Bulk(key) = key { Some(key.to_vec()) } else { None };
    Some((next.to_vec(), keys.iter().map(bytes).collect::<Option<_>>()?))
}

/// Longest time to wait for an answer. A dump of a large value takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);
const SCAN_COUNT: &[u8] = b"512";
/// Number of values that are asked for before the first is read.
const DUMPS_AT_ONCE: usize = 64;
