//! Asks a person, line by line.

use std::io::{BufRead, IsTerminal, Read, stdin};

use thimble_hal_linux::log::Outlet;
use thimble_hal_linux::secret::Secret;
use thimble_hal_linux::terminal;

use crate::output::{Failure, one_line};

/// Longest answer in bytes.
const ANSWER_MAX: u64 = 4096;

/// After so many answers that will not do, it is no person who answers.
const TRIES: usize = 10;

/// The conversation.
#[derive(Debug)]
pub(crate) struct Questions {
    out: Outlet,
    is_quiet: bool,
    began: bool,
}

impl Questions {
    pub(crate) fn new(is_quiet: bool) -> Self {
        Self { out: Outlet::stdout(), is_quiet, began: false }
    }

    /// Says what is being done, before the first question.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true) && !self.is_quiet {
            self.say(
                "What this device is and where its updates come from. Enter takes what is in brackets.\n\n",
            );
        }
    }

    fn say(&mut self, text: &str) {
        let _ = self.out.write(text.as_bytes());
    }

    /// Asks until `read` takes the answer; an empty one counts as `default`. `option` is what answers without a question.
    pub(crate) fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        option: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        self.begin();
        for _ in 0..TRIES {
            let shown = if default.is_empty() { String::new() } else { format!(" [{}]", one_line(default)) };
            self.say(&format!("{question}{shown}: "));
            let mut answer = Vec::new();
            let read_all = stdin().lock().take(ANSWER_MAX).read_until(b'\n', &mut answer);
            match read_all {
                Ok(1..) => {}
                Ok(0) => {
                    self.say("\n");
                    return Err(Failure::new(format_args!(
                        "nobody answers \"{question}\"; give {option}. Nothing was changed"
                    )));
                }
                Err(error) => return Err(Failure::new(format_args!("cannot read answers: {error}"))),
            }
            let answer = String::from_utf8_lossy(&answer);
            let answer = answer.trim();
            match read(if answer.is_empty() { default } else { answer }) {
                Ok(value) => return Ok(value),
                Err(reason) => self.say(&format!("{reason}.\n")),
            }
        }
        Err(Failure::new(format_args!(
            "{TRIES} answers to \"{question}\" would not do; give {option}. Nothing was changed"
        )))
    }

    /// Whether somebody can be asked for a secret: it is not read from anything but a terminal.
    pub(crate) fn has_terminal() -> bool {
        stdin().is_terminal()
    }

    /// Asks for a secret of at most `max` bytes, which the terminal does not show. Without a terminal nothing is read.
    pub(crate) fn secret(&mut self, question: &str, option: &str, max: usize) -> Result<Secret, Failure> {
        self.begin();
        if !Self::has_terminal() {
            return Err(Failure::new(format_args!(
                "\"{question}\" is asked at a terminal alone, and this is none; give {option}. Nothing was changed"
            )));
        }
        for _ in 0..TRIES {
            let answer = terminal::read_hidden(max, || self.say(&format!("{question} (not shown): ")));
            self.say("\n");
            match answer {
                Ok(Some(answer)) if !answer.expose().is_empty() => return Ok(answer),
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(Failure::new(format_args!(
                        "nobody answers \"{question}\". Nothing was changed"
                    )));
                }
                Err(error) => self.say(&format!("{error}.\n")),
            }
        }
        Err(Failure::new(format_args!(
            "{TRIES} answers to \"{question}\" would not do; give {option}. Nothing was changed"
        )))
    }

    /// Asks for yes or no.
    pub(crate) fn yes(&mut self, question: &str, default: bool, option: &str) -> Result<bool, Failure> {
        let default = if default { "Y" } else { "N" };
        self.ask(question, default, option, |answer| match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("Y or N".to_owned()),
        })
    }
}
