//! `ring plot`: bars of each node's load, the ring itself, and bars of the keys that a node loses and gains.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::algorithm::Built;
use crate::balance::{Load, loads, ratio};
use crate::circle::{Arc, Circle};
use crate::error::Failure;
use crate::movement::Flows;
use crate::{Placing, Sampling, input, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    placing: Placing,

    /// The nodes, one a line: `name [weight [zone [rack]]]`.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,

    /// Draws the movement to these nodes as well.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    /// File for the picture; standard output unless given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    sampling: Sampling,
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let before = Built::asked(&options.placing, options.nodes.as_deref())?;
    let hashes = sample::hashes(&options.sampling, &before)?;
    if hashes.is_empty() {
        return Err(Failure::Usage("there are no keys to measure on".into()));
    }
    let mut picture = Picture::default();
    let what = format!("{} on {} nodes", options.placing.shown(), before.placement().nodes().len());
    picture.loads(&what, &loads(before.placement(), &hashes));
    if let Some(circle) = Circle::of(&before) {
        picture.circle(&circle);
    }
    if let Some(to) = &options.to {
        let after = before.changed(&options.placing, options.placing.algorithm()?, input::nodes(to)?)?;
        let names = |built: &Built| -> Vec<String> {
            built.placement().nodes().iter().map(|(_, node)| node.name().to_owned()).collect()
        };
        // In the order of the files, the new ones last.
        let mut order = names(&before);
        order.extend(names(&after).into_iter().filter(|name| before.placement().nodes().index_of(name).is_none()));
        picture
            .flows(&Flows::of(before.placement(), after.placement(), hashes.iter().map(|&hash| (hash, hash))), &order);
    }
    let svg = picture.finish();
    match &options.output {
        Some(path) => fs::write(path, svg).map_err(|source| Failure::Read { path: path.clone(), source }),
        None => out.write_all(svg.as_bytes()).map_err(Failure::Output),
    }
}

/// An SVG that grows downwards.
#[derive(Default)]
struct Picture {
    body: String,
    height: f64,
}

impl Picture {
    /// A bar a node: its load divided by the fair one, with a line at one.
    fn loads(&mut self, what: &str, loads: &[Load]) {
        let most = loads.iter().map(Load::relative).fold(1.0, f64::max);
        let tick = tick(most);
        let scale = (most / tick).ceil() * tick;
        let count = ratio(loads.len() as u64);
        self.heading(
            &format!("Load, {what}"),
            &format!("load over fair load by weight; the line is 1, the highest bar {most:.3}"),
        );
        let bottom = self.height + PLOT_HEIGHT;
        let y = |value: f64| bottom - PLOT_HEIGHT * value / scale;
        for step in 0_u32.. {
            let value = tick * f64::from(step);
            if value > scale {
                break;
            }
            self.rule(y(value), "#e3e3e3");
            self.text(LEFT - 8.0, y(value) + 4.0, "end", &format!("{value:.2}"));
        }
        let slot = PLOT_WIDTH / count;
        for (place, load) in (0_u32..).zip(loads) {
            let x = LEFT + slot * (f64::from(place) + 0.1);
            let value = load.relative();
            self.bar(x, y(value), slot * 0.8, bottom - y(value), "#4878a8", &format!("{}: {value:.4}", load.name));
        }
        self.rule(y(1.0), "#c0392b");
        self.height = bottom;
        let names: Vec<String> = loads.iter().map(|load| short(&load.name)).collect();
        self.names(&names, slot);
    }

