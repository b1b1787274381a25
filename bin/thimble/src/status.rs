//! `status`: how the daemon stands, in plain words. It answers on a socket in the datastore, so nothing is written to
//! the flash for it, and no answer is older than the question.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write;

use thimble_core::checkpoint::{Checkpoint, Tag};
use thimble_core::client::Client;
use thimble_core::deployment::{Point, Verdict};
use thimble_core::json::Value;
use thimble_core::state::{State, Verb, resume_standalone};
use thimble_core::time::{Duration, Instant};
use thimble_hal_linux::platform::Linux;
use thimble_hal_linux::storage::Access;
use thimble_hal_linux::wait::PollSet;

use crate::args::Invocation;
use crate::device::Device;
use crate::json::{member, number};
use crate::output::{Failure, SUCCESS, one_line, print};
use crate::roots::{self, Roots};
use crate::socket::{self, Silence, Socket};
use crate::takeover;

/// The socket's name in the datastore.
const SOCKET: &str = "mender-update.sock";

/// What is remembered about deployments for the answer.
#[derive(Default)]
pub(crate) struct Watch {
    current: Option<Deployment>,
    last: Option<Deployment>,
    /// When the current deployment was seen first.
    since: Instant,
    /// The verb that the daemon stands aside for.
    aside: Option<String>,
    /// The words for an update by hand that is not at its end.
    by_hand: Option<String>,
}

/// What `status` says of an update by hand that is not at its end: the verbs that make sense there.
pub(crate) fn by_hand(record: &Checkpoint) -> String {
    let (verbs, place) = if record.tag == Tag::BeforeCommit {
        ([Verb::Commit, Verb::Rollback], String::new())
    } else {
        ([Verb::Resume, Verb::Rollback], format!(" ({})", record.tag))
    };
    let verbs = verbs.into_iter().filter(|&verb| resume_standalone(verb, record).is_some());
    let verbs: Vec<String> = verbs.map(|verb| format!("'{}'", verb.word())).collect();
    format!(
        "an update installed by hand waits for {}{place}; the next deployment takes its place",
        verbs.join(" or ")
    )
}

#[derive(Clone, PartialEq, Eq)]
struct Deployment {
    id: String,
    verdict: Verdict,
    reason: String,
}

impl Watch {
    /// Looks at the client after a turn: a deployment that is gone has ended.
    pub(crate) fn look(&mut self, client: &Client<'_, Linux>, now: Instant) {
        let machine = client.machine();
        let id = machine.deployment();
        if self.current.as_ref().is_some_and(|current| current.id != id) {
            self.last = self.current.take();
        }
        if id.is_empty() || machine.place().0 == State::Idle {
            return;
        }
        let verdict = machine.verdict();
        let same = |now: &Deployment| now.id == id && now.verdict == verdict && now.reason == client.reason();
        if !self.current.as_ref().is_some_and(same) {
            if self.current.is_none() {
                self.since = now;
            }
            self.by_hand = None;
            let reason = client.reason().to_owned();
            self.current = Some(Deployment { id: id.to_owned(), verdict, reason });
        }
    }

    /// The daemon begins, or goes on after it has stood aside. `by_hand`: the words for an update of a user's that is
    /// on record.
    pub(crate) fn begins(&mut self, by_hand: Option<String>) {
        (self.aside, self.by_hand) = (None, by_hand);
    }

    /// The daemon stands aside for this verb.
    pub(crate) fn stands_aside(&mut self, verb: &str) {
        self.aside = Some(verb.to_owned());
    }

