//! The checker of the whole: what it remembers of a run, and what must hold, written apart from the client.

use thimble_core::config::Config;
use thimble_core::retry::SHORTEST;
use thimble_core::session::RequestKind;
use thimble_core::state::{Place, State};
use thimble_core::time::Instant;

use super::artifact::{FILE_SIZE, Stored};
use super::client::{Client, SERVERS};

/// What must be remembered to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    /// The server was told, or was to be told, that the download begins.
    downloading: bool,
    /// There was a record of the update.
    recorded: bool,
    /// This process has heard, once the update was installed, that the server does not know the deployment.
    unknown: bool,
    /// The token of this process.
    token: Option<Token>,
    /// How often the server has refused the token that it refused last.
    refused_before: u8,
    /// The authentication at hand: which servers were asked.
    asked: Option<[bool; SERVERS as usize]>,
    /// These servers asked to wait until then.
    waits: [Option<Instant>; SERVERS as usize],
    /// When an authentication ended in vain last.
    in_vain: Option<Instant>,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token {
    server: u8,
    /// How often a server has refused it.
    refused: u8,
}

impl Memory {
    /// What was found wrong.
    pub(super) const fn wrong(&self) -> Option<&'static str> {
        self.wrong
    }

    pub(super) fn complain(&mut self, wrong: &'static str) {
        self.wrong.get_or_insert(wrong);
    }

    /// The process is gone.
    pub(super) fn restarted(&mut self) {
        let Self { downloading, recorded, wrong, .. } = *self;
        *self = Self { downloading, recorded, wrong, ..Self::default() };
    }

    /// Times move, and what has passed is forgotten.
    pub(super) fn rebase(&mut self, from: Instant, to: Instant) {
        let moved = |at: Instant| to + at.since(from);
        self.waits = self.waits.map(|wait| wait.filter(|at| *at > from).map(moved));
        // As long ago as is of any use.
        let since = self.in_vain.map(|at| from.since(at)).filter(|since| *since < SHORTEST);
        self.in_vain = since.map(|since| to - since);
    }

    /// Whether there was a record of the update, and is none any more: `is_there` says whether there is one now.
    pub(super) const fn is_gone(&mut self, is_there: bool) -> bool {
        self.recorded |= is_there;
        self.recorded && !is_there
    }

    /// An authentication begins.
    pub(super) fn authenticates(&mut self, now: Instant) {
        if self.in_vain.is_some_and(|at| now.since(at) < SHORTEST) {
            self.complain("a token is asked for again at once");
        }
        self.asked = Some([false; SERVERS as usize]);
        self.token = None;
    }

    /// The server has said 404 to a report that was made at this place.
    pub(super) fn unknown(&mut self, place: Place) {
        self.unknown |= matches!(place.0, State::ReportRebooting | State::ReportCommit | State::ReportFinal);
    }

    /// A request is sent.
    pub(super) fn sends(&mut self, kind: RequestKind, server: u8) {
        if matches!(kind, RequestKind::Status(_) | RequestKind::StatusAlone(_)) {
            self.downloading = true;
            if self.unknown {
                self.complain("a report of a deployment that the server does not know");
            }
        }
        if kind == RequestKind::Token {
            match self.asked.as_mut().and_then(|asked| asked.get_mut(usize::from(server))) {
                Some(asked) if !*asked => *asked = true,
                Some(_) => self.complain("a server is asked for a token twice in one authentication"),
                None => self.complain("a token is asked for without an identity, or of no server"),
            }
            if self.waits.get(usize::from(server)).is_some_and(Option::is_some) {
                self.complain("a server is asked for a token though it asked to wait");
            }
            return;
        }
        match self.token {
            None => self.complain("a request is sent without a token"),
            Some(token) if token.server != server => self.complain("a token is sent to another server"),
            Some(token) if token.refused > 1 => {
                self.complain("a token is used for the second time after it was refused")
            }
            Some(_) => {}
        }
    }

    /// The client took a token from a server. `kept`: it goes on with the one that it had before all the same.
    pub(super) fn token(&mut self, server: u8, kept: bool) {
        let refused = if kept { self.refused_before } else { 0 };
        self.token = Some(Token { server, refused });
        self.asked = None;
    }

    /// The token was refused.
    pub(super) fn refused(&mut self) {
        if let Some(token) = &mut self.token {
            token.refused = token.refused.saturating_add(1);
            self.refused_before = token.refused;
        }
    }

    /// The server asked to be asked later for a token.
    pub(super) fn put_off(&mut self, server: u8, until: Instant) {
        if let Some(wait) = self.waits.get_mut(usize::from(server)) {
            *wait = Some(until);
        }
    }

    /// The client has taken what came: an authentication that is over without a token has asked every server that let
    /// it. `asked_all`: it has not even begun to ask, for a reason of the device's own.
    pub(super) fn settled(&mut self, now: Instant, client: &Client, own_fault: bool) {
        if client.mixed {
            self.complain("the parser is given other bytes than the next ones of the artifact");
        }
        if client.session().is_authenticating() {
            return;
        }
        if let Some(asked) = self.asked.take() {
            self.in_vain = Some(now);
            let left_out = asked.iter().zip(&self.waits).any(|(asked, wait)| !asked && wait.is_none());
            if left_out && !own_fault {
                self.complain("an authentication ended in vain, and a server was not asked");
            }
        }
        if client.session().server().is_none() {
            self.token = None;
        }
    }

    /// The artifact is asked for.
    pub(super) fn downloads(&mut self, client: &Client, offset: u64, daemon: bool) {
        if daemon && !self.downloading {
            self.complain("the download begins, and the server was not told");
        }
        if offset != u64::from(client.parser.taken()) {
            self.complain("the download goes on at another byte than the next one");
        }
    }

    /// The sink has the end of the file.
    pub(super) fn file_ends(&mut self, file: Option<Stored>) {
        if !file.is_some_and(|file| file.length == FILE_SIZE && !file.damaged) {
            self.complain("the sink has other bytes than the artifact's file");
        }
    }
}

/// The configuration of the client in the whole.
pub(super) fn config(resume_downloads: bool) -> Config {
    Config { resume_downloads, ..Config::default() }
}
