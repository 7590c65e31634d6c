//! Keeps each sample as a line of JSON, with the machine and its load.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::cluster::Kind;
use crate::load::{Figures, Load};

/// A file of samples. New ones go behind those that it has.
pub struct Record {
    file: File,
    machine: Value,
}

impl Record {
    /// Opens the file, or creates it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)?, machine: machine() })
    }

    /// Adds a sample.
    pub fn add(&mut self, kind: Kind, load: &Load, figures: &Figures) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let spent: Vec<Value> = figures.spent.iter().map(|ledger| spent(ledger, figures.operations)).collect();
        let sample = json!({
            "at": at,
            "machine": self.machine,
            "load_average": read("/proc/loadavg"),
            "system": format!("{kind:?}"),
            "durability": kind.durability(),
            "operation": format!("{:?}", load.operation),
            "clients": load.clients,
            "pipeline": load.pipeline,
            "value_bytes": load.value_bytes,
            "seconds": load.duration.as_secs_f64(),
            "rate": figures.rate,
            "p50_ms": figures.p50_ms,
            "p99_ms": figures.p99_ms,
            "syncs_an_operation": figures.syncs,
            "resident_mib": figures.resident_mib,
            "spent_an_operation": spent,
        });
        writeln!(self.file, "{sample}")
    }
}

fn spent(ledger: &crate::cost::Ledger, operations: f64) -> Value {
    let thread = |(name, spent): (&String, &crate::cost::Spent)| {
        let value = json!({
            "cpu_us": spent.cpu_us / operations,
            "queued_us": spent.queued_us / operations,
            "yielded": spent.yielded / operations,
            "preempted": spent.preempted / operations,
        });
        (name.clone(), value)
    };
    Value::Object(ledger.iter().map(thread).collect::<Map<_, _>>())
}

/// The machine that measures: its processors, its memory and its kernel.
fn machine() -> Value {
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "processor": field(&processors, "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field(&memory, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease"),
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned())
}