    /// What the daemon does.
    pub(crate) fn doing(&self, client: &Client<'_, Linux>) -> Cow<'static, str> {
        match &self.aside {
            Some(verb) => format!("standing aside for '{verb}'").into(),
            None => doing(client).into(),
        }
    }

    /// Why no verb can have the datastore now, with what can be done about it; `None`: nothing is in progress.
    pub(crate) fn busy(&self, client: &Client<'_, Linux>, now: Instant) -> Option<String> {
        if let Some(Deployment { id, .. }) = &self.current {
            let artifact = client.offered_artifact();
            let of = if artifact.is_empty() { String::new() } else { format!(" of {artifact}") };
            let since = Duration::from_secs(now.since(self.since).as_secs());
            let mut text = format!("the daemon is {} (deployment {id}{of}, for {since})", doing(client));
            let _ = match client.waiting() {
                Some((point, why)) => write!(
                    text,
                    "; it waits before {}: {why}; 'control continue' lets it go on, 'control fail' ends it",
                    point.word()
                ),
                None => write!(text, "; try again when 'status' shows no deployment"),
            };
            return Some(text);
        }
        let ended = client.machine().unheard()?;
        Some(format!(
            "the server has not heard yet how deployment {} ended, and the daemon tells it with its next poll; try again \
             after that, or stop the daemon",
            ended.id.as_str()
        ))
    }

    /// One line for `systemctl status`.
    pub(crate) fn sentence(&self, client: &Client<'_, Linux>) -> String {
        let doing = self.doing(client);
        let waiting = client.waiting();
        if let Some(newer) = client.no_updates() {
            return one_line(&format!("{doing}: {newer}"));
        }
        match &self.current {
            Some(deployment) if let Some((point, why)) = &waiting => {
                one_line(&format!("waiting before {}: {why} (deployment {})", point.word(), deployment.id))
            }
            Some(deployment) => format!("{doing} (deployment {})", deployment.id),
            None if let Some(by_hand) = self.by_hand() => format!("{doing}; {by_hand}"),
            None if !client.trouble().is_empty() => one_line(&format!("{doing}; {}", client.trouble())),
            None => doing.into_owned(),
        }
    }

    /// The facts about the daemon, for every interface that shows them.
    pub(crate) fn facts<'a>(&'a self, client: &'a Client<'_, Linux>) -> Facts<'a> {
        let machine = client.machine();
        let state = machine.place().0;
        let (current, last) = (self.current.as_ref(), self.last.as_ref());
        let progress = client.progress();
        let loads = matches!(state, State::Prepare | State::CheckSizes | State::Download);
        let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        Facts {
            state: name(state),
            doing: self.doing(client),
            by_hand: self.by_hand(),
            no_updates: client.no_updates().map(|newer| newer.to_string()),
            waiting: client.waiting().map(|(point, why)| (point, why.to_string())),
            deployment: current.map(|deployment| deployment.id.as_str()),
            artifact: current.and_then(|_| text(client.offered_artifact())),
            reason: current.and_then(|deployment| text(&deployment.reason)),
            received: loads.then_some(progress.received),
            total: progress.total.filter(|_| loads),
            last_deployment: last.map(|deployment| deployment.id.as_str()),
            last_outcome: last.map(|deployment| outcome(deployment.verdict)),
            last_reason: last.and_then(|deployment| text(&deployment.reason)),
            next_poll: machine.next_update(),
            trouble: text(client.trouble()),
        }
    }

    fn by_hand(&self) -> Option<&str> {
        self.by_hand.as_deref().filter(|_| self.aside.is_none())
    }

    fn json(&self, client: &Client<'_, Linux>, now: Instant) -> String {
        let facts = self.facts(client);
        let mut out = String::from("{\"running\":true");
        member(&mut out, "version", Some(env!("CARGO_PKG_VERSION")));
        number(&mut out, "pid", Some(std::process::id().into()));
        member(&mut out, "state", Some(facts.state));
        member(&mut out, "doing", Some(&facts.doing));
        member(&mut out, "by_hand", facts.by_hand);
        member(&mut out, "no_updates_because", facts.no_updates.as_deref());
        let waiting = facts.waiting.as_ref();
        member(&mut out, "waiting_before", waiting.map(|(point, _)| point.word()));
        member(&mut out, "waiting_because", waiting.map(|(_, why)| why.as_str()));
        member(&mut out, "deployment", facts.deployment);
        member(&mut out, "reason", facts.reason);
        number(&mut out, "received_bytes", facts.received);
        number(&mut out, "total_bytes", facts.total);
        member(&mut out, "last_deployment", facts.last_deployment);
        member(&mut out, "last_outcome", facts.last_outcome);
        member(&mut out, "last_reason", facts.last_reason);
        number(&mut out, "next_poll_seconds", facts.next_poll.map(|at| seconds_until(at, now)));
        let next_inventory = client.machine().next_inventory();
        number(&mut out, "next_inventory_seconds", next_inventory.map(|at| seconds_until(at, now)));
        member(&mut out, "trouble", facts.trouble);
        out.push_str("}\n");
        out
    }
}

