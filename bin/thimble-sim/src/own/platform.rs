//! The platform of a run with the user's own programs: scripts and update modules are processes, run by the same code as on
//! a device; all the rest is simulated.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::task::Poll;

use thimble_core::deployment::Call;
use thimble_core::hal::{
    self, Clock as _, ErrorType, Exit, Kind, PayloadSink, Platform, ScriptRunner, Stored, TreeFacts,
    UpdateModule,
};
use thimble_core::script::{Transition, parse_name};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_linux::module::{ModuleError, Modules};
use thimble_hal_linux::scripts::{ScriptError, Scripts as LinuxScripts};
use thimble_hal_linux::wait::PollSet;
use thimble_hal_sim::sim::{self, Doorkeeper, Gone, Handle, Net, OneLine, Sys, Who};

use super::faults::{Faults, What};
use super::jail::{CLOCK, SIM, scripts_folder};
use super::journal::{Journal, Lane, Output, ending};

/// How long a program that is to end is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// The platform.
pub(super) struct Own;

impl Platform for Own {
    type Storage = Handle;
    type Scripts = Scripts;
    type Module = Module;
    type Network = Net;
    type System = Sys;
    type Identity = Who;
    type DeviceKey = Who;
    type Inventory = ();
    type DeploymentLog = OneLine;
    type Policy = Doorkeeper;
    type Clock = Handle;
    type Log = Handle;
    type Verifier = ();
    type Decompress = Decompressor;
}

/// Seconds that count as none.
const AT_ONCE: u64 = 2;

/// What all of its parts know.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) bench: Handle,
    pub(super) journal: Journal,
    pub(super) faults: Faults,
    /// How long a program takes on the simulated device.
    pub(super) takes: BTreeMap<String, Duration>,
    /// How long it may really take.
    pub(super) limit: Duration,
    /// Where update modules are.
    pub(super) data: &'static Path,
    /// What `date` shows when the device is switched on, in seconds since 1970.
    pub(super) clock: Option<u64>,
}

impl Shared {
    /// The stand-in for `date` shows what the device's clock does.
    fn set_clock(&self) -> Result<(), OwnError> {
        let Some(clock) = self.clock else { return Ok(()) };
        let now = clock + self.bench.0.borrow().time().since(Instant::ZERO).as_secs();
        fs::write(CLOCK, format!("{now}\n")).map_err(OwnError::Io)
    }
}

/// Why a script or a module was not run.
#[derive(Debug)]
pub(super) enum OwnError {
    Gone(Gone),
    Script(ScriptError),
    Module(ModuleError),
    Io(io::Error),
    /// The module ended before it had the payload.
    Ended(Exit),
}

impl fmt::Display for OwnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(error) => error.fmt(f),
            Self::Script(error) => error.fmt(f),
            Self::Module(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Ended(exit) => write!(f, "the module ended before it had the payload ({})", ending(*exit)),
        }
    }
}

impl hal::Error for OwnError {
    fn kind(&self) -> Kind {
        match self {
            Self::Gone(error) => error.kind(),
            Self::Script(error) => error.kind(),
            Self::Module(error) => error.kind(),
            Self::Io(_) | Self::Ended(_) => Kind::Other,
        }
    }
}

/// A program of the user's, or what stands for it.
enum Current {
    Nothing,
    /// It runs.
    Real {
        event: usize,
        name: String,
        began: Instant,
        cut: Option<What>,
    },
    /// It has ended, or was never started; the simulated device waits until then. `None`: it never ends.
    Made {
        exit: Option<Exit>,
        until: Instant,
        event: usize,
        killed: bool,
        reported: bool,
    },
}

