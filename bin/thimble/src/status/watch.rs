//! What the daemon remembers for those who ask how it stands.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::SystemTime;

use thimble_core::checkpoint::{Checkpoint, Tag};
use thimble_core::client::{Client, DownloadProgress};
use thimble_core::control::Vote;
use thimble_core::deployment::Verdict;
use thimble_core::machine::Held;
use thimble_core::state::{State, Verb, resume_standalone};
use thimble_core::time::{Duration, Instant};
use thimble_hal_linux::platform::Linux;
use thimble_hal_linux::policy::{AtDeadline, Then};

use crate::output::one_line;

use super::facts::{Download, Facts, WaitEnd};
use super::last::Last;
use super::speed::Speed;
use super::words::{doing, name};

/// What is remembered about deployments for the answer.
#[derive(Default)]
pub(crate) struct Watch {
    current: Option<Deployment>,
    last: Option<Last>,
    /// When the current deployment was seen first.
    since: Instant,
    speed: Speed,
    /// The verb that the daemon stands aside for.
    aside: Option<String>,
    /// The words for an update by hand that is not at its end.
    by_hand: Option<String>,
    /// The configured policies: a list in JSON.
    policies: String,
    /// The server that is asked first.
    server: String,
}

/// What `status` says of an update by hand that is not at its end: the verbs that make sense there. `artifact`: its name, where
/// it is known.
pub(crate) fn by_hand(record: &Checkpoint, artifact: Option<&str>) -> String {
    let (verbs, place) = if record.tag == Tag::BeforeCommit {
        ([Verb::Commit, Verb::Rollback], String::new())
    } else {
        ([Verb::Resume, Verb::Rollback], format!(" ({})", record.tag))
    };
    let verbs = verbs.into_iter().filter(|&verb| resume_standalone(verb, record).is_some());
    let verbs: Vec<String> = verbs.map(|verb| format!("'{}'", verb.word())).collect();
    let artifact = artifact.map_or_else(String::new, |name| format!(": {name}"));
    format!(
        "an update installed by hand waits for {}{place}{artifact}; the next deployment takes its place",
        verbs.join(" or ")
    )
}

#[derive(Clone, PartialEq, Eq)]
struct Deployment {
    id: String,
    artifact: String,
    verdict: Verdict,
    reason: String,
}

impl Deployment {
    /// What people know it by, where that is known.
    fn named(&self) -> String {
        let Self { id, artifact, .. } = self;
        if artifact.is_empty() { format!("deployment {id}") } else { format!("{artifact}, deployment {id}") }
    }
}

impl Watch {
    /// On a device with these policies, which asks this server first.
    pub(crate) fn new(policies: String, server: &str) -> Self {
        Self { policies, server: server.to_owned(), ..Self::default() }
    }

    /// Looks at the client after a turn: a deployment that is gone has ended.
    pub(crate) fn look(&mut self, client: &Client<'_, Linux>, now: Instant) {
        let machine = client.machine();
        let id = machine.deployment();
        match downloaded(client) {
            Some(progress) => self.speed.note(now, progress.received),
            None => self.speed.forget(),
        }
        if self.current.as_ref().is_some_and(|current| current.id != id)
            && let Some(Deployment { id, artifact, verdict, reason }) = self.current.take()
        {
            self.last = Some(Last {
                deployment: id,
                artifact,
                verdict,
                is_taken_back: false,
                reason,
                ended: Some(SystemTime::now()),
                is_old: false,
            });
        }
        if id.is_empty() || machine.place().0 == State::Idle {
            return;
        }
        let verdict = machine.verdict();
        let artifact = client.offered_artifact();
        let same = |now: &Deployment| {
            now.id == id
                && now.verdict == verdict
                && now.reason == client.reason()
                && now.artifact == artifact
        };
        if !self.current.as_ref().is_some_and(same) {
            if self.current.is_none() {
                self.since = now;
            }
            self.by_hand = None;
            let (reason, artifact) = (client.reason().to_owned(), artifact.to_owned());
            self.current = Some(Deployment { id: id.to_owned(), artifact, verdict, reason });
        }
    }

