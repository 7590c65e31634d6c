//! Pictures of cycles: a box for each transaction, an arrow to the next, and one from the last back to the first.

use std::fmt::Write;

use super::cycles::Cycle;
use super::graph::EdgeKind;
use super::numbered::Transactions;
use super::words::{reason, step_words};

/// Draws the cycle as SVG.
pub(super) fn of(transactions: &Transactions<'_>, cycle: &Cycle) -> String {
    let mut picture = Picture { body: String::new(), y: TOP, width: 0 };
    picture.text(LEFT, &cycle.name, "name");
    picture.y += 12;
    let count = cycle.steps.len();
    let is_shown = |place: usize| count <= BOXES_MAX || place < BOXES_MAX / 2 || place >= count - BOXES_MAX / 2;
    let first = picture.y;
    let mut last = first;
    for (place, (from, kind)) in cycle.steps.iter().enumerate() {
        let to = cycle.steps[(place + 1) % count].0;
        if !is_shown(place) {
            if is_shown(place - 1) {
                picture.y += LINE;
                picture.text(LEFT + PAD, &format!("and {} transactions between", count - BOXES_MAX / 2 * 2), "why");
                picture.y += LINE;
            }
            continue;
        }
        last = picture.y;
        picture.transaction(transactions, *from);
        let why = format!("{}: {}", name(*kind), reason(transactions, *from, to, *kind));
        if place + 1 < count {
            picture.arrow(&why);
        } else {
            picture.y += LINE;
            picture.text(LEFT + PAD, &why, "back");
        }
    }
    picture.way_back(first, last);
    picture.finish()
}

/// Elle's name of a dependency.
fn name(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Ww { .. } => "ww",
        EdgeKind::Wr { .. } => "wr",
        EdgeKind::Rw { .. } => "rw",
        EdgeKind::Process => "process",
        EdgeKind::RealTime | EdgeKind::Through => "realtime",
    }
}

struct Picture {
    body: String,
    /// The vertical position at which drawing continues.
    y: usize,
    width: usize,
}

impl Picture {
    fn text(&mut self, x: usize, text: &str, class: &str) {
        let shown: String = text.chars().take(CHARACTERS_MAX).collect();
        let shown = if shown.len() < text.len() { format!("{shown}...") } else { shown };
        self.width = self.width.max(x + shown.chars().count() * CHARACTER + PAD);
        let (y, shown) = (self.y, escaped(&shown));
        _ = writeln!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{shown}</text>");
    }

    fn transaction(&mut self, transactions: &Transactions<'_>, number: usize) {
        let steps = step_words(transactions, number);
        let shown = steps.len().min(STEPS_MAX);
        let more = usize::from(steps.len() > shown);
        let height = LINE * (1 + shown + more) + PAD;
        let y = self.y;
        _ = writeln!(self.body, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" rx=\"5\"/>");
        let call = transactions.list[number].call;
        let title = format!("{} in line {}, process {}", transactions.name(number), call.line, call.process);
        self.y += LINE;
        self.text(LEFT + PAD, &title, "title");
        for step in &steps[..shown] {
            self.y += LINE;
            self.text(LEFT + PAD, step, "step");
        }
        if more > 0 {
            self.y += LINE;
            self.text(LEFT + PAD, &format!("and {} steps more", steps.len() - shown), "why");
        }
        self.y += PAD;
    }

    fn arrow(&mut self, why: &str) {
        let (x, from, to) = (LEFT + 2 * PAD, self.y, self.y + ARROW);
        _ = writeln!(self.body, "<path class=\"on\" d=\"M{x},{from} L{x},{to}\"/>");
        self.y += ARROW / 2 + 4;
        self.text(LEFT + 4 * PAD, why, "why");
        self.y = to;
    }

    /// Draws the arrow from the last transaction to the first, to the left of all others.
    fn way_back(&mut self, first: usize, last: usize) {
        let (out, to) = (last + LINE, first + LINE);
        let x = LEFT / 3;
        let path = format!(
            "M{LEFT},{out} C{x},{out} {x},{out} {x},{} L{x},{} C{x},{to} {x},{to} {LEFT},{to}",
            out - LINE,
            to + LINE
        );
        _ = writeln!(self.body, "<path class=\"back\" d=\"{path}\"/>");
    }

    fn finish(self) -> String {
        let (width, height) = (self.width.max(LEFT + BOX + PAD), self.y + 2 * PAD);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
             <style>{STYLE}</style>\n<defs><marker id=\"a\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"4\" \
             orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\"/></marker></defs>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "text{font:12px sans-serif;fill:#333}.name{font-size:15px;font-weight:bold}.title{font-weight:bold}\
.step{font-family:monospace}.why{fill:#666}text.back{fill:#c22}rect{fill:#f4f7fb;stroke:#4a6f9a}rect.paper{fill:#fff;stroke:none}\
path.on{stroke:#333;fill:none;marker-end:url(#a)}path.back{stroke:#c22;stroke-width:2;fill:none;marker-end:url(#a)}";
const TOP: usize = 24;
const LEFT: usize = 48;
const PAD: usize = 8;
const LINE: usize = 17;
const BOX: usize = 440;
const ARROW: usize = 40;
/// Approximate width of a character.
const CHARACTER: usize = 8;
const CHARACTERS_MAX: usize = 120;
const STEPS_MAX: usize = 8;
const BOXES_MAX: usize = 20;
