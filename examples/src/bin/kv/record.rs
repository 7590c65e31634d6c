//! `kv record`: records the calls and answers of clients of a running cluster, as a history for `simulate check`.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use quorate_examples::kv::client::{Answer, Client};
use quorate_examples::kv::config::ClusterConfig;
use quorate_protocol::Random;
use quorate_simulation::history::{EventKind, Function, HistoryEvent, write_events};
use serde_json::{Value, json};

/// The amount of load, and its duration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) seconds: u64,
    pub(crate) processes: u64,
    pub(crate) keys: u64,
}

/// Records into a new file until the time is over. Every line is written immediately, so that the file is a valid
/// history when this is interrupted.
///
/// The keys have names that no other recording uses, so that each register is absent at first. No value is written
/// twice.
pub(crate) fn run(config: &ClusterConfig, load: Load, out: &Path) -> Result<(), Box<dyn Error>> {
    let file = File::create_new(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let run = getrandom::u64().map_err(io::Error::other)?;
    let nodes: Vec<_> = config.nodes.values().map(|node| node.client).collect();
    let recorder = Recorder::new(file);
    let is_over = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let processes: Vec<_> = (0..load.processes)
            .map(|number| {
                let random = Random::new(run ^ number);
                let process = Process { number, written: 0, run, keys: load.keys, random, recorder: &recorder };
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
    fn record(&self, process: u64, kind: EventKind, call: &Call, value: Value) -> io::Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let time = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let event =
            HistoryEvent { process, kind, function: call.function(), key: Some(call.key.as_str().into()), value, time };
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

/// A client that makes one call after the other, at one node as long as that node answers.
struct Process<'a> {
    number: u64,
    written: u64,
    run: u64,
    keys: u64,
    random: Random,
    recorder: &'a Recorder,
}

impl Process<'_> {
    fn call_until(mut self, is_over: &AtomicBool, nodes: &[SocketAddr]) -> Result<(), RecordError> {
        let first = usize::try_from(self.number).unwrap_or(0) % nodes.len();
        for node in nodes.iter().cycle().skip(first) {
            if let Ok(mut client) = Client::connect(*node, PATIENCE) {
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
        let call = self.next_call();
        self.recorder.record(self.number, EventKind::Invoke, &call, call.value())?;
        let answer = client.ask(&call.command().iter().map(Vec::as_slice).collect::<Vec<_>>());
        let is_served = !matches!(answer, Err(_) | Ok(Answer::Error(_)));
        let (kind, value) = call.outcome(answer)?;
        self.recorder.record(self.number, kind, &call, value)?;
        Ok(is_served)
    }

    fn next_call(&mut self) -> Call {
        let key = format!("record:{:016x}:{}", self.run, self.random.between(0, self.keys));
        let what = match self.random.between(0, 100) {
            0..50 => What::Read,
            50..80 => What::Write(self.next_value()),
            80..88 => What::Remove,
            _ => What::WriteIfAbsent(self.next_value()),
        };
        Call { key, what }
    }

    fn next_value(&mut self) -> u64 {
        self.written += 1;
        self.number * VALUES_A_PROCESS + self.written
    }
}

/// A call on one key.
struct Call {
    key: String,
    what: What,
}

enum What {
    /// `GET`
    Read,
    /// `SET`
    Write(u64),
    /// `DEL`: a write of no value.
    Remove,
    /// `SET NX`: a cas from no value.
    WriteIfAbsent(u64),
}

impl Call {
    fn function(&self) -> Function {
        match self.what {
            What::Read => Function::Read,
            What::Write(_) | What::Remove => Function::Write,
            What::WriteIfAbsent(_) => Function::Cas,
        }
    }

    fn value(&self) -> Value {
        match self.what {
            What::Read | What::Remove => Value::Null,
            What::Write(value) => json!(value),
            What::WriteIfAbsent(value) => json!([null, value]),
        }
    }

    fn command(&self) -> Vec<Vec<u8>> {
        let key = &self.key;
        let words = match self.what {
            What::Read => format!("GET {key}"),
            What::Write(value) => format!("SET {key} {value}"),
            What::Remove => format!("DEL {key}"),
            What::WriteIfAbsent(value) => format!("SET {key} {value} NX"),
        };
        words.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    /// The outcome of the call. Only an answer that states it means that nothing was done. A lost connection, or no
    /// answer in time, leaves the outcome unknown.
    fn outcome(&self, answer: io::Result<Answer>) -> Result<(EventKind, Value), RecordError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error.into()),
            Err(_) => return Ok((EventKind::Info, self.value())),
        };
        match (&self.what, answer) {
            (_, Answer::Error(error)) if error.ends_with("not applied") => Ok((EventKind::Fail, self.value())),
            (_, Answer::Error(error)) if error.ends_with("outcome unknown") => Ok((EventKind::Info, self.value())),
            (What::Read, Answer::Nil) => Ok((EventKind::Ok, Value::Null)),
            (What::Read, Answer::Bulk(text)) => Ok((EventKind::Ok, read_value(&text))),
            (What::Write(_) | What::WriteIfAbsent(_), Answer::Status(_)) | (What::Remove, Answer::Integer(_)) => {
                Ok((EventKind::Ok, self.value()))
            }
            (What::WriteIfAbsent(_), Answer::Nil) => Ok((EventKind::Fail, self.value())),
            (_, answer) => Err(RecordError::Answer(answer)),
        }
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
