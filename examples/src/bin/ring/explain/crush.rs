//! CRUSH: the steps of the rule, with each draw, try and rejection.

use quorate_consistent_hash::compat::{
    CRUSH_NONE, CrushEvent, CrushRejection, CrushStep, CrushStraw, ceph_hash, ceph_input, ceph_placement_group,
};

use super::Steps;
use crate::config::CephCluster;

pub(super) fn explain(cluster: &CephCluster, key: &[u8], steps: &mut Steps) {
    let CephCluster { pg_num, number, .. } = cluster;
    let group = ceph_placement_group(key, *pg_num);
    steps.hashed(key);
    steps.add("hash", format_args!("{:08x}, by Jenkins's lookup2", ceph_hash(key)));
    steps.add("placement group", format_args!("{number}.{group:x} of {pg_num}: the hash by a stable modulo"));
    let x = ceph_input(group, *pg_num, *number);
    steps.add("input", format_args!("x = {x:08x} ({x}), a hash of the group and of the pool {number}"));
    let mut events = Vec::new();
    let devices = cluster.map.trace(
        &cluster.rule,
        x,
        cluster.size,
        |device| cluster.reweight(device),
        |event| {
            if events.len() < EVENTS_MAX {
                events.push(event);
            }
        },
    );
    for event in &events {
        cluster.show(*event, x, steps);
    }
    if events.len() == EVENTS_MAX {
        steps.add("more", format_args!("only the first {EVENTS_MAX} are shown"));
    }
    let names: Vec<_> = devices.iter().map(|&device| cluster.item(device)).collect();
    steps.add("devices", names.join(", "));
    steps.add("rule", "the first device that was found; in each bucket the longest straw wins, logarithm by weight");
}

impl CephCluster {
    fn show(&self, event: CrushEvent, x: u32, steps: &mut Steps) {
        match event {
            CrushEvent::Step(at) => steps.add("step", self.step(self.rule[at])),
            CrushEvent::Try { bucket, replica, r } => {
                steps.add("try", format_args!("replica {replica} in {}, r = {r}", self.item(bucket)));
            }
            CrushEvent::Leaf { bucket, r } => {
                steps.add("try below", format_args!("{}, r = {r}", self.item(bucket)));
            }
            CrushEvent::Drawn { bucket, r, item } => {
                let mut straws = self.map.straws(bucket, x, r);
                straws.sort_by_key(|straw| std::cmp::Reverse(straw.length));
                let shown: Vec<_> = straws.iter().take(STRAWS).map(|straw| self.straw(straw)).collect();
                let rest = if straws.len() > STRAWS { ", and shorter ones" } else { "" };
                let (bucket, item) = (self.item(bucket), self.item(item));
                steps.add("straws", format_args!("in {bucket}: {item} wins of {}{rest}", shown.join(", ")));
            }
            CrushEvent::Rejected(rejection) => steps.add("rejected", self.rejection(rejection)),
            CrushEvent::Chosen { item, device } if item == device => steps.add("chosen", self.item(item)),
            CrushEvent::Chosen { item, device } => {
                steps.add("chosen", format_args!("{} in {}", self.item(device), self.item(item)));
            }
            _ => {}
        }
    }

    fn straw(&self, straw: &CrushStraw) -> String {
        let (item, weight) = (self.item(straw.item), f64::from(straw.weight) / 65536.0);
        if straw.weight == 0 {
            return format!("{item} of weight 0");
        }
        format!("{item} {} (drawn {:04x}, weight {weight:.3})", straw.length, straw.draw)
    }

    fn rejection(&self, rejection: CrushRejection) -> String {
        match rejection {
            CrushRejection::Taken(item) => format!("{} is taken by another replica", self.item(item)),
            CrushRejection::Out(device) => {
                let reweight = f64::from(self.reweight(device)) / 65536.0;
                format!("{} is out for this input: its reweight is {reweight}", self.item(device))
            }
            CrushRejection::Empty(bucket) => format!("{} has no items", self.item(bucket)),
            CrushRejection::DeadEnd(device) => format!("{} is no bucket; the replica is given up", self.item(device)),
            CrushRejection::NoLeaf(item) => format!("no device of {} is left", self.item(item)),
            _ => "for another reason".into(),
        }
    }

    /// The step as a map writes it.
    fn step(&self, step: CrushStep) -> String {
        let choose = |leaf: bool, mode: &str, count: i32, kind: u16| {
            let choose = if leaf { "chooseleaf" } else { "choose" };
            let kind = self.kinds.get(&kind).map_or("?", String::as_str);
            format!("{choose} {mode} {count} type {kind}")
        };
        match step {
            CrushStep::Take(item) => format!("take {}", self.item(item)),
            CrushStep::ChooseFirstn { count, kind, leaf } => choose(leaf, "firstn", count, kind),
            CrushStep::ChooseIndep { count, kind, leaf } => choose(leaf, "indep", count, kind),
            CrushStep::SetChooseTries(tries) => format!("set_choose_tries {tries}"),
            CrushStep::SetChooseleafTries(tries) => format!("set_chooseleaf_tries {tries}"),
            CrushStep::Emit => "emit".into(),
            _ => "another step".into(),
        }
    }

    fn item(&self, item: i32) -> String {
        match self.items.get(&item) {
            Some(name) => name.clone(),
            None if item == CRUSH_NONE => "none".into(),
            None => item.to_string(),
        }
    }
}

/// Number of straws of a bucket that are shown.
const STRAWS: usize = 5;

/// Number of steps, draws and rejections that are shown.
const EVENTS_MAX: usize = 500;
