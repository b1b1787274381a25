//! Puts the parts of this crate together to one platform.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use thimble_core::artifact::ManifestEntry;
use thimble_core::client::Buffers;
use thimble_core::hal::{DeviceKey, ErrorType, Hal, Level, Log, Platform};
use thimble_core::limits;
use thimble_core::message::Coded;
use thimble_core::time::{Instant, earliest};

use crate::SharedLog;
use crate::agent::{DeploymentLogs, DeviceIdentity, DeviceInventory};
use crate::bootloader::{self, LinuxBootloader};
use crate::clock::BootClock;
use crate::decompress::Decompressor;
use crate::handler::{Handlers, Rootfs};
use crate::hints;
use crate::keys::{self, KeyError};
use crate::module::Modules;
use crate::network::HttpNetwork;
use crate::paths::Paths;
use crate::policy::{self, Policies};
use crate::process::Note;
use crate::rootfs::slot::Machine;
use crate::rootfs::{LinuxSlots, Options};
use crate::scripts::Scripts;
use crate::storage::Store;
use crate::system::Device;
use crate::verify::KeyVerifier;
use crate::wait::PollSet;

/// A device that runs Linux.
#[derive(Debug)]
pub struct Linux;

impl Platform for Linux {
    type Storage = Store;
    type Scripts = Scripts;
    type Module = Handlers;
    type Network = HttpNetwork;
    type System = Device;
    type Identity = DeviceIdentity;
    type DeviceKey = AuthKey;
    type Inventory = DeviceInventory;
    type DeploymentLog = DeploymentLogs;
    type Policy = Policies;
    type Clock = BootClock;
    type Log = LogHandle;
    type Verifier = KeyVerifier;
    type Decompress = Decompressor;
}

/// What [`hal`] is built from.
pub struct Parts<'a> {
    /// The directories.
    pub paths: &'a Paths,
    /// The file with the device type.
    pub device_type: &'a Path,
    /// The opened store.
    pub storage: Store,
    /// Where artifacts come from and requests go to.
    pub network: HttpNetwork,
    /// Verifies the signatures of artifacts.
    pub verifier: KeyVerifier,
    /// The directory with the logs of deployments.
    pub deployment_logs: PathBuf,
    /// The key of the device.
    pub key: AuthKey,
    /// The boot loader, and the two root file systems.
    pub boot: bootloader::Settings,
    /// How images are written to the slots.
    pub slots: Options,
    /// The policies about when updates may go on.
    pub policies: policy::Settings,
    /// The log.
    pub log: SharedLog,
    /// The note that every started script and module is written to; `None` without the lock.
    pub note: Option<Rc<Note>>,
}

/// Builds the platform from its parts.
///
/// # Errors
/// When a directory of `parts` cannot be made absolute.
pub fn hal(parts: Parts<'_>) -> io::Result<Hal<Linux>> {
    let Parts {
        paths,
        device_type,
        storage,
        network,
        verifier,
        deployment_logs,
        key,
        boot,
        slots,
        policies,
        log,
        note,
    } = parts;
    let machine = Machine::default();
    let slots = LinuxSlots::new(paths.datastore(), boot.parts.clone(), machine.clone(), slots, log.clone())?;
    let rootfs = Rootfs::new(LinuxBootloader::new(boot, machine).logging(log.clone()), slots);
    let modules = Modules::new(paths.data(), paths.datastore(), log.clone())?.noted(note.clone());
    Ok(Hal {
        storage,
        scripts: Scripts::new(paths.conf(), paths.datastore(), log.clone())?.noted(note),
        module: Handlers::new(modules, rootfs),
        network,
        system: Device::new(device_type, log.clone()),
        identity: DeviceIdentity::new(paths.data(), log.clone()),
        device_key: key,
        inventory: DeviceInventory::new(paths.data(), log.clone()),
        deployment_log: DeploymentLogs::new(deployment_logs),
        policy: Policies::new(policies, log.clone()),
        clock: BootClock,
        log: LogHandle(log),
        verifier,
        decompress: Decompressor::default(),
    })
}

/// Adds everything the platform waits for.
pub fn wants<'fd>(hal: &'fd Hal<Linux>, set: &mut PollSet<'fd>) {
    hal.scripts.wants(set);
    hal.module.wants(set);
    hal.network.wants(set);
    hal.system.wants(set);
    hal.identity.wants(set);
    hal.inventory.wants(set);
    hal.policy.wants(set);
}

