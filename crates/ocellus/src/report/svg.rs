//! Charts as SVG text: lines with bands, reliability bars, confusion matrices.
//!
//! The colours are those of M. Okabe and K. Ito ("Color Universal Design", 2008), which people with any kind of colour
//! vision tell apart.

use std::fmt::Write;

/// Colours of the series, in order.
pub(super) const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6a00", "#444444"];
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
/// Room left of, right of, above and below a chart's area.
const MARGIN: [f64; 4] = [58.0, 18.0, 34.0, 46.0];

/// The name of an axis of epochs, which are counted and never parted.
pub(super) const EPOCHS: &str = "epoch";

/// A chart of lines over a common axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// The axis across.
    pub x: String,
    /// The axis up.
    pub y: String,
    /// Whether values are shares, to be written in per cent.
    pub percent: bool,
    /// The lines.
    pub series: Vec<Series>,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Its points by rising x; those that are not finite are left out.
    pub points: Vec<[f64; 2]>,
    /// A band around it: x, low, high.
    pub band: Vec<[f64; 3]>,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Index of its colour; equal ones belong together.
    pub colour: usize,
}

/// Text that may stand in SVG and HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"{0}\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(title)
    )
}

/// Steps of 1, 2 or 5 times a power of ten that divide a range into about `wanted` parts.
fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let raw = (high - low) / wanted.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return vec![low];
    }
    let power = 10.0_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw).unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let size = value.abs();
    let text = match size {
        _ if !(1e-3..1e6).contains(&size) => format!("{value:.0e}"),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

impl Chart {
    fn ranges(&self) -> Option<[[f64; 2]; 2]> {
        let points = self.series.iter().flat_map(|s| s.points.iter().copied());
        let bands = self.series.iter().flat_map(|s| s.band.iter().flat_map(|b| [[b[0], b[1]], [b[0], b[2]]]));
        let all = points.chain(bands).filter(|p| p[0].is_finite() && p[1].is_finite());
        let mut found: Option<[[f64; 2]; 2]> = None;
        for [x, y] in all {
            let [[x0, x1], [y0, y1]] = found.unwrap_or([[x, x], [y, y]]);
            found = Some([[x0.min(x), x1.max(x)], [y0.min(y), y1.max(y)]]);
        }
        let [[x0, mut x1], [mut y0, mut y1]] = found?;
        if x1 <= x0 {
            x1 = x0 + 1.0;
        }
        let room = if y1 > y0 { 0.06 * (y1 - y0) } else { 0.1 * y1.abs().max(0.1) };
        (y0, y1) = (y0 - room, y1 + room);
        if self.percent {
            (y0, y1) = (y0.max(0.0), y1.min(1.0));
        }
        Some([[x0, x1], [y0, y1]])
    }

    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let mut out = open(WIDTH, HEIGHT, &self.title);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"20\" font-size=\"14\" font-weight=\"600\" fill=\"#222\">{}</text>",
            MARGIN[0],
            escaped(&self.title)
        );
        let Some([[x0, x1], [y0, y1]]) = self.ranges() else {
            out.push_str("<text x=\"58\" y=\"80\" fill=\"#666\">nothing to draw yet</text></svg>\n");
            return out;
        };
        let (left, right, top, bottom) = (MARGIN[0], WIDTH - MARGIN[1], MARGIN[2], HEIGHT - MARGIN[3]);
        let at_x = |x: f64| left + (x - x0) / (x1 - x0) * (right - left);
        let at_y = |y: f64| bottom - (y - y0) / (y1 - y0) * (bottom - top);
        for y in ticks(y0, y1, 5) {
            let text = if self.percent { format!("{}%", number(100.0 * y)) } else { number(y) };
            let _ = writeln!(
                out,
                "<line x1=\"{left}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"#555\">{text}</text>",
                at_y(y),
                left - 6.0,
                at_y(y) + 4.0
            );
        }
        let whole = |x: &f64| x.fract() == 0.0 || (x1 - x0 < 1.5 && self.x != EPOCHS);
        for x in ticks(x0, x1, 8).into_iter().filter(whole) {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                at_x(x),
                bottom + 17.0,
                number(x)
            );
        }
        let _ = writeln!(
            out,
            "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#999\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#333\">{}</text>\
             <text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\" fill=\"#333\">{}</text>",
            (left + right) / 2.0,
            HEIGHT - 10.0,
            escaped(&self.x),
            (top + bottom) / 2.0,
            escaped(&self.y)
        );
        for series in &self.series {
            series.draw(&mut out, &at_x, &at_y);
        }
        self.legend(&mut out, [left, right, top, bottom]);
        out.push_str("</svg>\n");
        out
    }

    /// In whichever corner the lines leave the most room.
    fn legend(&self, out: &mut String, [left, right, top, bottom]: [f64; 4]) {
        let named: Vec<&Series> = self.series.iter().filter(|s| !s.name.is_empty()).collect();
        if named.len() < 2 {
            return;
        }
        let widest = named.iter().map(|s| s.name.chars().count()).max().unwrap_or(0) as f64;
        let (width, height) = (38.0 + 6.6 * widest, 8.0 + 17.0 * named.len() as f64);
        let Some([[x0, x1], [y0, y1]]) = self.ranges() else { return };
        let crowd = |x: f64, y: f64| {
            let inside = |p: &&[f64; 2]| {
                let px = left + (p[0] - x0) / (x1 - x0) * (right - left);
                let py = bottom - (p[1] - y0) / (y1 - y0) * (bottom - top);
                (x - 8.0..x + width + 8.0).contains(&px) && (y - 8.0..y + height + 8.0).contains(&py)
            };
            self.series.iter().map(|s| s.points.iter().filter(inside).count()).sum::<usize>()
        };
        let corners = [
            [right - width - 6.0, bottom - height - 6.0],
            [right - width - 6.0, top + 6.0],
            [left + 10.0, top + 6.0],
            [left + 10.0, bottom - height - 6.0],
        ];
        let best = corners.into_iter().min_by_key(|c| crowd(c[0], c[1])).unwrap_or(corners[0]);
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\" fill=\"#fff\" \
             fill-opacity=\"0.85\" stroke=\"#ddd\"/>",
            best[0], best[1]
        );
        for (i, series) in named.iter().enumerate() {
            let y = best[1] + 16.0 + 17.0 * i as f64;
            let _ = writeln!(
                out,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"{3}\" stroke-width=\"2.5\"{4}/>\
                 <text x=\"{5:.1}\" y=\"{6:.1}\" fill=\"#222\">{7}</text>",
                best[0] + 7.0,
                best[0] + 25.0,
                y - 4.0,
                COLOURS[series.colour % COLOURS.len()],
                if series.dashed { " stroke-dasharray=\"5 4\"" } else { "" },
                best[0] + 31.0,
                y,
                escaped(&series.name)
            );
        }
    }
}

