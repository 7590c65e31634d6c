//! One picture of all cases: a dot for each run, at the election time-outs that it took.

use std::fmt::Write;

use super::{CUT_TIMEOUTS, Outcome};

/// The runs of one subject in one case.
pub struct Strip {
    pub case: &'static str,
    pub subject: &'static str,
    pub outcomes: Vec<Outcome>,
}

pub fn svg(strips: &[Strip]) -> String {
    let shown = 6.0;
    let x = |timeouts: f64| LEFT + WIDTH * timeouts.min(shown) / shown;
    let mut body = String::new();
    for timeouts in 0..6_u32 {
        let at = x(f64::from(timeouts));
        let bottom = TOP + ROW * (strips.len() as f64 + 4.0);
        let _ = writeln!(body, r##"<line x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}" stroke="#e3e3e3"/>"##);
        let _ = writeln!(body, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{timeouts}</text>"#, bottom + 16.0);
    }
    let never = x(shown);
    let mut y = TOP;
    let mut case = "";
    for strip in strips {
        if strip.case != case {
            case = strip.case;
            y += if y > TOP { ROW * 1.8 } else { ROW * 0.8 };
            let _ = writeln!(body, r#"<text x="16" y="{:.1}" font-weight="bold">{case}</text>"#, y - ROW * 0.8);
        }
        let ours = strip.subject.starts_with("quorate");
        let colour = if ours { "hsl(210, 65%, 40%)" } else { "#777" };
        let _ = writeln!(
            body,
            r#"<text x="{}" y="{:.1}" text-anchor="end" fill="{colour}">{}</text>"#,
            LEFT - 12.0,
            y + 4.0,
            strip.subject
        );
        let mut dots = String::new();
        for (run, outcome) in strip.outcomes.iter().enumerate() {
            // Runs that took equally long lie beside each other.
            let shift = (run % 7) as f64 * 2.0 - 6.0;
            let _ = write!(dots, "M{:.1} {:.0}h0", outcome.recovered.map_or(never, x), y + shift);
        }
        let style = r#"stroke-width="4" stroke-linecap="round" stroke-opacity="0.4""#;
        let _ = writeln!(body, r#"<path d="{dots}" stroke="{colour}" {style}/>"#);
        y += ROW;
    }
    let _ = writeln!(
        body,
        r#"<text x="{never:.1}" y="{:.1}" text-anchor="middle">not in {CUT_TIMEOUTS}</text>"#,
        TOP - 6.0
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\" viewBox=\"0 0 900 {:.0}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" font-weight=\"bold\">Election time-outs until a command is committed \
         again, while links stay cut</text>\n{body}</svg>\n",
        y + 60.0
    )
}

const LEFT: f64 = 190.0;
const TOP: f64 = 60.0;
const WIDTH: f64 = 640.0;
const ROW: f64 = 26.0;