    /// The daemon begins, or goes on after it has stood aside. `by_hand`: the words for an update of a user's that is
    /// on record. `last`: how the last update ended, by what is on record.
    pub(crate) fn begins(&mut self, by_hand: Option<String>, last: Option<Last>) {
        (self.aside, self.by_hand) = (None, by_hand);
        // What was seen is known better.
        let is_known =
            |seen: &Last, last: &Last| !seen.deployment.is_empty() && seen.deployment == last.deployment;
        if let Some(last) = last
            && !self.last.as_ref().is_some_and(|seen| is_known(seen, &last))
        {
            self.last = Some(last);
        }
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
                one_line(&format!("waiting before {}: {why} ({})", point.word(), deployment.named()))
            }
            Some(deployment) => one_line(&format!("{doing} ({})", deployment.named())),
            None if let Some(by_hand) = self.by_hand() => one_line(&format!("{doing}; {by_hand}")),
            None if !client.trouble().is_empty() => one_line(&format!("{doing}; {}", client.trouble())),
            None => doing.into_owned(),
        }
    }

    /// The facts about the daemon, for every interface that shows them.
    pub(crate) fn facts<'a>(&'a self, client: &'a Client<'_, Linux>, now: Instant) -> Facts<'a> {
        let machine = client.machine();
        let current = self.current.as_ref();
        let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        let contact = client.last_contact();
        Facts {
            state: name(machine.place().0),
            doing: self.doing(client),
            by_hand: self.by_hand(),
            no_updates: client.no_updates().map(|newer| newer.to_string()),
            waiting: client.waiting().map(|(point, why)| (point, why.to_string())),
            wait_ends: wait_ends(client, now),
            deployment: current.map(|deployment| deployment.id.as_str()),
            artifact: current.and_then(|_| text(client.offered_artifact())),
            reason: current.and_then(|deployment| text(&deployment.reason)),
            download: downloaded(client).map(|DownloadProgress { received, total }| Download {
                received,
                total,
                speed: self.speed.of(now, received),
            }),
            last: self.last.as_ref(),
            next_poll: machine.next_update(),
            next_inventory: machine.next_inventory(),
            trouble: text(client.trouble()),
            server: contact.map(|(_, server)| server).or_else(|| text(&self.server)),
            last_contact: contact.map(|(at, _)| at),
            maps: Some(machine.maps()),
            policies: &self.policies,
        }
    }

    fn by_hand(&self) -> Option<&str> {
        self.by_hand.as_deref().filter(|_| self.aside.is_none())
    }
}

/// How far the artifact is, while it is downloaded.
fn downloaded(client: &Client<'_, Linux>) -> Option<DownloadProgress> {
    let loads = matches!(client.machine().place().0, State::Prepare | State::CheckSizes | State::Download);
    loads.then(|| client.progress())
}

/// When what holds the update up stops doing so by itself.
fn wait_ends(client: &Client<'_, Linux>, now: Instant) -> Option<WaitEnd> {
    let (point, held) = client.machine().held()?;
    match held {
        Held::Map(holder) => {
            let mut maps = client.machine().maps().maps();
            let (map, _, ends) =
                maps.find(|(map, ..)| (map.id, map.priority) == (holder.id, holder.priority))?;
            let then = match map.rules.at(point).on_map_expire {
                Vote::Fail => WaitEnd::FAILS,
                Vote::Continue | Vote::ForceContinue | Vote::Pause => WaitEnd::CONTINUES,
            };
            Some(WaitEnd::new(ends?, now, then))
        }
        Held::Policy => {
            let until = client.platform().policy.until(now)?;
            let then = match until.then {
                Then::Opens => WaitEnd::OPENS,
                Then::Deadline(AtDeadline::Continue) => WaitEnd::CONTINUES,
                Then::Deadline(AtDeadline::Fail) => WaitEnd::FAILS,
            };
            Some(WaitEnd::new(now + until.after, now, then))
        }
        Held::Server => None,
    }
}
