//! A scenario as text: read, checked, and written again.

use std::fmt;

use thimble_core::control::parse_id;
use thimble_core::script::Transition;

use super::commands::{Begin, Change, Command, Given, Say, ServerMap};
use super::complaint::{Complaint, Complaints, shown};
use super::rules::Rule;
use super::values::Words;
use super::{deployment_id, limits, words};
use crate::near::meant;

/// A scenario: what is done to a device, in parts, each with the timeline that is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub(super) parts: Vec<Part>,
}

/// One part of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The lines before `----`, comments and blank lines included.
    done: Vec<String>,
    /// What they mean, each with its number in the file.
    pub(super) commands: Vec<(usize, Command)>,
    /// The lines behind it; none where nothing is expected.
    pub(super) timeline: Vec<String>,
    /// The last line that says what is done.
    pub(super) last: usize,
}

impl Scenario {
    /// The scenario with these timelines; parts beyond them are left out.
    pub(super) fn with(&self, timelines: Vec<Vec<String>>) -> Self {
        let parts = self.parts.iter().zip(timelines);
        Self { parts: parts.map(|(part, timeline)| Part { timeline, ..part.clone() }).collect() }
    }

    /// Reads a scenario. Nothing of it is done yet.
    ///
    /// # Errors
    /// Everything that makes no sense in it.
    pub fn read(bytes: &[u8]) -> Result<Self, Complaints> {
        if bytes.len() > limits::BYTES {
            let text = format!("longer than {} bytes: no scenario is", limits::BYTES);
            return Err(Complaints::one(1, text));
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                return Err(Complaints::one(line, "this is not text in UTF-8"));
            }
        };
        if text.starts_with('\u{feff}') {
            let text = "the file begins with a byte order mark: save it as UTF-8 without one";
            return Err(Complaints::one(1, text));
        }
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.lines()) {
            reader.line(number, line.trim_end());
        }
        reader.end()
    }

    /// The timeline of each part; empty where none is written.
    pub fn timelines(&self) -> impl Iterator<Item = &[String]> {
        self.parts.iter().map(|part| &part.timeline[..])
    }

    /// The first part without a timeline: the number of its last line.
    #[must_use]
    pub fn without_timeline(&self) -> Option<usize> {
        self.parts.iter().find(|part| part.timeline.is_empty()).map(|part| part.last)
    }
}

