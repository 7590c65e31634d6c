//! Clients that write and remember which writes were acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use quorate_kv::client::{Answer, Client};

/// Counts of the outcomes that clients have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Number of writes that were acknowledged.
    pub(crate) acknowledged: AtomicU64,
    /// Number of writes that certainly had no effect.
    pub(crate) refused: AtomicU64,
    /// Number of writes with an unknown outcome.
    pub(crate) unknown: AtomicU64,
    /// Numbers of the acknowledged keys, writer by writer.
    keys: Mutex<Vec<(usize, u64)>>,
}

/// Clients that write without a pause until they are stopped.
pub(crate) struct Load {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Durations of commands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Load {
    /// Starts writers, each with a connection to one of the nodes. When it breaks, they go on at the next node.
    pub(crate) fn start(writers: usize, nodes: &[SocketAddr]) -> Self {
        let tally = Arc::new(Tally::default());
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..writers).map(|writer| {
            let (tally, stop, nodes) = (Arc::clone(&tally), Arc::clone(&stop), nodes.to_vec());
            thread::spawn(move || write_until(&stop, writer, &nodes, &tally))
        });
        Self { threads: threads.collect(), tally, stop }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Stops the writers and returns their counts.
    pub(crate) fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A writer that panicked has printed it; its acknowledged writes are in the tally.
            let _ = thread.join();
        }
        self.tally
    }
}

impl Tally {
    pub(crate) fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Reads every acknowledged key at a node; an error names the first that is missing or wrong.
    pub(crate) fn verify(&self, node: SocketAddr, mut progress: impl FnMut(u64)) -> Result<u64, String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = Client::connect(node, PATIENCE).map_err(|error| error.to_string())?;
        let mut verified = 0;
        for keys in keys.chunks(500) {
            let names: Vec<_> = keys.iter().map(|(writer, number)| key(*writer, *number)).collect();
            let command: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(names.iter().map(String::as_bytes)).collect();
            let Answer::Array(values) = client.ask(&command).map_err(|error| error.to_string())? else {
                return Err("MGET was not answered by a list".to_owned());
            };
            for (name, found) in names.iter().zip(values) {
                if found != Answer::Bulk(value(name).into()) {
                    return Err(format!("{name} was acknowledged, and a read gives {found:?}"));
                }
            }
            verified += keys.len() as u64;
            progress(verified);
        }
        Ok(verified)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        write!(formatter, "{:>8.0}/s   p50 {:>6.2} ms   p99 {:>6.2} ms", self.per_second, ms(self.p50), ms(self.p99))
    }
}

/// Sends one command after the other for `span`, and measures each.
pub(crate) fn measure(node: SocketAddr, span: Duration, command: impl Fn(u64) -> Vec<Vec<u8>>) -> io::Result<Latency> {
    let mut client = Client::connect(node, PATIENCE)?;
    let mut took = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        let command = command(took.len() as u64);
        let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let sent = Instant::now();
        if let Answer::Error(error) = client.ask(&arguments)? {
            return Err(io::Error::other(error));
        }
        took.push(sent.elapsed());
    }
    took.sort_unstable();
    let at = |per_mille: usize| took[(took.len() * per_mille / 1000).min(took.len() - 1)];
    #[allow(clippy::cast_precision_loss)]
    let per_second = took.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Latency { per_second, p50: at(500), p99: at(990) })
}

fn write_until(stop: &AtomicBool, writer: usize, nodes: &[SocketAddr], tally: &Tally) {
    let mut number = 0;
    let mut acknowledged = Vec::new();
    for node in nodes.iter().cycle().skip(writer) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // An error means that the node is down: the writes on their way are counted, and the next node is tried.
        let _ = write_at(*node, stop, writer, &mut number, &mut acknowledged, tally);
    }
    let mut keys = tally.keys.lock().unwrap_or_else(PoisonError::into_inner);
    keys.extend(acknowledged.into_iter().map(|number| (writer, number)));
}

fn write_at(
    node: SocketAddr,
    stop: &AtomicBool,
    writer: usize,
    number: &mut u64,
    acknowledged: &mut Vec<u64>,
    tally: &Tally,
) -> io::Result<()> {
    let mut client = Client::connect(node, PATIENCE)?;
    while !stop.load(Ordering::Relaxed) {
        let names: Vec<_> = (*number..*number + PIPELINE).map(|number| key(writer, number)).collect();
        let values: Vec<_> = names.iter().map(|name| value(name)).collect();
        let commands: Vec<[&[u8]; 3]> =
            names.iter().zip(&values).map(|(name, value)| [&b"SET"[..], name.as_bytes(), value]).collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(|command| &command[..]).collect();
        let first = *number;
        *number += PIPELINE;
        let sent = client.send(&commands);
        for written in first..first + PIPELINE {
            match sent.as_ref().map_err(|error| error.kind().into()).and_then(|()| client.receive()) {
                Ok(Answer::Status(_)) => {
                    acknowledged.push(written);
                    tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Answer::Error(error)) if error.ends_with("not applied") => {
                    tally.refused.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {
                    tally.unknown.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    tally.unknown.fetch_add(first + PIPELINE - written, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn key(writer: usize, number: u64) -> String {
    format!("tour:{writer}:{number}")
}

/// 256 bytes that only this key has.
fn value(key: &str) -> Vec<u8> {
    key.bytes().cycle().take(256).collect()
}

/// Commands that a writer has on their way.
const PIPELINE: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(10);
