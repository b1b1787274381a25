//! The figures of a fleet for people and for programs.

use std::io::{self, Write};

use serde_json::{Value, json};
use thimble_core::time::Duration;
use thimble_hal_sim::fleet::{Bucket, Figures, Kind, Load, Plan, Stage};

use super::assertion::Assertion;
use super::values::clock;

/// The layout of the JSON: grows when a member changes its meaning or goes.
const SCHEMA: u32 = 1;

/// The shares of the devices whose times are told.
const SHARES: [u64; 4] = [50, 90, 95, 99];

/// An assertion and what was found.
pub(super) type Checked<'a> = (&'a Assertion, Result<String, String>);

pub(super) fn text(
    out: &mut dyn Write,
    plan: &Plan<'_>,
    figures: &Figures,
    checked: &[Checked<'_>],
) -> io::Result<()> {
    writeln!(out, "{} devices for {}, seed {}\n", plan.devices, plan.time, plan.seed)?;
    writeln!(out, "requests          number   mean/s   peak/s  in the second at")?;
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Artifact) {
        row(out, plan, figures, kind.name(), &figures.loads[kind as usize])?;
    }
    row(out, plan, figures, "all of these", &figures.all)?;
    row(out, plan, figures, Kind::Artifact.name(), &figures.loads[Kind::Artifact as usize])?;
    let refused = plan.capacity.map(|(capacity, _)| {
        format!("{} requests were refused: the server answers {capacity} in a second", figures.refused)
    });
    let lost = format!("{} requests did not leave their device: no connection", figures.lost);
    let lost = (figures.lost > 0).then_some(lost);
    let bytes = (figures.bytes > 0).then(|| format!("{} were downloaded", size(figures.bytes)));
    let beside: Vec<String> = [refused, lost, bytes].into_iter().flatten().collect();
    if !beside.is_empty() {
        writeln!(out, "\n{}", beside.join("\n"))?;
    }
    update(out, plan, figures)?;
    let standing = Stage::ALL.into_iter().zip(figures.stages).filter(|(_, count)| *count > 0);
    let standing: Vec<String> = standing.map(|(stage, count)| format!("{} {count}", stage.name())).collect();
    writeln!(out, "at the end: {}", standing.join(", "))?;
    if !checked.is_empty() {
        writeln!(out)?;
    }
    for (assertion, found) in checked {
        match found {
            Ok(found) => writeln!(out, "holds: {assertion}: {found}")?,
            Err(found) => writeln!(out, "DOES NOT HOLD: wanted {assertion}; found: {found}")?,
        }
    }
    Ok(())
}

fn row(out: &mut dyn Write, plan: &Plan<'_>, figures: &Figures, name: &str, load: &Load) -> io::Result<()> {
    if load.requests == 0 {
        return Ok(());
    }
    let mean = figures.mean(load.requests, plan.time);
    writeln!(out, "{name:<14} {:>9} {mean:>8.2} {:>8}  {}", load.requests, load.peak, clock(load.peak_at))
}

fn update(out: &mut dyn Write, plan: &Plan<'_>, figures: &Figures) -> io::Result<()> {
    let Some(begins) = plan.begins() else { return writeln!(out, "\nThere is no update.") };
    writeln!(
        out,
        "\nThe update is offered from {} on; {} devices were offered it.",
        clock(begins),
        figures.offered
    )?;
    for (share, at) in times(plan, figures) {
        match at {
            Some(at) => writeln!(out, "{share:>3}% done after {}", clock(at.minus(begins)))?,
            None => writeln!(out, "{share:>3}% done: not within {}", clock(plan.time.minus(begins)))?,
        }
    }
    let (good, failed) = (figures.good.len(), figures.failed.len());
    let last = figures.good.iter().chain(&figures.failed).max();
    let last = last.map_or(String::new(), |last| format!(", the last after {}", clock(last.minus(begins))));
    writeln!(out, "{good} devices are done, {failed} have failed{last}")?;
    if figures.waited > 0 {
        writeln!(out, "{} devices were held back, by a control map or outside a window", figures.waited)?;
    }
    Ok(())
}

/// When such shares of all devices were done.
fn times<'f>(
    plan: &Plan<'_>,
    figures: &'f Figures,
) -> impl Iterator<Item = (u64, Option<Duration>)> + use<'f> {
    let devices = u64::from(plan.devices);
    SHARES.into_iter().map(move |share| {
        let count = usize::try_from((devices * share).div_ceil(100)).unwrap_or(usize::MAX);
        (share, count.checked_sub(1).and_then(|last| figures.good.get(last)).copied())
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn size(bytes: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let found = units.into_iter().find(|(unit, _)| bytes as f64 >= *unit);
    found
        .map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{:.1} {name}", bytes as f64 / unit))
}

pub(super) fn json(
    out: &mut dyn Write,
    plan: &Plan<'_>,
    figures: &Figures,
    checked: &[Checked<'_>],
) -> io::Result<()> {
    let load = |load: &Load| {
        json!({
            "requests": load.requests,
            "mean_per_second": figures.mean(load.requests, plan.time),
            "peak_per_second": load.peak,
            "peak_at_seconds": load.peak_at.as_secs(),
        })
    };
    let loads =
        Kind::ALL.into_iter().map(|kind| (kind.name().to_owned(), load(&figures.loads[kind as usize])));
    let done = times(plan, figures).map(|(share, at)| (share.to_string(), at.map(Duration::as_secs).into()));
    let asserts = checked.iter().map(|(assertion, found)| {
        let (holds, found) = match found {
            Ok(found) => (true, found),
            Err(found) => (false, found),
        };
        json!({"wanted": assertion.to_string(), "holds": holds, "found": found})
    });
    let value = json!({
        "schema": SCHEMA,
        "devices": plan.devices,
        "seconds": plan.time.as_secs(),
        "seed": plan.seed,
        "requests": {"all": load(&figures.all), "by_kind": loads.collect::<serde_json::Map<_, _>>()},
        "refused": figures.refused,
        "lost": figures.lost,
        "downloaded_bytes": figures.bytes,
        "update": {
            "begins_at_seconds": plan.begins().map(Duration::as_secs),
            "offered": figures.offered,
            "done": figures.good.len(),
            "failed": figures.failed.len(),
            "held_back": figures.waited,
            "done_percent_at_seconds": done.collect::<serde_json::Map<_, _>>(),
        },
        "at_the_end": stages(&figures.stages),
        "asserts": asserts.collect::<Vec<_>>(),
        "series": {
            "width_seconds": figures.width.as_secs(),
            "buckets": figures.buckets.iter().map(bucket).collect::<Vec<_>>(),
        },
    });
    writeln!(out, "{value:#}")
}

fn bucket(bucket: &Bucket) -> Value {
    let requests = Kind::ALL.into_iter().zip(bucket.requests).filter(|(_, count)| *count > 0);
    let requests = requests.map(|(kind, count)| (kind.name().to_owned(), count.into()));
    json!({
        "requests": requests.collect::<serde_json::Map<_, _>>(),
        "peak_per_second": bucket.peak,
        "refused": bucket.refused,
        "devices": stages(&bucket.stages),
    })
}

fn stages(counts: &[u32; Stage::ALL.len()]) -> Value {
    let counts = Stage::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
    counts
        .map(|(stage, count)| (stage.name().to_owned(), Value::from(*count)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
