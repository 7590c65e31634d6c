//! The metrics that a running node publishes.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use quorate_protocol::GroupId;
use quorate_raft::Raft;
use quorate_runtime::group::ChannelId;
use quorate_runtime::metrics::METRICS;
use quorate_runtime::{Server, Typed};
use quorate_two_phase_commit::manager::Manager;
use quorate_two_phase_commit::manager::core::ManagerCore;

use crate::server::Counter as Counting;

/// Keeps the newest value of every metric, by name and labels.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, f64>>>);

struct Cell(Seen, String);

impl Seen {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.0.lock().expect("no panic").get(name).copied()
    }
}

impl Cell {
    fn set(&self, value: f64) {
        self.0.0.lock().expect("no panic").insert(self.1.clone(), value);
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.absolute(value);
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.set(value);
    }

    fn decrement(&self, value: f64) {
        self.set(-value);
    }

    fn set(&self, value: f64) {
        Cell::set(self, value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.set(value);
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

#[test]
fn a_node_publishes_every_metric() {
    let data = tempfile::tempdir().expect("a directory");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
    let builder = Server::builder("test", data.path())
        .node(1, address.to_string())
        .replica::<Raft, _>(GroupId(7), Typed(Counting::default()))
        .bound::<Raft, ManagerCore>(GroupId(8), ChannelId(18), Manager::replicated().core());
    let seen = Seen::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    metrics::with_local_recorder(&seen, || {
        runtime.block_on(async {
            let server = builder.open(1).await.expect("it opens");
            let (handle, counter) = (server.handle(), server.local_replica::<Raft, Typed<Counting>>(GroupId(7)));
            let calls = async {
                counter.execute(&1).await.expect("applied");
                let is_published = || {
                    let is_at_least = |name, least| seen.value(name).is_some_and(|value| value >= least);
                    is_at_least("quorate_group_applied_index{node=1,group=7}", 2.0)
                        && is_at_least("quorate_group_record_bytes{node=1,group=8}", 1.0)
                };
                // The node publishes as time passes, and gives no signal. The length of a pause does not affect the
                // result.
                while !is_published() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                handle.shutdown(Duration::from_secs(1)).await;
            };
            tokio::join!(server.run(), calls);
        });
    });
    let names = seen.0.lock().expect("no panic").keys().cloned().collect::<Vec<_>>();
    for metric in METRICS {
        assert!(names.iter().any(|name| name.starts_with(&format!("{}{{node=1", metric.name))), "{}", metric.name);
    }
    assert_eq!(seen.value("quorate_group_is_leader{node=1,group=7}"), Some(1.0));
    assert_eq!(seen.value("quorate_group_serves_core{node=1,group=8}"), Some(1.0));
    assert_eq!(seen.value("quorate_group_serves_core{node=1,group=7}"), None, "it is no bound group");
}
