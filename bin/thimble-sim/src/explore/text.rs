//! What was explored, for people.

use std::io::{self, Write};

use thimble_hal_sim::story::{Lane, Row};
use thimble_hal_sim::survey::{End, Way};
use thimble_hal_sim::whole::{Kind, Told};

use super::Walk;
use super::options::Options;
use crate::timeline::clock;

/// A walk in one line, with how often it ended how in another.
pub(super) fn line(out: &mut dyn Write, walk: &Walk) -> io::Result<()> {
    writeln!(out, "{}: {}; {:032x}", walk.title, walk.survey.counts, walk.survey.digest)?;
    let ends = &walk.survey.ends;
    let sum =
        |kind: Kind| ends.iter().filter(|end| end.ending.kind == kind).map(|end| end.count).sum::<u64>();
    let counts: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| (kind, sum(kind)))
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{} {count}", kind.name()))
        .collect();
    writeln!(out, "    ends: {}", counts.join(", "))
}

/// Everything about a walk.
pub(super) fn print(
    out: &mut dyn Write,
    walk: &Walk,
    options: &Options,
    complaints: &[String],
) -> io::Result<()> {
    let Walk { title, task, survey } = walk;
    let part = options.part().map_or_else(String::new, |part| format!("; part {part} of everything"));
    writeln!(out, "{title}{part}")?;
    writeln!(
        out,
        "{} and {} of power at most: {}\n",
        counted(task.budget.failures.into(), "failure", "failures"),
        counted(task.budget.losses.into(), "loss", "losses"),
        survey.counts
    )?;
    writeln!(out, "How it can end, the worst first:")?;
    for End { ending, count, .. } in &survey.ends {
        let kind = ending.kind;
        writeln!(out, "  {count:8}  {:<12}  {}; {}", kind.name(), kind.meaning(), ending.heard.name())?;
    }
    for wrong in &survey.wrongs {
        writeln!(out, "\nWRONG, {}: {}\n", counted(wrong.count, "time", "times"), wrong.wrong)?;
        way(out, &wrong.way, options)?;
    }
    for End { ending, count, way: shortest } in &survey.ends {
        if !ending.kind.is_clean() {
            let name = ending.kind.name();
            let times = counted(*count, "time", "times");
            writeln!(out, "\n{name}, {times}; the shortest way to it:\n")?;
            way(out, shortest, options)?;
        }
    }
    writeln!(out, "\nWhat was covered:")?;
    for seen in &survey.situations {
        let due = if seen.is_due && seen.count == 0 { "  <-- it had to be" } else { "" };
        if seen.count > 0 || seen.is_due {
            writeln!(out, "  {:8}  {}{due}", seen.count, seen.situation.name())?;
        }
    }
    for script in &survey.scripts {
        let (works, fails) = (script.works, script.fails);
        if works + fails == 0 {
            writeln!(out, "         0  {} never runs", plain(&script.name))?;
        } else {
            writeln!(
                out,
                "  {:8}  steps with {}; in {fails} of them it goes wrong, or something around it",
                works + fails,
                plain(&script.name)
            )?;
        }
    }
    writeln!(out, "\ndigest: {:032x}", survey.digest)?;
    for complaint in complaints {
        writeln!(out, "WRONG: {complaint}")?;
    }
    if complaints.is_empty() {
        let part = options.part().map_or_else(String::new, |part| format!(" of part {part}"));
        let unclean = survey.ends.iter().filter(|end| !end.ending.kind.is_clean()).count();
        let but = match unclean {
            0 => String::new(),
            1 => "; one way to end is not clean".to_owned(),
            more => format!("; {more} ways to end are not clean"),
        };
        writeln!(out, "Nothing wrong found in {} configurations{part}{but}.", survey.counts.configurations)?;
    }
    Ok(())
}

fn counted(number: u64, one: &str, more: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {more}"),
    }
}

/// A way to an end that is not clean, beside the nearest good one.
fn way(out: &mut dyn Write, way: &Way, options: &Options) -> io::Result<()> {
    rows(out, &way.told.rows, way.good.as_ref().map(|good| good.differs_at))?;
    end(out, &way.told)?;
    if let Some(good) = &way.good {
        writeln!(out, "\n  the nearest good way, from > on:\n")?;
        rows(out, good.told.rows.get(good.differs_at..).unwrap_or_default(), Some(0))?;
        end(out, &good.told)?;
    }
    writeln!(out, "\n  again: {}", options.again(&way.path))
}

/// Rows in lanes: without details, each thing that goes wrong marked with `!`, and the first that differs with `>`.
pub(super) fn rows(out: &mut dyn Write, rows: &[Row], differs_at: Option<usize>) -> io::Result<()> {
    let mut before = None;
    for (number, row) in rows.iter().enumerate() {
        let differs = differs_at == Some(number);
        if row.is_detail && !differs {
            continue;
        }
        let Row { at, lane, what, result, fault, .. } = row;
        let time = if before == Some(*at) { String::new() } else { clock(at.as_secs()) };
        before = Some(*at);
        let mark = match (differs, fault) {
            (true, Some(_)) => ">!",
            (true, None) => "> ",
            (false, Some(_)) => " !",
            (false, None) => "  ",
        };
        let indent = match lane {
            Lane::Server => 0,
            Lane::Device => 12,
            Lane::Module => 48,
        };
        let how = fault.as_ref().or(result.as_ref());
        let how = how.map_or_else(String::new, |how| format!(": {how}"));
        writeln!(out, "{mark} {time:<10}{:indent$}{}{how}", "", plain(what))?;
    }
    Ok(())
}

/// A name of the user's without what would steer a terminal.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// How a way ends.
pub(super) fn end(out: &mut dyn Write, told: &Told) -> io::Result<()> {
    match &told.end {
        Ok(end) => {
            let kind = end.kind;
            writeln!(out, "  = {}: {}; {}", kind.name(), kind.meaning(), end.heard.name())
        }
        Err(wrong) => writeln!(out, "  = WRONG: {wrong}"),
    }
}
