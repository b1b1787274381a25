//! Everything of this crate as one platform.

use std::fmt;
use std::io;
use std::path::Path;
use std::task::Poll;

use thimble_core::api::auth::Tier;
use thimble_core::artifact::{Gzip, ManifestEntry, Verifier};
use thimble_core::client::Buffers;
use thimble_core::hal::{
    self, Agent, ErrorType, Hal, Head, Kind, Level, Log, Network, Platform, Request, Target,
};
use thimble_core::time::{Instant, earliest};

use crate::SharedLog;
use crate::clock::BootClock;
use crate::file::{FileError, FileSource};
use crate::module::Modules;
use crate::paths::Paths;
use crate::scripts::Scripts;
use crate::storage::Store;
use crate::system::Device;
use crate::wait::PollSet;

/// A device that runs Linux.
#[derive(Debug)]
pub struct Linux;

impl Platform for Linux {
    type Storage = Store;
    type Scripts = Scripts;
    type Module = Modules;
    type Network = Sources;
    type System = Device;
    type Clock = BootClock;
    type Log = LogHandle;
    type Verifier = NoKeys;
    type Decompress = Gzip;
    type Agent = NoAgent;
}

/// What [`hal`] is built from.
pub struct Parts<'a> {
    /// The directories.
    pub paths: &'a Paths,
    /// The file with the device type.
    pub device_type: &'a Path,
    /// The opened store.
    pub storage: Store,
    /// The log.
    pub log: SharedLog,
}

/// The platform, ready to be driven.
///
/// # Errors
/// When a directory of `parts` cannot be made absolute.
pub fn hal(parts: Parts<'_>) -> io::Result<Hal<Linux>> {
    let Parts { paths, device_type, storage, log } = parts;
    Ok(Hal {
        storage,
        scripts: Scripts::new(paths.conf(), paths.datastore(), log.clone())?,
        module: Modules::new(paths.data(), paths.datastore(), log.clone())?,
        network: Sources::default(),
        system: Device::new(device_type, log.clone()),
        clock: BootClock,
        log: LogHandle(log),
        verifier: NoKeys,
        decompress: Gzip::default(),
        agent: NoAgent,
    })
}

/// Adds everything the platform waits for.
pub fn wants<'fd>(hal: &'fd Hal<Linux>, set: &mut PollSet<'fd>) {
    hal.scripts.wants(set);
    hal.module.wants(set);
    hal.network.wants(set);
    hal.system.wants(set);
}

/// When to poll though nothing woke us and the driver does not know.
#[must_use]
pub fn deadline(hal: &Hal<Linux>, driver: Option<Instant>) -> Option<Instant> {
    earliest(driver, hal.system.deadline())
}

/// The shared log, as the driver's own.
pub struct LogHandle(pub SharedLog);

impl Log for LogHandle {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        self.0.borrow_mut().log(level, message);
    }

    fn open_deployment(&mut self, id: &str) {
        self.0.borrow_mut().open_deployment(id);
    }

    fn close_deployment(&mut self) {
        self.0.borrow_mut().close_deployment();
    }
}

/// No verify key is configured.
#[derive(Debug)]
pub struct NoKeys;

impl Verifier for NoKeys {
    fn has_keys(&self) -> bool {
        false
    }

    fn reset(&mut self) {}

    fn update(&mut self, _manifest: &[u8]) -> bool {
        false
    }

    fn verify(&mut self, _signature: &[u8]) -> bool {
        false
    }
}

/// The command line talks to no server.
#[derive(Debug)]
pub struct NoAgent;

impl ErrorType for NoAgent {
    type Error = SourceError;
}

impl Agent for NoAgent {
    fn server(&self, _index: usize) -> Option<&str> {
        None
    }

    fn tenant_token(&self) -> &str {
        ""
    }