impl Series {
    fn draw(&self, out: &mut String, at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64) {
        let colour = COLOURS[self.colour % COLOURS.len()];
        let finite = |p: &&[f64; 2]| p[0].is_finite() && p[1].is_finite();
        let place = |x: f64, y: f64| format!("{:.1},{:.1}", at_x(x), at_y(y));
        if self.band.len() > 1 {
            let up = self.band.iter().map(|b| place(b[0], b[2]));
            let down = self.band.iter().rev().map(|b| place(b[0], b[1]));
            let outline: Vec<String> = up.chain(down).collect();
            let _ = writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"0.18\"/>",
                outline.join(" ")
            );
        }
        let points: Vec<String> = self.points.iter().filter(finite).map(|p| place(p[0], p[1])).collect();
        let dash = if self.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"{dash}/>",
            points.join(" ")
        );
        if self.points.len() <= 40 {
            for p in self.points.iter().filter(finite) {
                let _ = write!(
                    out,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.4\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                    at_x(p[0]),
                    at_y(p[1]),
                    number(p[0]),
                    number(p[1])
                );
            }
            out.push('\n');
        }
    }
}

/// A confusion matrix: rows are the actual classes. A cell's colour is its share of the row.
pub(super) fn matrix(title: &str, classes: &[String], rows: &[Vec<u64>], shares: bool) -> String {
    let count = classes.len();
    let longest = classes.iter().map(|c| c.chars().count().min(18)).max().unwrap_or(0) as f64;
    let cell = (560.0 / count.max(1) as f64).clamp(3.0, 46.0);
    let named = cell >= 11.0;
    let room = if named { 12.0 + 6.6 * longest } else { 24.0 };
    let (left, top) = (room + 16.0, 40.0);
    let side = cell * count as f64;
    let below = if named { room } else { 20.0 };
    const READING: &str = "rows: what it is; columns: what it was taken for";
    // Of few classes the words above are wider than the cells.
    let words = (6.2 * READING.len() as f64).max(8.5 * title.chars().count() as f64);
    let mut out = open(left + side.max(words) + 24.0, top + side + below + 26.0, title);
    let _ = writeln!(
        out,
        "<text x=\"{left:.0}\" y=\"20\" font-size=\"14\" font-weight=\"600\" fill=\"#222\">{}</text>\
         <text x=\"{left:.0}\" y=\"35\" fill=\"#666\" font-size=\"11\">{READING}</text>",
        escaped(title)
    );
    let short = |name: &str| match name.chars().count() > 18 {
        true => format!("{}…", name.chars().take(17).collect::<String>()),
        false => name.to_owned(),
    };
    let font = (cell * 0.34).clamp(7.0, 12.0);
    for (i, row) in rows.iter().enumerate() {
        let all: u64 = row.iter().sum();
        let y = top + cell * i as f64;
        if named {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#333\" font-size=\"{:.1}\">{}</text>\
                 <text transform=\"translate({:.1} {:.1}) rotate(-45)\" text-anchor=\"end\" fill=\"#333\" font-size=\"{:.1}\">{}</text>",
                left - 6.0,
                y + cell * 0.62,
                font.max(9.0),
                escaped(&short(&classes[i])),
                left + cell * (i as f64 + 0.6),
                top + side + 12.0,
                font.max(9.0),
                escaped(&short(&classes[i]))
            );
        }
        for (j, &n) in row.iter().enumerate() {
            let share = if all == 0 { 0.0 } else { n as f64 / all as f64 };
            let (x, fill) = (left + cell * j as f64, shade(share, i == j));
            let _ = write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" fill=\"{fill}\" stroke=\"#fff\" \
                 stroke-width=\"{:.1}\"><title>{} taken for {}: {n} of {all}</title></rect>",
                if cell > 8.0 { 1.0 } else { 0.2 },
                escaped(&classes[i]),
                escaped(&classes[j])
            );
            if cell >= 20.0 && n > 0 {
                let text = if shares { format!("{:.0}", 100.0 * share) } else { n.to_string() };
                let _ = write!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"{font:.1}\" fill=\"{}\">{text}</text>",
                    x + cell / 2.0,
                    y + cell / 2.0 + font * 0.36,
                    if share > 0.5 { "#fff" } else { "#222" }
                );
            }
        }
        out.push('\n');
    }
    out.push_str("</svg>\n");
    out
}

