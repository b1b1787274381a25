//! `replay`: what a device has recorded or logged becomes a timeline, and what happens next.

mod log;
mod order;
mod record;
#[cfg(test)]
mod tests;
mod time;

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use thimble_core::flight::How;
use thimble_core::hal::{Key, Storage as _};
use thimble_core::time::Duration;
use thimble_hal_linux::storage::{Access, DataDirectory, RECORD_MAX, Store};
use thimble_hal_sim::explain::{Explained, Given, Happened, Who, explain};
use thimble_hal_sim::story::Lane;
use thimble_hal_sim::world::Profile;

use crate::explain::{given, outcomes, text};
use crate::failure::{Failure, no_option};
use crate::page;
use crate::shell::quoted;
use crate::subject::{Subject, subject_help};
use crate::timeline::{self, Event};
use crate::values::{self, Once};

pub(crate) const HELP: &str = concat!(
    "\
Shows what a device has recorded or logged as a timeline, and what happens next.

FILE is a flight record, as `thimble show-flight-record --raw` prints it; or the log of a deployment, as thimble or
Mender's client sends it to the server; or the datastore of a device, a folder. It may be cut or forged: what no client
does is said. From the last place that is known, the real client goes on on a simulated device: once without a fault and
once with each.

Usage: thimble-sim replay [OPTION]... FILE

",
    subject_help!(),
    "  --json                one JSON document
  --html FILE           write a page into FILE as well: the timeline, step by step, and what happens next

Without --device and --artifact, the kind of the device follows from what its update module has answered; without
--scripts and --artifact, the state scripts are those that ran.

Exit status 1: something in FILE is damaged, or no client does it in this order.

Examples:
  thimble show-flight-record --raw > flight.txt        # on the device
  thimble-sim replay flight.txt
  thimble-sim replay --artifact release-2.mender deployments.0000.6f1c2a.log
",
);

/// Longest input, in bytes: a server takes no longer log.
const LONGEST: u64 = 16 * 1024 * 1024;

/// The file of a datastore that the records are in, by its first bytes and by its name.
const STORE: (&[u8], &str) = (b"thimble\0", "mender-store-thimble");

/// First line of a flight record in digits.
const DIGITS: &[u8] = b"thimble flight record";

/// What an input says.
#[derive(Debug, Default)]
struct Account {
    /// What it is.
    what: &'static str,
    events: Vec<Event>,
    /// What is missing at its ends.
    notes: Vec<String>,
    /// What is damaged in it, or cannot be.
    complaints: Vec<String>,
    /// The way of the last update in it.
    way: Vec<Happened>,
    /// Names of the scripts that ran in that one.
    scripts: Vec<String>,
    standalone: bool,
    /// That update's beginning is there.
    begins: bool,
    /// It is in progress.
    is_open: bool,
    /// How it ended.
    end: Option<&'static str>,
    /// What the module answered.
    reboot: Option<How>,
    rollback: Option<bool>,
    by_mender: bool,
}

impl Account {
    /// Another update begins.
    fn forget(&mut self) {
        self.way.clear();
        self.scripts.clear();
        (self.is_open, self.begins, self.end, self.reboot, self.rollback) = (false, false, None, None, None);
    }

    /// What the answers of the module are those of.
    fn profile(&self) -> Profile {
        let rollback = self.rollback.unwrap_or(true);
        match self.reboot {
            Some(How::Automatic) => Profile { rollback, ..Profile::SLOTS },
            Some(How::Well) => Profile { rollback, ..Profile::CUSTOM },
            Some(How::No | How::Later | How::Exited(_) | How::Killed(_) | How::TooSlow | How::Failed)
            | None => Profile { rollback, ..Profile::FILES },
        }
    }
}

/// Shows it. `Ok(false)`: something in it is damaged, or cannot be.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let Options { subject, is_json, html, path } = options(words)?;
    let account = account(&read(&path)?, &path)?;
    let next = next(&account, &subject);
    if let Some(file) = html {
        let document = page_document(&account, &next, &path, words);
        std::fs::write(&file, page::of_run(&document)).map_err(|error| format!("{file}: {error}"))?;
    }
    if is_json {
        let next: Vec<Value> = next.iter().map(|(when, explained)| document(when, explained)).collect();
        let whole = json!({
            "what": account.what,
            "events": timeline::json(&account.events),
            "notes": account.notes,
            "complaints": account.complaints,
            "in_progress": account.is_open,
            "ended": account.end,
            "next": next,
        });
        writeln!(out, "{whole:#}")?;
    } else {
        show(out, &account, &next)?;
    }
    Ok(account.complaints.is_empty())
}

