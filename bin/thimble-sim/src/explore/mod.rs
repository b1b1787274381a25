//! `explore`: everything that can become of an update.

mod document;
mod moves;
mod options;
mod text;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path as FilePath;

use serde_json::Value;
use thimble_core::config::Config;
use thimble_hal_sim::scenario::transitions;
use thimble_hal_sim::story::Path;
use thimble_hal_sim::survey::{self, Survey, Task, given, names, survey};
use thimble_hal_sim::whole::{Kind, Whole};
use thimble_hal_sim::world::Profile;

use crate::failure::Failure;
use crate::page;
use crate::subject::subject_help;
pub(crate) use options::{Options, Verb, read};

/// What the options of a walk say about it.
macro_rules! walk_help {
    () => {
        "  --failures N          at most so many failures, 0 to 3 [1]
  --losses N            at most so many losses of power, 0 to 3 [1]
  --forbid ENDS         these must not be, separated by commas: brick, inconsistent, misreported, failed
  --budget N            at most so many configurations, of 64 bytes each, and 300 MB for those at hand [16000000]
  --shard I/N           only the I-th of N parts, from 1 on; all parts together are everything
  --seed N              makes other parts [0]
"
    };
}
pub(crate) use walk_help;

pub(crate) const HELP: &str = concat!(
    "\
Walks over everything that can become of an update, and shows how it can end.

Every script works, fails, asks to be run again, or never ends; every call of the module works, fails before, in the
middle of or after its work, or never ends; every request is answered, refused, put off or lost; power is lost before,
inside and after everything. What goes wrong in one update is limited to so many failures and losses of power; all ways
within these limits are walked. Shows the ways it can end, the worst first, with the shortest way to each that is not
clean beside the nearest good one, what must never be and was, and what was covered. Nothing of yours is run.

Without an option of the first part: all kinds of devices, with a script everywhere, one line for each.

Usage: thimble-sim explore [OPTION]...

",
    subject_help!(),
    "\n",
    walk_help!(),
    "  --path PATH           tell this one way, which is the end of a line that begins with `again:`
  --scenarios DIR       write a scenario into this folder for each end that is not clean and for whatever is wrong, if
                        scenarios have words for it: `thimble-sim run` shows it, `thimble-sim test` keeps it so
  --json                one JSON document
  --html FILE           write a page into FILE: one file, which shows everything in a browser without a network

Exit status 1: something is wrong, an end is forbidden, a situation that is due was not met, or not everything could be
walked within the budget; with --path, the way does not end clean.

Examples:
  thimble-sim explore
  thimble-sim explore --artifact release-2.mender --scripts state-scripts --forbid brick,inconsistent
  thimble-sim explore --device slots --failures 2 --losses 2
  thimble-sim explore --scripts state-scripts --html update.html
",
);

/// The devices that are walked where none is named.
const DEVICES: [(&str, Profile); 5] = [
    ("two slots, rebooted by the client", Profile::SLOTS),
    ("overwritten in place", Profile::FILES),
    ("overwritten in place, rebooted by the module", Profile::CUSTOM),
    ("overwritten in place, no rollback", Profile::ONE_WAY),
    ("no payload", Profile::EMPTY),
];

/// A walk: what it is called, what was walked, and what was seen.
struct Walk {
    title: String,
    task: Task,
    survey: Survey,
}

impl Walk {
    fn of(title: String, task: Task) -> Self {
        let is_watched = io::stderr().is_terminal();
        let mut told = false;
        let survey = survey(&task, &mut |configurations| {
            if is_watched {
                told = true;
                eprint!("\r{configurations} configurations so far");
            }
        });
        if told {
            // The line goes.
            eprint!("\r{:60}\r", "");
        }
        Self { title, task, survey }
    }

    /// What is not as it should be, a line each.
    fn complaints(&self, forbidden: &[Kind]) -> Vec<String> {
        let Survey { wrongs, ends, complete, .. } = &self.survey;
        let mut all: Vec<String> = wrongs.iter().map(|wrong| wrong.wrong.clone()).collect();
        for end in ends.iter().filter(|end| forbidden.contains(&end.ending.kind)) {
            all.push(format!("the update can end {}, which is forbidden", end.ending.kind.name()));
        }
        all.dedup();
        if !complete {
            all.push(format!(
                "not everything was walked: more than {} configurations; --budget allows more, --shard 1/8 walks a part",
                self.task.limits.configurations
            ));
        }
        let missed = self.survey.missed();
        all.extend(missed.map(|missed| format!("the walk never came to this: {}", missed.name())));
        all
    }
}

/// What `ui` shows: a walk that is done, and any way of its task.
pub(crate) struct Explored {
    options: Options,
    document: Value,
}

impl Explored {
    /// Walks over everything.
    pub(crate) fn of(options: Options) -> Self {
        let walk = Walk::of(options.subject.title(options.subject.device_type()), options.task());
        let document = document::of(&walk, &options, &walk.complaints(&options.forbidden), true);
        Self { options, document }
    }

