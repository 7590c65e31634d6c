//! Timing, memory, balance and disruption of one subject.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// One implementation, with its types hidden so that a table can hold many.
pub trait Subject {
    fn label(&self) -> &'static str;
    /// Builds it on nodes `0..nodes`, and remembers how long that took and what it weighs.
    fn build(&mut self, nodes: u32);
    fn owners_ns(&self, lookups: u64) -> f64;
    /// None where the implementation has no replicas.
    fn replicas_ns(&self, lookups: u64) -> Option<f64>;
    /// Peak over mean load, and the keys moved by a removal over the minimum.
    fn quality(&self, keys: u64) -> Quality;
    fn cost(&self) -> Cost;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub build_ms: f64,
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Quality {
    pub peak_to_mean: f64,
    pub moved_to_minimum: f64,
}

pub struct Case<S, B, O, R> {
    pub label: &'static str,
    /// Most nodes it is built for; beyond, it takes too long or does not work.
    pub max: u32,
    pub build: B,
    pub owner: O,
    pub replicas: Option<R>,
    /// Which of `0..nodes` is removed for the disruption.
    pub removed: fn(u32) -> u32,
    pub built: Option<(S, u32, Cost)>,
}

impl<S, B, O, R> Case<S, B, O, R>
where
    B: Fn(&[u32]) -> S,
    O: Fn(&S, u64) -> u32,
    R: Fn(&S, u64) -> u32,
{
    fn subject(&self) -> &S {
        &self.built.as_ref().expect("built before it is measured").0
    }
}

impl<S, B, O, R> Subject for Case<S, B, O, R>
where
    B: Fn(&[u32]) -> S,
    O: Fn(&S, u64) -> u32,
    R: Fn(&S, u64) -> u32,
{
    fn label(&self) -> &'static str {
        self.label
    }

    fn build(&mut self, nodes: u32) {
        self.built = None;
        if nodes > self.max {
            return;
        }
        let all: Vec<u32> = (0..nodes).collect();
        let before = ALLOCATED.load(Ordering::Relaxed);
        let start = Instant::now();
        let subject = (self.build)(&all);
        let build_ms = start.elapsed().as_secs_f64() * 1e3;
        let bytes = ALLOCATED.load(Ordering::Relaxed).saturating_sub(before);
        self.built = Some((subject, nodes, Cost { build_ms, bytes }));
    }

    fn owners_ns(&self, lookups: u64) -> f64 {
        if self.built.is_none() {
            return f64::NAN;
        }
        let subject = self.subject();
        let start = Instant::now();
        let sum = keys(lookups).fold(0_u32, |sum, key| sum.wrapping_add((self.owner)(subject, key)));
        black_box(sum);
        start.elapsed().as_secs_f64() * 1e9 / lookups as f64
    }

    fn replicas_ns(&self, lookups: u64) -> Option<f64> {
        self.built.as_ref()?;
        let (subject, replicas) = (self.subject(), self.replicas.as_ref()?);
        let start = Instant::now();
        let sum = keys(lookups).fold(0_u32, |sum, key| sum.wrapping_add(replicas(subject, key)));
        black_box(sum);
        Some(start.elapsed().as_secs_f64() * 1e9 / lookups as f64)
    }

    fn quality(&self, sample: u64) -> Quality {
        let Some((subject, nodes, _)) = &self.built else {
            return Quality { peak_to_mean: f64::NAN, moved_to_minimum: f64::NAN };
        };
        let gone = (self.removed)(*nodes);
        let left: Vec<u32> = (0..*nodes).filter(|&node| node != gone).collect();
        let smaller = (self.build)(&left);
        let mut loads = vec![0_u64; *nodes as usize];
        let mut moved = 0_u64;
        for key in keys(sample) {
            let owner = (self.owner)(subject, key);
            loads[owner as usize] += 1;
            moved += u64::from((self.owner)(&smaller, key) != owner);
        }
        let peak = loads.iter().max().copied().unwrap_or(0) as f64;
        Quality {
            peak_to_mean: peak * f64::from(*nodes) / sample as f64,
            moved_to_minimum: moved as f64 / loads[gone as usize] as f64,
        }
    }

    fn cost(&self) -> Cost {
        self.built.as_ref().map_or(Cost { build_ms: f64::NAN, bytes: 0 }, |built| built.2)
    }
}

/// Keys without a pattern that any hash here would like, and too many for a cache to learn.
fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|i| i.wrapping_mul(0xD134_2543_DE82_EF95))
}

/// Counts the bytes in use, so that every implementation is weighed alike.
pub struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}
