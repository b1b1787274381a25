//! The simulated platform: every trait of core on one shared [`Bench`], for the real `Client`.
//!
//! A [`Plan`] decides at each effect whether it works, fails, or whether power is lost around it. Nothing is timed:
//! the clock stands until [`crate::runner`] moves it to the next deadline.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use thimble_core::api::auth::Tier;
use thimble_core::artifact::{Compression, Decompress, DecompressError, Progress, Verifier};
use thimble_core::config::Config;
use thimble_core::control::Point;
use thimble_core::deployment::Call;
use thimble_core::hal::{
    self, Agent, Change, Clock, ContentRange, ErrorType, Exit, Hal, Head, Key, Kind, Level, Log, Method,
    Network, PayloadSink, Permit, Platform, Policy, Poll, Request, ScriptRunner, Storage, Stored, System,
    Target, TreeFacts, UpdateModule,
};
use thimble_core::script::Transition;
use thimble_core::time::{Duration, Instant};

use crate::server::{self, Delivery, Server};
use crate::world::{Device, Reboot};

/// The base URL of the simulated server.
pub const SERVER: &str = "https://server";
/// The device's type.
pub const DEVICE_TYPE: &str = "board";

/// What outlives a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Durable {
    /// The records of the client.
    pub records: BTreeMap<Key, Vec<u8>>,
    /// Slots, boot loader, work tree.
    pub device: Device,
    /// The artifact's scripts are in their place.
    pub scripts: bool,
    /// The other side.
    pub server: Server,
}

/// Something outside of the client that it makes happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A batch of records is written.
    Commit,
    /// The script of a transition runs.
    Script(Transition),
    /// The module is called.
    Module(Call),
    /// The payload's bytes so far are marked as stored.
    Mark,
    /// A status is reported.
    Status(String),
    /// The reboot command runs.
    Reboot,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("save"),
            Self::Script(transition) => write!(f, "{transition}"),
            Self::Module(call) => f.write_str(call.name()),
            Self::Mark => f.write_str("mark"),
            Self::Status(status) => f.write_str(status),
            Self::Reboot => f.write_str("reboot"),
        }
    }
}

/// What becomes of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It works.
    Works,
    /// It fails, having done nothing.
    Fails,
    /// A script asks to be run again later; the server says 409.
    Refuses,
    /// Power is lost before it.
    LostBefore,
    /// Power is lost inside: what can be half done is.
    LostInside,
    /// Power is lost after it, before the client knows.
    LostAfter,
}

/// Decides what happens.
pub trait Plan {
    /// The fate of the next effect.
    fn fate(&mut self, effect: &Effect) -> Fate;
}

/// Everything works.
pub struct Smooth;

impl Plan for Smooth {
    fn fate(&mut self, _: &Effect) -> Fate {
        Fate::Works
    }
}

/// Why the process ended without its own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The reboot it asked for.
    Reboot,
    /// Power was lost.
    PowerLost,
}

/// The bench the device is clamped on: the world, the clock, the plan and the record of what happened.
pub struct Bench {
    /// What outlives a process.
    pub durable: Durable,
    /// The clock of this boot.
    pub now: Instant,
    /// Set when the process was ended from outside: from then on nothing has an effect.
    pub down: Option<Down>,
    /// The lines of the transcript.
    pub lines: Vec<String>,
    /// What the client logged.
    pub log: Vec<(Level, String)>,
    /// The artifact file, for `install`.
    pub file: Arc<[u8]>,
    /// The settings of the client.
    pub config: Config,
    /// What the device's policies say before install, reboot and commit.
    pub policies: [Rule; 3],
    /// The time of the wall clock when this boot began, since some midnight.
    pub booted: Instant,
    /// Which of several devices it is.
    pub number: u8,
    plan: Box<dyn Plan>,
}

/// A handle on the bench; each trait of the platform has one.
#[derive(Clone)]
pub struct Handle(pub Rc<RefCell<Bench>>);

