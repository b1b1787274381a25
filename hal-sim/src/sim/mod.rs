//! The simulated platform: every trait of core on one shared [`Bench`], for the real `Client`.
//!
//! A [`Plan`] decides at each effect whether it works, fails, or whether power is lost around it. Nothing is timed:
//! the clock stands until [`crate::runner`] moves it to the next deadline.

mod module;
mod network;
mod policy;
mod scripts;
mod system;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use thimble_core::client;
use thimble_core::config::Config;
use thimble_core::deployment::Call;
use thimble_core::hal::{
    self, Change, Clock, Compression, Decompress, DecompressError, Decompressed, ErrorType, Hal, Key, Kind,
    Level, Log, Platform, Storage,
};
use thimble_core::script::Transition;
use thimble_core::time::Instant;

pub use self::module::Module;
pub use self::network::Net;
pub use self::policy::{Doorkeeper, Rule};
pub use self::scripts::Scripts;
pub use self::system::{OneLine, Sys, Who};
use crate::flight;
use crate::server::Server;
use crate::world::{Device, PAYLOAD};

/// The base URL of the simulated server.
pub const SERVER: &str = "https://server";
/// What the client says of itself, and to whom.
pub const CLIENT: client::Device<'static> =
    client::Device { servers: &[SERVER], tenant_token: "", tier: None, version: "simulated" };
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

/// An effect of the client on the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A batch of records is written.
    Commit(Batch),
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
            Self::Commit(_) => f.write_str("save"),
            Self::Script(transition) => write!(f, "{transition}"),
            Self::Module(call) => f.write_str(call.name()),
            Self::Mark => f.write_str("mark"),
            Self::Status(status) => f.write_str(status),
            Self::Reboot => f.write_str("reboot"),
        }
    }
}

/// What a batch of records does, most of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Batch {
    /// It writes the record of the update or of the control maps.
    Record,
    /// It writes name and provides.
    Provides,
    /// It deletes the record of the update.
    Deletion,
}

impl Batch {
    fn of(batch: &[Change<'_>]) -> Self {
        let has = |is_it: fn(&Change<'_>) -> bool| batch.iter().any(is_it);
        if has(|change| matches!(change, Change::Put(Key::Provides, _))) {
            Self::Provides
        } else if has(|change| matches!(change, Change::Delete(Key::Checkpoint))) {
            Self::Deletion
        } else {
            Self::Record
        }
    }
}

/// What happens to an effect.
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

/// A line of the transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When: [`Bench::time`].
    pub at: Instant,
    /// What happened: a script, a call, `-- status`, `** reboot`, `!! why something failed`.
    pub text: String,
}

/// Everything around the client under test: the world, the clock, the plan and the record of what happened.
pub struct Bench {
    /// What outlives a process.
    pub durable: Durable,
    /// The clock of this boot.
    pub now: Instant,
    /// Set when the process was ended from outside: from then on nothing has an effect.
    pub down: Option<Down>,
    /// The lines of the transcript.
    pub lines: Vec<Line>,
    /// What the client logged.
    pub log: Vec<(Level, String)>,
    /// The artifact file, for `install`.
    pub file: Arc<[u8]>,
    /// The settings of the client.
    pub config: Config,
    /// What the device's policies say before install, reboot and commit.
    pub policies: [Rule; 3],
    /// How often they were asked there.
    pub asked: [u32; 3],
    /// The time of the wall clock when this boot began, since some midnight.
    pub booted: Instant,
    /// Which of several devices it is.
    pub number: u8,
    /// Until then what keeps the device's key does not answer.
    pub key_silent_until: Instant,
    /// The device's type.
    pub device_type: String,
    /// The state scripts that there are, in the order of their names; `None`: one for each transition.
    pub scripts: Option<Vec<(Transition, String)>>,
    /// How fast answers come; `None`: at once.
    pub bytes_per_second: Option<NonZeroU32>,
    /// The bytes that the described module must get of each file; `None`: whatever comes is right.
    pub payload: Option<&'static [u8]>,
    /// Batches that changed nothing but the flight record: there must be none.
    pub flight_alone: u32,
    plan: Box<dyn Plan>,
}

impl Bench {
    /// The time since some midnight, whatever restarts came between.
    #[must_use]
    pub fn time(&self) -> Instant {
        self.booted + self.now.since(Instant::ZERO)
    }

    fn line(&mut self, text: String) {
        let at = self.time();
        self.lines.push(Line { at, text });
    }
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
            asked: [0; 3],
            booted: Instant::ZERO,
            number: 1,
            key_silent_until: Instant::ZERO,
            device_type: DEVICE_TYPE.to_owned(),
            scripts: None,
            bytes_per_second: None,
            payload: Some(PAYLOAD),
            flight_alone: 0,
            plan,
        };
        Self(Rc::new(RefCell::new(bench)))
    }

    /// The platform's parts.
    #[must_use]
    pub fn hal(&self) -> Hal<Sim> {
        Hal {
            storage: self.clone(),
            scripts: Scripts::new(self.clone()),
            module: Module::new(self.clone()),
            network: Net::new(self.clone()),
            system: Sys::new(self.clone()),
            identity: Who(self.clone()),
            device_key: Who(self.clone()),
            inventory: (),
            deployment_log: OneLine,
            policy: Doorkeeper::new(self.clone()),
            clock: self.clone(),
            log: self.clone(),
            verifier: (),
            decompress: Plain,
        }
    }

    /// A line of the transcript; none once the process was ended from outside.
    pub fn line(&self, line: impl Into<String>) {
        let mut bench = self.0.borrow_mut();
        if bench.down.is_none() {
            bench.line(line.into());
        }
    }

    /// Whether the process was ended from outside.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.0.borrow().down.is_some()
    }

    /// Power is lost now.
    pub fn lose(&self) {
        let mut bench = self.0.borrow_mut();
        if bench.down.is_none() {
            bench.down = Some(Down::PowerLost);
            bench.line("** power lost".into());
        }
    }

    /// The fate of an effect.
    ///
    /// # Errors
    /// There is no power, or it is lost before the effect.
    pub fn fate(&self, effect: &Effect) -> Result<Fate, Gone> {
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
    /// There is no power.
    #[must_use]
    pub const fn down() -> Self {
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
    type Identity = Who;
    type DeviceKey = Who;
    type Inventory = ();
    type DeploymentLog = OneLine;
    type Policy = Doorkeeper;
    type Clock = Handle;
    type Log = Handle;
    type Verifier = ();
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
            let message = message.to_string();
            if level == Level::Error {
                self.line(format!("!! {message}"));
            }
            self.0.borrow_mut().log.push((level, message));
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
        let fate = self.fate(&Effect::Commit(Batch::of(batch)))?;
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
        bench.flight_alone += u32::from(flight::is_alone(&bench.durable.records, batch));
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

/// No compression.
pub struct Plain;

impl Decompress for Plain {
    fn begin(&mut self, _: Compression) -> Result<(), DecompressError> {
        Err(DecompressError::Unsupported)
    }

    fn decompress(&mut self, _: &[u8], _: &mut [u8], _: usize) -> Result<Decompressed, DecompressError> {
        Err(DecompressError::Unsupported)
    }
}
