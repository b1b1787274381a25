//! The driver: the only place that calls the traits. It performs the machine's actions on a [`Hal`] and tells the
//! machine how they ended. It decides nothing about the flow.

mod buffers;
mod control;
mod offer;
mod operation;
mod reason;
mod records;
mod requests;
mod summary;
mod token;
mod transfer;

pub use buffers::{BufferError, Buffers};
pub use control::{MapNotTaken, OPERATOR, OrderNotTaken, WhyHeld};
pub use records::{LoadError, saved_checkpoint};
pub use summary::SummaryLine;
pub use transfer::DownloadProgress;

use core::fmt;
use core::task::Poll;

use crate::artifact::{Parser, Trust, Workspace};
use crate::checkpoint::{Newer, Unusable};
use crate::config::{self, Config, ConfigError};
use crate::control::{Map, Pool};
use crate::deployment::{Mode, Verdict};
use crate::hal::{Clock, ErrorType, Hal, Level, Log, Network, Platform, Policy, ScriptRunner, UpdateModule};
use crate::http::Target;
use crate::limits;
use crate::machine::{
    Action, Check, Event, Machine, OfferedMap, Op, OpId, Refusal, Report, Run, Saved, StopSet,
};
use crate::session::{self, Session};
use crate::state::{Outcome, Phase, State};
use crate::text::Text;
use crate::time::{Instant, earliest};

use operation::{Polled, Work};
use reason::{Noted, note};
use summary::Summary;
use transfer::Performer;

/// Steps of one [`Client::poll`] at most: it does a bounded amount of work.
const STEPS: usize = 64;

/// What a client is started for.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The settings that steer the machine.
    pub config: &'a Config,
    /// The verb.
    pub run: Run,
    /// Where the command line wants to stop.
    pub stop_before: StopSet,
    /// The artifact of `install` and of the bootstrap run.
    pub source: Option<Target<'a>>,
}

/// Why a client did not start. Nothing was changed.
#[derive(Clone, Debug)]
pub enum StartError<E> {
    /// The verb cannot be carried out now.
    Refused(Refusal),
    /// The records cannot be read: the error of the store.
    Records(E),
    /// A newer version has left what this one must not touch. Never for [`Run::Daemon`].
    Newer(Newer),
    /// The name of the artifact is longer than [`limits::URL`].
    SourceTooLong,
    /// There are more than [`limits::SERVERS`] servers.
    TooManyServers,
    /// A setting that cannot be used.
    Config(ConfigError),
    /// A lent buffer that is too short to work with.
    Buffer(BufferError),
}

impl<E: fmt::Display> fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal::NoUpdate) => f.write_str("no update in progress"),
            Self::Refused(Refusal::InProgress(verbs)) => {
                f.write_str("an update is in progress already: finish it first with ")?;
                let mut separator = "";
                for verb in verbs.iter().flatten() {
                    write!(f, "{separator}'{}'", verb.word())?;
                    separator = " or ";
                }
                Ok(())
            }
            Self::Refused(Refusal::Deployment) => f.write_str(
                "the update in progress is a deployment of the server's, and only the daemon goes on with it",
            ),
            Self::Refused(Refusal::WrongState(tag)) => {
                write!(f, "not possible at this point of the update ({tag:?}): try 'resume'")
            }
            Self::Records(error) => error.fmt(f),
            Self::Newer(newer) => newer.fmt(f),
            Self::SourceTooLong => write!(f, "the name of the artifact is longer than {} bytes", limits::URL),
            Self::TooManyServers => write!(f, "more than {} servers", limits::SERVERS),
            Self::Config(error) => error.fmt(f),
            Self::Buffer(error) => error.fmt(f),
        }
    }
}

/// Where the artifact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// None yet: the server says it.
    Unknown,
    File,
    Url,
}

/// What the server answered, for the machine.
#[derive(Clone, Debug, Default)]
enum Answer {
    /// Nothing beside the outcome.
    #[default]
    None,
    /// A deployment of this id.
    Offer(Text<{ limits::DEPLOYMENT_ID }>, OfferedMap),
    /// The map of the deployment at hand; `None`: it cannot be used.
    Map(Option<Map>),
}