    fn tier(&self) -> Option<Tier> {
        None
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn start_identity(&mut self, _now: Instant) -> Result<(), SourceError> {
        Err(SourceError::NoSource)
    }

    fn poll_identity(&mut self, _now: Instant, _out: &mut [u8]) -> Poll<Result<usize, SourceError>> {
        Poll::Ready(Err(SourceError::NoSource))
    }

    fn public_key(&mut self) -> Result<&str, SourceError> {
        Err(SourceError::NoSource)
    }

    fn sign<'o>(&mut self, _body: &[u8], _out: &'o mut [u8]) -> Result<&'o str, SourceError> {
        Err(SourceError::NoSource)
    }

    fn start_inventory(&mut self, _now: Instant) -> Result<(), SourceError> {
        Err(SourceError::NoSource)
    }

    fn poll_inventory(&mut self, _now: Instant) -> Poll<()> {
        Poll::Ready(())
    }

    fn inventory(&self, _index: usize) -> Option<&[u8]> {
        None
    }

    fn deployment_log(&mut self, _deployment: &str) -> Result<&[u8], SourceError> {
        Err(SourceError::NoSource)
    }

    fn cancel(&mut self) {}
}

/// Where artifacts come from.
#[derive(Debug, Default)]
pub struct Sources {
    file: Option<FileSource>,
}

impl Sources {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(file) = &self.file {
            file.wants(set);
        }
    }
}

/// Why a source gives nothing.
#[derive(Debug)]
pub enum SourceError {
    /// The file.
    File(FileError),
    /// Nothing was asked for, or it cannot be had.
    NoSource,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NoSource => f.write_str("only files can be read"),
        }
    }
}

impl hal::Error for SourceError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::NoSource => Kind::Refused,
        }
    }
}

impl ErrorType for Sources {
    type Error = SourceError;
}

impl Network for Sources {
    fn start(&mut self, _now: Instant, request: &Request<'_>) -> Result<(), SourceError> {
        self.file = None;
        match request.target {
            Target::File(path) => {
                let file = FileSource::open(path.as_ref(), request.offset).map_err(SourceError::File)?;
                self.file = Some(file);
                Ok(())
            }
            Target::Url(_) => Err(SourceError::NoSource),
        }
    }

    fn poll_head(&mut self, _now: Instant) -> Poll<Result<Head, SourceError>> {
        let file = self.file.as_ref().ok_or(SourceError::NoSource)?;
        let content_length = file.length();
        Poll::Ready(Ok(Head { status: 200, content_length, content_range: None, retry_after: None }))
    }

    fn poll_read(&mut self, _now: Instant, buf: &mut [u8]) -> Poll<Result<usize, SourceError>> {
        let file = self.file.as_mut().ok_or(SourceError::NoSource)?;
        file.poll_read(buf).map_err(SourceError::File)
    }

    fn cancel(&mut self) {
        self.file = None;
    }
}

/// The memory of a client on Linux; the lengths are the limits of `artifact.md` 8.
pub struct Memory {
    chunk: Vec<u8>,
    record: Vec<u8>,
    out: Vec<u8>,
    name: Vec<u8>,
    header_info: Vec<u8>,
    type_info: Vec<u8>,
    meta_data: Vec<u8>,
    files: Vec<ManifestEntry>,
    window: Vec<u8>,
}

impl Default for Memory {
    fn default() -> Self {
        const KIB: usize = 1024;
        Self {
            chunk: vec![0; 256 * KIB],
            record: vec![0; 64 * KIB],
            out: vec![0; 64 * KIB],
            name: vec![0; 4 * KIB],
            header_info: vec![0; 64 * KIB],
            type_info: vec![0; 64 * KIB],
            meta_data: vec![0; KIB * KIB],
            files: vec![ManifestEntry::default(); 1024],
            window: vec![0; 256 * KIB],
        }
    }
}

impl Memory {
    /// Lends all of it.
    pub fn lend(&mut self) -> Buffers<'_> {
        Buffers {
            chunk: &mut self.chunk,
            record: &mut self.record,
            out: &mut self.out,
            name: &mut self.name,
            header_info: &mut self.header_info,
            type_info: &mut self.type_info,
            meta_data: &mut self.meta_data,
            files: &mut self.files,
            window: &mut self.window,
        }
    }
}