struct Options {
    subject: Subject,
    is_json: bool,
    html: Option<String>,
    path: String,
}

fn options(words: &[&str]) -> Result<Options, Failure> {
    let (mut subject, mut is_json, mut html, mut path) = (Subject::default(), false, None, None);
    let (mut words, mut once) = (words.iter(), Once::but(&["--scripts"]));
    while let Some(word) = words.next() {
        once.read(word)?;
        let mut value =
            || words.next().copied().ok_or_else(|| Failure::Usage(format!("{word} needs a value")));
        if subject.take(word, &mut value)? {
            continue;
        }
        match *word {
            "--json" => is_json = true,
            "--html" => html = Some(value()?.to_owned()),
            option if option.starts_with('-') => {
                return Err(Failure::Usage(no_option("replay", option, HELP)));
            }
            file if path.is_none() => path = Some(file.to_owned()),
            file => return Err(Failure::Usage(format!("replay takes one file; {file} is another"))),
        }
    }
    let path = path.ok_or_else(|| {
        Failure::Usage(
            "replay wants a flight record (thimble show-flight-record --raw) or a deployment log".into(),
        )
    })?;
    Ok(Options { subject, is_json, html, path })
}

/// The bytes of the file, or of the flight record in a datastore.
fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let at = |why: &dyn std::fmt::Display| Failure::Usage(format!("{path}: {why}"));
    let about = std::fs::metadata(path).map_err(|error| at(&error))?;
    let here = Path::new(path);
    if about.is_dir() {
        return from_datastore(here).map_err(|why| at(&why));
    }
    if here.file_name().is_some_and(|name| name == STORE.1) {
        let folder = here.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        return from_datastore(folder).map_err(|why| at(&why));
    }
    values::bytes(here, LONGEST).map_err(Failure::Usage)
}

fn from_datastore(folder: &Path) -> Result<Vec<u8>, String> {
    let directory = DataDirectory::open(folder).map_err(|error| error.to_string())?;
    let (mut store, _) = Store::open(directory, Access::ReadOnly).map_err(|error| error.to_string())?;
    let mut buf = vec![0; RECORD_MAX];
    let stored = store.read(Key::Flight, &mut buf).map_err(|error| error.to_string())?;
    stored.map(<[u8]>::to_vec).ok_or_else(|| "no flight record in this datastore".to_owned())
}

fn account(bytes: &[u8], path: &str) -> Result<Account, Failure> {
    let no = |why: &str| Failure::Input(format!("{path}: {why}"));
    if let Some(account) = record::read(bytes) {
        return Ok(account);
    }
    const DAMAGED: &str = "the flight record is damaged, or of another version of the client";
    if let Some(digits) = bytes.strip_prefix(DIGITS) {
        let bytes =
            from_digits(digits).ok_or_else(|| no("the flight record is damaged: no hexadecimal digits"))?;
        return record::read(&bytes).ok_or_else(|| no(DAMAGED));
    }
    if bytes.starts_with(STORE.0) {
        return Err(no(&format!("the records of a device: name it {}, or give its folder", STORE.1)));
    }
    if bytes.starts_with(b"{\"dropped\":") {
        return Err(no(
            "printed for other programs: `thimble show-flight-record --raw` prints what is read here",
        ));
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(no("neither a flight record nor a deployment log, whose lines are JSON objects"));
    }
    Ok(log::read(bytes))
}