    /// The ring, from the top clockwise, with the nodes and their colours beside it.
    fn circle(&mut self, circle: &Circle) {
        let how = if circle.is_exact { "each part in its place" } else { "too many parts: owners at 4096 hashes" };
        self.heading(
            &format!("Ring of {} parts", circle.tokens),
            &format!("the hash zero is at the top, and grows clockwise; {how}"),
        );
        let (middle, centre) = (LEFT + RADIUS, self.height + RADIUS + 4.0);
        let count = ratio(circle.nodes.len() as u64);
        let colour =
            |node: usize| format!("hsl({:.0},60%,{}%)", 360.0 * ratio(node as u64) / count, 45 + node % 3 * 10);
        let point = |turn: f64, radius: f64| {
            let angle = turn * std::f64::consts::TAU;
            (middle + radius * angle.sin(), centre - radius * angle.cos())
        };
        for Arc { node, from, to } in &circle.arcs {
            // An arc of half a turn has no direction.
            let parts = if to - from < 0.5 { 1 } else { 3 };
            let part = (to - from) / f64::from(parts);
            for from in (0..parts).map(|place| from + part * f64::from(place)) {
                let [(x1, y1), (x2, y2)] = [from, from + part].map(|turn| point(turn, RADIUS));
                let [(x3, y3), (x4, y4)] = [from + part, from].map(|turn| point(turn, RADIUS * 0.6));
                let (outer, inner, colour) = (RADIUS, RADIUS * 0.6, colour(*node));
                // The outline covers the gaps that drawing leaves between neighbours.
                let _ = writeln!(
                    self.body,
                    r#"<path d="M{x1:.2} {y1:.2}A{outer} {outer} 0 0 1 {x2:.2} {y2:.2}L{x3:.2} {y3:.2}A{inner} {inner} 0 0 0 {x4:.2} {y4:.2}Z" fill="{colour}" stroke="{colour}" stroke-width="0.4"/>"#
                );
            }
        }
        self.legend(circle, middle + RADIUS + 40.0, centre - RADIUS, colour);
        self.height = centre + RADIUS + 12.0;
    }

