//! Why a verb did not do its work.

use std::io;

use thimble_hal_sim::near::meant;

/// Why a verb did not do its work. A verb that did it and found something wrong returns `Ok(false)` instead.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense, or a file that it names cannot be read or written.
    Usage(String),
    /// An input makes no sense: whole lines, each with its place.
    Input(String),
    /// An input makes no sense, as the output says.
    Told,
    /// The output cannot be written.
    Output(io::Error),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Usage(reason)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// `verb` has no such option; the options it has are those that its help text names.
pub(crate) fn no_option(verb: &str, option: &str, help: &str) -> String {
    let known = help.split_whitespace().filter_map(|word| {
        let word = word.trim_start_matches(['[', '(']);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(word.len());
        word.get(..end).filter(|word| word.starts_with("--"))
    });
    format!("{verb} has no option {option}{}", meant(option, known))
}

#[cfg(test)]
mod tests {
    use super::no_option;

    #[test]
    fn the_option_that_was_meant_is_one_of_the_help_text() {
        let help = "Usage: thimble-sim x [--first N] (--second)\n  --third=N, or --fourth.";
        for (option, told) in [
            ("--fisrt", "x has no option --fisrt; is --first meant?"),
            ("--secon", "x has no option --secon; is --second meant?"),
            ("--thirds", "x has no option --thirds; is --third meant?"),
            ("--fourh", "x has no option --fourh; is --fourth meant?"),
            ("--else", "x has no option --else"),
        ] {
            assert_eq!(no_option("x", option, help), told);
        }
    }
}