impl Handle {
    /// A bench with a world on it.
    #[must_use]
    pub fn new(durable: Durable, file: Arc<[u8]>, plan: Box<dyn Plan>) -> Self {
        let bench = Bench {
            durable,
            now: Instant::ZERO,
            down: None,
            lines: Vec::new(),
            log: Vec::new(),
            file,
            config: Config::default(),
            policies: [const { Rule::None }; 3],
            booted: Instant::ZERO,
            number: 1,
            plan,
        };
        Self(Rc::new(RefCell::new(bench)))
    }

    /// The platform's parts.
    #[must_use]
    pub fn hal(&self) -> Hal<Sim> {
        Hal {
            storage: self.clone(),
            scripts: Scripts { bench: self.clone(), exit: Exit::Code(0), seen: false },
            module: Module {
                bench: self.clone(),
                call: None,
                fate: Fate::Works,
                answer: b"",
                ended: false,
                killed: false,
                seen: false,
                file: Vec::new(),
            },
            network: Net { bench: self.clone(), answer: None, at: 0, seen: false },
            system: Sys { bench: self.clone(), fails: false },
            agent: Identity(self.clone()),
            policy: Doorkeeper { bench: self.clone(), answer: Permit::Go, reason: String::new() },
            clock: self.clone(),
            log: self.clone(),
            verifier: NoKeys,
            decompress: Plain,
        }
    }

    fn line(&self, line: impl Into<String>) {
        let mut bench = self.0.borrow_mut();
        if bench.down.is_none() {
            bench.lines.push(line.into());
        }
    }

    fn is_down(&self) -> bool {
        self.0.borrow().down.is_some()
    }

    fn lose(&self) {
        let mut bench = self.0.borrow_mut();
        if bench.down.is_none() {
            bench.down = Some(Down::PowerLost);
            bench.lines.push("** power lost".into());
        }
    }

    /// The fate of an effect; `Err`: there is no power.
    fn fate(&self, effect: &Effect) -> Result<Fate, Gone> {
        if self.is_down() {
            return Err(Gone::down());
        }
        let fate = self.0.borrow_mut().plan.fate(effect);
        if fate == Fate::LostBefore {
            self.lose();
            return Err(Gone::down());
        }
        Ok(fate)
    }
}

