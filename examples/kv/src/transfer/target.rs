//! The cluster, as a client that writes keys and does not give up at once.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::client::{Answer, Client};
use crate::credentials::Credentials;
use crate::store::slot_of;

use super::TransferError;
use super::value::{Arguments, Unit};

/// Connections to the nodes of a cluster.
pub(super) struct Target<'a> {
    nodes: &'a [Address],
    credentials: &'a Credentials,
    /// The node that is asked if no other is known to be better.
    preferred: usize,
    open: BTreeMap<String, Client>,
}

/// The end of one unit in one round.
enum End {
    Taken,
    /// It may have been carried out in part, or not at all.
    Again(String),
    /// As `Again`; the key is at this address.
    Elsewhere(String),
    Refused(String),
}

impl<'a> Target<'a> {
    pub(super) fn new(nodes: &'a [Address], credentials: &'a Credentials) -> Self {
        Self { nodes, credentials, preferred: 0, open: BTreeMap::new() }
    }

    /// Writes keys, in no particular order, and returns those that were refused, with the reason.
    ///
    /// # Errors
    /// When no node takes one of them for a minute.
    pub(super) fn write(&mut self, units: Vec<Unit>) -> Result<Vec<(Vec<u8>, String)>, TransferError> {
        let mut refused = Vec::new();
        let mut left: Vec<(Option<String>, Unit)> = units.into_iter().map(|unit| (None, unit)).collect();
        // Writes of one shard that follow each other share an entry of its log.
        left.sort_by_key(|(_, unit)| slot_of(&unit.key));
        let mut progress = Instant::now();
        while !left.is_empty() {
            let mut by_node: BTreeMap<String, Vec<Unit>> = BTreeMap::new();
            for (node, unit) in std::mem::take(&mut left) {
                by_node.entry(node.unwrap_or_else(|| self.nodes[self.preferred].to_string())).or_default().push(unit);
            }
            let mut why = None;
            for (node, units) in by_node {
                let ends = self.send(&node, &units);
                for (unit, end) in units.into_iter().zip(ends) {
                    match end {
                        End::Taken => progress = Instant::now(),
                        End::Refused(error) if error.starts_with("OOM") => return Err(TransferError::Cluster(error)),
                        End::Refused(error) => refused.push((unit.key, error)),
                        End::Elsewhere(address) => left.push((Some(address), unit)),
                        End::Again(error) => {
                            why = Some(error);
                            left.push((None, unit));
                        }
                    }
                }
            }
            if progress.elapsed() > GIVES_UP_AFTER && !left.is_empty() {
                return Err(TransferError::Cluster(why.unwrap_or_else(|| "each names another".to_owned())));
            }
            if why.is_some() {
                self.preferred = (self.preferred + 1) % self.nodes.len();
                thread::sleep(PAUSE);
            }
        }
        Ok(refused)
    }

    /// Number of keys of the cluster.
    ///
    /// # Errors
    /// When no node tells.
    pub(super) fn count(&mut self) -> Result<i64, TransferError> {
        let mut why = String::new();
        for node in self.nodes.iter().map(ToString::to_string) {
            match self.client(&node).and_then(|client| client.ask(&[b"DBSIZE"])) {
                Ok(Answer::Integer(keys)) => return Ok(keys),
                Ok(answer) => why = format!("{node} answers {answer:?}"),
                Err(error) => why = format!("{node}: {error}"),
            }
        }
        Err(TransferError::Cluster(why))
    }

    /// Sends units to a node, all before the first answer is read.
    fn send(&mut self, node: &str, units: &[Unit]) -> Vec<End> {
        let mut ends = Vec::new();
        let failed = match self.client(node) {
            Ok(client) => exchange(client, units, &mut ends).err(),
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            self.open.remove(node);
            ends.resize_with(units.len(), || End::Again(format!("{node}: {error}")));
        }
        ends
    }

    fn client(&mut self, node: &str) -> io::Result<&mut Client> {
        if !self.open.contains_key(node) {
            let address: Address = node.parse().map_err(io::Error::other)?;
            let client = self.credentials.connect(&address, PATIENCE)?;
            self.open.insert(node.to_owned(), client);
        }
        Ok(self.open.get_mut(node).expect("it was added"))
    }
}

/// Sends units and appends the end of each whose answers came.
fn exchange(client: &mut Client, units: &[Unit], ends: &mut Vec<End>) -> io::Result<()> {
    for units in units.chunk_by(|one, next| one.commands.len() == 1 && next.commands.len() == 1) {
        if let [unit] = units
            && unit.commands.len() > 1
        {
            ends.push(exchange_large(client, unit)?);
            continue;
        }
        send(client, units.iter().flat_map(|unit| &unit.commands))?;
        for _ in units {
            ends.push(end(client, 1)?);
        }
    }
    Ok(())
}

fn exchange_large(client: &mut Client, unit: &Unit) -> io::Result<End> {
    for commands in unit.commands.chunks(PIPELINE_COMMANDS_MAX) {
        send(client, commands)?;
        let end = end(client, commands.len())?;
        if let End::Refused(_) = end {
            client.ask(&[b"DEL", &unit.key])?;
        }
        if !matches!(end, End::Taken) {
            return Ok(end);
        }
    }
    // A command of an earlier try may have been carried out between those of this one.
    match unit.items {
        Some(items) if client.ask(&[b"LLEN", &unit.key])? != Answer::Integer(items) => {
            Ok(End::Again("a list has other items than it was given".to_owned()))
        }
        _ => Ok(End::Taken),
    }
}

fn send<'c>(client: &mut Client, commands: impl IntoIterator<Item = &'c Arguments>) -> io::Result<()> {
    let commands: Vec<Vec<&[u8]>> =
        commands.into_iter().map(|command| command.iter().map(Vec::as_slice).collect()).collect();
    client.send(&commands.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The end that some answers tell, of which the first that is none of success counts.
fn end(client: &mut Client, answers: usize) -> io::Result<End> {
    let mut end = End::Taken;
    for _ in 0..answers {
        let Answer::Error(error) = client.receive()? else { continue };
        if !matches!(end, End::Taken) {
            continue;
        }
        end = match error.split(' ').collect::<Vec<_>>()[..] {
            ["TOOLARGE", ..] => End::Refused("a part of it is larger than a node takes at once".to_owned()),
            ["MOVED", _, address] => End::Elsewhere(address.to_owned()),
            ["NOQUORUM" | "TIMEOUT" | "TRYAGAIN" | "LOADING" | "CLUSTERDOWN" | "ASK" | "DISKFULL", ..] => {
                End::Again(error)
            }
            _ if error.ends_with("not applied") || error.ends_with("outcome unknown") => End::Again(error),
            _ => End::Refused(error),
        };
    }
    Ok(end)
}

/// Longest time to wait for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Time without any key taken after which a write ends.
const GIVES_UP_AFTER: Duration = Duration::from_mins(1);
/// Pause before keys are sent again that a node did not take.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum commands of one large value that are sent before their answers are read.
const PIPELINE_COMMANDS_MAX: usize = 64;
