//! The checker of the whole: what it remembers of a run, and what must hold, written apart from the client.

use thimble_core::control::{Map, Vote};
use thimble_core::deployment::{Call, Point};
use thimble_core::machine::Op;
use thimble_core::retry::SHORTEST;
use thimble_core::script::{ScriptAction, ScriptState, Transition};
use thimble_core::session::RequestKind;
use thimble_core::state::{Phase, Place, State};
use thimble_core::time::Instant;

use super::artifact::{FILE_SIZE, Stored};
use super::client::{Client, SERVERS, Todo};

/// What must be remembered to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    /// The server was told, or was to be told, that the download begins.
    downloading: bool,
    /// The server that offered the deployment.
    offered_by: Option<u8>,
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
    /// Which of the others wanted to be asked later when one of them was.
    left_out: [bool; SERVERS as usize],
    /// These servers asked to wait until then.
    waits: [Option<Instant>; SERVERS as usize],
    /// When an authentication ended in vain last.
    in_vain: Option<Instant>,
    /// From leaving Idle to the next wait there.
    round: Round,
    /// Where the client stood when it was looked at last, and whether it was asking for a token because a program wanted
    /// one: a poll may have joined.
    stood: (Option<State>, bool),
    /// Polls, inventories, and everything else: at this place no request is sent before then.
    not_before: [Option<(State, Instant)>; 3],
    /// The artifact is not asked for before then.
    no_download_before: Option<Instant>,
    /// The record was written too often: the work tree stays.
    pub(super) looped: bool,
    /// The command line left a work tree without a record.
    pub(super) abandoned: bool,
    /// The server's last word about holding the update back, unless somebody let it pass since.
    held: Option<Point>,
    /// A script or the module has said no to the update in this process.
    said_no: bool,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token {
    server: u8,
    /// It was given at the report before the commit, where the client stands.
    proves: bool,
    /// How often a server has refused it.
    refused: u8,
}