/// One update client on one platform. Call [`Self::poll`] whenever the platform wakes or the time it returned has
/// come; spurious calls are harmless.
pub struct Client<'b, P: Platform> {
    hal: Hal<P>,
    config: Config,
    machine: Machine,
    parser: Parser<'b>,
    chunk: &'b mut [u8],
    record: &'b mut [u8],
    out: &'b mut [u8],
    source: Source,
    location: Text<{ limits::URL }>,
    work: Work,
    op: Option<OpId>,
    transfer: Performer,
    session: Session,
    requests: requests::Requests,
    /// Header records of the artifact at hand are stored.
    header_stored: bool,
    /// The record of the server's offer is what it should be, or there cannot be one.
    offer_stored: bool,
    /// The download of an earlier process goes on.
    earlier: bool,
    /// The module was selected in this process.
    module_selected: bool,
    /// What the request that is ending was answered, beside its outcome.
    answer: Answer,
    report: Option<Report>,
    terminated: bool,
    /// The script last started.
    scripts_op: Option<Op>,
    /// It asked to be run again later.
    asked_later: bool,
    reason: Text<{ limits::REASON }>,
    /// It is on record: a restart does not forget it.
    reason_stored: bool,
    summary: Summary,
}

impl<'b, P: Platform> Client<'b, P> {
    /// Starts: reads the saved record and begins, or goes on, or refuses. The daemon starts in any case in which the
    /// records can be read: beside those of a newer version it runs without updates ([`Run::NoUpdates`]).
    ///
    /// # Errors
    /// [`StartError`]; nothing was changed.
    pub fn start(
        mut hal: Hal<P>,
        buffers: Buffers<'b>,
        start: Start<'_>,
    ) -> Result<Self, StartError<<P::Storage as ErrorType>::Error>> {
        start.config.check().map_err(StartError::Config)?;
        buffers.check(&hal.decompress).map_err(StartError::Buffer)?;
        let now = hal.clock.now();
        let servers = match start.run {
            Run::Daemon | Run::NoUpdates(_) => {
                requests::servers(&hal.agent).ok_or(StartError::TooManyServers)?
            }
            // No server is asked.
            Run::Install | Run::Continue(_) | Run::Bootstrap => 0,
        };
        let Buffers { chunk, record, out, name, header_info, type_info, meta_data, files, window } = buffers;
        let mut run = start.run;
        let mut saved = match saved_checkpoint(&mut hal.storage, record) {
            Ok(saved) => saved,
            Err(LoadError::Unusable(Unusable::Corrupt)) => {
                hal.log.log(Level::Error, format_args!("{}: starting without it", Unusable::Corrupt));
                None
            }
            Err(LoadError::Unusable(Unusable::Newer(newer))) if run == Run::Daemon => {
                hal.log.log(Level::Error, format_args!("no updates: {newer}"));
                run = Run::NoUpdates(newer);
                None
            }
            Err(LoadError::Unusable(Unusable::Newer(newer))) => return Err(StartError::Newer(newer)),
            Err(LoadError::Storage(error)) => return Err(StartError::Records(error)),
        };
        if run == Run::Daemon && saved.as_ref().is_some_and(|saved| saved.mode == Mode::Standalone) {
            hal.log.log(
                Level::Warning,
                format_args!(
                    "an update installed by hand was neither committed nor rolled back; the next deployment takes its place"
                ),
            );
        }
        let mut earlier = None;
        if let Some(saved) = &mut saved
            && run == Run::Daemon
            && start.config.resume_downloads
        {
            earlier = records::load_offer(&mut hal, record, saved);
            saved.offer = earlier.is_some();
        }
        let (source, location) = match (start.source, &earlier) {
            (None, None) => (Source::Unknown, ""),
            (None, Some(earlier)) => (Source::Url, earlier.link.as_str()),
            (Some(Target::File(path)), _) => (Source::File, path),
            (Some(Target::Url(url)), _) => (Source::Url, url),
        };
        let location = Text::copy(location).map_err(|_| StartError::SourceTooLong)?;
        let maps = match run {
            Run::Daemon => records::load_maps(&mut hal, record, now, start.config),
            Run::NoUpdates(_) | Run::Install | Run::Continue(_) | Run::Bootstrap => Some(Pool::new()),
        };
        let saved = Saved { update: saved, maps };
        let (machine, action) =
            Machine::start(now, start.config, run, start.stop_before, saved).map_err(StartError::Refused)?;
        let mut client = Self {
            hal,
            config: start.config.clone(),
            machine,
            parser: Parser::new(Workspace { name, header_info, type_info, meta_data, files, window }),
            chunk,
            record,
            out,
            source,
            location,
            work: Work::None,
            op: None,
            transfer: Performer::new(Text::new()),
            session: Session::new(),
            requests: requests::Requests::new(servers),
            header_stored: false,
            offer_stored: earlier.is_some(),
            earlier: false,
            module_selected: false,
            answer: Answer::None,
            report: None,
            terminated: false,
            scripts_op: None,
            asked_later: false,
            reason: Text::new(),
            reason_stored: false,
            summary: Summary::default(),
        };
        if let Some(earlier) = earlier {
            client.requests.offered = earlier.offered;
            client.earlier = matches!(client.machine.place().0, State::Download | State::Prepare);
            client.transfer = Performer::new(earlier.etag);
        }
        client.restore();
        client.note_round(now);
        client.perform(now, action);
        Ok(client)
    }