impl Current {
    /// Whether something really runs.
    const fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }

    /// When the simulated clock has come to its end.
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Made { exit: Some(_), until, reported: false, .. } => Some(*until),
            Self::Made { .. } | Self::Nothing | Self::Real { .. } => None,
        }
    }

    /// It never ends by itself from now on.
    fn hang(&mut self) {
        if let Self::Real { event, .. } = self {
            *self = Self::Made {
                exit: None,
                until: Instant::ZERO,
                event: *event,
                killed: false,
                reported: false,
            };
        }
    }

    /// What is made up has ended by now.
    fn poll_made(&mut self, shared: &Shared) -> Poll<Exit> {
        let now = shared.bench.0.borrow().now;
        match self {
            Self::Made { exit: Some(exit), until, event, killed, reported } if now >= *until => {
                if !std::mem::replace(reported, true) {
                    let text = if *killed {
                        "ended by the client: its time was over".to_owned()
                    } else {
                        ending(*exit)
                    };
                    // What was given up says so already.
                    if !(*killed && shared.journal.has_result(*event)) {
                        shared.journal.result(*event, text);
                    }
                }
                Poll::Ready(*exit)
            }
            Self::Made { .. } | Self::Nothing | Self::Real { .. } => Poll::Pending,
        }
    }

    /// The program that ran has ended.
    fn end(&mut self, exit: Exit, shared: &Shared) {
        let Self::Real { event, name, began, .. } = self else { return };
        let took = BootClock.now().since(*began).as_secs();
        // What is over at once takes no time, however busy this machine is.
        let took = if took < AT_ONCE { 0 } else { took };
        let took = shared.takes.get(name).copied().unwrap_or(Duration::from_secs(took));
        let until = shared.bench.0.borrow().now + took;
        *self = Self::Made { exit: Some(exit), until, event: *event, killed: false, reported: false };
    }

    /// It is killed: the client's patience is over.
    fn kill(&mut self) {
        if let Self::Made { exit, until, killed, .. } = self {
            *exit = Some(Exit::Signal(15));
            *until = Instant::ZERO;
            *killed = true;
        }
    }

    /// Whether power is lost now that the program has done so much.
    fn is_cut(&self, shared: &Shared, over: bool) -> bool {
        match self {
            Self::Real { cut: Some(What::CutInside), event, .. } => {
                over || shared.journal.has_printed(*event)
            }
            Self::Real { cut: Some(What::CutAfter), .. } => over,
            Self::Real { .. } | Self::Made { .. } | Self::Nothing => false,
        }
    }
}

/// What was planned for a program: `Ok(None)`: it is run.
fn plan(
    shared: &Shared,
    names: &[&str],
    lane: Lane,
    what: &str,
) -> Result<(usize, Option<Current>, Option<What>), OwnError> {
    powered(shared)?;
    shared.set_clock()?;
    let fault = shared.faults.next(names);
    if fault == Some(What::CutBefore) {
        shared.bench.lose();
        return Err(OwnError::Gone(Gone::down()));
    }
    let event = shared.journal.note(lane, what);
    let now = shared.bench.0.borrow().now;
    let takes = names.iter().find_map(|name| shared.takes.get(*name)).copied().unwrap_or_default();
    let made = match fault {
        Some(What::Exit(status)) => Some(Current::Made {
            exit: Some(Exit::Code(status)),
            until: now + takes,
            event,
            killed: false,
            reported: false,
        }),
        Some(What::Hang) => {
            Some(Current::Made { exit: None, until: now, event, killed: false, reported: false })
        }
        Some(What::Abort | What::CutBefore | What::CutInside | What::CutAfter) | None => None,
    };
    Ok((event, made, fault))
}

/// Without power, nothing has an effect.
fn powered(shared: &Shared) -> Result<(), OwnError> {
    if shared.bench.is_down() { Err(OwnError::Gone(Gone::down())) } else { Ok(()) }
}

/// The user's state scripts.
pub(super) struct Scripts {
    shared: Shared,
    inner: LinuxScripts,
    current: Current,
    name: String,
}

impl Scripts {
    pub(super) fn new(shared: Shared) -> io::Result<Self> {
        let log = std::rc::Rc::new(std::cell::RefCell::new(Output(shared.journal.clone())));
        let inner = LinuxScripts::new(Path::new("/etc/mender"), Path::new("/var/lib/mender"), log)?;
        Ok(Self { shared, inner, current: Current::Nothing, name: String::new() })
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) -> Option<Instant> {
        if !self.current.is_real() {
            return None;
        }
        self.inner.wants(set);
        let Current::Real { began, .. } = &self.current else { return None };
        earliest(self.inner.deadline(), Some(*began + self.shared.limit))
    }