    /// The names of the nodes of a ring beside their colours, in columns.
    fn legend(&mut self, circle: &Circle, left: f64, top: f64, colour: impl Fn(usize) -> String) {
        let named: Vec<_> = circle.nodes.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()).collect();
        let shown =
            if named.len() > LEGEND_ROWS * LEGEND_COLUMNS { LEGEND_ROWS * LEGEND_COLUMNS - 1 } else { named.len() };
        let place = |row: usize| {
            let (column, row) = (ratio((row / LEGEND_ROWS) as u64), ratio((row % LEGEND_ROWS) as u64));
            (left + LEGEND_WIDTH * column, top + 18.0 * row)
        };
        for (row, (node, (name, share))) in named.iter().take(shown).enumerate() {
            let (x, y) = place(row);
            self.bar(x, y, 12.0, 12.0, &colour(*node), name);
            self.text(x + 18.0, y + 10.0, "start", &format!("{} {:.2} %", short(name), 100.0 * share));
        }
        if shown < named.len() {
            let (x, y) = place(shown);
            self.text(x + 18.0, y + 10.0, "start", &format!("and {} more", named.len() - shown));
        }
    }

    /// Two bars for each node that changes: the keys it loses, to the left, and those it gains, to the right.
    fn flows(&mut self, flows: &Flows, order: &[String]) {
        let mut change: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((from, to), &keys) in &flows.moved {
            change.entry(from).or_default().0 += keys;
            change.entry(to).or_default().1 += keys;
        }
        let (moved, minimum) = (100.0 * flows.moved_share(), 100.0 * flows.minimum_share());
        self.heading(
            &format!("Movement: {moved:.3} % of the keys move, {minimum:.3} % is the minimum"),
            &format!("share of all keys a node loses (left) and gains (right); nodes that change: {}", change.len()),
        );
        let share = |keys: u64| 100.0 * ratio(keys) / ratio(flows.keys);
        let most = change.values().map(|&(lost, gained)| share(lost.max(gained))).fold(0.0, f64::max);
        // The nodes that change most; the rest would not be readable.
        let mut largest: Vec<_> = change.iter().map(|(name, &(lost, gained))| (lost.max(gained), *name)).collect();
        largest.sort_unstable_by(|one, other| other.cmp(one));
        let shown: BTreeSet<&str> = largest.iter().take(FLOW_ROWS).map(|&(_, name)| name).collect();
        let middle = LEFT + PLOT_WIDTH / 2.0;
        let reach = PLOT_WIDTH / 2.0 - NAME_WIDTH;
        for name in order.iter().map(String::as_str).filter(|name| shown.contains(name)) {
            let (lost, gained) = change[name];
            let y = self.height + 4.0;
            for (keys, left, colour) in [(lost, true, "#c0392b"), (gained, false, "#2e8b57")] {
                if keys == 0 {
                    continue;
                }
                let width = reach * share(keys) / most;
                let x = if left { middle - width } else { middle };
                self.bar(x, y, width, 12.0, colour, &format!("{name}: {:.3} %", share(keys)));
                let (at, anchor) = if left { (x - 6.0, "end") } else { (x + width + 6.0, "start") };
                self.text(at, y + 10.0, anchor, &format!("{:.3} %", share(keys)));
            }
            self.text(LEFT - 8.0, y + 10.0, "end", &short(name));
            self.height += 18.0;
        }
        if shown.len() < change.len() {
            let rest = change.len() - shown.len();
            self.height += 18.0;
            self.text(middle, self.height, "middle", &format!("and {rest} more nodes that change less"));
        }
        self.height += 12.0;
    }

    /// The names below bars: rotated if they do not fit otherwise, and only as many as fit.
    fn names(&mut self, names: &[String], slot: f64) {
        let longest = ratio(names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u64);
        if longest * LETTER_WIDTH < slot {
            for (place, name) in (0_u32..).zip(names) {
                self.text(LEFT + slot * (f64::from(place) + 0.5), self.height + 16.0, "middle", name);
            }
            self.height += 28.0;
            return;
        }
        let every = (12.0 / slot).ceil().max(1.0);
        let mut next = 0.0;
        for (place, name) in (0_u32..).zip(names) {
            if f64::from(place) < next {
                continue;
            }
            next += every;
            let (x, y) = (LEFT + slot * (f64::from(place) + 0.5) + 4.0, self.height + 8.0);
            let name = escape(name);
            let _ = writeln!(
                self.body,
                r#"<text x="{x:.1}" y="{y:.1}" text-anchor="end" transform="rotate(-60 {x:.1} {y:.1})">{name}</text>"#
            );
        }
        self.height += longest * LETTER_WIDTH * 0.87 + 20.0;
    }

    fn heading(&mut self, title: &str, explanation: &str) {
        self.height += 30.0;
        let (title, explanation) = (escape(title), escape(explanation));
        let _ = writeln!(
            self.body,
            r#"<text x="16" y="{:.1}" font-size="16" font-weight="bold">{title}</text>"#,
            self.height
        );
        self.height += 20.0;
        let _ = writeln!(self.body, r##"<text x="16" y="{:.1}" fill="#555">{explanation}</text>"##, self.height);
        self.height += 20.0;
    }

    fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str, title: &str) {
        let title = escape(title);
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="{colour}"><title>{title}</title></rect>"#
        );
    }

    fn rule(&mut self, y: f64, colour: &str) {
        let right = LEFT + PLOT_WIDTH;
        let _ = writeln!(self.body, r#"<line x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="{colour}"/>"#);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
    }

    fn finish(self) -> String {
        let (width, height) = (LEFT + PLOT_WIDTH + 24.0, self.height + 16.0);
        let attributes = r#"xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11""#;
        format!(
            "<svg {attributes} width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// The distance of lines across bars, so that there are four to six of them.
fn tick(most: f64) -> f64 {
    [0.25, 0.5, 1.0, 2.0].into_iter().find(|tick| most <= tick * 6.0).unwrap_or((most / 5.0).ceil())
}

fn short(name: &str) -> String {
    if name.chars().count() <= 18 {
        return name.into();
    }
    let end: Vec<_> = name.chars().rev().take(17).collect();
    core::iter::once('…').chain(end.into_iter().rev()).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const LEFT: f64 = 120.0;
const PLOT_WIDTH: f64 = 900.0;
const PLOT_HEIGHT: f64 = 260.0;
/// Room for a name beside a bar.
const NAME_WIDTH: f64 = 80.0;
const FLOW_ROWS: usize = 50;
const RADIUS: f64 = 180.0;
/// Width of a letter, on average.
const LETTER_WIDTH: f64 = 6.4;
const LEGEND_ROWS: usize = 20;
const LEGEND_COLUMNS: usize = 2;
const LEGEND_WIDTH: f64 = 250.0;
