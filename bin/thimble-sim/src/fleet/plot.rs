//! The figures of a fleet as a picture: requests, devices by what they do, devices that are done. Readable in light and
//! dark; no script, and nothing from elsewhere.

use std::fmt::Write;

use thimble_core::time::Duration;
use thimble_hal_sim::fleet::{Bucket, Figures, Plan, Stage};

/// The picture, and each plot in it: left and right of it stand numbers and names.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 730.0;
const HEIGHT: f64 = 180.0;
const ABOVE: f64 = 46.0;
const EACH: f64 = HEIGHT + 82.0;

/// More points on a line than can be told apart.
const POINTS: usize = 330;

/// A color for each stage, in the order of [`Stage::ALL`]: good to tell apart also by those who see few colors.
const COLORS: [&str; Stage::ALL.len()] =
    ["#9aa0a6", "#5b8def", "#56b4e9", "#e69f00", "#cc79a7", "#8e5bd0", "#009e73", "#d55e00"];

const STYLE: &str = "\
svg{--paper:#fff;--ink:#1b1f24;--faint:#d0d4d9;background:var(--paper)}\
@media (prefers-color-scheme:dark){svg{--paper:#14171b;--ink:#e6e9ed;--faint:#3a4048}}\
.paper{fill:var(--paper)}text{fill:var(--ink);font:13px system-ui,sans-serif}.title{font-weight:600;font-size:14px}\
.grid{stroke:var(--faint)}.frame{stroke:var(--ink);fill:none}.y{text-anchor:end}.x{text-anchor:middle}\
.line{fill:none;stroke-width:1.6}.limit{stroke:var(--ink);stroke-dasharray:6 4}";

/// The picture.
pub(super) fn svg(plan: &Plan<'_>, figures: &Figures) -> String {
    let merged = merge(&figures.buckets);
    let (points, per_point) = (&merged.0, merged.1);
    let plots = Plots { time: plan.time, width: figures.width, per_point };
    let height = EACH * 3.0 + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{} devices for \
         {}</title>\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        plan.devices, plan.time
    );
    plots.requests(&mut text, plan, points);
    plots.stages(&mut text, points, plan.devices);
    plots.done(&mut text, plan, figures);
    text += "</svg>\n";
    text
}

/// So many neighbours become one bucket that no line has too many points; and how many.
fn merge(buckets: &[Bucket]) -> (Vec<Bucket>, usize) {
    let each = buckets.len().div_ceil(POINTS).max(1);
    let merged = buckets.chunks(each).map(|chunk| {
        let mut all = chunk.last().cloned().unwrap_or_default();
        for (index, count) in all.requests.iter_mut().enumerate() {
            *count = chunk.iter().map(|bucket| bucket.requests[index]).sum();
        }
        all.peak = chunk.iter().map(|bucket| bucket.peak).max().unwrap_or_default();
        all.refused = chunk.iter().map(|bucket| bucket.refused).sum();
        all
    });
    (merged.collect(), each)
}

struct Plots {
    time: Duration,
    /// Of a bucket.
    width: Duration,
    /// Buckets of one point.
    per_point: usize,
}

#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
impl Plots {
    fn x(&self, milliseconds: u64) -> f64 {
        let part = milliseconds as f64 / self.time.as_millis().max(1) as f64;
        LEFT + (RIGHT - LEFT) * part.min(1.0)
    }

    /// The time at the end of a point.
    fn end(&self, point: usize) -> u64 {
        (point + 1) as u64 * self.per_point as u64 * self.width.as_millis()
    }

    /// Seconds of a point.
    fn seconds(&self, point: usize) -> f64 {
        let begin = if point == 0 { 0 } else { self.end(point - 1) };
        (self.end(point).min(self.time.as_millis()) - begin) as f64 / 1000.0
    }