/// What a round of requests has done (SERVER-17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Round {
    /// Inventories that were begun; two stand for more.
    inventories: u8,
    /// Polls that were begun; two stand for more.
    polls: u8,
    /// For one of them a token was asked for in vain, and none was given since.
    in_vain: bool,
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
        let Self { downloading, offered_by, recorded, looped, abandoned, wrong, .. } = *self;
        *self = Self { downloading, offered_by, recorded, looped, abandoned, wrong, ..Self::default() };
    }

    /// The deployment is over, and another one may come in this process.
    pub(super) const fn deployment_over(&mut self) {
        self.downloading = false;
        self.recorded = false;
        self.unknown = false;
        self.looped = false;
        self.held = None;
        self.said_no = false;
        self.no_download_before = None;
    }

    /// Times move. What has passed is forgotten.
    pub(super) fn rebase(&mut self, from: Instant, to: Instant) {
        let moved = |at: Instant| to + at.since(from);
        self.forget_past(from);
        self.waits = self.waits.map(|wait| wait.map(moved));
        self.not_before = self.not_before.map(|wait| wait.map(|(state, at)| (state, moved(at))));
        self.no_download_before = self.no_download_before.map(moved);
        // As long ago as is of any use.
        let since = self.in_vain.map(|at| from.since(at)).filter(|since| *since < SHORTEST);
        self.in_vain = since.map(|since| to - since);
    }

    fn forget_past(&mut self, now: Instant) {
        self.waits = self.waits.map(|wait| wait.filter(|at| *at > now));
        self.not_before = self.not_before.map(|wait| wait.filter(|(_, at)| *at > now));
        self.no_download_before = self.no_download_before.filter(|at| *at > now);
    }

    /// Whether there was a record of the update, and is none any more: `is_there` says whether there is one now.
    pub(super) const fn is_gone(&mut self, is_there: bool) -> bool {
        self.recorded |= is_there;
        self.recorded && !is_there
    }

    /// There was a record of the update.
    pub(super) const fn had_record(&self) -> bool {
        self.recorded
    }

    /// An authentication begins.
    pub(super) fn authenticates(&mut self, now: Instant) {
        if self.in_vain.is_some_and(|at| now.since(at) < SHORTEST) {
            self.complain("a token is asked for again at once");
        }
        let Round { inventories, polls, in_vain } = self.round;
        let first = match self.stood {
            (Some(State::Inventory), false) => inventories == 1,
            (Some(State::Poll), false) => polls == 1,
            (Some(_) | None, _) => false,
        };
        if first && in_vain {
            self.complain("a round asks for a token though it has asked in vain");
        }
        self.asked = Some([false; SERVERS as usize]);
        self.left_out = [false; SERVERS as usize];
        self.token = None;
    }

    /// This server has offered the deployment.
    pub(super) const fn offered(&mut self, server: u8) {
        self.offered_by = Some(server);
    }

    /// This server has said 404 to a report that was made at this place. It counts from the one that made the offer.
    pub(super) fn unknown(&mut self, place: Place, server: u8) {
        self.unknown |= self.offered_by == Some(server)
            && matches!(
                place.0,
                State::ReportRebooting | State::ReportCommit | State::ReportFinal | State::Poll
            );
    }

    /// No request is sent from this place before then.
    pub(super) fn not_before(&mut self, state: State, until: Instant) {
        let slot = &mut self.not_before[slot(state)];
        let later = slot.filter(|(of, at)| *of == state && *at > until);
        *slot = later.or(Some((state, until)));
    }

    /// The artifact is not asked for before then.
    pub(super) fn no_download_before(&mut self, until: Instant) {
        self.no_download_before = self.no_download_before.max(Some(until));
    }

    /// The server's control map came.
    pub(super) fn hears(&mut self, map: Option<&Map>) {
        let holds = |point: &Point| map.is_some_and(|map| map.rules.at(*point).action != Vote::Continue);
        self.held = Point::ALL.into_iter().find(holds);
    }

    /// Somebody at the device has let the update pass: an authentication that was under way for it is given up.
    pub(super) const fn approved(&mut self, client: &Client) {
        self.held = None;
        if !client.session().is_authenticating() {
            self.asked = None;
        }
    }

    /// This failed. Of a script or a call on the way to the commit: there is none any more, unless a restart asks again.
    pub(super) fn failed(&mut self, op: Op) {
        use ScriptState::{ArtifactCommit, ArtifactInstall, ArtifactReboot, Download};
        self.said_no |= match op {
            Op::CallModule(Call::ArtifactInstall | Call::ArtifactReboot | Call::ArtifactVerifyReboot) => true,
            Op::RunScript(Transition { state: ArtifactCommit, action }, _) => action == ScriptAction::Enter,
            Op::RunScript(Transition { state: Download | ArtifactInstall | ArtifactReboot, action }, _) => {
                action != ScriptAction::Error
            }
            Op::CallModule(_)
            | Op::RunScript(..)
            | Op::Save
            | Op::SaveMaps
            | Op::SaveProvides(_)
            | Op::SaveReport
            | Op::SaveBegun
            | Op::ClearData
            | Op::ForgetReport
            | Op::AskPolicy(_)
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::Prepare
            | Op::Stream(_)
            | Op::Reboot
            | Op::Request(_)
            | Op::End => false,
        };
    }

    /// An operation begins that a control map may hold back.
    pub(super) fn begins(&mut self, op: Op, state: State) {
        if self.said_no && op == Op::CallModule(Call::ArtifactCommit) {
            self.complain("the update is committed though a script or the module has said no");
        }
        let is_held = match self.held {
            None => false,
            Some(Point::Install) => op == Op::CallModule(Call::ArtifactInstall),
            Some(Point::Reboot) => state == State::Reboot && matches!(op, Op::CallModule(_) | Op::Reboot),
            Some(Point::Commit) => op == Op::CallModule(Call::ArtifactCommit),
        };
        if is_held {
            self.complain("the update goes on though the server holds it back, and nobody let it pass");
        }
    }

    /// A request is sent from this place.
    pub(super) fn sends(&mut self, kind: RequestKind, server: u8, state: State) {
        if self.unknown && matches!(kind, RequestKind::Status(_) | RequestKind::StatusAlone(_)) {
            self.complain("a report of a deployment that the server does not know");
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
            for (left_out, wait) in self.left_out.iter_mut().zip(&self.waits) {
                *left_out |= wait.is_some();
            }
            return;
        }
        match self.token {
            None => self.complain("a request is sent without a token"),
            Some(token) if token.server != server => self.complain("a token is sent to another server"),
            Some(token) if token.refused > 1 => {
                self.complain("a token is used for the second time after it was refused")
            }
            Some(token) if state == State::ReportCommit && !token.proves => {
                self.complain("the update is committed with a token of before the install")
            }
            Some(_) => {}
        }
        if self.not_before[slot(state)].is_some_and(|(of, _)| of == state) {
            self.complain("a request is repeated at once, or before the server wants it");
        }
    }

    /// The client took a token from a server. `kept`: it goes on with the one that it had before all the same. `proves`:
    /// it stands at the report before the commit.
    pub(super) fn token(&mut self, server: u8, kept: bool, proves: bool) {
        let refused = if kept { self.refused_before } else { 0 };
        self.token = Some(Token { server, proves, refused });
        self.asked = None;
        self.left_out = [false; SERVERS as usize];
        self.round.in_vain = false;
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
        self.forget_past(now);
        if client.mixed {
            self.complain("the parser is given other bytes than the next ones of the artifact");
        }
        if !client.session().is_authenticating()
            && let Some(asked) = self.asked.take()
        {
            self.in_vain = Some(now);
            self.round.in_vain |= matches!(self.stood, (Some(State::Inventory | State::Poll), false));
            let may_be =
                self.left_out.iter().zip(&self.waits).map(|(left_out, wait)| *left_out || wait.is_some());
            let left_out = asked.iter().zip(may_be).any(|(asked, may_be)| !asked && !may_be);
            self.left_out = [false; SERVERS as usize];
            if left_out && !own_fault {
                self.complain("an authentication ended in vain, and a server was not asked");
            }
        }
        if client.session().server().is_none() {
            self.token = None;
        }
        self.looks(client);
    }

    /// Notes where the client stands.
    fn looks(&mut self, client: &Client) {
        let (state, phase) = client.place();
        if self.stood.0 != Some(state) {
            self.looped |= state == State::StateLoop;
            let Round { inventories, polls, .. } = &mut self.round;
            *inventories = (*inventories + u8::from(state == State::Inventory)).min(2);
            *polls = (*polls + u8::from(state == State::Poll)).min(2);
            let [_, _, others] = &mut self.not_before;
            *others = others.filter(|(of, _)| *of == state);
        }
        // A report that no server lets in is not even begun.
        let none_lets_in = self.waits.iter().all(Option::is_some);
        self.downloading |= state == State::ReportDownloading || (state == State::Offer && none_lets_in);
        if (state, phase) == (State::Idle, Phase::Main) && client.work == Todo::Wait {
            self.round = Round::default();
        }
        if let (Some(token), true) = (&mut self.token, state != State::ReportCommit) {
            token.proves = false;
        }
        let session = client.session();
        let fetches = self.stood.1 || session.is_fetching() || session.waits_for_room();
        self.stood = (Some(state), fetches && session.is_authenticating());
    }

    /// The artifact is asked for.
    pub(super) fn downloads(&mut self, client: &Client, offset: u64, daemon: bool) {
        if self.no_download_before.is_some() {
            self.complain("the artifact is asked for again at once, or before the server wants it");
        }
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

/// Where [`Memory::not_before`] keeps what was said to a request of this place.
const fn slot(state: State) -> usize {
    if matches!(state, State::Poll) {
        0
    } else if matches!(state, State::Inventory) {
        1
    } else {
        2
    }
}