    /// Does a bounded amount of work. `Some(t)`: call again at `t`, or sooner when the platform wakes. `None` with
    /// [`Self::report`]: the run is over.
    pub fn poll(&mut self) -> Option<Instant> {
        let now = self.hal.clock.now();
        for _ in 0..STEPS {
            if self.is_over() {
                return None;
            }
            match self.advance(now) {
                Poll::Ready(()) => {}
                Poll::Pending => return self.wake_at(),
            }
        }
        Some(now)
    }

    /// Ends whatever runs, without touching the record: the next start resumes as after a power loss. Poll on
    /// until [`Self::is_over`]. From now on nothing is begun, whatever is said to the client; only control maps and
    /// orders are still saved.
    pub fn terminate(&mut self) {
        let now = self.hal.clock.now();
        self.terminated = true;
        self.kill(now);
        self.tell_session(now, session::Event::Terminate);
    }

    /// True when nothing runs and nothing will.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.report.is_some() || (self.terminated && matches!(self.work, Work::None))
    }

    /// How the run ended, once it has.
    #[must_use]
    pub const fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Why the update failed first, for people; empty if it did not.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reason.as_str()
    }

    /// Why the last request to the server failed, for people; empty if it did not.
    #[must_use]
    pub fn trouble(&self) -> &str {
        self.requests.trouble()
    }

    /// What the update went through, in one line.
    #[must_use]
    pub fn summary(&self) -> SummaryLine<'_> {
        self.summary.line(self.machine.verdict(), self.reason.as_str())
    }

    /// The name of the artifact that the server offered last; empty before the first offer.
    #[must_use]
    pub fn offered_artifact(&self) -> &str {
        self.requests.offered.artifact_name()
    }

    /// The machine, to look at.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How far the download is.
    #[must_use]
    pub const fn progress(&self) -> DownloadProgress {
        self.transfer.progress()
    }

    /// The platform, to add its descriptors to the main loop's wait.
    pub const fn hal(&mut self) -> &mut Hal<P> {
        &mut self.hal
    }

    /// Ends the client and gives the platform back.
    pub fn into_hal(self) -> Hal<P> {
        self.hal
    }

    /// Why this daemon asks for no deployment: a newer version has left what this one must not touch.
    #[must_use]
    pub const fn no_updates(&self) -> Option<Newer> {
        match self.machine.run() {
            Run::NoUpdates(newer) => Some(newer),
            Run::Daemon | Run::Install | Run::Continue(_) | Run::Bootstrap => None,
        }
    }

    /// A signal or a user asks for a poll or an inventory push now. Without effect after [`Self::terminate`].
    pub fn check(&mut self, check: Check) {
        if self.terminated {
            return;
        }
        let now = self.hal.clock.now();
        if let (Check::Update, Some(newer)) = (check, self.no_updates()) {
            self.hal.log.log(Level::Warning, format_args!("not asked for a deployment: {newer}"));
        }
        self.tell_session(now, session::Event::SomebodyAsks);
        self.tell(now, Event::Check(check));
    }

    /// One step: `Pending` when there is nothing to do before the platform wakes.
    fn advance(&mut self, now: Instant) -> Poll<()> {
        if !self.terminated && self.machine.deadline().is_some_and(|at| at <= now) {
            let action = self.step(now, Event::Tick);
            let progress = action != Action::Wait;
            self.perform(now, action);
            if progress {
                return Poll::Ready(());
            }
        }
        if matches!(self.work, Work::None) {
            return self.advance_fetch(now);
        }
        match self.poll_work(now) {
            Polled::Ended(outcome) => {
                self.finish(now, outcome);
                Poll::Ready(())
            }
            Polled::Moved => Poll::Ready(()),
            Polled::Pending => self.advance_fetch(now),
        }
    }

    /// The running operation ended.
    fn finish(&mut self, now: Instant, outcome: Outcome) {
        self.work = Work::None;
        let Some(id) = self.op.take() else { return };
        if self.terminated {
            return;
        }
        let event = match (core::mem::take(&mut self.answer), outcome) {
            (Answer::Offer(deployment, map), Outcome::Success) => {
                Event::Offered { op: id, id: deployment, map }
            }
            (Answer::Map(map), Outcome::Success) => Event::Refreshed { op: id, map },
            (Answer::None | Answer::Offer(..) | Answer::Map(_), outcome) => Event::Done(id, outcome),
        };
        let (state, _) = self.machine.place();
        // What a map or a policy said comes first: it is the reason then.
        let action = self.step(now, event);
        self.explain(state, outcome);
        self.perform(now, action);
    }

    /// A request ended, and with it the update failed: why, unless that was said before. Other operations say it
    /// themselves.
    fn explain(&mut self, state: State, outcome: Outcome) {
        if !self.reason.is_empty() || self.machine.verdict() == Verdict::Good {
            return;
        }
        let Self { requests, reason, hal, .. } = self;
        let why = requests.trouble();
        let is_door = matches!(state, State::InstallDoor | State::RebootDoor | State::CommitDoor);
        let mut fail = |why: fmt::Arguments<'_>| {
            let Noted { .. } = note(reason, &mut hal.log, why);
        };
        if outcome == Outcome::Aborted {
            fail(format_args!("the server aborted the deployment"));
        } else if state == State::ReportCommit {
            fail(format_args!("the server could not be asked before the commit: {why}"));
        } else if is_door && !why.is_empty() {
            fail(format_args!("the update control map could not be had anew: {why}"));
        }
    }

    /// Tells the machine what happened; what comes of it is done.
    fn tell(&mut self, now: Instant, event: Event) {
        let action = self.step(now, event);
        self.perform(now, action);
    }

    /// One step of the machine.
    fn step(&mut self, now: Instant, event: Event) -> Action {
        let action = self.machine.step(now, event);
        self.note_doors();
        self.note_round(now);
        action
    }

    /// A round of requests lasts from leaving Idle to the next wait there.
    fn note_round(&mut self, now: Instant) {
        let rests = self.machine.place() == (State::Idle, Phase::Main);
        let round = if rests { session::Event::RoundOver } else { session::Event::RoundBegins };
        self.tell_session(now, round);
    }

    /// Performs what the machine said. The one place where anything begins: after the end only maps are still saved.
    fn perform(&mut self, now: Instant, action: Action) {
        match action {
            Action::SaveMaps => {
                // A failure is logged; the maps count while this process lives.
                let saved = self.save_maps() == Outcome::Success;
                self.tell(now, Event::MapsSaved(saved));
            }
            // Nobody's word is lost: an update that waits saves the maps as an operation of its own.
            Action::Start(_, Op::SaveMaps) if self.terminated => {
                self.save_maps();
            }
            Action::Start(..) | Action::Kill | Action::Exit(_) if self.terminated => {}
            Action::Start(id, op) => {
                self.op = Some(id);
                self.trace(op);
                self.check_retries(op);
                self.make_way(op);
                self.work = self.begin(now, op);
            }
            Action::Kill => {
                self.out_of_time();
                self.kill(now);
            }
            Action::Wait => {}
            Action::Exit(report) => self.report = Some(report),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let platform = match self.work {
            Work::None | Work::Done(_) => None,
            Work::Script => self.hal.scripts.deadline(),
            Work::Module(_) => self.hal.module.deadline(),
            Work::Transfer => earliest(
                earliest(self.transfer.deadline(), self.requests_deadline()),
                earliest(self.hal.network.deadline(), self.hal.module.deadline()),
            ),
            Work::Reboot { .. } => None,
            Work::Request => earliest(self.requests_deadline(), self.hal.network.deadline()),
            Work::Policy => self.hal.policy.deadline(),
        };
        earliest(earliest(platform, self.fetch_deadline()), self.machine.deadline())
    }

    /// Notes the first reason of a failure, and logs it.
    fn fail(&mut self, reason: fmt::Arguments<'_>) -> Outcome {
        let Noted { .. } = note(&mut self.reason, &mut self.hal.log, reason);
        Outcome::Failure
    }

    fn trace(&mut self, op: Op) {
        let (state, phase) = self.machine.place();
        self.hal.log.log(Level::Debug, format_args!("{state:?} {phase:?}: {op:?}"));
    }

    /// The running operation has used up its time: says which, and how much it had.
    fn out_of_time(&mut self) {
        let (script, module) = (self.config.state_script_timeout, self.config.module_timeout);
        match self.work {
            Work::Script => self.fail_script(format_args!(
                "did not end within {} s (StateScriptTimeoutSeconds)",
                script.as_secs()
            )),
            Work::Module(call) => self.fail(format_args!(
                "the update module did not end {call} within {} s (ModuleTimeoutSeconds)",
                module.as_secs()
            )),
            Work::Reboot { .. } => self.fail(format_args!(
                "the device is still running {} s after the reboot command",
                config::REBOOT_WAIT.as_secs()
            )),
            Work::None | Work::Done(_) | Work::Transfer | Work::Request | Work::Policy => Outcome::Failure,
        };
    }

    /// How the artifact is to be trusted.
    fn trust(&self) -> Trust {
        use crate::hal::Verifier;
        match self.machine.run() {
            Run::Bootstrap => Trust::Bootstrap,
            Run::Daemon | Run::NoUpdates(_) | Run::Install | Run::Continue(_)
                if self.hal.verifier.has_keys() =>
            {
                Trust::Signed
            }
            Run::Daemon | Run::NoUpdates(_) | Run::Install | Run::Continue(_) => Trust::Unsigned,
        }
    }

    /// Ends what runs; its end is still polled for.
    fn kill(&mut self, now: Instant) {
        match self.work {
            Work::None | Work::Done(_) => {}
            Work::Script => self.hal.scripts.kill(now, config::SCRIPT_KILL_GRACE),
            Work::Module(_) => self.hal.module.kill(now, config::MODULE_KILL_GRACE),
            Work::Transfer => self.stop_transfer(now),
            Work::Reboot { .. } => self.work = Work::Done(Outcome::Failure),
            Work::Request => {
                self.end_request();
                self.work = Work::Done(Outcome::Failure);
            }
            Work::Policy => {
                self.hal.policy.kill();
                self.work = Work::Done(Outcome::Failure);
            }
        }
    }
}
