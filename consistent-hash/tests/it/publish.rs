//! Snapshots for readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use quorate_consistent_hash::{Node, Placement, Publisher, Ring};

use crate::support::{hashes, named};

#[test]
fn readers_see_whole_placements_and_in_the_end_the_last() {
    let publisher = Publisher::new(Ring::new(named(3)).unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let mut late = publisher.reader();
    thread::scope(|scope| {
        for _ in 0..3 {
            let (mut reader, done) = (publisher.reader(), done.clone());
            scope.spawn(move || {
                let mut nodes = 3;
                loop {
                    let finished = done.load(Ordering::Acquire);
                    let ring = reader.current();
                    assert!(ring.nodes().len() >= nodes, "placements never go back");
                    nodes = ring.nodes().len();
                    for hash in hashes(10) {
                        ring.replicas_of(hash, 3).unwrap().for_each(drop);
                    }
                    if finished {
                        assert_eq!(nodes, 20, "nothing was being published, so that nothing stood in the way");
                        break;
                    }
                }
            });
        }
        for i in 3..20 {
            let mut next = (*publisher.snapshot()).clone();
            next.add(Node::new(format!("node-{i}"))).unwrap();
            publisher.publish(next);
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(late.nodes().len(), 3, "a snapshot stays until it is refreshed");
    assert_eq!(late.clone().current().nodes().len(), 20);
    assert_eq!(late.current().nodes().len(), 20);
}