/// From almost white to blue on the diagonal, to red beside it; small shares are made visible.
fn shade(share: f64, right: bool) -> String {
    let end = if right { [0.0, 82.0, 150.0] } else { [200.0, 60.0, 20.0] };
    let t = share.clamp(0.0, 1.0).powf(0.6);
    let mix = |i: usize| (245.0 * (1.0 - t) + end[i] * t).round();
    format!("rgb({},{},{})", mix(0), mix(1), mix(2))
}

/// Accuracy over confidence, a bar for each bin, and the diagonal on which both agree.
pub(super) fn reliability(bins: &[ocellus_train::Bin], ece: f64) -> String {
    let mut chart = open(360.0, 340.0, "calibration");
    let (left, bottom, side) = (50.0, 290.0, 250.0);
    let _ = writeln!(
        chart,
        "<text x=\"{left}\" y=\"20\" font-size=\"14\" font-weight=\"600\" fill=\"#222\">Calibration (ECE {:.1}%)</text>",
        100.0 * ece
    );
    let most = bins.iter().map(|b| b.images).max().unwrap_or(1).max(1) as f64;
    for bin in bins {
        let x = left + side * bin.confidence;
        let width = 4.0 + 10.0 * (bin.images as f64 / most).sqrt();
        let height = side * bin.accuracy;
        let _ = writeln!(
            chart,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#0072b2\" fill-opacity=\"0.75\">\
             <title>{} images: confidence {:.1}%, right {:.1}%</title></rect>",
            x - width / 2.0,
            bottom - height,
            bin.images,
            100.0 * bin.confidence,
            100.0 * bin.accuracy
        );
    }
    let _ = writeln!(
        chart,
        "<path d=\"M{left} {bottom}L{} {}\" stroke=\"#d55e00\" stroke-dasharray=\"5 4\" fill=\"none\"/>\
         <path d=\"M{left} {1}V{bottom}H{0}\" fill=\"none\" stroke=\"#999\"/>",
        left + side,
        bottom - side
    );
    for share in [0.0, 0.5, 1.0] {
        let _ = writeln!(
            chart,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{2:.0}%</text>\
             <text x=\"{3}\" y=\"{4:.1}\" text-anchor=\"end\" fill=\"#555\">{2:.0}%</text>",
            left + side * share,
            bottom + 17.0,
            100.0 * share,
            left - 6.0,
            bottom - side * share + 4.0
        );
    }
    let _ = writeln!(
        chart,
        "<text x=\"{:.0}\" y=\"328\" text-anchor=\"middle\" fill=\"#333\">how sure it was</text>\
         <text transform=\"translate(14 165) rotate(-90)\" text-anchor=\"middle\" fill=\"#333\">how often it was right</text></svg>",
        left + side / 2.0
    );
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(1.0, 10.0, 8), [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
        assert_eq!([number(0.25), number(1200.0), number(2e-5)], ["0.25", "1200", "2e-5"]);
    }

    #[test]
    fn nothing_unescaped_or_infinite_is_drawn() {
        let points = vec![[1.0, 0.5], [2.0, f64::NAN], [3.0, 0.7]];
        let series = vec![Series { name: "a<b".into(), points, ..Series::default() }, Series::default()];
        let svg = Chart { title: "x & y".into(), series, percent: true, ..Chart::default() }.svg();
        assert!(svg.contains("x &amp; y") && !svg.contains("NaN") && !svg.contains("a<b"), "{svg}");
        assert!(Chart::default().svg().contains("nothing to draw"));
        // Two epochs have no tenths between them; a share has.
        let line = |x: &str| {
            let series = vec![Series { points: vec![[1.0, 0.5], [2.0, 0.6]], ..Series::default() }];
            Chart { x: x.into(), series, ..Chart::default() }.svg()
        };
        assert!(!line(EPOCHS).contains(">1.2<") && line("share").contains(">1.2<"));
        let width = |svg: &str| {
            svg.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse::<f64>().unwrap()
        };
        let two = matrix("Images", &["a".into(), "b".into()], &[vec![3, 1], vec![0, 4]], false);
        assert!(width(&two) > 300.0, "the words above fit: {}", width(&two));
        let one = matrix("m", &["<c>".into()], &[vec![0]], true);
        assert!(one.contains("&lt;c&gt;") && !one.contains("NaN"));
    }
}