    pub(super) const fn is_real(&self) -> bool {
        self.current.is_real()
    }

    /// The name of the script that would be started.
    fn nth(transition: Transition, index: u16) -> Option<String> {
        let entries = fs::read_dir(scripts_folder(transition.state)).ok()?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| parse_name(name) == Some(transition)).collect();
        names.sort_unstable();
        names.get(usize::from(index)).cloned()
    }
}

impl ErrorType for Scripts {
    type Error = OwnError;
}

impl ScriptRunner for Scripts {
    fn start(&mut self, _: Instant, transition: Transition, index: u16) -> Result<bool, OwnError> {
        powered(&self.shared)?;
        self.current = Current::Nothing;
        let started = |scripts: &mut Self| {
            scripts.inner.start(BootClock.now(), transition, index).map_err(OwnError::Script)
        };
        let Some(name) = Self::nth(transition, index) else { return started(self) };
        self.name.clone_from(&name);
        let state = transition.to_string();
        let (event, made, cut) = plan(&self.shared, &[&name, &state], Lane::Device, &name)?;
        if let Some(made) = made {
            self.current = made;
            return Ok(true);
        }
        match started(self) {
            Ok(true) => {}
            Ok(false) => {
                self.shared.journal.result(event, "passed over: it cannot be executed".to_owned());
                return Ok(false);
            }
            Err(error) => {
                self.shared.journal.result(event, error.to_string());
                return Err(error);
            }
        }
        self.current = Current::Real { event, name, began: BootClock.now(), cut };
        Ok(true)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, OwnError>> {
        if self.shared.bench.is_down() {
            return Poll::Pending;
        }
        if let Current::Real { event, began, .. } = &self.current {
            let (event, now, began) = (*event, BootClock.now(), *began);
            let polled = self.inner.poll_exit(now);
            if self.current.is_cut(&self.shared, polled.is_ready()) {
                self.shared.bench.lose();
                return Poll::Pending;
            }
            match polled {
                Poll::Ready(Ok(exit)) => self.current.end(exit, &self.shared),
                Poll::Ready(Err(error)) => {
                    self.shared.journal.result(event, error.to_string());
                    self.current = Current::Nothing;
                    return Poll::Ready(Err(OwnError::Script(error)));
                }
                Poll::Pending if now >= began + self.shared.limit => {
                    self.inner.kill(now, Duration::ZERO);
                    self.shared.journal.result(event, hangs(self.shared.limit));
                    self.current.hang();
                }
                Poll::Pending => {}
            }
        }
        self.current.poll_made(&self.shared).map(Ok)
    }

    fn deadline(&self) -> Option<Instant> {
        self.current.deadline()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn kill(&mut self, _: Instant, grace: Duration) {
        if self.current.is_real() {
            self.inner.kill(BootClock.now(), grace.min(GRACE));
        } else {
            self.current.kill();
        }
    }

    fn check_version(&mut self) -> Result<(), OwnError> {
        self.inner.check_version().map_err(OwnError::Script)
    }

    fn discard(&mut self) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.discard().map_err(OwnError::Script)
    }

    fn stage(&mut self, name: &str, size: u64) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.stage(name, size).map_err(OwnError::Script)
    }

    fn stage_write(&mut self, bytes: &[u8]) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.stage_write(bytes).map_err(OwnError::Script)
    }

    fn publish(&mut self) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.publish().map_err(OwnError::Script)?;
        // The scripts that were handed over beside the artifact, as if they were in it.
        let (from, to) = (Path::new(SIM).join("scripts"), Path::new("/var/lib/mender/scripts"));
        let take = || -> io::Result<()> {
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                fs::create_dir_all(to)?;
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
            Ok(())
        };
        take().map_err(OwnError::Io)
    }
}

fn hangs(limit: Duration) -> String {
    format!("still ran after {} s (--limit), counts as one that hangs: ended by the client", limit.as_secs())
}

