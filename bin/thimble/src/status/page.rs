//! The answer for people: made of the answer for programs, so that both say the same.

use std::fmt::{self, Write as _};

use thimble_core::client::OPERATOR;
use thimble_core::control::Id;
use thimble_core::deployment::Point;
use thimble_core::json::Value;

use crate::output::one_line;
use crate::people::{list, size, time};

/// Width of the names of lines.
const NAMES: usize = 17;

/// The page; `None`: it is no answer.
pub(crate) fn page(answer: &str) -> Option<String> {
    let answer = Answer::parse(answer)?;
    let mut page = Page::default();
    if let Some(state) = answer.text("state") {
        page.line("State:", format_args!("{state}, {}", answer.text("doing")?));
    } else {
        page.line("Daemon:", format_args!("{}", answer.silence().trim_start_matches("is ")));
        page.text("Update:", answer.text("doing"));
    }
    page.text("To mend:", answer.text("to_mend"));
    page.text("Artifact:", answer.text("artifact"));
    page.text("Device type:", answer.text("device_type"));
    page.text("Server:", answer.server());
    page.text("No updates:", answer.text("no_updates_because"));
    page.text("By hand:", answer.text("by_hand"));
    page.text("Deployment:", answer.named("deployment", "deployment_artifact"));
    page.text("Downloaded:", answer.downloaded());
    page.text("Waiting:", answer.waiting());
    page.text("Waiting until:", answer.waiting_until());
    page.text("Failed because:", answer.text("reason"));
    answer.holds().into_iter().for_each(|hold| page.text("Hold:", Some(hold)));
    answer.policies().into_iter().for_each(|policy| page.text("Policy:", Some(policy)));
    if let Some(outcome) = answer.text("last_outcome") {
        match answer.named("last_deployment", "last_artifact") {
            Some(deployment) => page.line("Last deployment:", format_args!("{deployment}: {outcome}")),
            None => page.line("Last update:", format_args!("{outcome}")),
        }
    }
    page.text("Failed because:", answer.text("last_reason"));
    page.text("Ended:", answer.ended());
    if let Some(seconds) = answer.number("next_poll_seconds") {
        page.line("Next poll:", format_args!("in {}", time(seconds)));
    }
    page.text("Trouble:", answer.text("trouble"));
    page.text("Unfinished:", answer.text("unfinished"));
    answer.roots(&mut page);
    Some(page.0)
}

/// What happens, in one line; `None`: it is no answer.
pub(crate) fn sentence(answer: &str) -> Option<String> {
    let answer = Answer::parse(answer)?;
    let mut out = match (answer.text("state"), answer.text("doing")) {
        (Some(_), Some(doing)) => doing,
        _ => format!("the daemon {}", answer.silence()),
    };
    let mut say = |what: fmt::Arguments<'_>| {
        let _ = write!(out, "; {what}");
    };
    if let Some(deployment) = answer.named("deployment", "deployment_artifact") {
        say(format_args!("deployment {deployment}"));
    }
    if let Some(tens) = answer.number("percent").map(|percent| percent / 10 * 10) {
        say(format_args!("{tens} %"));
    }
    for (name, before) in [
        ("by_hand", ""),
        ("waiting_because", "waits: "),
        ("reason", "failed: "),
        ("trouble", ""),
        ("to_mend", "to mend: "),
    ] {
        if let Some(text) = answer.text(name) {
            say(format_args!("{before}{text}"));
        }
    }
    if let Some(outcome) = answer.text("last_outcome").filter(|_| answer.text("deployment").is_none()) {
        say(format_args!("the last update: {outcome}"));
    }
    Some(out)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, value: fmt::Arguments<'_>) {
        // A `String` takes everything.
        let _ = writeln!(self.0, "{name:NAMES$}{value}");
    }

    fn text(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.line(name, format_args!("{value}"));
        }
    }
}

