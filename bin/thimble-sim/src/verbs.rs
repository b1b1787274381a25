//! The verbs: the usage, and the help behind each of them, are made from this table.

use std::io::Write;

use crate::failure::Failure;
use crate::{explain, explore, fleet, lint, replay, run, serve, test, texts, ui, words};

/// A verb.
pub(crate) struct Verb {
    /// The word on the command line.
    pub(crate) name: &'static str,
    /// Its page: what it does in one line, more about it, `Usage:`, options, `Examples:`.
    pub(crate) help: &'static str,
    /// Does its work with the words behind it. `Ok(false)`: something is not as it should be.
    pub(crate) run: fn(&mut dyn Write, &[&str]) -> Result<bool, Failure>,
}

/// All of them, in the order of the usage.
pub(crate) const VERBS: [Verb; 11] = [
    Verb { name: "run", help: run::HELP, run: run::run },
    Verb { name: "test", help: test::HELP, run: test::run },
    Verb { name: "words", help: words::HELP, run: words::run },
    Verb { name: "lint", help: lint::HELP, run: lint::run },
    Verb { name: "explain", help: explain::HELP, run: explain::run },
    Verb { name: "explore", help: explore::HELP, run: explore::run },
    Verb { name: "ui", help: ui::HELP, run: ui::run },
    Verb { name: "replay", help: replay::HELP, run: replay::run },
    Verb { name: "serve", help: serve::HELP, run: serve::run },
    Verb { name: "fleet", help: fleet::HELP, run: fleet::run },
    Verb { name: "texts", help: texts::HELP, run: texts::run },
];

/// What `thimble-sim --help` prints.
pub(crate) fn usage() -> String {
    let mut text = String::from(
        "Shows what an update can do to a device, on the real state machine and a simulated device.\n\n\
         Usage: thimble-sim COMMAND [...]\n\nCommands:\n",
    );
    for Verb { name, help, .. } in &VERBS {
        text += &format!("  {name:<9} {}\n", help.lines().next().unwrap_or_default());
    }
    text += "\n`thimble-sim COMMAND --help` says more, with examples. `thimble-sim --version` prints the version.\n\n\
             Exit status: 0 all is well; 1 something is not as it should be; 2 the command line or an input makes no\n\
             sense, or a file cannot be read or written.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_usage_and_an_example() {
        for Verb { name, help, .. } in &VERBS {
            let first = help.lines().next().unwrap();
            assert!(first.ends_with('.') && first.len() <= 106, "{name}: {first}");
            assert!(help.contains(&format!("\nUsage: thimble-sim {name}")), "{name}: {help}");
            assert!(help.contains("\nExample"), "{name}: {help}");
            assert!(help.ends_with('\n') && help.lines().all(|line| line.len() <= 120), "{name}: {help}");
            assert!(usage().contains(&format!("\n  {name} ")), "{name}");
        }
    }
}