/// The user's update module, or the one that is described.
pub(super) struct Module {
    shared: Shared,
    real: Modules,
    described: sim::Module,
    is_real: bool,
    current: Current,
    /// A query's answer has been noted.
    answered: bool,
    /// The program has the whole payload, and said so.
    is_complete: bool,
    /// The client waits for the program, and not the program for the client: a download waits for the network, too.
    is_awaited: bool,
}

impl Module {
    pub(super) fn new(shared: Shared, described: sim::Module) -> io::Result<Self> {
        let log = std::rc::Rc::new(std::cell::RefCell::new(Output(shared.journal.clone())));
        let real = Modules::new(shared.data, Path::new("/var/lib/mender"), log)?;
        Ok(Self {
            shared,
            real,
            described,
            is_real: false,
            current: Current::Nothing,
            answered: false,
            is_complete: false,
            is_awaited: false,
        })
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) -> Option<Instant> {
        let Current::Real { began, .. } = &self.current else { return None };
        self.real.wants(set);
        earliest(self.real.deadline(), Some(*began + self.shared.limit))
    }

    /// Whether the client waits for a program that really runs.
    pub(super) const fn is_awaited(&self) -> bool {
        self.current.is_real() && self.is_awaited
    }

    /// The program was given up.
    fn give_up_after_limit(&mut self, now: Instant) {
        if let Current::Real { began, event, .. } = &self.current
            && now >= *began + self.shared.limit
        {
            let event = *event;
            self.real.kill(now, Duration::ZERO);
            self.shared.journal.result(event, hangs(self.shared.limit));
            self.current.hang();
        }
    }

    /// Pending once power is lost, or a program that is given up is waited for.
    fn stops(&mut self) -> bool {
        if self.shared.bench.is_down() {
            return true;
        }
        self.give_up_after_limit(BootClock.now());
        if self.current.is_cut(&self.shared, false) {
            self.shared.bench.lose();
        }
        self.shared.bench.is_down() || !self.current.is_real()
    }
}

impl ErrorType for Module {
    type Error = OwnError;
}

/// Calls the module that is there.
macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        if $self.shared.bench.is_down() {
            Err(OwnError::Gone(Gone::down()))
        } else if $self.is_real {
            $self.real.$call($($argument),*).map_err(OwnError::Module)
        } else {
            $self.described.$call($($argument),*).map_err(OwnError::Gone)
        }
    };
}

macro_rules! either_poll {
    ($self:ident.$call:ident($now:ident $(, $argument:expr)*)) => {
        if $self.is_real {
            if $self.stops() {
                return $self.current.poll_made(&$self.shared).map(|exit| Err(OwnError::Ended(exit)));
            }
            let polled = $self.real.$call(BootClock.now() $(, $argument)*).map_err(OwnError::Module);
            $self.is_awaited = polled.is_pending();
            polled
        } else {
            $self.described.$call($now $(, $argument)*).map_err(OwnError::Gone)
        }
    };
}

impl Module {
    fn poll_finished(&mut self, now: Instant) -> Poll<Result<(), OwnError>> {
        either_poll!(self.poll_finish(now))
    }
}

impl UpdateModule for Module {
    fn select(&mut self, payload_type: &str) -> Result<(), OwnError> {
        self.is_real = self.real.has(payload_type);
        either!(self.select(payload_type))
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), OwnError> {
        either!(self.prepare(facts))
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), OwnError> {
        either!(self.prepare_again(facts))
    }

