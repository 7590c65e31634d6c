//! `kv record`: records the calls and answers of clients of a running cluster, as a history for `simulate check`.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use quorate_kv::address::Address;
use quorate_kv::client::{Answer, Client};
use quorate_kv::config::ClusterConfig;
use quorate_kv::credentials::Credentials;
use quorate_protocol::Random;
use quorate_simulation::history::{EventKind, Function, HistoryEvent, write_events};
use serde_json::{Value, json};

mod registers;
mod transactions;

/// The amount of load, and its duration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) seconds: u64,
    pub(crate) processes: u64,
    pub(crate) keys: u64,
    pub(crate) calls: Calls,
}

/// The kind of the calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Calls {
    /// Each key is a register.
    Registers,
    /// Each key is a list, and a transaction reads some and appends to some.
    Transactions,
}

/// Records into a new file until the time is over. Every line is written immediately, so that the file is a valid
/// history when this is interrupted.
///
/// The keys have names that no other recording uses, so that each is absent at first. No value is written twice.
pub(crate) fn run(
    config: &ClusterConfig,
    credentials: &Credentials,
    load: Load,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    let file = File::create_new(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let run = getrandom::u64().map_err(io::Error::other)?;
    let nodes: Vec<_> = config.nodes.values().map(|node| node.client.clone()).collect();
    let recorder = Recorder::new(file);
    let is_over = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let processes: Vec<_> = (0..load.processes)
            .map(|number| {
                let random = Random::new(run ^ number);
                let source = Source { process: number, drawn: 0, run, keys: load.keys, random };
                let process = Process { source, calls: load.calls, recorder: &recorder, credentials };
                let (nodes, is_over) = (&nodes, &is_over);
                scope.spawn(move || process.call_until(is_over, nodes))
            })
            .collect();
        thread::sleep(Duration::from_secs(load.seconds));
        is_over.store(true, Ordering::Relaxed);
        let ended = processes.into_iter().map(|process| process.join().expect("a process does not panic"));
        ended.collect::<Result<Vec<()>, RecordError>>()
    });
    result?;
    println!("{recorder}; now: simulate check {}", out.display());
    if recorder.count(EventKind::Ok) == 0 {
        return Err("no call was answered".into());
    }
    Ok(())
}

/// Writes events in the order of one clock.
struct Recorder {
    began: Instant,
    file: Mutex<File>,
    counts: [AtomicU64; 4],
}

impl Recorder {
    fn new(file: File) -> Self {
        Self { began: Instant::now(), file: Mutex::new(file), counts: Default::default() }
    }

    /// The time is taken here: a call is recorded before it is sent, and an answer after it has arrived.
    fn record(&self, process: u64, kind: EventKind, call: &dyn Call, value: Value) -> io::Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let time = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let event =
            HistoryEvent { process, kind, function: call.function(), key: call.key().map(Into::into), value, time };
        let mut line = Vec::new();
        write_events(&mut line, [&event])?;
        io::Write::write_all(&mut &*file, &line)?;
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn count(&self, kind: EventKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }
}

impl fmt::Display for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [calls, ok, fail, info] =
            [EventKind::Invoke, EventKind::Ok, EventKind::Fail, EventKind::Info].map(|kind| self.count(kind));
        write!(formatter, "{calls} calls: {ok} ok, {fail} failed, {info} of unknown outcome")
    }
}

/// A call, of one kind of history.
trait Call {
    fn function(&self) -> Function;

    /// The register, or `None` if the value names its keys.
    fn key(&self) -> Option<&str>;

    /// The value of the call, as far as it is known before the answer.
    fn value(&self) -> Value;

    /// Makes the call and waits for its end.
    fn make(&self, client: &mut Client) -> Result<End, RecordError>;
}

/// The end of a call. Only an answer that states it means that nothing was done. A lost connection, or no answer in
/// time, leaves the outcome unknown.
enum End {
    /// It took effect, with this value.
    Done(Value),
    /// It did nothing, since its condition was not met.
    NotMet,
    /// It failed and did nothing.
    Failed,
    Unknown,
}

