//! `explore`: everything that can happen to a deployment.

use std::io::Write;

use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::model::Budget;
use thimble_hal_sim::whole::Whole;
use thimble_hal_sim::world::Profile;

use crate::failure::{Failure, no_option};

pub(crate) const HELP: &str = "\
Walks over everything that can happen to a deployment, and shows the shortest path to anything wrong.

What can happen is limited to so many failures and losses of power. Prints how much that was for each kind of device,
as the daemon and as the command line carry the deployment out. Exit status 1 if anything is wrong.

Usage: thimble-sim explore [--failures N] [--losses N]

  --failures N     at most so many failures, 0 to 3 [1]
  --losses N       at most so many losses of power, 0 to 3 [1]

Examples:
  thimble-sim explore
  thimble-sim explore --failures 2 --losses 2
";

/// Walks over everything; `Ok(false)`: something is wrong.
pub(crate) fn run(out: &mut dyn Write, options: &[&str]) -> Result<bool, Failure> {
    let budget = budget(options)?;
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

fn budget(options: &[&str]) -> Result<Budget, String> {
    let mut budget = Budget { failures: 1, losses: 1 };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let counter = match *option {
            "--failures" => &mut budget.failures,
            "--losses" => &mut budget.losses,
            other => return Err(no_option("explore", other, HELP)),
        };
        let value = options.next().ok_or_else(|| format!("{option} needs a number from 0 to 3"))?;
        let number = value.parse().ok().filter(|number| *number <= 3);
        *counter = number.ok_or_else(|| format!("{option} {value}: a number from 0 to 3 is wanted"))?;
    }
    Ok(budget)
}

#[cfg(test)]
mod tests {
    use super::budget;

    #[test]
    fn options_are_read() {
        assert!(
            budget(&["--losses", "0", "--failures", "3"]).is_ok_and(|b| (b.failures, b.losses) == (3, 0))
        );
        for (words, told) in [
            (&["--failures"][..], "--failures needs a number from 0 to 3"),
            (&["--failures", "4"], "--failures 4: a number from 0 to 3 is wanted"),
            (&["--loses", "1"], "explore has no option --loses; is --losses meant?"),
        ] {
            assert_eq!(budget(words).unwrap_err(), told);
        }
    }
}
