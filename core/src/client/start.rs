//! A client is built in its place, and starts from what is on record.

use core::fmt;

use super::download::Download;
use super::flight::{Flight, Found};
use super::lent::Lent;
use super::operation::Work;
use super::reason::Story;
use super::requests::{self, Requests};
use super::{BufferError, Buffers, Client, Device};
use crate::artifact::{Parser, Workspace};
use crate::begun::Begun;
use crate::checkpoint::Newer;
use crate::config::{Config, ConfigError};
use crate::control::Pool;
use crate::deployment::Mode;
use crate::flow::Flow;
use crate::hal::{Cause, Clock, Error, ErrorType, Hal, Platform};
use crate::http::Target;
use crate::limits;
use crate::machine::{Refusal, Run, Saved, StopSet};
use crate::message::{self, Coded, texts};
use crate::session;
use crate::state::Verb;
use crate::text::{Lent as Held, TooLong};

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
    /// The name of the artifact is longer than so many bytes, which are lent for it ([`Buffers::link`]).
    SourceTooLong(usize),
    /// There are more than [`limits::SERVERS`] servers.
    TooManyServers,
    /// A setting that cannot be used.
    Config(ConfigError),
    /// A lent buffer that is too short to work with.
    Buffer(BufferError),
}

/// What comes of a start.
pub type Started<P, T = ()> = Result<T, StartError<<<P as Platform>::Storage as ErrorType>::Error>>;

texts! {
    START_ERRORS = 'G': StartError<E> where [E: Error] {
        1 Refused(refusal) => "{refusal}",
        2 Records(error) with (error = Cause::of(error)) => "{error}",
        3 Newer(newer) => "{newer}",
        4 SourceTooLong(limit) => "the name of the artifact is longer than {limit} bytes",
        5 TooManyServers with (limit = limits::SERVERS) => "more than {limit} servers",
        6 Config(error) => "{error}",
        7 Buffer(error) => "{error}",
    }

    REFUSALS = 'G': Refusal {
        8 NoUpdate => "no update in progress",
        9 InProgress(verbs) with (verbs = Verbs(verbs)) =>
            "an update is in progress already: finish it first with {verbs}",
        10 Deployment =>
            "the update in progress is a deployment of the server's, and only the daemon goes on with it",
        11 WrongState(tag) => "not possible at this point of the update ({tag}): try 'resume'",
        12 NoVerbs => "this build updates by itself only, and carries out no verbs",
    }
}

/// Verbs of which one is wanted.
struct Verbs<'a>(&'a [Option<Verb>]);

impl fmt::Display for Verbs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for verb in self.0.iter().flatten() {
            f.write_str(separator)?;
            f.write_str("'")?;
            f.write_str(verb.word())?;
            f.write_str("'")?;
            separator = " or ";
        }
        Ok(())
    }
}

impl Coded for Verbs<'_> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::quote(f, self)
    }
}

impl<'b, P: Platform> Client<'b, P> {
    /// A client in this memory. Nothing runs before [`Self::start`]: until then it is as one whose run is over.
    #[must_use]
    pub fn new(hal: Hal<P>, device: Device<'b>, buffers: Buffers<'b>) -> Self {
        let Buffers {
            chunk,
            record,
            out,
            token,
            link,
            maps,
            name,
            header_info,
            type_info,
            meta_data,
            files,
            window,
        } = buffers;
        Self {
            hal,
            device,
            flow: Flow::over(),
            work: Work::None,
            parser: Parser::new(Workspace { name, header_info, type_info, meta_data, files, window }),
            token: Held::new(token),
            maps,
            chunk,
            lent: Lent::new(record, out),
            download: Download::new(link),
            requests: Requests::new(),
            story: Story::default(),
            flight: Flight::new(),
            report: None,
        }
    }

    /// Starts, once: reads the saved record and begins, or goes on, or refuses. The daemon starts in any case in which the
    /// records can be read: beside those of a newer version it runs without updates ([`Run::NoUpdates`]).
    ///
    /// # Errors
    /// [`StartError`]; nothing was changed, and nothing runs.
    pub fn start(&mut self, start: Start<'_>) -> Started<P> {
        start.config.check().map_err(StartError::Config)?;
        self.check_buffers().map_err(StartError::Buffer)?;
        let now = self.hal.clock.now();
        let servers = match start.run {
            Run::Daemon | Run::NoUpdates(_) => {
                requests::servers(&self.device).ok_or(StartError::TooManyServers)?
            }
            // No server is asked.
            Run::Install | Run::Continue(_) | Run::Bootstrap => session::Config { servers: 0 },
        };
        if let Some(source) = start.source {
            self.download.source.set(source).map_err(|TooLong { limit }| StartError::SourceTooLong(limit))?;
        }
        let (run, update) = self.load_update(start.run, start.config)?;
        let maps = match run {
            Run::Daemon => self.load_maps(now, start.config),
            Run::NoUpdates(_) | Run::Install | Run::Continue(_) | Run::Bootstrap => Some(Pool::new()),
        };
        let is_free = update.as_ref().is_none_or(|update| update.mode == Mode::Standalone);
        let report = if run == Run::Daemon && is_free { self.load_last_report() } else { None };
        let (report, reported_to) = report.unzip();
        let (begun, offered_by) = match run {
            Run::Daemon => {
                let id = update.as_ref().map(|update| update.deployment.clone()).unwrap_or_default();
                self.load_begun(id.as_str())
            }
            Run::NoUpdates(_) | Run::Install | Run::Continue(_) | Run::Bootstrap => (Begun::nothing(), None),
        };
        let offered_by = reported_to.flatten().or(offered_by);
        let found = Found::of(update.as_ref(), report.is_some());
        let saved = Saved { update, report, offered_by, maps, begun };
        let first = self
            .flow
            .launch(now, start.config, servers, run, start.stop_before, saved)
            .map_err(StartError::Refused)?;
        self.flight_starts(now, run, &found);
        let restored = self.restore();
        self.tell(now, restored);
        self.follow(now, first);
        Ok(())
    }
}
