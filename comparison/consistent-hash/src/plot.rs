//! One picture of all sizes: nanoseconds a look-up over the number of nodes, both logarithmic.

use std::fmt::Write;

/// A line of the picture: what was measured, and a point for each size it was measured at.
pub struct Line {
    pub label: &'static str,
    pub points: Vec<(u32, f64)>,
}

pub fn svg(lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (least, most) = (0.5_f64, points().map(|point| point.1).fold(10.0, f64::max));
    let (first, last) = points().fold((u32::MAX, 0), |(a, b), point| (a.min(point.0), b.max(point.0)));
    let x = |nodes: u32| {
        LEFT + WIDTH * (f64::from(nodes) / f64::from(first)).ln() / (f64::from(last) / f64::from(first)).ln().max(1e-9)
    };
    let y = |ns: f64| TOP + HEIGHT * (1.0 - (ns / least).ln() / (most / least).ln());
    let mut body = String::new();
    let mut decade = 1.0;
    while decade <= most {
        let at = y(decade);
        let _ =
            writeln!(body, r##"<line x1="{LEFT}" x2="{}" y1="{at:.1}" y2="{at:.1}" stroke="#e3e3e3"/>"##, LEFT + WIDTH);
        let _ = writeln!(body, r#"<text x="{}" y="{:.1}" text-anchor="end">{decade} ns</text>"#, LEFT - 8.0, at + 4.0);
        decade *= 10.0;
    }
    let mut sizes: Vec<u32> = points().map(|point| point.0).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for nodes in sizes {
        let _ = writeln!(
            body,
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{nodes} nodes</text>"#,
            x(nodes),
            TOP + HEIGHT + 20.0
        );
    }
    let mut labels: Vec<(f64, &str, String)> = Vec::new();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        // Ours are drawn strong and in colour, peers thin and grey.
        let ours = line.label.starts_with("**");
        let colour = if ours { format!("hsl({}, 65%, 40%)", number * 55 % 360) } else { "#999".into() };
        let width = if ours { 2.5 } else { 1.2 };
        let path: Vec<_> = line.points.iter().map(|&(nodes, ns)| format!("{:.1},{:.1}", x(nodes), y(ns))).collect();
        let _ = writeln!(
            body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}"/>"#,
            path.join(" ")
        );
        let end = line.points[line.points.len() - 1];
        labels.push((y(end.1) + 4.0, line.label.trim_matches('*'), colour));
    }
    // Labels that would meet move apart.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    for (at, label, colour) in labels {
        let at = at.max(free);
        free = at + 13.0;
        let _ = writeln!(body, r#"<text x="{}" y="{at:.1}" fill="{colour}">{label}</text>"#, LEFT + WIDTH + 10.0);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\" viewBox=\"0 0 1000 620\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"16\" font-weight=\"bold\">Nanoseconds a look-up, u64 keys</text>\n{body}</svg>\n"
    )
}

const LEFT: f64 = 80.0;
const TOP: f64 = 50.0;
const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 520.0;
