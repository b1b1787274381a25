//! `run`: does what scenarios say.

use std::fs;
use std::io::Write;

use thimble_hal_sim::scenario;

use crate::failure::Failure;

pub(crate) const HELP: &str = "\
Does what each scenario says and prints the timeline.

Exit status 1 if a timeline is not the one that stands in the file (a file without a timeline expects none), 2 if a
file cannot be read or makes no sense. `thimble-sim words` prints the words of a scenario.

Usage: thimble-sim run SCENARIO...

Examples:
  thimble-sim run tests/scenarios/daemon-26-power-loss-in-install.txt
  printf 'device slots\\nlose-power in ArtifactCommit\\nrun\\n' > try.txt && thimble-sim run try.txt
";

/// Prints each scenario's timeline; `Ok(false)`: one was not as it was written.
pub(crate) fn run(out: &mut dyn Write, files: &[&str]) -> Result<bool, Failure> {
    if files.is_empty() {
        return Err(Failure::Usage("run needs a scenario".into()));
    }
    if let Some(option) = files.iter().find(|file| file.starts_with('-')) {
        return Err(Failure::Usage(format!("run has no option {option}")));
    }
    let mut good = true;
    let mut wrong = Vec::new();
    for file in files {
        let happened = fs::read_to_string(file).map_err(|error| error.to_string()).and_then(|text| {
            let parts = scenario::parse(&text);
            Ok((scenario::run(&parts)?, parts))
        });
        match happened {
            Ok((happened, parts)) => {
                write!(out, "{}", scenario::print(&happened))?;
                let mut pairs = parts.iter().zip(&happened);
                if pairs.any(|(part, now)| !part.expected.is_empty() && part != now) {
                    eprintln!("thimble-sim: {file}: this is not the timeline that stands in the file");
                    good = false;
                }
            }
            Err(error) => wrong.push(format!("{file}: {error}")),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(Failure::Input(wrong.join("\n"))) }
}