/// The answer for programs.
struct Answer<'a>(Value<'a>);

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let value = Value::parse(text.trim_end().as_bytes()).ok()?;
        value.member("running").ok()??;
        Some(Self(value))
    }

    fn member(&self, name: &str) -> Option<Value<'a>> {
        self.0.member(name).ok()?
    }

    fn text(&self, name: &str) -> Option<String> {
        text(self.member(name)?)
    }

    fn number(&self, name: &str) -> Option<u64> {
        u64::try_from(self.member(name)?.as_integer()?).ok()
    }

    fn is_running(&self) -> bool {
        self.member("running").is_some_and(|running| running.raw() == "true")
    }

    /// Why there is no answer of a daemon.
    fn silence(&self) -> &'static str {
        match self.member("running").map_or("", Value::raw) {
            "true" => "does not answer",
            "false" => "is not running",
            _ => "cannot be asked",
        }
    }

    /// An id, behind the name that belongs to it where that is known.
    fn named(&self, id: &str, name: &str) -> Option<String> {
        let id = self.text(id)?;
        Some(match self.text(name) {
            Some(name) => format!("{name} ({id})"),
            None => id,
        })
    }

    fn server(&self) -> Option<String> {
        let server = self.text("server")?;
        Some(match self.number("last_contact_seconds") {
            Some(seconds) => format!("{server}, answered {} ago", time(seconds)),
            None if self.is_running() => format!("{server}, has not answered yet"),
            None => server,
        })
    }

    fn downloaded(&self) -> Option<String> {
        let received = self.number("received_bytes")?;
        let mut out = match (self.number("percent"), self.number("total_bytes")) {
            (Some(percent), Some(total)) => format!("{percent} %, {} of {}", size(received), size(total)),
            _ => size(received),
        };
        if let Some(speed) = self.number("bytes_per_second") {
            let _ = write!(out, ", {}/s", size(speed));
        }
        if let Some(seconds) = self.number("seconds_left") {
            let _ = write!(out, ", {} left", time(seconds));
        }
        Some(out)
    }

    fn waiting(&self) -> Option<String> {
        Some(format!("before {}: {}", self.text("waiting_before")?, self.text("waiting_because")?))
    }

    fn waiting_until(&self) -> Option<String> {
        let then = match self.text("waiting_then")?.as_str() {
            "window opens" => "the update window opens then",
            "continues" => "the update goes on then, at the latest",
            "fails" => "the update fails then, unless it goes on before",
            _ => "",
        };
        let left = time(self.number("waiting_seconds")?);
        Some(match self.text("waiting_until") {
            Some(local) => format!("{local}, in {left}: {then}"),
            None => format!("in {left}: {then}"),
        })
    }

    fn ended(&self) -> Option<String> {
        let ended = self.text("last_ended")?;
        Some(match self.number("last_ended_seconds") {
            Some(seconds) => format!("{ended}, {} ago", time(seconds)),
            None => ended,
        })
    }

    fn holds(&self) -> Vec<String> {
        let holds = self.member("holds").and_then(|holds| holds.items());
        holds.into_iter().flatten().filter_map(|hold| self.hold(hold)).collect()
    }

    fn hold(&self, hold: Value<'_>) -> Option<String> {
        let member = |name: &str| hold.member(name).ok()?;
        let id = text(member("id")?)?;
        let who = if id == Id(OPERATOR.id).to_string() {
            "an operator".to_owned()
        } else if self.text("deployment").as_ref() == Some(&id) {
            "the server".to_owned()
        } else {
            format!("{id} of priority {}", member("priority")?.as_integer()?)
        };
        let vote = |point: Point| member(point.word()).and_then(text);
        let mut says = Vec::new();
        for (word, verb) in [("pause", "waits"), ("fail", "fails"), ("force_continue", "passes")] {
            let points = Point::ALL.into_iter().filter(|&point| vote(point).as_deref() == Some(word));
            let points = list(points.map(Point::word));
            if !points.is_empty() {
                says.push(format!("{verb} before {points}"));
            }
        }
        if says.is_empty() {
            return None;
        }
        let ends = member("ends_in_seconds")?.as_integer().and_then(|seconds| u64::try_from(seconds).ok());
        let end = match ends.map(time) {
            Some(left) if self.is_running() => format!("for {left} more"),
            Some(left) => format!("for {left} from the next start of the daemon on"),
            None if member("expired")?.raw() == "true" => "expired".to_owned(),
            None => "until that is taken back".to_owned(),
        };
        Some(format!("by {who}: an update {}, {end}", list(says.iter().map(String::as_str))))
    }

    fn policies(&self) -> Vec<String> {
        let policies = self.member("policies").and_then(|policies| policies.items());
        policies.into_iter().flatten().filter_map(text).collect()
    }

    /// The boot loader, and what each slot does.
    fn roots(&self, page: &mut Page) {
        page.text("Boot loader:", self.text("boot_loader"));
        for (name, device, slot) in [("Root A:", "root_a", "A"), ("Root B:", "root_b", "B")] {
            let Some(device) = self.text(device) else { continue };
            match self.role(slot) {
                Some(role) => page.line(name, format_args!("{device}, {role}")),
                None => page.line(name, format_args!("{device}")),
            }
        }
        page.text("Boot trouble:", self.text("boot_trouble"));
    }

    /// What a slot does now.
    fn role(&self, slot: &str) -> Option<&'static str> {
        let (runs, is_selected) = (self.text("root_running")? == slot, self.text("root_selected")? == slot);
        let is_trial = self.member("root_trial")?.raw() == "true";
        Some(match (runs, is_selected, is_trial) {
            (true, true, false) => "runs",
            (true, true, true) => "runs on trial: unless it is committed, the next boot goes back",
            (true, false, _) => "runs until the reboot",
            (false, true, true) => "starts next, on trial",
            (false, true, false) => "starts next",
            (false, false, _) => "does not run",
        })
    }
}

fn text(value: Value<'_>) -> Option<String> {
    Some(one_line(&value.as_str()?.to_string()))
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
