//! `run`: does what scenarios say.

use std::io::Write;

use thimble_hal_sim::scenario::{Complaints, Happened, Scenario, load};

use crate::failure::Failure;

pub(crate) const HELP: &str = "\
Does what each scenario says and prints the timeline.

SCENARIO is a file; - is standard input. `thimble-sim words` prints the words of a scenario. All files are read before
anything is done: where one makes no sense, everything wrong in them is told, and nothing is done (exit status 2). Exit
status 1 if a timeline is not the one that stands in the file (a part without a timeline expects none), or if something
that was to go wrong never happened.

Usage: thimble-sim run SCENARIO...

Examples:
  thimble-sim run tests/scenarios/daemon-26-power-loss-in-install.txt
  printf 'lose-power in ArtifactCommit\\nrun\\n' | thimble-sim run -
";

/// Prints each scenario's timeline; `Ok(false)`: one was not as it was written.
pub(crate) fn run(out: &mut dyn Write, files: &[&str]) -> Result<bool, Failure> {
    if files.is_empty() {
        return Err(Failure::Usage("run needs a scenario".into()));
    }
    if let Some(option) = files.iter().find(|file| file.starts_with('-') && **file != "-") {
        return Err(Failure::Usage(format!("run has no option {option}")));
    }
    let mut scenarios = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        let name = if *file == "-" { "standard input" } else { file };
        match load(file.as_ref()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(bytes) => match Scenario::read(&bytes) {
                Ok(scenario) => scenarios.push((name, scenario)),
                Err(complaints) => wrong.push(complaints.told(name)),
            },
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Input(wrong.join("\n")));
    }
    let mut good = true;
    for (name, scenario) in scenarios {
        let Happened { scenario: happened, unused, stopped } = scenario.run();
        write!(out, "{happened}")?;
        let complaints = Complaints(unused.into_iter().chain(stopped).collect());
        if !complaints.0.is_empty() {
            eprintln!("{}", complaints.told(name));
            good = false;
        }
        let mut pairs = scenario.timelines().zip(happened.timelines());
        if pairs.any(|(expected, happened)| !expected.is_empty() && expected != happened) {
            eprintln!("{name}: this is not the timeline that stands in the file");
            good = false;
        }
    }
    Ok(good)
}