impl End {
    /// The end of a call that has no answer but an error.
    fn of_error(error: &str) -> Option<Self> {
        match error {
            _ if error.ends_with("not applied") => Some(Self::Failed),
            _ if error.ends_with("outcome unknown") => Some(Self::Unknown),
            _ => None,
        }
    }

    /// The end of a call whose connection broke. Bytes that are no answer end the recording.
    fn of_broken(error: io::Error) -> Result<Self, RecordError> {
        if error.kind() == io::ErrorKind::InvalidData { Err(error.into()) } else { Ok(Self::Unknown) }
    }
}

/// Draws calls for one process. No value is drawn twice.
struct Source {
    process: u64,
    drawn: u64,
    run: u64,
    keys: u64,
    random: Random,
}

impl Source {
    fn value(&mut self) -> u64 {
        self.drawn += 1;
        self.process * VALUES_A_PROCESS + self.drawn
    }

    /// One of the keys of a generation of keys.
    fn key(&mut self, generation: u64) -> String {
        format!("record:{:016x}:{}", self.run, generation * self.keys + self.random.between(0, self.keys))
    }
}

/// A client that makes one call after the other, at one node as long as that node answers.
struct Process<'a> {
    source: Source,
    calls: Calls,
    recorder: &'a Recorder,
    credentials: &'a Credentials,
}

impl Process<'_> {
    fn call_until(mut self, is_over: &AtomicBool, nodes: &[Address]) -> Result<(), RecordError> {
        let first = usize::try_from(self.source.process).unwrap_or(0) % nodes.len();
        for node in nodes.iter().cycle().skip(first) {
            if let Ok(mut client) = self.credentials.connect(node, PATIENCE) {
                while !is_over.load(Ordering::Relaxed) && self.is_served(&mut client)? {}
            }
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Makes one call and records it with its outcome. Returns false if the next call should go to another node.
    fn is_served(&mut self, client: &mut Client) -> Result<bool, RecordError> {
        let call: Box<dyn Call> = match self.calls {
            Calls::Registers => Box::new(registers::draw(&mut self.source)),
            Calls::Transactions => {
                let generation = self.recorder.count(EventKind::Invoke) / (self.source.keys * TRANSACTIONS_A_KEY);
                Box::new(transactions::draw(&mut self.source, generation))
            }
        };
        let process = self.source.process;
        self.recorder.record(process, EventKind::Invoke, &*call, call.value())?;
        let end = call.make(client)?;
        let is_served = matches!(end, End::Done(_) | End::NotMet);
        let (kind, value) = match end {
            End::Done(value) => (EventKind::Ok, value),
            End::NotMet | End::Failed => (EventKind::Fail, call.value()),
            End::Unknown => (EventKind::Info, call.value()),
        };
        self.recorder.record(process, kind, &*call, value)?;
        Ok(is_served)
    }
}

/// A number as it was written. Anything else becomes a text, which no client wrote.
fn read_value(text: &[u8]) -> Value {
    let text = String::from_utf8_lossy(text);
    text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
}

/// Reason why a recording ended early. The file is a valid history.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    /// The file cannot be written, or the received bytes are not an answer.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A node gave an answer that this call cannot have.
    #[error("a node answered {0:?}")]
    Answer(Answer),
}

/// Maximum time to wait for an answer. Longer than a node takes to answer, if only by an error.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a process tries the next node, if one is down or serves no clients.
const PAUSE: Duration = Duration::from_millis(10);
/// Upper bound of the values of one process. All numbers stay below 2^53, as other readers of JSON require.
const VALUES_A_PROCESS: u64 = 1_000_000_000;
/// Number of transactions for each key, after which other keys take their place, since every read names all that was
/// appended before.
const TRANSACTIONS_A_KEY: u64 = 50;