/// Pairs of hexadecimal digits, with lines between them.
fn from_digits(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let mut digit = || {
        digits.next().map(|byte| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
    };
    let mut bytes = Vec::new();
    while let Some(high) = digit() {
        bytes.push(high? << 4 | digit()??);
    }
    Some(bytes)
}

/// What happens next, if an update is in progress: where the client runs on, and where it starts again.
fn next(account: &Account, subject: &Subject) -> Vec<(&'static str, Explained)> {
    if !account.is_open || !account.begins {
        return Vec::new();
    }
    let was_given = |option: &str| subject.words().iter().any(|word| word == option);
    let mut given = given(subject);
    if !was_given("--artifact") && !was_given("--device") {
        given.profile = account.profile();
    }
    if !was_given("--artifact") && !was_given("--scripts") {
        given.scripts.clone_from(&account.scripts);
    }
    given.command_line |= account.standalone;
    given.past.clone_from(&account.way);
    let mut ways = Vec::new();
    let starts = account.way.last() == Some(&Happened::Restart);
    if !starts {
        ways.push(("If the client runs on", explain(&given)));
        let past = given.past.iter().cloned().chain([Happened::Restart]).collect();
        given = Given { past, ..given };
    }
    ways.push(("If the client starts again, after a crash or a loss of power", explain(&given)));
    ways
}

fn show(out: &mut dyn Write, account: &Account, next: &[(&'static str, Explained)]) -> std::io::Result<()> {
    timeline::print(out, &timeline::json(&account.events))?;
    for (title, lines) in [("Notes", &account.notes), ("Not as it should be", &account.complaints)] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}:")?;
        }
        for line in lines {
            writeln!(out, "  {line}")?;
        }
    }
    match (account.is_open, account.begins, account.end) {
        (false, _, Some(end)) => {
            return writeln!(out, "\nThe update is over: {end}. Nothing of it happens next.");
        }
        (false, _, None) => return writeln!(out, "\nNo update is in progress. Nothing happens next."),
        (true, false, _) => {
            return writeln!(
                out,
                "\nHow the update began is not there, so nobody can say what happens next."
            );
        }
        (true, true, _) => {}
    }
    if account.by_mender {
        writeln!(
            out,
            "\nThis is the log of Mender's client. What follows is what thimble would do from there."
        )?;
    }
    for (when, explained) in next {
        writeln!(out)?;
        if !explained.missing.is_empty() {
            writeln!(
                out,
                "{when}: the simulated device does not come to this place. It is of another kind: --device, --artifact and \
                 --scripts say what the real one has."
            )?;
            continue;
        }
        if explained.steps.is_empty() {
            writeln!(out, "{when}: nothing is left to do. {}.", explained.good.verdict())?;
            continue;
        }
        text(out, &format!("{when}:"), "Without another failure", explained)?;
    }
    Ok(())
}

/// The document of a run that the page shows: what has happened, and behind it each step that comes.
fn page_document(account: &Account, next: &[(&'static str, Explained)], path: &str, words: &[&str]) -> Value {
    let mut events = account.events.clone();
    let at = events.last().map_or(Duration::from_secs(0), |event| event.at);
    for (when, explained) in next.iter().filter(|(_, explained)| explained.missing.is_empty()) {
        events.push(Event::new(at, Lane::Device, format!("{when}: {}", explained.good.verdict())));
        events.extend(explained.steps.iter().map(|step| {
            let lane = match step.who {
                Who::Script | Who::Device => Lane::Device,
                Who::Module => Lane::Module,
                Who::Server => Lane::Server,
            };
            let outcomes =
                outcomes(step).into_iter().map(|(what, outcome)| format!("{what}: {}", outcome.verdict()));
            Event { output: outcomes.collect(), ..Event::new(at, lane, format!("next: {}", step.what)) }
        }));
    }
    for event in events.iter_mut().filter(|event| event.is_fault) {
        event.what.insert_str(0, "! ");
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    json!({
        "schema": 1,
        "title": format!("{path}: {}", account.what),
        "events": timeline::json(&events),
        "end": account.end.unwrap_or("not over"),
        "reason": account.notes.join("; "),
        "installed": "not in a record or log",
        "changes": [],
        "wrong": account.complaints,
        "again": format!("thimble-sim replay {}", words.join(" ")),
    })
}

/// The same for programs.
fn document(when: &str, explained: &Explained) -> Value {
    let steps = explained.steps.iter().map(|step| {
        let outcomes = outcomes(step).into_iter().map(|(what, outcome)| {
            json!({
                "what": what,
                "end": outcome.end,
                "installed": outcome.installed,
                "bad": outcome.is_bad(),
                "then": outcome.happened,
            })
        });
        json!({ "what": step.what, "at_most": step.at_most.as_secs(), "outcomes": outcomes.collect::<Vec<_>>() })
    });
    json!({
        "when": when,
        "reached": explained.missing.is_empty(),
        "steps": steps.collect::<Vec<_>>(),
        "end": explained.good.end,
        "installed": explained.good.installed,
        "reason": explained.good.reason,
    })
}