/// How the daemon stands.
pub(crate) struct Facts<'a> {
    pub(crate) state: &'static str,
    pub(crate) doing: Cow<'static, str>,
    pub(crate) by_hand: Option<&'a str>,
    /// Why the server is not asked for deployments.
    pub(crate) no_updates: Option<String>,
    /// The point an update waits before, and what holds it there.
    pub(crate) waiting: Option<(Point, String)>,
    pub(crate) deployment: Option<&'a str>,
    /// The artifact of the deployment; not known any more after a restart.
    pub(crate) artifact: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) received: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) last_deployment: Option<&'a str>,
    pub(crate) last_outcome: Option<&'static str>,
    pub(crate) last_reason: Option<&'a str>,
    pub(crate) next_poll: Option<Instant>,
    pub(crate) trouble: Option<&'a str>,
}

/// Whole seconds from now; 0 when it is past.
pub(crate) fn seconds_until(at: Instant, now: Instant) -> u64 {
    at.since(now).as_millis().div_ceil(1000)
}

const fn outcome(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "success",
        Verdict::Failed => "failure: not rolled back, the device is inconsistent",
        Verdict::RolledBack => "failure: the device is what it was before",
        Verdict::RollbackFailed => "failure: the rollback failed, the device is inconsistent",
    }
}

/// The state in Mender's words, as scripts and reports name it.
const fn name(state: State) -> &'static str {
    match state {
        State::Idle => "Idle",
        State::Inventory | State::Poll | State::Offer => "Sync",
        State::ReportDownloading
        | State::Prepare
        | State::CheckSizes
        | State::Download
        | State::EmptyPayload => "Download",
        State::InstallDoor | State::ReportInstalling | State::Install | State::CheckReboot => {
            "ArtifactInstall"
        }
        State::RebootDoor | State::ReportRebooting | State::Reboot | State::VerifyReboot => "ArtifactReboot",
        State::CheckAutoCommit
        | State::AwaitCommit
        | State::CheckRunning
        | State::CommitDoor
        | State::ReportCommit
        | State::CheckVersion
        | State::Commit => "ArtifactCommit",
        State::CheckRollback | State::Rollback | State::RollbackFailed => "ArtifactRollback",
        State::CheckRollbackReboot | State::RollbackReboot | State::VerifyRollbackReboot => {
            "ArtifactRollbackReboot"
        }
        State::Failure => "ArtifactFailure",
        State::SaveProvides
        | State::Cleanup
        | State::ReportFinal
        | State::ReportLog
        | State::ClearData
        | State::End
        | State::StateLoop => "Cleanup",
    }
}

fn doing(client: &Client<'_, Linux>) -> &'static str {
    match client.machine().place().0 {
        State::Idle if client.no_updates().is_some() => "running without updates",
        State::Idle => "waiting for the next poll",
        State::Inventory => "sending the inventory",
        State::Poll => "asking the server for a deployment",
        State::Offer | State::ReportDownloading => "beginning a deployment",
        State::Prepare | State::CheckSizes | State::Download => "downloading the artifact",
        State::EmptyPayload => "taking an artifact without payload",
        State::InstallDoor | State::RebootDoor | State::CommitDoor => "asking whether the update may go on",
        State::ReportInstalling | State::Install | State::CheckReboot => "installing",
        State::ReportRebooting | State::Reboot => "rebooting",
        State::VerifyReboot => "checking the device after its reboot",
        State::ReportCommit => "asking the server whether the update is still wanted",
        State::CheckAutoCommit
        | State::AwaitCommit
        | State::CheckRunning
        | State::CheckVersion
        | State::Commit => "committing",
        State::CheckRollback | State::Rollback | State::RollbackFailed => "rolling back",
        State::CheckRollbackReboot | State::RollbackReboot => "rebooting into the old system",
        State::VerifyRollbackReboot => "checking the device after its rollback",
        State::Failure => "ending a failed update",
        State::SaveProvides | State::Cleanup | State::ClearData | State::End | State::StateLoop => {
            "cleaning up"
        }
        State::ReportFinal => "telling the server how the deployment ended",
        State::ReportLog => "sending the deployment's log",
    }
}

/// Answers those who ask. Nobody can hold the daemon up: an answer fits the socket's buffer or is dropped.
pub(crate) struct Answerer {
    socket: Socket,
}

impl Answerer {
    /// Listens in the datastore. Without that the daemon works all the same.
    pub(crate) fn new(device: &Device) -> Self {
        Self { socket: Socket::new(device, SOCKET, "status") }
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.socket.wants(set);
    }

    /// When to answer next, even if no descriptor became ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.socket.deadline()
    }

    /// Answers all who wait.
    pub(crate) fn answer(&mut self, watch: &Watch, client: &Client<'_, Linux>, now: Instant) {
        while let Some(mut stream) = self.socket.accept(now) {
            let _ = stream.write_all(watch.json(client, now).as_bytes());
        }
    }
}