    fn start(&mut self, now: Instant, call: Call) -> Result<(), OwnError> {
        self.current = Current::Nothing;
        self.answered = false;
        self.is_complete = false;
        if !self.is_real {
            return self.described.start(now, call).map_err(OwnError::Gone);
        }
        let what = if call.is_query() { format!("{call}?") } else { call.to_string() };
        let (event, made, cut) = plan(&self.shared, &[call.name()], Lane::Module, &what)?;
        if let Some(made) = made {
            self.current = made;
            return Ok(());
        }
        if let Err(error) = self.real.start(BootClock.now(), call) {
            self.shared.journal.result(event, error.to_string());
            return Err(OwnError::Module(error));
        }
        self.is_awaited = !matches!(call, Call::Download | Call::DownloadWithFileSizes);
        self.current = Current::Real { event, name: call.name().to_owned(), began: BootClock.now(), cut };
        Ok(())
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, OwnError>> {
        if !self.is_real {
            return self.described.poll_exit(now).map_err(OwnError::Gone);
        }
        if self.shared.bench.is_down() {
            return Poll::Pending;
        }
        if let Current::Real { event, .. } = &self.current {
            let event = *event;
            let polled = self.real.poll_exit(BootClock.now());
            if self.current.is_cut(&self.shared, polled.is_ready()) {
                self.shared.bench.lose();
                return Poll::Pending;
            }
            match polled {
                Poll::Ready(Ok(exit)) => self.current.end(exit, &self.shared),
                Poll::Ready(Err(error)) => {
                    self.shared.journal.result(event, error.to_string());
                    self.current = Current::Nothing;
                    return Poll::Ready(Err(OwnError::Module(error)));
                }
                Poll::Pending => self.give_up_after_limit(BootClock.now()),
            }
        }
        let event = match &self.current {
            Current::Made { event, .. } => Some(*event),
            Current::Nothing | Current::Real { .. } => None,
        };
        let ended = self.current.poll_made(&self.shared);
        if let (Poll::Ready(exit), Some(event), false) = (ended, event, self.answered) {
            self.answered = true;
            let answer = String::from_utf8_lossy(self.real.answer()).trim().escape_debug().to_string();
            if exit.is_success() && !answer.is_empty() {
                self.shared.journal.result(event, answer);
            }
        }
        ended.map(Ok)
    }

    fn answer(&self) -> &[u8] {
        if self.is_real { self.real.answer() } else { self.described.answer() }
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        if !self.is_real {
            self.described.kill(now, grace);
        } else if self.current.is_real() {
            self.is_awaited = true;
            self.real.kill(BootClock.now(), grace.min(GRACE));
        } else {
            self.current.kill();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_real { self.current.deadline() } else { self.described.deadline() }
    }

    fn is_clean(&mut self) -> bool {
        if self.is_real { self.real.is_clean() } else { self.described.is_clean() }
    }

    fn remove(&mut self) -> Result<(), OwnError> {
        either!(self.remove())
    }
}

impl PayloadSink for Module {
    fn expect(&mut self, sha256: &[u8; 32]) {
        self.real.expect(sha256);
    }

    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), OwnError>> {
        either_poll!(self.poll_begin(now, name, size))
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, OwnError>> {
        either_poll!(self.poll_write(now, bytes))
    }

    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), OwnError>> {
        // A file has come and the payload is not complete: in the middle of the call.
        if self.is_real && matches!(self.current, Current::Real { cut: Some(What::CutInside), .. }) {
            self.shared.bench.lose();
            return Poll::Pending;
        }
        either_poll!(self.poll_end(now))
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), OwnError>> {
        if let (true, Current::Made { until, .. }) = (self.is_complete, &self.current) {
            // Nobody asks for the end of a download that is complete: it ends when the time that it takes is over.
            return if *until > now { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        let event = match &self.current {
            Current::Real { event, .. } => Some(*event),
            Current::Made { .. } | Current::Nothing => None,
        };
        let finished = self.poll_finished(now);
        if let (Poll::Ready(done), Some(event)) = (&finished, event) {
            let result = done.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
            self.shared.journal.result(event, result);
            if done.is_ok() {
                self.is_complete = true;
                self.current.end(Exit::Code(0), &self.shared);
                return self.poll_finish(now);
            }
        }
        finished
    }

    fn mark_every(&self) -> u64 {
        if self.is_real { self.real.mark_every() } else { self.described.mark_every() }
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), OwnError> {
        either!(self.mark(sha256))
    }

    fn stored(&mut self) -> Option<Stored> {
        if self.is_real { self.real.stored() } else { self.described.stored() }
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, OwnError> {
        either!(self.read_stored(to))
    }

    fn forget_stored(&mut self) -> Result<(), OwnError> {
        either!(self.forget_stored())
    }

    fn abort(&mut self) {
        if self.is_real {
            self.real.abort();
        } else {
            self.described.abort();
        }
    }
}
