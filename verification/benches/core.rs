//! The cores of both logs, three in one loop each, without syncs or sockets. Prints entries per second of processor
//! time, which other work of the machine affects little, and per second of elapsed time.
//!
//! `cargo bench -p quorate-verification --bench core`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

use std::time::Instant;

use bytes::Bytes;
use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::Election;
use quorate_protocol::replication::testing::CoreLoop;
use quorate_raft::UpToDateLog;

fn main() {
    for (batch, total) in [(1_u64, 250_000_u64), (64, 2_000_000), (256, 2_000_000)] {
        for payload_bytes in [8, 256] {
            let mut best = [(0.0, 0.0); 2];
            for _ in 0..3 {
                for (best, run) in best.iter_mut().zip([measure::<UpToDateLog>, measure::<AnyLog>]) {
                    let (cpu, wall) = run(batch, total, payload_bytes);
                    *best = (f64::max(best.0, cpu), f64::max(best.1, wall));
                }
            }
            for (name, (cpu, wall)) in ["raft", "paxos"].into_iter().zip(best) {
                let (cpu, wall) = (cpu / 1e6, wall / 1e6);
                println!(
                    "{name:<5} batch {batch:>3}, {payload_bytes:>3} bytes: {cpu:>5.2} M entries/s ({wall:.2} M by the wall)"
                );
            }
        }
    }
}

fn measure<E: Election>(batch: u64, total: u64, payload_bytes: usize) -> (f64, f64) {
    let mut cores = CoreLoop::<E>::start();
    let payload = Bytes::from(vec![7; payload_bytes]);
    let (began, processor_began) = (Instant::now(), on_processor());
    for _ in 0..total / batch {
        cores.commit(batch, &payload);
    }
    let entries = total / batch * batch;
    assert!(cores.committed().0 >= entries, "all is committed: {:?}", cores.committed());
    let entries = entries as f64;
    (entries / (on_processor() - processor_began) * 1e9, entries / began.elapsed().as_secs_f64())
}

/// Nanoseconds for which this thread was on a processor.
fn on_processor() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}