    fn requests(&self, text: &mut String, plan: &Plan<'_>, points: &[Bucket]) {
        let peak = points.iter().map(|bucket| bucket.peak).max().unwrap_or_default();
        let axis = Axis::new(0, peak as f64);
        self.frame(text, &axis, "Requests to the server in a second (without those for the artifact)");
        let mut lines = [("peak", COLORS[3], String::new()), ("mean", COLORS[1], String::new())];
        let mut refused = String::new();
        for (number, bucket) in points.iter().enumerate() {
            let all: u64 = bucket.requests[..bucket.requests.len() - 1].iter().sum();
            let seconds = self.seconds(number).max(0.001);
            for ((.., line), value) in lines.iter_mut().zip([bucket.peak as f64, all as f64 / seconds]) {
                let _ = write!(line, "{:.1},{:.1} ", self.x(self.end(number)), axis.y(value));
            }
            let value = bucket.refused as f64 / seconds;
            let _ = write!(refused, "{:.1},{:.1} ", self.x(self.end(number)), axis.y(value));
        }
        let mut names = Vec::new();
        for (name, color, line) in &lines {
            polyline(text, color, line);
            names.push((*name, *color));
        }
        if points.iter().any(|bucket| bucket.refused > 0) {
            polyline(text, COLORS[7], &refused);
            names.push(("refused", COLORS[7]));
        }
        if let Some((capacity, _)) = plan.capacity.filter(|(capacity, _)| *capacity as f64 <= axis.most) {
            let y = axis.y(capacity as f64);
            let _ = writeln!(
                text,
                "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\">capacity</text>",
                RIGHT + 6.0,
                y + 4.0
            );
        }
        legend(text, &axis, &names);
    }

    fn stages(&self, text: &mut String, points: &[Bucket], devices: u32) {
        let axis = Axis::new(1, devices.into());
        self.frame(text, &axis, "Devices by what they do");
        let mut names = Vec::new();
        let below =
            |bucket: &Bucket, index: usize| -> f64 { bucket.stages[..index].iter().sum::<u32>().into() };
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            if points.iter().all(|bucket| bucket.stages[index] == 0) {
                continue;
            }
            let edge = |number: usize, bucket: &Bucket, index| {
                format!("{:.1},{:.1}", self.x(self.end(number)), axis.y(below(bucket, index)))
            };
            let upper = points.iter().enumerate().map(|(number, bucket)| edge(number, bucket, index + 1));
            let lower = points.iter().enumerate().rev().map(|(number, bucket)| edge(number, bucket, index));
            let area: Vec<String> = upper.chain(lower).collect();
            let _ = writeln!(text, "<polygon fill=\"{}\" points=\"{}\"/>", COLORS[index], area.join(" "));
            names.push((stage.name(), COLORS[index]));
        }
        names.reverse();
        legend(text, &axis, &names);
    }

    fn done(&self, text: &mut String, plan: &Plan<'_>, figures: &Figures) {
        let axis = Axis::new(2, plan.devices.into());
        self.frame(text, &axis, "Devices that are done (the server has heard it)");
        let mut names = Vec::new();
        for (name, color, times) in
            [("done", COLORS[6], &figures.good), ("failed", COLORS[7], &figures.failed)]
        {
            if times.is_empty() {
                continue;
            }
            let points = 0..=POINTS;
            let line: Vec<String> = points
                .map(|point| {
                    let at = self.time.as_millis() * point as u64 / POINTS as u64;
                    let count = times.partition_point(|time| time.as_millis() <= at);
                    format!("{:.1},{:.1}", self.x(at), axis.y(count as f64))
                })
                .collect();
            polyline(text, color, &line.join(" "));
            names.push((name, color));
        }
        legend(text, &axis, &names);
    }

    /// Title, grid and numbers of a plot.
    fn frame(&self, text: &mut String, axis: &Axis, title: &str) {
        let (top, bottom) = (axis.top, axis.top + HEIGHT);
        let _ = writeln!(text, "<text class=\"title\" x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 14.0);
        for step in 0..=axis.steps {
            let value = axis.most * f64::from(step) / f64::from(axis.steps);
            let y = axis.y(value);
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"y\" x=\"{}\" y=\"{:.1}\">{value}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        let (step, unit, name) = ticks(self.time);
        let mut at = 0;
        while at <= self.time.as_millis() {
            let x = self.x(at);
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <text class=\"x\" x=\"{x:.1}\" y=\"{}\">{} {name}</text>",
                bottom + 18.0,
                at as f64 / unit as f64
            );
            at += step;
        }
        let _ = writeln!(
            text,
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{HEIGHT}\"/>",
            RIGHT - LEFT
        );
    }
}

