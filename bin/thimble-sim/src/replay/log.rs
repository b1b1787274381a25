//! A deployment log, as a client sends it to the server, becomes a timeline: JSON lines of thimble or of Mender's client.

use serde_json::Value;
use thimble_core::deployment::Call;
use thimble_core::script::parse_name;
use thimble_core::texts;
use thimble_core::time::Duration;
use thimble_hal_sim::explain::Happened;
use thimble_hal_sim::scenario::CALLS;
use thimble_hal_sim::sim::Fate;
use thimble_hal_sim::story::Lane;

use super::Account;
use super::time::seconds;
use crate::timeline::Event;

/// Longest line that is looked at, in bytes: scripts print at most 10 KiB into one.
const LINE: usize = 64 * 1024;

/// Longest message that is shown, in characters; and so many lines of it.
const SHOWN: usize = 300;
const LINES: usize = 20;

/// Lines of a log that are looked at.
const MOST: usize = 100_000;

/// Complaints about single lines; there may be as many as lines.
const COMPLAINTS: usize = 20;

/// Reads it. It may be cut or forged anywhere.
pub(super) fn read(bytes: &[u8]) -> Account {
    let mut log = Log::default();
    log.account.what = "deployment log";
    let mut others = 0usize;
    let lines = bytes.split(|byte| *byte == b'\n');
    for (number, line) in (1usize..).zip(lines) {
        if number > MOST {
            log.account.complaints.push(format!("only the first {MOST} lines are looked at"));
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Err(why) = log.line(line) {
            if log.account.complaints.len() < COMPLAINTS {
                log.account.complaints.push(format!("line {number}: {why}"));
            } else {
                others += 1;
            }
        }
    }
    if others > 0 {
        log.account.complaints.push(format!("and {others} more"));
    }
    log.ends_script(Fate::Works, Some("its end is not in the log"));
    log.account
}

#[derive(Default)]
struct Log {
    account: Account,
    /// Seconds of the first time in it, and of the last.
    first: Option<u64>,
    now: u64,
    /// Where the event of the script stands that runs, and where it stands on the way.
    script: Option<(usize, usize)>,
    /// The state that Mender's client is in, and whether its update has failed.
    state: Option<String>,
    has_failed: bool,
    /// How long the way was when it came to this state.
    entered: usize,
}

impl Log {
    /// # Errors
    /// What is wrong with it.
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.len() > LINE {
            return Err(format!("longer than {LINE} bytes"));
        }
        let broken = |_| "no JSON object of a log: cut, or damaged".to_owned();
        let value: Value = serde_json::from_slice(line).map_err(broken)?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let message = text("message").ok_or("no `message`: not a line of a deployment log")?;
        if let Some(now) = text("timestamp").and_then(seconds) {
            self.first.get_or_insert(now);
            // The clock of a device may be set back.
            self.now = now;
        }
        let is_error = matches!(text("level"), Some("error" | "fatal" | "panic" | "critical"));
        let is_detail = matches!(text("level"), Some("debug" | "trace"));
        let mut decoded = String::new();
        // A text takes everything.
        let _ = texts::decode(message, &mut decoded);
        self.message(&decoded, is_error, is_detail)
    }

    /// `is_detail`: only if it tells of a step.
    fn message(&mut self, message: &str, is_error: bool, is_detail: bool) -> Result<(), String> {
        if self.is_output(message) {
            return Ok(());
        }
        if let Some(rest) = message.strip_prefix("State transition: ") {
            return self.transition(rest);
        }
        let script = ["running state script ", "Executing script: "]
            .into_iter()
            .find_map(|said| message.strip_prefix(said));
        if let Some(name) = script {
            return self.starts_script(name);
        }
        if self.ended_script(message) {
            return Ok(());
        }
        if let Some(call) = called(message) {
            self.calls(call);
        } else if let Some((call, how)) = call_ended(message) {
            self.call_ended(call, how);
        } else if !is_detail {
            self.ends_script(Fate::Works, None);
            self.says(message, is_error);
        }
        Ok(())
    }

    /// What is neither a script nor a call.
    fn says(&mut self, message: &str, is_error: bool) {
        let deployment = message.strip_prefix("deployment ");
        let begins =
            deployment.is_some_and(|rest| rest.contains(" of artifact ") && rest.ends_with(" begins"));
        if begins {
            self.account.forget();
            (self.account.begins, self.account.is_open) = (true, true);
        }
        if message.starts_with("going on with deployment ") || self.restarts(message) {
            self.account.way.push(Happened::Restart);
        }
        let mut is_fault = is_error;
        if let Some((_, end)) = deployment.and_then(|rest| rest.split_once(": ")).filter(|_| !begins) {
            let end = if end.starts_with("installed") { "success" } else { "failure" };
            is_fault |= end == "failure";
            (self.account.is_open, self.account.end) = (false, Some(end));
        }
        let event = self.event(Lane::Device, message);
        self.account.events.push(Event { is_fault, ..event });
    }

    /// Mender's client starts: the first time begins, the others go on.
    fn restarts(&mut self, message: &str) -> bool {
        if !message.starts_with("Running Mender client version") {
            return false;
        }
        self.state = None;
        self.account.by_mender = true;
        let goes_on = !self.account.way.is_empty();
        (self.account.begins, self.account.is_open) = (true, true);
        goes_on
    }

    /// `update-install [ArtifactInstall] -> rollback [ArtifactRollback]`.
    fn transition(&mut self, said: &str) -> Result<(), String> {
        self.ends_script(Fate::Works, None);
        let name = |side: &str| side.split(" [").next().unwrap_or_default().trim().to_owned();
        let (from, to) = said
            .split_once(" -> ")
            .map(|(from, to)| (name(from), name(to)))
            .ok_or("half a state transition")?;
        self.account.by_mender = true;
        let before = self.state.replace(to.clone());
        // What its state did before it led on.
        let failed = FAILED.contains(&to.as_str()) && !FAILED.contains(&from.as_str());
        self.has_failed |= failed;
        if let Some((_, call)) = MENDER.iter().find(|(state, _)| *state == from) {
            let fate = if failed { Fate::Fails } else { Fate::Works };
            let here = self.account.way.get_mut(self.entered..).unwrap_or_default();
            let by_script = failed && here.last().is_some_and(is_failed_script);
            let told =
                here.iter_mut().find(|happened| matches!(happened, Happened::Call(of, _) if of == call));
            match told {
                // With messages for debugging in it, a log tells of the call by itself.
                Some(Happened::Call(_, of)) if !by_script => *of = fate,
                Some(_) => {}
                None if !by_script => self.account.way.push(Happened::Call(*call, fate)),
                None => {}
            }
        }
        self.entered = self.account.way.len();
        if to == "update-status-report" || to == "idle" {
            self.account.is_open = false;
            self.account.end = Some(if self.has_failed { "failure" } else { "success" });
        }
        let mut event = self.event(Lane::Device, &format!("{from} -> {to}"));
        event.is_fault = failed;
        self.account.events.push(event);
        match before {
            Some(before) if before != from => {
                Err(format!("`{from} -> {to}` cannot follow: the client was in {}", shown(&before)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn starts_script(&mut self, name: &str) -> Result<(), String> {
        self.ends_script(Fate::Works, None);
        let transition =
            parse_name(name).ok_or_else(|| format!("{} is no name of a state script", shown(name)))?;
        self.account.is_open = true;
        self.script = Some((self.account.events.len(), self.account.way.len()));
        self.account.scripts.push(name.to_owned());
        self.account.way.push(Happened::Script(transition, Fate::Works));
        let event = self.event(Lane::Device, name);
        self.account.events.push(event);
        Ok(())
    }

    /// How the script ended that ran; false: the message is about something else.
    fn ended_script(&mut self, message: &str) -> bool {
        if self.script.is_none() {
            return false;
        }
        // thimble's words; then Mender's.
        let ours =
            message.strip_prefix("state script ").and_then(|rest| rest.split_once(' ')).map(|(_, how)| how);
        let menders = message
            .split_once("statescript: error executing '")
            .and_then(|(_, rest)| rest.split_once("': "))
            .map(|(_, how)| how.rsplit(" : ").next().unwrap_or(how));
        if let Some(how) = ours.filter(|how| how.starts_with("asks to be run again later")) {
            self.ends_script(Fate::Refuses, Some(how));
        } else if message.starts_with("statescript: ") && message.ends_with(" requested a retry") {
            self.ends_script(Fate::Refuses, Some("asks to be run again later"));
        } else if let Some(how) = ours.or(menders) {
            self.ends_script(Fate::Fails, Some(how));
        } else {
            return false;
        }
        true
    }

    fn ends_script(&mut self, fate: Fate, how: Option<&str>) {
        let Some((event, place)) = self.script.take() else { return };
        if let Some(Happened::Script(_, of)) = self.account.way.get_mut(place) {
            *of = fate;
        }
        if let Some(event) = self.account.events.get_mut(event) {
            event.is_fault = fate == Fate::Fails;
            event.result = Some(how.map_or_else(|| "ok".to_owned(), shown));
        }
    }

    /// The module is called. Its end is told only where it fails.
    fn calls(&mut self, call: Call) {
        self.ends_script(Fate::Works, None);
        if self.account.way.last() == Some(&Happened::Call(call, Fate::Works)) {
            return;
        }
        self.account.is_open = true;
        self.account.way.push(Happened::Call(call, Fate::Works));
        let event = self.event(Lane::Module, call.name());
        self.account.events.push(event);
    }

    fn call_ended(&mut self, call: Call, how: &str) {
        self.ends_script(Fate::Works, None);
        let fails = Happened::Call(call, Fate::Fails);
        match self.account.way.last_mut() {
            Some(last) if *last == Happened::Call(call, Fate::Works) => *last = fails,
            Some(_) | None => self.account.way.push(fails),
        }
        let mut event = self.event(Lane::Module, call.name());
        (event.is_fault, event.result) = (true, Some(shown(how)));
        match self.account.events.last_mut() {
            Some(last) if last.lane == Lane::Module && last.what == call.name() && last.result.is_none() => {
                (last.is_fault, last.result) = (event.is_fault, event.result);
            }
            Some(_) | None => self.account.events.push(event),
        }
    }

    /// What a program printed goes to it.
    fn is_output(&mut self, message: &str) -> bool {
        let collected = message.strip_prefix("Collected output (").and_then(|rest| rest.split_once('\n'));
        if let Some((_, printed)) = collected {
            let printed = printed.split("\n---------- end of script output").next().unwrap_or_default();
            self.prints(printed);
            return true;
        }
        let by_command = message.strip_prefix("Output (").and_then(|rest| rest.split_once("\": "));
        if let Some((_, printed)) = by_command {
            self.prints(printed);
            return true;
        }
        let Some((who, printed)) = message.split_once(": ") else { return false };
        let who = who.trim_end_matches(" (stdout)");
        if parse_name(who).is_some() && self.script.is_some() {
            self.prints(printed);
            return true;
        }
        let Some(call) = who.split_once(' ').and_then(|(_, call)| call_of(call)) else { return false };
        self.calls(call);
        self.prints(printed);
        true
    }

    fn prints(&mut self, text: &str) {
        let Some(event) = self.account.events.last_mut() else { return };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if event.output.len() == LINES {
                event.output.remove(0);
                event.earlier += 1;
            }
            event.output.push(shown(line));
        }
    }

    fn event(&self, lane: Lane, what: &str) -> Event {
        let at = self.now.saturating_sub(self.first.unwrap_or(self.now));
        Event::new(Duration::from_secs(at), lane, shown(what))
    }
}

/// States of Mender's client, and what they do before they lead on. By the log of its version 3.4.
const MENDER: [(&str, Call); 7] = [
    ("update-store", Call::Download),
    ("update-install", Call::ArtifactInstall),
    ("reboot", Call::ArtifactReboot),
    ("update-commit", Call::ArtifactCommit),
    ("rollback", Call::ArtifactRollback),
    ("update-error", Call::ArtifactFailure),
    ("cleanup", Call::Cleanup),
];

/// And those that a failure leads to.
const FAILED: [&str; 4] = ["rollback", "update-error", "rollback-reboot", "error"];

const fn is_failed_script(happened: &Happened) -> bool {
    matches!(happened, Happened::Script(_, Fate::Fails))
}

fn call_of(name: &str) -> Option<Call> {
    CALLS.into_iter().find(|call| call.name() == name)
}

/// `calling the update module: ArtifactInstall`, `Calling module: /path/of/module ArtifactInstall /path/of/tree`.
fn called(message: &str) -> Option<Call> {
    let name = match message.strip_prefix("calling the update module: ") {
        Some(name) => name,
        None => message.strip_prefix("Calling module: ")?.split(' ').nth(1)?,
    };
    call_of(name)
}

/// `the update module ended ArtifactInstall with exit status 1`, `the update module did not end ArtifactInstall within 4 h`.
fn call_ended(message: &str) -> Option<(Call, &str)> {
    let rest = message.strip_prefix("the update module ")?;
    let (rest, joint) = match rest.strip_prefix("ended ") {
        Some(rest) => (rest, " with "),
        None => (rest.strip_prefix("did not end ")?, " "),
    };
    let (name, how) = rest.split_once(joint)?;
    Some((call_of(name)?, how))
}

/// A text that anybody may have written, in one line of a terminal.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            shown.push_str("...");
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