/// As it stands in a file.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            for line in &part.done {
                writeln!(f, "{line}")?;
            }
            if !part.timeline.is_empty() {
                f.write_str("----\n")?;
            }
            for line in &part.timeline {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Reads a scenario line by line.
#[derive(Default)]
struct Reader {
    parts: Vec<Part>,
    /// The part at hand.
    done: Vec<String>,
    commands: Vec<(usize, Command)>,
    timeline: Option<Vec<String>>,
    last: usize,
    /// Something has been done by now: in this line, by this word.
    acted: Option<(usize, &'static str)>,
    acts_in_part: bool,
    given: Vec<(usize, &'static str)>,
    /// Names of scripts, with their lines; `None` stands for none at all.
    scripts: Vec<(usize, Option<String>)>,
    rules: Vec<(usize, Rule)>,
    /// Ids of the server's deployments by now, as numbers.
    deployments: Vec<u128>,
    /// The word that no verb has followed yet.
    stop: Option<usize>,
    /// Lines that say what is done: in all parts, and in the one at hand.
    count: usize,
    in_part: usize,
    count_of_parts: usize,
    /// The last comment.
    comment: usize,
    complaints: Vec<Complaint>,
}

impl Reader {
    fn complain(&mut self, line: usize, text: impl Into<String>) {
        self.complaints.push(Complaint { line, text: text.into() });
    }

    fn line(&mut self, number: usize, line: &str) {
        if line.len() > limits::LINE {
            self.complain(number, format!("longer than {} bytes: no line of a scenario is", limits::LINE));
            return;
        }
        match (line, &mut self.timeline) {
            ("----", None) => {
                self.timeline = Some(Vec::new());
                if self.in_part == 0 {
                    self.complain(number, "nothing is done before this `----`");
                }
            }
            ("----", Some(_)) => {
                self.complain(
                    number,
                    "a second `----`: a blank line ends a part, and the next begins behind it",
                );
            }
            ("", Some(_)) => self.end_of_part(),
            (line, Some(timeline)) => timeline.push(line.to_owned()),
            (line, None) => {
                self.done.push(line.to_owned());
                if line.starts_with('#') {
                    self.comment = number;
                } else if !line.is_empty() {
                    self.command(number, line);
                }
            }
        }
    }

    /// A line that says what is done.
    fn command(&mut self, number: usize, line: &str) {
        self.last = number;
        self.in_part += 1;
        self.count += 1;
        if self.count > limits::COMMANDS {
            if self.count == limits::COMMANDS + 1 {
                self.complain(
                    number,
                    format!("more than {} lines: no scenario has so many", limits::COMMANDS),
                );
            }
            return;
        }
        let mut words = Words::new(line);
        let Some(word) = words::all().find(|word| word.name == words.name()) else {
            let meant = meant(words.name(), words::all().map(|word| word.name).chain(["----"]));
            let more = if meant.is_empty() { "; `thimble-sim words` prints them" } else { &meant };
            self.complain(number, format!("{} is no word of a scenario{more}", shown(words.name())));
            // It would have done something, perhaps.
            self.acts_in_part = true;
            return;
        };
        match (word.read)(&mut words).and_then(|command| words.end().map(|()| command)) {
            Ok(command) => {
                self.check(number, word.name, &command);
                self.commands.push((number, command));
            }
            Err(text) => {
                self.acts_in_part = true;
                self.complain(number, format!("{}: {text}", word.name));
            }
        }
    }

    /// What the command means beside those before it.
    fn check(&mut self, number: usize, name: &'static str, command: &Command) {
        match command {
            Command::Given(Given::Script(script)) => self.check_script(number, name, script.as_ref()),
            Command::Given(_) => self.check_given(number, name),
            Command::Rule(rule) => {
                let twice =
                    self.rules.iter().find_map(|(line, before)| Some((*line, before.overlaps(rule)?)));
                if let Some((line, time)) = twice {
                    let what = &rule.what;
                    self.complain(
                        number,
                        format!("line {line} says already what happens to {what} (time {time})"),
                    );
                }
                self.rules.push((number, rule.clone()));
            }
            Command::Policy(..) => {}
            Command::StopBefore(_) => self.stop = Some(number),
            Command::World(change) => {
                self.begin(number, name);
                match change {
                    Change::Deploy(_) => self.deploy(),
                    Change::ServerMap(map) => self.check_server_map(number, map),
                    Change::SpoilMaps | Change::Reboot => {}
                }
            }
            Command::Verb(Begin::Install | Begin::Continue(_)) => {
                self.begin(number, name);
                self.stop = None;
            }
            Command::Daemon(Say::Run | Say::Wait(_) | Say::Map(_) | Say::Order(..) | Say::Approve) => {
                self.begin(number, name);
            }
        }
    }

    /// Scripts have different names, and where there is none there is none beside it.
    fn check_script(&mut self, number: usize, name: &'static str, script: Option<&(Transition, String)>) {
        self.check_begun(number, name);
        let script = script.map(|(_, script)| script.clone());
        let clashes = |before: &Option<String>| *before == script || before.is_none() || script.is_none();
        if let Some((line, _)) = self.scripts.iter().find(|(_, before)| clashes(before)) {
            self.complain(
                number,
                format!("line {line} says already which scripts there are: each once, or none"),
            );
        }
        self.scripts.push((number, script));
    }

    fn check_begun(&mut self, number: usize, name: &'static str) {
        if let Some((line, acted)) = self.acted {
            self.complain(number, format!("`{name}` says how the device is before anything happens, and stands before `{acted}` in line {line}"));
        }
    }

    fn check_given(&mut self, number: usize, name: &'static str) {
        self.check_begun(number, name);
        if let Some((line, _)) = self.given.iter().find(|(_, before)| *before == name) {
            self.complain(number, format!("`{name}` stands in line {line} already"));
        }
        self.given.push((number, name));
    }

    /// Something is done: the device is there from now on.
    fn begin(&mut self, number: usize, name: &'static str) {
        if self.acted.is_none() {
            self.acted = Some((number, name));
            if !self.given.iter().any(|(_, given)| *given == "no-deployment") {
                self.deploy();
            }
        }
        self.acts_in_part = true;
    }

    /// The server has one more deployment.
    fn deploy(&mut self) {
        let id = deployment_id(self.deployments.len() + 1);
        self.deployments.push(parse_id(&id).unwrap_or_default());
    }

    fn check_server_map(&mut self, number: usize, map: &ServerMap) {
        if self.deployments.is_empty() {
            self.complain(number, "server-map: the server has no deployment here; `deploy` comes first");
            return;
        }
        if let ServerMap::Json(id, _) = map
            && !self.deployments.contains(id)
        {
            let id = deployment_id(self.deployments.len());
            self.complain(
                number,
                format!("server-map: the id is that of no deployment here; the last has {id}"),
            );
        }
    }

    fn end_of_part(&mut self) {
        if let Some(line) = self.stop.take() {
            self.complain(line, "stop-before: no install, commit, rollback or resume follows in this part");
        }
        if !self.acts_in_part && self.in_part > 0 {
            let text = "nothing happens in this part: `run` or another word that does something is missing";
            self.complain(self.last, text);
        }
        self.count_of_parts += 1;
        if self.count_of_parts == limits::PARTS + 1 {
            self.complain(self.last, format!("more than {} parts: no scenario has so many", limits::PARTS));
        }
        (self.acts_in_part, self.in_part) = (false, 0);
        let timeline = self.timeline.take().unwrap_or_default();
        let (done, commands) = (std::mem::take(&mut self.done), std::mem::take(&mut self.commands));
        if self.parts.len() < limits::PARTS {
            self.parts.push(Part { done, commands, timeline, last: self.last });
        }
    }

    fn end(mut self) -> Result<Scenario, Complaints> {
        if self.in_part > 0 || self.timeline.is_some() {
            self.end_of_part();
        } else if self.done.iter().any(|line| !line.is_empty()) {
            self.complain(self.comment, "a comment belongs to the lines behind it, and none follow");
        }
        if self.parts.is_empty() && self.complaints.is_empty() {
            self.complain(1, "nothing is in this file; the shortest scenario is the line `run`");
        }
        if !self.complaints.is_empty() {
            self.complaints.sort_by_key(|complaint| complaint.line);
            return Err(Complaints(self.complaints));
        }
        Ok(Scenario { parts: self.parts })
    }
}