/// The numbers of a plot, from 0 up.
struct Axis {
    top: f64,
    most: f64,
    steps: u32,
}

impl Axis {
    /// Of plot number `plot`, up to a round number that is not below `most`.
    fn new(plot: u8, most: f64) -> Self {
        let power = 10_f64.powf(most.max(1.0).log10().floor());
        let rounds = [(1.0, 4), (2.0, 4), (4.0, 4), (5.0, 5), (8.0, 4), (10.0, 5)];
        let (round, steps) = rounds.into_iter().find(|(round, _)| round * power >= most).unwrap_or((10.0, 5));
        Self { top: ABOVE + EACH * f64::from(plot), most: round * power, steps }
    }

    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (1.0 - value / self.most)
    }
}

/// Milliseconds between two marks of the time, and those of its unit with its name: at most nine marks.
fn ticks(time: Duration) -> (u64, u64, &'static str) {
    const UNITS: [(u64, &str, &[u64]); 4] = [
        (1000, "s", &[1, 5, 10, 30]),
        (60_000, "min", &[1, 5, 10, 15, 30]),
        (3_600_000, "h", &[1, 2, 3, 6, 12]),
        (86_400_000, "d", &[1, 2, 7, 14, 30, 60]),
    ];
    let all = UNITS
        .iter()
        .flat_map(|(unit, name, steps)| steps.iter().map(move |step| (step * unit, *unit, *name)));
    let mut last = (86_400_000, 86_400_000, "d");
    for tick in all {
        last = tick;
        if time.as_millis() / tick.0 <= 8 {
            break;
        }
    }
    last
}

fn polyline(text: &mut String, color: &str, points: &str) {
    let _ = writeln!(text, "<polyline class=\"line\" stroke=\"{color}\" points=\"{}\"/>", points.trim_end());
}

fn legend(text: &mut String, axis: &Axis, names: &[(&str, &str)]) {
    let mut y = axis.top + 12.0;
    for (name, color) in names {
        let (x, beside) = (RIGHT + 14.0, RIGHT + 32.0);
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{color}\"/><text x=\"{beside}\" y=\"{y}\">{name}</text>",
            y - 10.0
        );
        y += 20.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_hal_sim::fleet::{Overload, Share, run};

    #[test]
    fn a_picture_has_its_plots_and_stays_small() {
        let fail = Share::millionths(100_000).unwrap();
        let capacity = Some((3, Overload::Unavailable));
        let plan = Plan { devices: 50, fail, capacity, ..Plan::default() };
        let text = svg(&plan, &run(&plan, &mut |_| {}).unwrap());
        for part in [
            "Requests to the server",
            ">peak<",
            ">refused<",
            ">capacity<",
            "Devices by what they do",
            ">idle<",
            ">done<",
            ">failed<",
            "prefers-color-scheme:dark",
            ">3 h<",
            ">50<",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        // The same size for any fleet.
        assert!(text.len() < 120_000, "{}", text.len());
        // Nothing that leads elsewhere.
        assert_eq!(text.matches("http").count(), 1);
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (most, end) in [(0.0, 1.0), (1.0, 1.0), (3.0, 4.0), (50.0, 50.0), (51.0, 80.0), (81.0, 100.0)] {
            assert_eq!(Axis::new(0, most).most.to_bits(), f64::to_bits(end), "{most}");
        }
        for (time, tick) in
            [(1, 1000), (60, 10_000), (600, 300_000), (86_400, 10_800_000), (31_622_400, 5_184_000_000)]
        {
            assert_eq!(ticks(Duration::from_secs(time)).0, tick, "{time}");
        }
    }
}