    /// The document of the walk.
    pub(crate) const fn document(&self) -> &Value {
        &self.document
    }

    /// A way, with everything else that can happen at each of its steps.
    pub(crate) fn way(&self, path: Path) -> Value {
        document::way(&survey::way(&self.options.task(), path), &self.options, true)
    }
}

/// Walks over everything; `Ok(false)`: something is not as it should be.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let options = read(Verb::Explore, words, HELP)?;
    if let Some(path) = &options.path {
        return tell(out, &options, path);
    }
    if options.subject.is_empty() {
        return all_devices(out, &options);
    }
    let title = options.subject.title(options.subject.device_type());
    let walk = Walk::of(title, options.task());
    let complaints = walk.complaints(&options.forbidden);
    if let Some(path) = &options.html {
        let page = page::of(&document::of(&walk, &options, &complaints, true), false);
        fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let written = match &options.scenarios {
        Some(folder) => write_scenarios(folder, &walk.survey)?,
        None => Vec::new(),
    };
    if options.json {
        writeln!(out, "{:#}", document::of(&walk, &options, &complaints, false))?;
    } else {
        text::print(out, &walk, &options, &complaints)?;
        for line in written {
            writeln!(out, "{line}")?;
        }
    }
    Ok(complaints.is_empty())
}

/// Writes a file for each way that is not clean and has a scenario, into a folder that has no others; what became of each.
fn write_scenarios(folder: &FilePath, survey: &Survey) -> Result<Vec<String>, Failure> {
    let wrong = |path: &FilePath, error: &dyn std::fmt::Display| {
        Failure::Usage(format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(folder).map_err(|error| wrong(folder, &error))?;
    if fs::read_dir(folder).map_err(|error| wrong(folder, &error))?.next().is_some() {
        return Err(wrong(folder, &"there are files already: remove them, or name another folder"));
    }
    let wrongs = survey.wrongs.iter().map(|of| ("wrong".to_owned(), of.wrong.clone(), &of.way));
    let ends = survey.ends.iter().filter(|end| !end.ending.kind.is_clean());
    let ends = ends.map(|end| (end.ending.kind.name().to_owned(), end.ending.to_string(), &end.way));
    let mut told = Vec::new();
    for (number, (name, what, way)) in (1..).zip(wrongs.chain(ends)) {
        let Some(scenario) = &way.scenario else {
            told.push(format!("scenarios have no words for the way to this: {what}"));
            continue;
        };
        let path = folder.join(format!("{number:02}-{name}.txt"));
        fs::write(&path, scenario).map_err(|error| wrong(&path, &error))?;
        told.push(format!("written: {}", path.display()));
    }
    Ok(told)
}

/// One way, step by step.
fn tell(out: &mut dyn Write, options: &Options, path: &Path) -> Result<bool, Failure> {
    let task = options.task();
    let given = given(&task);
    let start = Whole::of(&given, task.profile, task.budget, task.standalone);
    let told = start.tell(path, &names(&task.scripts));
    if options.json {
        writeln!(out, "{:#}", document::told(path, &told, true))?;
    } else {
        writeln!(out, "{}\n", options.subject.title(options.subject.device_type()))?;
        text::rows(out, &told.rows, None)?;
        text::end(out, &told)?;
    }
    Ok(told.end.is_ok_and(|end| end.kind.is_clean()))
}

/// Every kind of device, with a script wherever one can be.
fn all_devices(out: &mut dyn Write, options: &Options) -> Result<bool, Failure> {
    let mut configurations = 0;
    let mut documents = Vec::new();
    let mut good = true;
    for (device, profile) in DEVICES {
        for (who, standalone, resume_downloads) in [
            ("daemon", false, false),
            ("daemon that resumes downloads", false, true),
            ("command line", true, false),
        ] {
            let config = Config { resume_downloads, ..Config::default() };
            let scripts = everywhere();
            let task = Task { profile, config, scripts, standalone, ..options.task() };
            let walk = Walk::of(format!("{who}, {device}"), task);
            let complaints = walk.complaints(&options.forbidden);
            configurations += walk.survey.counts.configurations;
            good &= complaints.is_empty();
            if options.json {
                documents.push(document::of(&walk, options, &complaints, false));
                continue;
            }
            text::line(out, &walk)?;
            for complaint in &complaints {
                writeln!(out, "WRONG: {complaint}")?;
            }
            if let Some(wrong) = walk.survey.wrongs.first() {
                text::rows(out, &wrong.way.told.rows, None)?;
                return Ok(false);
            }
            out.flush()?;
        }
    }
    if options.json {
        writeln!(out, "{:#}", Value::Array(documents))?;
    } else if good {
        let part = options.part().map_or_else(String::new, |part| format!(" of part {part}"));
        writeln!(out, "\nNothing wrong found in {configurations} configurations{part}.")?;
    }
    Ok(good)
}

/// A script at every place that can have one.
fn everywhere() -> Vec<String> {
    transitions().map(|transition| format!("{transition}_00")).collect()
}