/// The earliest of `until` and the deadlines of the platform's parts that the driver does not know of: poll the client
/// then, even if no descriptor became ready.
#[must_use]
pub fn deadline(hal: &Hal<Linux>, driver: Option<Instant>) -> Option<Instant> {
    earliest(driver, hal.system.deadline())
}

/// Implements core's log trait for the shared log.
pub struct LogHandle(pub SharedLog);

impl Log for LogHandle {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        self.0.borrow_mut().log(level, message);
    }

    fn hint(&self, said: &dyn Coded) -> &'static str {
        hints::hint(said)
    }

    fn open_deployment(&mut self, id: &str) {
        self.0.borrow_mut().open_deployment(id);
    }

    fn close_deployment(&mut self) {
        self.0.borrow_mut().close_deployment();
    }
}

/// The key of the device. The file is read when the key is first needed, since most verbs never need it.
pub struct AuthKey {
    path: PathBuf,
    /// The client manages the key itself, and makes one when there is none.
    is_own: bool,
    log: SharedLog,
    key: Option<keys::DeviceKey>,
}

impl AuthKey {
    /// The key in `path`. With `is_own` a new key is made when the file is missing; a key that
    /// `Security.AuthPrivateKey` names is never made.
    #[must_use]
    pub const fn new(path: PathBuf, is_own: bool, log: SharedLog) -> Self {
        Self { path, is_own, log, key: None }
    }

    fn load(&mut self) -> Result<&keys::DeviceKey, KeyError> {
        if self.key.is_none() {
            let load = if self.is_own { keys::DeviceKey::load_or_create } else { keys::DeviceKey::load };
            self.key = Some(load(&self.path, &self.log)?);
        }
        // `self.key` was set just above.
        self.key.as_ref().ok_or_else(|| KeyError::Io(self.path.clone(), io::ErrorKind::NotFound.into()))
    }

    fn sign<'o>(&mut self, body: &[u8], out: &'o mut [u8]) -> Result<&'o str, KeyError> {
        let signature = self.load()?.sign(body)?;
        let room = out.get_mut(..signature.len()).ok_or_else(|| {
            KeyError::Io(self.path.clone(), io::Error::other("its signatures are too long"))
        })?;
        room.copy_from_slice(signature.as_bytes());
        // These bytes came from a `str`.
        Ok(std::str::from_utf8(room).unwrap_or_default())
    }
}

impl ErrorType for AuthKey {
    type Error = KeyError;
}

/// The key is read, made or used at once.
impl DeviceKey for AuthKey {
    fn poll_public_key(&mut self, _: Instant) -> Poll<Result<&str, KeyError>> {
        Poll::Ready(self.load().map(keys::DeviceKey::public_pem))
    }

    fn poll_sign<'o>(
        &mut self,
        _: Instant,
        body: &[u8],
        out: &'o mut [u8],
    ) -> Poll<Result<&'o str, KeyError>> {
        Poll::Ready(self.sign(body, out))
    }
}

const KIB: usize = 1024;

/// The lengths of [`Buffers`] in their order, but for the files of the manifest: the limits of ARTIFACT-50 to ARTIFACT-58.
const LENGTHS: [usize; 11] = [
    128 * KIB,
    64 * KIB,
    64 * KIB,
    limits::TOKEN,
    limits::URL,
    limits::MAPS_RECORD,
    4 * KIB,
    64 * KIB,
    64 * KIB,
    1024 * KIB,
    128 * KIB,
];

/// The memory that is lent to a client on Linux. It is allocated in one piece at the lengths of the limits, which are
/// rarely reached: the operating system provides a page only when it is first used.
pub struct Memory {
    bytes: Vec<u8>,
    files: Vec<ManifestEntry>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { bytes: vec![0; LENGTHS.iter().sum()], files: vec![ManifestEntry::default(); 1024] }
    }
}

impl Memory {
    /// Lends all of the memory to a client.
    pub fn lend(&mut self) -> Buffers<'_> {
        let mut rest = self.bytes.as_mut_slice();
        let [chunk, record, out, token, link, maps, name, header_info, type_info, meta_data, window] =
            LENGTHS.map(|length| rest.split_off_mut(..length).unwrap_or_default());
        Buffers {
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
            files: &mut self.files,
            window,
        }
    }
}