/// An error of the simulated platform.
#[derive(Debug)]
pub struct Gone(&'static str, Kind);

impl Gone {
    const fn down() -> Self {
        Self("there is no power", Kind::Other)
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl hal::Error for Gone {
    fn kind(&self) -> Kind {
        self.1
    }
}

/// The simulated platform.
pub struct Sim;

impl Platform for Sim {
    type Storage = Handle;
    type Scripts = Scripts;
    type Module = Module;
    type Network = Net;
    type System = Sys;
    type Agent = Identity;
    type Policy = Doorkeeper;
    type Clock = Handle;
    type Log = Handle;
    type Verifier = NoKeys;
    type Decompress = Plain;
}

impl ErrorType for Handle {
    type Error = Gone;
}

impl Clock for Handle {
    fn now(&mut self) -> Instant {
        self.0.borrow().now
    }
}

impl Log for Handle {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        if level > Level::Debug {
            self.0.borrow_mut().log.push((level, message.to_string()));
        }
    }
}

impl Storage for Handle {
    fn read<'b>(&mut self, key: Key, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, Gone> {
        let bench = self.0.borrow();
        let Some(record) = bench.durable.records.get(&key) else { return Ok(None) };
        let Some(room) = buf.get_mut(..record.len()) else {
            return Err(Gone("the record is longer than the buffer", Kind::TooLarge));
        };
        room.copy_from_slice(record);
        Ok(Some(room))
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), Gone> {
        let fate = self.fate(&Effect::Commit)?;
        match fate {
            Fate::Fails | Fate::Refuses => return Err(Gone("the disk is full", Kind::NoSpace)),
            // The contract: all of a batch or nothing. Torn inside, a restart finds nothing of it.
            Fate::LostInside => {
                self.lose();
                return Err(Gone::down());
            }
            Fate::Works | Fate::LostBefore | Fate::LostAfter => {}
        }
        let mut bench = self.0.borrow_mut();
        for change in batch {
            match change {
                Change::Put(key, bytes) => {
                    bench.durable.records.insert(*key, bytes.to_vec());
                }
                Change::Delete(key) => {
                    bench.durable.records.remove(key);
                }
            }
        }
        drop(bench);
        if fate == Fate::LostAfter {
            self.lose();
            return Err(Gone::down());
        }
        Ok(())
    }
}

/// State scripts: one for each transition.
pub struct Scripts {
    bench: Handle,
    exit: Exit,
    seen: bool,
}

impl ErrorType for Scripts {
    type Error = Gone;
}

impl ScriptRunner for Scripts {
    fn start(&mut self, _: Instant, transition: Transition, index: u16) -> Result<bool, Gone> {
        if index > 0 {
            return Ok(false);
        }
        if transition.state.is_artifact() && !self.bench.0.borrow().durable.scripts {
            return Ok(false);
        }
        self.seen = false;
        let fate = self.bench.fate(&Effect::Script(transition))?;
        self.bench.line(transition.to_string());
        self.exit = match fate {
            Fate::Works | Fate::LostBefore => Exit::Code(0),
            Fate::Fails => Exit::Code(1),
            Fate::Refuses => Exit::Code(21),
            Fate::LostInside | Fate::LostAfter => {
                self.bench.lose();
                Exit::Code(0)
            }
        };
        Ok(true)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, Gone>> {
        // Pending once, so that whoever runs the client sees every operation begin.
        if self.bench.is_down() || !std::mem::replace(&mut self.seen, true) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.exit))
    }

    fn deadline(&self) -> Option<Instant> {
        Some(Instant::ZERO)
    }

    fn kill(&mut self, _: Instant, _: Duration) {
        self.exit = Exit::Signal(15);
    }

    fn check_version(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.bench.0.borrow_mut().durable.scripts = false;
        Ok(())
    }

    fn stage(&mut self, _: &str, _: u64) -> Result<(), Gone> {
        Ok(())
    }

    fn stage_write(&mut self, _: &[u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.bench.0.borrow_mut().durable.scripts = true;
        Ok(())
    }
}

/// The update module of the device.
pub struct Module {
    bench: Handle,
    call: Option<Call>,
    fate: Fate,
    answer: &'static [u8],
    ended: bool,
    killed: bool,
    seen: bool,
    /// What came of the payload's file.
    file: Vec<u8>,
}

/// Of a payload's file, between marks.
const MARK_EVERY: u64 = 8;

impl Module {
    fn device<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        act(&mut self.bench.0.borrow_mut().durable.device)
    }

    /// What the call printed and how it ended.
    fn perform(&mut self, call: Call) -> bool {
        let profile = self.device(|device| device.profile);
        let word = |yes: bool| if yes { "Yes" } else { "No" };
        let answer = match call {
            Call::NeedsArtifactReboot => match profile.reboot {
                Reboot::No => "No",
                Reboot::Yes => "Yes",
                Reboot::Automatic => "Automatic",
            },
            Call::SupportsRollback => word(profile.rollback),
            Call::ProvidePayloadFileSizes => "No",
            Call::Download
            | Call::DownloadWithFileSizes
            | Call::ArtifactInstall
            | Call::ArtifactReboot
            | Call::ArtifactVerifyReboot
            | Call::ArtifactCommit
            | Call::ArtifactRollback
            | Call::ArtifactRollbackReboot
            | Call::ArtifactVerifyRollbackReboot
            | Call::ArtifactFailure
            | Call::Cleanup => {
                self.bench.line(call.name());
                return match self.fate {
                    // A module that fails may have done its work or not; here it has not, except for the note it
                    // needs to roll back.
                    Fate::Fails | Fate::Refuses => {
                        self.device(|device| device.half_call(call));
                        false
                    }
                    Fate::LostInside => {
                        self.device(|device| device.half_call(call));
                        false
                    }
                    Fate::Works | Fate::LostBefore | Fate::LostAfter => {
                        self.device(|device| device.call(call))
                    }
                };
            }
        };
        let good = !matches!(self.fate, Fate::Fails | Fate::Refuses);
        self.answer = if good { answer.as_bytes() } else { b"" };
        self.bench.line(format!("{call}? {}", if good { answer } else { "(fails)" }));
        good
    }
}

