//! `test`: scenarios against the timelines that stand in their files.

mod reports;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use thimble_hal_sim::scenario::suite::{Outcome, check, find};

use crate::failure::{Failure, no_option};

pub(crate) const HELP: &str = "\
Runs scenarios and compares what happens with the timelines in their files.

Of a folder all *.txt are taken, in it and in the folders below, in the order of their names. Prints a line for each
file, what is wrong with it, and a summary. Without a path the current folder is meant.

Exit status 0: all went as written; 1: one did not, or has no timeline yet, or something that was to go wrong never
happened; 2: one makes no sense or cannot be read, or the command line makes no sense.

Usage: thimble-sim test [OPTION]... [DIR|FILE]...

  --update         write what happened into the files; read the difference before you keep it
  --json           print one JSON document instead, for programs
  --junit FILE     also write a report for CI services into FILE

Examples:
  thimble-sim test tests/scenarios
  thimble-sim test --junit report.xml scenarios
  thimble-sim test --update scenarios/new.txt
";

/// A scenario's file, and how it went.
struct Tested {
    file: String,
    outcome: Outcome,
}

#[derive(Default)]
struct Options {
    update: bool,
    json: bool,
    junit: Option<String>,
    paths: Vec<PathBuf>,
}

/// Tests them; `Ok(false)`: one did not go as written.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let options = read(words)?;
    let mut all = Vec::new();
    for path in find(&options.paths)? {
        let outcome = check(&path, options.update);
        let tested = Tested { file: path.display().to_string(), outcome };
        if !options.json {
            print(out, &tested)?;
        }
        all.push(tested);
    }
    if options.json {
        writeln!(out, "{}", reports::json(&all))?;
    } else {
        writeln!(out, "{}", summary(&all))?;
    }
    if let Some(path) = options.junit {
        fs::write(&path, reports::junit(&all)).map_err(|error| format!("{path}: {error}"))?;
    }
    let is_nonsense =
        |tested: &Tested| matches!(tested.outcome, Outcome::Nonsense(_) | Outcome::Unreadable(_));
    if all.iter().any(is_nonsense) {
        return Err(Failure::Told);
    }
    Ok(!all.iter().any(|tested| matches!(tested.outcome, Outcome::Failed { .. })))
}

fn read(words: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--update" => options.update = true,
            "--json" => options.json = true,
            "--junit" => {
                let path = words.next().ok_or("--junit needs the name of a file")?;
                options.junit = Some((*path).to_owned());
            }
            option if option.starts_with('-') => return Err(no_option("test", option, HELP)),
            path => options.paths.push(path.into()),
        }
    }
    if options.paths.is_empty() {
        options.paths.push(".".into());
    }
    Ok(options)
}

/// The line of one file, and what is wrong with it.
fn print(out: &mut dyn Write, Tested { file, outcome }: &Tested) -> Result<(), Failure> {
    match outcome {
        Outcome::Good => writeln!(out, "ok      {file}")?,
        Outcome::Updated => writeln!(out, "updated {file}")?,
        Outcome::Failed { complaints, diff } => {
            writeln!(out, "FAILED  {file}")?;
            if !complaints.0.is_empty() {
                writeln!(out, "{}", complaints.told(file))?;
            }
            write!(out, "{diff}")?;
        }
        Outcome::Nonsense(complaints) => writeln!(out, "FAILED  {file}\n{}", complaints.told(file))?,
        Outcome::Unreadable(why) => writeln!(out, "FAILED  {file}\n{file}: {why}")?,
    }
    Ok(())
}

/// How many there are of each result; those that make no sense have failed too.
fn summary(all: &[Tested]) -> String {
    let (mut good, mut updated, mut failed) = (0, 0, 0);
    for Tested { outcome, .. } in all {
        match outcome {
            Outcome::Good => good += 1,
            Outcome::Updated => updated += 1,
            Outcome::Failed { .. } | Outcome::Nonsense(_) | Outcome::Unreadable(_) => failed += 1,
        }
    }
    let scenarios = if all.len() == 1 { "scenario" } else { "scenarios" };
    let updated = if updated == 0 { String::new() } else { format!(", {updated} updated") };
    format!("{} {scenarios}: {good} ok{updated}, {failed} failed", all.len())
}
