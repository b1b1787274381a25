//! `thimble-sim`: what an update can do to a device, shown on a host before it is shipped.

mod explain;
mod explore;
mod failure;
mod fleet;
mod lint;
mod loopback;
mod own;
mod page;
mod replay;
mod run;
mod serve;
mod shell;
mod subject;
mod test;
mod texts;
mod timeline;
mod ui;
mod values;
mod verbs;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use failure::Failure;
use thimble_hal_sim::near::meant;
use verbs::{VERBS, Verb};

/// Exit status: something is not as it should be.
const NOT_AS_EXPECTED: u8 = 1;
/// Exit status: the command line or an input makes no sense.
const NO_SENSE: u8 = 2;

fn main() -> ExitCode {
    let args: Result<Vec<String>, _> = std::env::args_os().skip(1).map(|word| word.into_string()).collect();
    let args = match args {
        Ok(args) => args,
        Err(word) => return refuse(None, &format!("{} is not UTF-8", word.display())),
    };
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => refuse(None, "a command is missing"),
        ["--help" | "-h" | "help"] => print(&verbs::usage()),
        ["--version" | "-V"] => print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        ["help", name] => perform(name, &["--help"]),
        [name, words @ ..] => perform(name, words),
    }
}

/// Prints a page.
fn print(page: &str) -> ExitCode {
    let mut out = Reader::new();
    finish(None, out.write_all(page.as_bytes()).map(|()| true).map_err(Failure::Output))
}

/// Does the work of the verb of this name, or prints its page.
fn perform(name: &str, words: &[&str]) -> ExitCode {
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let names = VERBS.iter().map(|verb| verb.name);
        return refuse(None, &format!("there is no command {name:?}{}", meant(name, names)));
    };
    if words.iter().any(|word| matches!(*word, "--help" | "-h")) {
        return print(verb.help);
    }
    let mut out = Reader::new();
    let done = (verb.run)(&mut out, words).and_then(|good| Ok(out.flush().map(|()| good)?));
    finish(Some(verb), done)
}

/// The exit status, and on standard error why it is not 0 unless the output says so.
fn finish(verb: Option<&Verb>, done: Result<bool, Failure>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_AS_EXPECTED),
        Err(Failure::Output(error)) => {
            eprintln!("thimble-sim: the output cannot be written: {error}");
            ExitCode::from(NO_SENSE)
        }
        Err(Failure::Told) => ExitCode::from(NO_SENSE),
        Err(Failure::Input(reason)) => {
            eprintln!("{reason}");
            ExitCode::from(NO_SENSE)
        }
        Err(Failure::Usage(reason)) => refuse(verb, &reason),
    }
}

/// Standard output. Whoever reads may have seen enough: the work goes on, as its verdict is the exit status.
struct Reader<W> {
    out: W,
    has_enough: bool,
}

impl Reader<io::StdoutLock<'static>> {
    fn new() -> Self {
        Self { out: io::stdout().lock(), has_enough: false }
    }
}

impl<W: Write> Reader<W> {
    fn unless_enough<T>(&mut self, done: T, write: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.has_enough {
            return Ok(done);
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.has_enough = true;
                Ok(done)
            }
            written => written,
        }
    }
}

impl<W: Write> Write for Reader<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.unless_enough(buf.len(), |out| out.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_enough((), Write::flush)
    }
}

/// The command line makes no sense.
fn refuse(verb: Option<&Verb>, reason: &str) -> ExitCode {
    let verb = verb.map_or(String::new(), |verb| format!(" {}", verb.name));
    eprintln!("thimble-sim: {reason}; see thimble-sim{verb} --help");
    ExitCode::from(NO_SENSE)
}