impl ErrorType for Module {
    type Error = Gone;
}

impl PayloadSink for Module {
    fn mark_every(&self) -> u64 {
        MARK_EVERY
    }

    fn mark(&mut self, sum: &[u8; 32]) -> Result<(), Gone> {
        let fate = self.bench.fate(&Effect::Mark)?;
        let mut file = self.file.clone();
        match fate {
            Fate::Fails | Fate::Refuses => return Err(Gone("the disk is full", Kind::NoSpace)),
            // A disk that keeps the mark and loses what it speaks of.
            Fate::LostInside => file.iter_mut().for_each(|byte| *byte = 0),
            Fate::Works | Fate::LostBefore | Fate::LostAfter => {}
        }
        self.device(|device| device.partial = Some((file, *sum)));
        if matches!(fate, Fate::LostInside | Fate::LostAfter) {
            self.bench.lose();
            return Err(Gone::down());
        }
        Ok(())
    }

    fn stored(&mut self) -> Option<Stored> {
        self.device(|device| {
            device.partial.as_ref().map(|(bytes, sum)| Stored { length: bytes.len() as u64, sum: *sum })
        })
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, Gone> {
        let at = self.file.len();
        let bytes = self.device(|device| device.partial.as_ref().map(|(bytes, _)| bytes.clone()));
        let bytes = bytes.unwrap_or_default();
        let length = bytes.len().saturating_sub(at).min(to.len());
        to[..length].copy_from_slice(&bytes[at..at + length]);
        self.file.extend(&bytes[at..at + length]);
        Ok(length)
    }

    fn forget_stored(&mut self) -> Result<(), Gone> {
        self.file.clear();
        self.device(|device| device.partial = None);
        Ok(())
    }

    fn poll_begin(&mut self, _: Instant, _: &str, _: u64) -> Poll<Result<(), Gone>> {
        self.file.clear();
        match self.fate {
            _ if self.bench.is_down() => Poll::Pending,
            Fate::Fails | Fate::Refuses => {
                Poll::Ready(Err(Gone("the module ended with exit status 1", Kind::Other)))
            }
            Fate::LostInside => {
                self.bench.lose();
                Poll::Pending
            }
            Fate::Works | Fate::LostBefore | Fate::LostAfter => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, _: Instant, bytes: &[u8]) -> Poll<Result<usize, Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        self.file.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_end(&mut self, _: Instant) -> Poll<Result<(), Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        if self.file != crate::sample::PAYLOAD {
            let mut bench = self.bench.0.borrow_mut();
            bench.durable.server.violation("the module got other bytes than the artifact has");
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: Instant) -> Poll<Result<(), Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        self.device(Device::received);
        if self.fate == Fate::LostAfter {
            self.bench.lose();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {}
}

impl UpdateModule for Module {
    fn select(&mut self, _: &str) -> Result<(), Gone> {
        Ok(())
    }

    fn prepare(&mut self, _: &TreeFacts<'_>) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.device(Device::prepare);
        Ok(())
    }

    fn prepare_again(&mut self, _: &TreeFacts<'_>) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.device(Device::prepare_again);
        Ok(())
    }

    fn start(&mut self, _: Instant, call: Call) -> Result<(), Gone> {
        if call != Call::Cleanup && !self.device(|device| device.tree) {
            return Err(Gone("the work tree is missing", Kind::NotFound));
        }
        self.seen = false;
        self.killed = false;
        self.fate = self.bench.fate(&Effect::Module(call))?;
        self.call = Some(call);
        if matches!(call, Call::Download | Call::DownloadWithFileSizes) {
            self.bench.line(call.name());
            self.device(Device::receive);
            return Ok(());
        }
        self.ended = self.perform(call);
        if matches!(self.fate, Fate::LostInside | Fate::LostAfter) {
            self.bench.lose();
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        // A download takes what comes at once: only the network is waited for.
        let downloads = matches!(self.call, Some(Call::Download | Call::DownloadWithFileSizes));
        (self.call.is_some() && (self.killed || !downloads)).then_some(Instant::ZERO)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, Gone>> {
        if self.bench.is_down() || !std::mem::replace(&mut self.seen, true) {
            return Poll::Pending;
        }
        let good = self.call.take().is_some() && self.ended;
        Poll::Ready(Ok(Exit::Code(u8::from(!good))))
    }

    fn answer(&self) -> &[u8] {
        self.answer
    }

    fn kill(&mut self, _: Instant, _: Duration) {
        self.ended = false;
        self.killed = true;
    }

    fn is_clean(&mut self) -> bool {
        !self.device(|device| device.tree)
    }

    fn remove(&mut self) -> Result<(), Gone> {
        if !self.bench.is_down() {
            self.device(Device::clean);
        }
        Ok(())
    }
}

/// The network: the server, and the artifact file.
pub struct Net {
    bench: Handle,
    answer: Option<server::Response>,
    at: usize,
    seen: bool,
}

/// The value of a header.
fn header<'a>(answer: &'a server::Response, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Net {
    fn ask(&self, request: &Request<'_>, url: &str) -> Result<server::Response, Gone> {
        let lost = || Gone("the connection broke", Kind::Connection);
        let target = url.strip_prefix(SERVER).ok_or_else(lost)?;
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
        };
        let bearer = request.token.map(|token| format!("Bearer {token}"));
        let range = (request.offset > 0).then(|| format!("bytes={}-", request.offset));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(bearer.as_deref().map(|value| ("Authorization", value)));
        headers.extend(request.signature.map(|value| ("X-MEN-Signature", value)));
        headers.extend(request.body.map(|_| ("Content-Type", "application/json")));
        headers.extend(range.as_deref().map(|value| ("Range", value)));
        headers.extend(request.etag.filter(|_| request.offset > 0).map(|value| ("If-Range", value)));
        let body = request.body.unwrap_or_default();

        let mut fate = Fate::Works;
        if target.ends_with("/status") {
            let text = String::from_utf8_lossy(body).into_owned();
            let status =
                text.split("\"status\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
            fate = self.bench.fate(&Effect::Status(status.to_owned()))?;
            self.bench.line(format!("-- {status}"));
        }
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        let mut bench = self.bench.0.borrow_mut();
        match fate {
            Fate::Fails | Fate::LostInside => {}
            Fate::Refuses => {
                let ids: Vec<String> = bench.durable.server.deployments.keys().cloned().collect();
                ids.iter().for_each(|id| bench.durable.server.abort(id));
            }
            Fate::Works | Fate::LostBefore | Fate::LostAfter => {}
        }
        if fate == Fate::Fails {
            return Err(lost());
        }
        let answer = if fate == Fate::LostInside {
            None
        } else {
            Some(bench.durable.server.request(&server::Request { method, target, headers: &headers, body }))
        };
        drop(bench);
        if matches!(fate, Fate::LostInside | Fate::LostAfter) {
            self.bench.lose();
            return Err(Gone::down());
        }
        answer.ok_or_else(lost)
    }
}

impl ErrorType for Net {
    type Error = Gone;
}

impl Network for Net {
    fn start(&mut self, _: Instant, request: &Request<'_>) -> Result<(), Gone> {
        self.at = 0;
        self.seen = false;
        self.answer = Some(match request.target {
            Target::File(_) => server::Response {
                status: 200,
                headers: Vec::new(),
                body: self.bench.0.borrow().file.to_vec(),
                delivery: Delivery::Whole,
            },
            // What breaks, breaks when the answer should come.
            Target::Url(url) => self.ask(request, url).unwrap_or(server::Response {
                status: 0,
                headers: Vec::new(),
                body: Vec::new(),
                delivery: Delivery::Lost,
            }),
        });
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.answer.is_some().then_some(Instant::ZERO)
    }

    fn poll_head(&mut self, _: Instant) -> Poll<Result<Head, Gone>> {
        if self.bench.is_down() || !std::mem::replace(&mut self.seen, true) {
            return Poll::Pending;
        }
        let Some(answer) = &self.answer else { return Poll::Pending };
        if matches!(answer.delivery, Delivery::Lost | Delivery::Silent) {
            return Poll::Ready(Err(Gone("the connection broke", Kind::Connection)));
        }
        let content_range = header(answer, "Content-Range").and_then(|value| {
            let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some(ContentRange {
                first: first.parse().ok()?,
                last: last.parse().ok()?,
                size: size.parse().ok(),
            })
        });
        Poll::Ready(Ok(Head {
            status: answer.status,
            content_length: Some(answer.body.len() as u64),
            content_range,
            retry_after: header(answer, "Retry-After")
                .and_then(|value| thimble_core::retry::retry_after(value, None)),
        }))
    }

    fn poll_read(&mut self, _: Instant, buf: &mut [u8]) -> Poll<Result<usize, Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        let Some(answer) = &self.answer else { return Poll::Pending };
        let end = match answer.delivery {
            Delivery::Cut(at) => at.min(answer.body.len()),
            Delivery::Whole | Delivery::Lost | Delivery::Silent => answer.body.len(),
        };
        let rest = answer.body.get(self.at..end).unwrap_or_default();
        if rest.is_empty() && end < answer.body.len() {
            return Poll::Ready(Err(Gone("the connection broke", Kind::Connection)));
        }
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Poll::Ready(Ok(len))
    }

    fn etag(&self) -> Option<&str> {
        self.answer.as_ref().and_then(|answer| header(answer, "ETag"))
    }

    fn cancel(&mut self) {
        self.answer = None;
    }
}

/// The machine around the client.
pub struct Sys {
    bench: Handle,
    fails: bool,
}

impl ErrorType for Sys {
    type Error = Gone;
}

impl System for Sys {
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, Gone> {
        let room = buf.get_mut(..DEVICE_TYPE.len()).ok_or(Gone("the buffer is too short", Kind::TooLarge))?;
        room.copy_from_slice(DEVICE_TYPE.as_bytes());
        core::str::from_utf8(room).map_err(|_| Gone("not text", Kind::Corrupt))
    }

    fn start_reboot(&mut self, _: Instant) -> Result<(), Gone> {
        let fate = self.bench.fate(&Effect::Reboot)?;
        self.fails = matches!(fate, Fate::Fails | Fate::Refuses);
        self.bench.line(if self.fails { "** reboot fails" } else { "** reboot" });
        if !self.fails {
            self.bench.0.borrow_mut().down = Some(Down::Reboot);
        }
        Ok(())
    }

    fn poll_reboot(&mut self, _: Instant) -> Poll<Result<Exit, Gone>> {
        if self.fails { Poll::Ready(Ok(Exit::Code(1))) } else { Poll::Pending }
    }
}

/// What a policy of the device says before one point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// There is none.
    None,
    /// Not now, for this reason; it is asked again after a minute.
    Busy(String),
    /// Only between these minutes of the day.
    Window(u16, u16),
    /// Never, for this reason: the update fails.
    Never(String),
}

/// The policies of the device.
pub struct Doorkeeper {
    bench: Handle,
    answer: Permit,
    reason: String,
}

impl Policy for Doorkeeper {
    fn start(&mut self, now: Instant, point: Point, _: Instant) {
        let bench = self.bench.0.borrow();
        let minute = Duration::from_secs(60);
        (self.answer, self.reason) = match &bench.policies[point as usize] {
            Rule::None => (Permit::Go, String::new()),
            Rule::Busy(reason) => (Permit::Wait(minute), reason.clone()),
            Rule::Never(reason) => (Permit::Fail, reason.clone()),
            Rule::Window(from, to) => {
                let (from, to) = (u64::from(*from), u64::from(*to));
                let time = (bench.booted + now.since(Instant::ZERO)).as_millis() / 60_000 % 1440;
                let inside = if from < to { (from..to).contains(&time) } else { time >= from || time < to };
                let wait = (from + 1440 - time) % 1440;
                let window = format!(
                    "outside the update window {:02}:{:02}-{:02}:{:02}",
                    from / 60,
                    from % 60,
                    to / 60,
                    to % 60
                );
                if inside {
                    (Permit::Go, String::new())
                } else {
                    (Permit::Wait(Duration::from_secs(wait * 60)), window)
                }
            }
        };
    }

    fn poll(&mut self, _: Instant) -> Poll<Permit> {
        if self.bench.is_down() { Poll::Pending } else { Poll::Ready(self.answer) }
    }

    fn kill(&mut self) {}

    fn reason(&self) -> &str {
        &self.reason
    }
}

/// Who the device is.
pub struct Identity(Handle);

impl ErrorType for Identity {
    type Error = Gone;
}

impl Agent for Identity {
    fn server(&self, index: usize) -> Option<&str> {
        (index == 0).then_some(SERVER)
    }

    fn tenant_token(&self) -> &'static str {
        ""
    }

    fn tier(&self) -> Option<Tier> {
        None
    }

    fn version(&self) -> &'static str {
        "simulated"
    }

    fn start_identity(&mut self, _: Instant) -> Result<(), Gone> {
        Ok(())
    }

    fn poll_identity(&mut self, _: Instant, out: &mut [u8]) -> Poll<Result<usize, Gone>> {
        let text = format!("mac=02:00:00:00:00:{:02}\n", self.0.0.borrow().number);
        let Some(room) = out.get_mut(..text.len()) else {
            return Poll::Ready(Err(Gone("the buffer is too short", Kind::TooLarge)));
        };
        room.copy_from_slice(text.as_bytes());
        Poll::Ready(Ok(text.len()))
    }

    fn public_key(&mut self) -> Result<&str, Gone> {
        Ok(
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
        )
    }

    fn sign<'o>(&mut self, _: &[u8], out: &'o mut [u8]) -> Result<&'o str, Gone> {
        let room = out.get_mut(..4).ok_or(Gone("the buffer is too short", Kind::TooLarge))?;
        room.copy_from_slice(b"c2ln");
        core::str::from_utf8(room).map_err(|_| Gone("not text", Kind::Corrupt))
    }

    fn start_inventory(&mut self, _: Instant) -> Result<(), Gone> {
        Ok(())
    }

    fn poll_inventory(&mut self, _: Instant) -> Poll<()> {
        Poll::Ready(())
    }

    fn inventory(&self, _: usize) -> Option<&[u8]> {
        None
    }

    fn deployment_log(&mut self, _: &str) -> Result<&[u8], Gone> {
        Ok(br#"{"messages":[{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","message":"simulated"}]}"#)
    }

    fn cancel(&mut self) {}
}

/// No verify keys.
pub struct NoKeys;

impl Verifier for NoKeys {
    fn has_keys(&self) -> bool {
        false
    }

    fn reset(&mut self) {}

    fn update(&mut self, _: &[u8]) -> bool {
        true
    }

    fn verify(&mut self, _: &[u8]) -> bool {
        false
    }
}

/// No compression.
pub struct Plain;

impl Decompress for Plain {
    fn begin(&mut self, _: Compression) -> Result<(), DecompressError> {
        Err(DecompressError::Unsupported)
    }

    fn decompress(&mut self, _: &[u8], _: &mut [u8], _: usize) -> Result<Progress, DecompressError> {
        Err(DecompressError::Unsupported)
    }
}
