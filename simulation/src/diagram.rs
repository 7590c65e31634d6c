//! A picture of a run: nodes are lines, time runs downwards, messages are arrows.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Moment, MomentKind};

/// Draws the end of a run, up to the first violation, as SVG.
///
/// Time is not to scale: each row is one visible moment, so that a burst stays readable and a silence takes no room.
/// The times are on the left. The line of a leader is thick, that of a node that is down is dashed, and that of a
/// paused node is pale. Lost messages end in a cross. Bars on the right show how long faults last. At most
/// `moments_max` moments are drawn: the last ones, and of those before them every moment that is more than a message (a
/// fault, a stop, a change of leader) with the moments around it. A dotted line with a number stands for moments that
/// are left out.
#[must_use]
pub fn svg(nodes: u64, moments: &[Moment], moments_max: usize) -> String {
    let merged = merged(moments);
    let all: Vec<&Moment> = merged.iter().collect();
    let chosen = chosen(&all, moments_max);
    let shown: Vec<&Moment> = chosen.iter().map(|place| all[*place]).collect();
    let first_us = shown.first().map_or(0, |moment| moment.at_us);
    let mut picture = Picture { body: String::new(), nodes, rows: rows(&shown), bottom: 0 };
    picture.draw_lines(moments, first_us, &shown);
    picture.draw_bars(moments, first_us, &shown);
    for (row, moment) in shown.iter().enumerate() {
        let before = row.checked_sub(1).map_or(chosen[row], |before| chosen[before] + 1);
        if chosen[row] > before {
            picture.gap(row, chosen[row] - before);
        }
        picture.draw(row, moment, first_us);
    }
    picture.finish(shown.len())
}

/// Positions of the moments to draw, ascending.
fn chosen(all: &[&Moment], moments_max: usize) -> Vec<usize> {
    let last = all.len().saturating_sub(moments_max / 2);
    let mut chosen: std::collections::BTreeSet<usize> = (last..all.len()).collect();
    let is_message = |place: usize| matches!(all[place].what, MomentKind::Arrived { .. } | MomentKind::Lost { .. });
    for place in (0..last).rev().filter(|place| !is_message(*place)) {
        let around = place.saturating_sub(SHOWN_BEFORE)..(place + SHOWN_AFTER + 1).min(all.len());
        if chosen.len() + around.len() > moments_max {
            break;
        }
        chosen.extend(around);
    }
    chosen.into_iter().collect()
}

/// The moments that get a row. Messages that one node lost at one time are merged into one moment.
fn merged(moments: &[Moment]) -> Vec<Moment> {
    let mut merged: Vec<Moment> = Vec::new();
    for moment in moments.iter().filter(|moment| is_shown(moment)) {
        let MomentKind::Lost { to, text } = &moment.what else {
            merged.push(moment.clone());
            continue;
        };
        let label = label(text);
        if let Some(Moment { at_us, node, what: MomentKind::Lost { text, .. } }) = merged.last_mut()
            && (*at_us, *node) == (moment.at_us, moment.node)
            && text.starts_with(&label)
        {
            _ = write!(text, ", n{to}");
            continue;
        }
        let what = MomentKind::Lost { to: *to, text: format!("{label} to n{to}") };
        merged.push(Moment { what, ..moment.clone() });
    }
    merged
}

/// Client calls and answers would hide the rest, and at the beginning every node starts.
fn is_shown(moment: &Moment) -> bool {
    match moment.what {
        MomentKind::Client(_) => false,
        MomentKind::Started => moment.at_us > 0,
        _ => true,
    }
}

/// The row of each moment. Messages leave between the rows of the moments before and after them.
fn rows(shown: &[&Moment]) -> BTreeMap<u64, usize> {
    let mut rows = BTreeMap::new();
    for (row, moment) in shown.iter().enumerate() {
        rows.entry(moment.at_us).or_insert(row);
    }
    rows
}

struct Picture {
    body: String,
    nodes: u64,
    rows: BTreeMap<u64, usize>,
    /// The row of the lowest text.
    bottom: usize,
}

/// Style of a node's line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stroke {
    Up,
    Leads,
    Down,
    Paused,
}