/// The verb.
pub(crate) fn show(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    let answer = socket::ask(device.paths.datastore(), SOCKET, "");
    let roots = Roots::look(&device);
    let unfinished = unfinished(&device);
    if invocation.json {
        let answer = match &answer {
            Ok(answer) => answer.trim_end(),
            Err(Silence::NoDaemon) => "{\"running\":false}",
            Err(Silence::NoAnswer) => "{\"running\":true}",
        };
        let mut out = answer.strip_suffix('}').unwrap_or(answer).to_owned();
        if unfinished.is_some() {
            member(&mut out, "unfinished", unfinished.as_deref());
        }
        roots::members(roots.as_ref(), &mut out);
        out.push_str("}\n");
        print(&out)?;
    } else {
        let mut text = answer.as_deref().map_or_else(|_| Some(String::new()), lines);
        if let (Some(text), Some(unfinished)) = (&mut text, &unfinished) {
            // A `String` takes all of it.
            let _ = writeln!(text, "{:17}{}", "Unfinished:", one_line(unfinished));
        }
        if let (Some(text), Some(roots)) = (&mut text, &roots) {
            roots.lines(text);
        }
        print(&text.ok_or_else(|| Failure::new("the daemon's answer makes no sense"))?)?;
    }
    answer.map(|_| SUCCESS).map_err(|silence| silence.failure(&device))
}

/// What Mender's client had not finished, if nothing was decided about it. A datastore that cannot be read is told by other verbs.
fn unfinished(device: &Device) -> Option<String> {
    takeover::words(device, &device.open_store(Access::ReadOnly).ok()?.0)
}

/// The answer for people.
fn lines(answer: &str) -> Option<String> {
    let value = Value::parse(answer.as_bytes()).ok()?;
    let text = |name| Some(one_line(&value.member(name).ok()??.as_str()?.to_string()));
    let number = |name| value.member(name).ok()??.as_integer();
    let mut out = String::new();
    let mut line = |name: &str, value: fmt::Arguments<'_>| {
        let _ = writeln!(out, "{name:17}{value}");
    };
    line("State:", format_args!("{}, {}", text("state")?, text("doing")?));
    if let Some(why) = text("no_updates_because") {
        line("No updates:", format_args!("{why}"));
    }
    if let Some(by_hand) = text("by_hand") {
        line("By hand:", format_args!("{by_hand}"));
    }
    if let Some(id) = text("deployment") {
        line("Deployment:", format_args!("{id}"));
    }
    if let (Some(point), Some(why)) = (text("waiting_before"), text("waiting_because")) {
        line("Waiting:", format_args!("before {point}: {why}"));
    }
    if let Some(reason) = text("reason") {
        line("Failed because:", format_args!("{reason}"));
    }
    match (number("received_bytes"), number("total_bytes")) {
        (Some(received), Some(total)) => line("Downloaded:", format_args!("{received} of {total} bytes")),
        (Some(received), None) => line("Downloaded:", format_args!("{received} bytes")),
        (None, _) => {}
    }
    if let (Some(id), Some(outcome)) = (text("last_deployment"), text("last_outcome")) {
        line("Last deployment:", format_args!("{id}: {outcome}"));
    }
    if let Some(reason) = text("last_reason") {
        line("Failed because:", format_args!("{reason}"));
    }
    if let Some(seconds) = number("next_poll_seconds") {
        line("Next poll:", format_args!("in {}", Duration::from_secs(u64::try_from(seconds).unwrap_or(0))));
    }
    if let Some(trouble) = text("trouble") {
        line("Trouble:", format_args!("{trouble}"));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_lines_for_people() {
        let mut answer = String::from("{\"running\":true");
        member(&mut answer, "state", Some("Download"));
        member(&mut answer, "doing", Some("downloading the artifact"));
        member(&mut answer, "deployment", Some("d-1"));
        member(&mut answer, "reason", None);
        number(&mut answer, "received_bytes", Some(5));
        number(&mut answer, "total_bytes", None);
        member(&mut answer, "trouble", Some("\"x\"\n\u{1b}[2J"));
        answer.push('}');
        assert_eq!(
            lines(&answer).unwrap(),
            "State:           Download, downloading the artifact\n\
             Deployment:      d-1\n\
             Downloaded:      5 bytes\n\
             Trouble:         \"x\"\\n\\u{1b}[2J\n"
        );
        assert_eq!(lines("[]"), None);
        assert_eq!(lines("{}"), None);
    }
}
