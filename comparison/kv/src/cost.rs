//! What the processes spend: processor time and context switches of each thread, from `/proc`.

use std::collections::BTreeMap;
use std::io;
use std::ops::{AddAssign, Sub};

/// What threads of one name have spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Microseconds on a processor.
    pub cpu_us: f64,
    /// Microseconds ready to run, without a processor.
    pub queued_us: f64,
    /// Context switches: the thread waited for something.
    pub yielded: f64,
    /// Context switches: another thread took the processor.
    pub preempted: f64,
}

/// What each thread of a process has spent, by its name.
pub type Ledger = BTreeMap<String, Spent>;

/// What the threads of a process have spent since they began. Threads of one name are one entry.
pub fn ledger(process: u32) -> io::Result<Ledger> {
    let mut ledger = Ledger::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let path = task?.path();
        let read = |file: &str| std::fs::read_to_string(path.join(file));
        // A thread that has just ended is left out.
        let (Ok(name), Ok(times), Ok(status)) = (read("comm"), read("schedstat"), read("status")) else { continue };
        let mut times = times.split_whitespace().map(|number| number.parse::<f64>().unwrap_or(0.0) / 1000.0);
        let spent = Spent {
            cpu_us: times.next().unwrap_or(0.0),
            queued_us: times.next().unwrap_or(0.0),
            yielded: field(&status, "voluntary_ctxt_switches:"),
            preempted: field(&status, "nonvoluntary_ctxt_switches:"),
        };
        *ledger.entry(name.trim().to_owned()).or_default() += spent;
    }
    Ok(ledger)
}

/// What was spent between two ledgers of one process.
pub fn between(before: &Ledger, after: &Ledger) -> Ledger {
    let since =
        |(name, spent): (&String, &Spent)| (name.clone(), *spent - before.get(name).copied().unwrap_or_default());
    after.iter().map(since).collect()
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.cpu_us += other.cpu_us;
        self.queued_us += other.queued_us;
        self.yielded += other.yielded;
        self.preempted += other.preempted;
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            cpu_us: self.cpu_us - other.cpu_us,
            queued_us: self.queued_us - other.queued_us,
            yielded: self.yielded - other.yielded,
            preempted: self.preempted - other.preempted,
        }
    }
}
