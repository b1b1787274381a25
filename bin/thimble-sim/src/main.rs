//! `thimble-sim`: what an update can do to a device, shown on a host before it is shipped.

mod fleet;
mod serve;
mod texts;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::model::Budget;
use thimble_hal_sim::scenario;
use thimble_hal_sim::whole::Whole;
use thimble_hal_sim::world::Profile;

const USAGE: &str = "\
Shows what an update can do to a device, on the real state machine and a simulated device.

Usage: thimble-sim run SCENARIO...
       thimble-sim explore [--failures N] [--losses N]
       thimble-sim serve [OPTIONS] ARTIFACT...
       thimble-sim serve --help
       thimble-sim fleet [--devices N] [--broken N] [--dies] [--json]
       thimble-sim fleet --help
       thimble-sim texts [FILE]
       thimble-sim texts --help
       thimble-sim --help | --version

run       does what each scenario says and prints the timeline; exit status 1 if it is not the one that stands
          in the file (a file without a timeline expects none)
explore   walks over everything that can happen to a deployment with at most so many failures and losses of
          power (0 to 3 each, 1 unless told), prints how much that was, and the shortest path to anything wrong
serve     is a Mender server for a real client on this machine: deploys the artifacts and prints every request
fleet     updates many devices that commit together, or not at all, and prints what happened when
texts     prints the log of a board whose client is built without texts, with the codes in it as texts

Examples:
  thimble-sim run tests/scenarios/daemon-26-power-loss-in-install.txt
  thimble-sim explore --failures 2 --losses 2
  thimble-sim fleet --devices 20 --broken 7
  printf 'device slots\\nlose-power in ArtifactCommit\\nrun\\n' > try.txt && thimble-sim run try.txt

Words of a scenario:
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    let done = match words.as_slice() {
        ["--help" | "-h"] => write!(out, "{USAGE}{}", scenario::HELP).map(|()| true),
        ["--version"] => writeln!(out, "{}", env!("CARGO_PKG_VERSION")).map(|()| true),
        ["run", files @ ..] if !files.is_empty() => run(&mut out, files),
        ["explore", options @ ..] => match budget(options) {
            Ok(budget) => walk(&mut out, budget),
            Err(error) => return refuse(&error),
        },
        ["serve", "--help" | "-h"] => write!(out, "{}", serve::HELP).map(|()| true),
        ["serve", options @ ..] => match serve::run(&mut out, options) {
            Ok(good) => Ok(good),
            Err(error) => return refuse(&error),
        },
        ["fleet", "--help" | "-h"] => write!(out, "{}", fleet::HELP).map(|()| true),
        ["fleet", options @ ..] => match fleet::start(&mut out, options) {
            Ok(good) => Ok(good),
            Err(error) => return refuse(&error),
        },
        ["texts", "--help" | "-h"] => write!(out, "{}", texts::HELP).map(|()| true),
        ["texts", options @ ..] => match texts::run(&mut out, options) {
            Ok(good) => Ok(good),
            Err(error) => return refuse(&error),
        },
        [] => return refuse("a command is missing"),
        [command, ..] => return refuse(&format!("{command:?} makes no sense here")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => refuse(&error.to_string()),
    }
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("thimble-sim: {reason}; see thimble-sim --help");
    ExitCode::FAILURE
}

/// Prints each scenario's timeline; false: one was not as it was written.
fn run(out: &mut dyn Write, files: &[&str]) -> io::Result<bool> {
    let mut good = true;
    for file in files {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("thimble-sim: {file}: {error}");
                good = false;
                continue;
            }
        };
        let parts = scenario::parse(&text);
        match scenario::run(&parts) {
            Ok(happened) => {
                write!(out, "{}", scenario::print(&happened))?;
                let mut pairs = parts.iter().zip(&happened);
                if pairs.any(|(part, now)| !part.expected.is_empty() && part != now) {
                    eprintln!("thimble-sim: {file}: this is not the timeline that stands in the file");
                    good = false;
                }
            }
            Err(error) => {
                eprintln!("thimble-sim: {file}: {error}");
                good = false;
            }
        }
    }
    Ok(good)
}

fn budget(options: &[&str]) -> Result<Budget, String> {
    let mut budget = Budget { failures: 1, losses: 1 };
    for pair in options.chunks(2) {
        let [option, value] = pair else { return Err(format!("{} wants a number", pair.join(" "))) };
        let number = value.parse().ok().filter(|number| *number <= 3);
        let number: u8 = number.ok_or_else(|| format!("{option} {value}: a number from 0 to 3 is wanted"))?;
        match *option {
            "--failures" => budget.failures = number,
            "--losses" => budget.losses = number,
            other => return Err(format!("{other:?} is no option of explore")),
        }
    }
    Ok(budget)
}

/// Walks over everything; false: something is wrong.
fn walk(out: &mut dyn Write, budget: Budget) -> io::Result<bool> {
    for (name, profile) in [
        ("two slots, rebooted by the client", Profile::SLOTS),
        ("overwritten in place", Profile::FILES),
        ("overwritten in place, rebooted by the module", Profile::CUSTOM),
        ("overwritten in place, no rollback", Profile::ONE_WAY),
        ("no payload", Profile::EMPTY),
    ] {
        for (who, start) in [
            ("daemon", Whole::daemon(profile, budget, false, None)),
            ("daemon that resumes downloads", Whole::daemon(profile, budget, true, None)),
            ("command line", Whole::command_line(profile, budget, None)),
        ] {
            match explore(start, Limits::default()) {
                Ok(counts) => writeln!(out, "{who}, {name}: {counts}")?,
                Err(failing) => {
                    writeln!(out, "{who}, {name}:\n{failing}")?;
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