impl Picture {
    fn x(node: u64) -> u64 {
        LEFT + (node - 1) * COLUMN
    }

    fn y(row: usize) -> usize {
        TOP + row * ROW
    }

    /// The height of a moment, which may lie between two rows.
    fn y_of(&self, at_us: u64) -> usize {
        let row = self.rows.range(at_us..).next().map_or(self.rows.len(), |(_, row)| *row);
        Self::y(row).saturating_sub(if self.rows.contains_key(&at_us) { 0 } else { ROW / 2 })
    }

    fn draw_lines(&mut self, moments: &[Moment], first_us: u64, shown: &[&Moment]) {
        for node in 1..=self.nodes {
            let mut stroke = Stroke::Up;
            let mut from = Self::y(0).saturating_sub(ROW);
            // Events before the first drawn moment decide the initial style of the line.
            for moment in moments.iter().filter(|moment| moment.node == node && moment.at_us < first_us) {
                stroke = next_stroke(stroke, &moment.what);
            }
            for (row, moment) in shown.iter().enumerate().filter(|(_, moment)| moment.node == node) {
                let next = next_stroke(stroke, &moment.what);
                if next != stroke {
                    self.line(node, from, Self::y(row), stroke);
                    (stroke, from) = (next, Self::y(row));
                }
            }
            self.line(node, from, Self::y(shown.len()), stroke);
            _ = write!(self.body, r#"<text class="n" x="{}" y="{}">n{node}</text>"#, Self::x(node) - 8, TOP - 2 * ROW);
        }
    }

    fn line(&mut self, node: u64, from: usize, to: usize, stroke: Stroke) {
        let class = match stroke {
            Stroke::Up => "up",
            Stroke::Leads => "leads",
            Stroke::Down => "down",
            Stroke::Paused => "paused",
        };
        let x = Self::x(node);
        _ = writeln!(self.body, r#"<line class="{class}" x1="{x}" y1="{from}" x2="{x}" y2="{to}"/>"#);
    }

    fn draw(&mut self, row: usize, moment: &Moment, first_us: u64) {
        let y = Self::y(row);
        let (seconds, micros) = (moment.at_us / 1_000_000, moment.at_us % 1_000_000);
        _ = write!(self.body, r#"<text class="t" x="8" y="{}">{seconds}.{micros:06}</text>"#, y + 3);
        match &moment.what {
            MomentKind::Arrived { from, sent_us, text } => {
                let sent_y = if *sent_us < first_us { Self::y(0) - ROW } else { self.y_of(*sent_us) };
                self.arrow(*from, sent_y.min(y), moment.node, y, &label(text));
            }
            MomentKind::Lost { text, .. } => self.lost(moment.node, y, text),
            MomentKind::Role { term, is_leader } => {
                let role = if *is_leader { "leads" } else { "follows" };
                self.mark(moment.node, y, "role", &format!("{role}, term {term}"));
            }
            MomentKind::Stopped => self.mark(moment.node, y, "bad", "stops"),
            MomentKind::Started => self.mark(moment.node, y, "good", "starts"),
            MomentKind::Paused => self.mark(moment.node, y, "bad", "stands still"),
            MomentKind::Resumed => self.mark(moment.node, y, "good", "goes on"),
            MomentKind::Fault(text) => self.aside(y, "fault", text),
            MomentKind::FaultOver(text) => self.aside(y, "over", &format!("over: {text}")),
            MomentKind::Violation(text) => self.aside(y, "violation", text),
            MomentKind::Client(_) => {}
        }
    }

    fn arrow(&mut self, from: u64, from_y: usize, to: u64, y: usize, label: &str) {
        let (x1, x2) = (Self::x(from), Self::x(to));
        let class = class_of(label);
        let short = if x2 > x1 { x2 - 4 } else { x2 + 4 };
        _ = write!(
            self.body,
            r#"<line class="m {class}" x1="{x1}" y1="{from_y}" x2="{short}" y2="{y}" marker-end="url(#a)"/>"#
        );
        // Beside the head of the arrow, at the line of the receiver.
        let (x, anchor) = if x2 > x1 { (x2 - 10, "end") } else { (x2 + 10, "start") };
        let text = escaped(label);
        _ = writeln!(
            self.body,
            r#"<text class="l {class}" text-anchor="{anchor}" x="{x}" y="{}">{text}</text>"#,
            y - 2
        );
    }

    fn lost(&mut self, from: u64, y: usize, text: &str) {
        let x1 = Self::x(from);
        // Towards the middle, where there is room.
        let (x, anchor) = if from == self.nodes && from > 1 { (x1 - 26, "end") } else { (x1 + 26, "start") };
        _ = write!(self.body, r#"<line class="m lost" x1="{x1}" y1="{y}" x2="{x}" y2="{y}"/>"#);
        let text = escaped(text);
        _ = writeln!(
            self.body,
            r#"<text class="l lost" text-anchor="{anchor}" x="{x}" y="{}">&#215; {text}</text>"#,
            y + 3
        );
    }

    /// Draws the duration of each fault: bars side by side, to the right of the nodes.
    fn draw_bars(&mut self, moments: &[Moment], first_us: u64, shown: &[&Moment]) {
        let last_us = shown.last().map_or(0, |moment| moment.at_us);
        let mut free_us = [0; LANES];
        for (place, moment) in moments.iter().enumerate() {
            let MomentKind::Fault(text) = &moment.what else { continue };
            let is_end = |later: &&Moment| matches!(&later.what, MomentKind::FaultOver(other) if other == text);
            let end = moments[place..].iter().find(is_end).map_or(u64::MAX, |later| later.at_us);
            if end < first_us || moment.at_us > last_us {
                continue;
            }
            let Some(lane) = free_us.iter().position(|free_us| *free_us <= moment.at_us) else { continue };
            free_us[lane] = end;
            let from = if moment.at_us < first_us { Self::y(0) - ROW } else { self.y_of(moment.at_us) };
            let to = if end > last_us { Self::y(shown.len()) } else { self.y_of(end) };
            let x = Self::x(self.nodes) + 44 + 7 * lane as u64;
            _ = writeln!(self.body, r#"<line class="bar" x1="{x}" y1="{from}" x2="{x}" y2="{}"/>"#, to.max(from + 3));
        }
    }

    fn mark(&mut self, node: u64, y: usize, class: &str, text: &str) {
        let x = Self::x(node);
        _ = write!(self.body, r#"<circle class="{class}" cx="{x}" cy="{y}" r="4"/>"#);
        _ = writeln!(self.body, r#"<text class="l {class}" x="{}" y="{}">{}</text>"#, x + 8, y + 3, escaped(text));
    }

    /// Draws a mark that moments are left out above this row.
    fn gap(&mut self, row: usize, count: usize) {
        let (y, right) = (Self::y(row) - ROW / 2, Self::x(self.nodes) + 40);
        _ = write!(self.body, r#"<line class="gap" x1="60" y1="{y}" x2="{right}" y2="{y}"/>"#);
        _ = writeln!(self.body, r#"<text class="t" x="{}" y="{}">{count} messages later</text>"#, right + 6, y + 3);
    }

    /// Draws a line across all nodes, with text at its right end, in as many lines as it needs.
    fn aside(&mut self, y: usize, class: &str, text: &str) {
        let right = Self::x(self.nodes) + 40;
        _ = write!(self.body, r#"<line class="{class}" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>"#);
        let x = right + 10 + 7 * LANES as u64;
        for (number, line) in wrapped(text).iter().enumerate() {
            let y = y + 3 + number * (ROW - 3);
            self.bottom = self.bottom.max(y);
            _ = writeln!(self.body, r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escaped(line));
        }
    }

    fn finish(self, rows: usize) -> String {
        let width = Self::x(self.nodes) + 40 + ASIDE_WIDTH;
        let height = self.bottom.max(Self::y(rows)) + 2 * ROW;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n<defs><marker id=\"a\" markerWidth=\"7\" \
             markerHeight=\"6\" refX=\"6\" refY=\"3\" orient=\"auto\"><path d=\"M0,0 L7,3 L0,6 z\" fill=\"context-stroke\"/>\
             </marker></defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn next_stroke(stroke: Stroke, what: &MomentKind) -> Stroke {
    match what {
        MomentKind::Role { is_leader: true, .. } => Stroke::Leads,
        MomentKind::Role { .. } | MomentKind::Started | MomentKind::Resumed => Stroke::Up,
        MomentKind::Stopped => Stroke::Down,
        MomentKind::Paused if stroke != Stroke::Down => Stroke::Paused,
        _ => stroke,
    }
}

/// Name of a message and its term: the first two informative words of its debug text.
fn label(text: &str) -> String {
    let name: String = text.chars().take_while(|letter| letter.is_alphanumeric()).collect();
    let field = |field: &str| {
        let (_, rest) = text.split_once(field)?;
        let number: String =
            rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        (!number.is_empty()).then_some(number)
    };
    let mut label = name;
    if let Some(term) = field("term: ") {
        _ = write!(label, " t{term}");
    }
    for (name, sign) in [("kind: Pre", " pre"), ("verdict: Granted", " yes"), ("verdict: Refused", " no")] {
        if text.contains(name) {
            label += sign;
        }
    }
    if let Some(index) = field(" match_index: ").or_else(|| field(" prev_index: ")) {
        _ = write!(label, " i{index}");
    }
    label
}

fn class_of(label: &str) -> &'static str {
    if label.contains("Vote") {
        "vote"
    } else if label.contains("Snapshot") {
        "snapshot"
    } else if label.contains("Response") {
        "response"
    } else {
        "request"
    }
}

/// Splits text into lines that fit beside the picture. Text that needs too many lines is cut off.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        lines.push(String::new());
        for word in paragraph.split_whitespace() {
            if lines.last().is_some_and(|line| !line.is_empty() && line.len() + word.len() >= LINE_CHARS) {
                lines.push(String::new());
            }
            let line = lines.last_mut().expect("just pushed");
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines[LINES_MAX - 1] += " ...";
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const LEFT: u64 = 150;
const TOP: usize = 60;
const COLUMN: u64 = 230;
const ROW: usize = 18;
const ASIDE_WIDTH: u64 = 600;
/// Number of moments that are drawn before a moment.
const SHOWN_BEFORE: usize = 3;
const SHOWN_AFTER: usize = 5;
const LINE_CHARS: usize = 72;
const LINES_MAX: usize = 14;
/// Number of faults that can be drawn at the same time.
const LANES: usize = 6;
const STYLE: &str = "text{font:11px sans-serif;fill:#333;paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}.t{fill:#888;font-family:monospace}.n{font-weight:bold;font-size:15px}\
.up{stroke:#555;stroke-width:1.5}.leads{stroke:#1a6fb5;stroke-width:5}.down{stroke:#bbb;stroke-dasharray:2 6}\
.paused{stroke:#e0b050;stroke-width:3}.m{stroke-width:1}.request{stroke:#444}.response{stroke:#9a9a9a}.vote{stroke:#8a3ab9}\
.snapshot{stroke:#0a8a5a;stroke-width:2}.lost{stroke:#d33;stroke-dasharray:3 2}.l{font-size:9px}text.l{stroke:#fff;stroke-dasharray:none;stroke-width:3px}.bar{stroke:#e08a00;stroke-width:5;opacity:0.7}line.over{stroke:#e0c8a0;stroke-dasharray:1 6}text.over{fill:#b09060}\
text.l.response{fill:#999}text.l.vote{fill:#8a3ab9}text.l.snapshot{fill:#0a8a5a}text.l.lost{fill:#d33}\
text.l.role{fill:#1a6fb5;font-size:11px;font-weight:bold}circle.role{fill:#1a6fb5}text.l.bad{fill:#d33;font-size:11px;font-weight:bold}\
circle.bad{fill:#d33}circle.good{fill:#0a8a5a}text.l.good{fill:#0a8a5a;font-size:11px}line.gap{stroke:#999;stroke-dasharray:1 5}line.fault{stroke:#e08a00;stroke-dasharray:1 4}\
text.fault{fill:#c06000}line.violation{stroke:#d00;stroke-width:3}text.violation{fill:#d00;font-weight:bold;font-size:13px}";
