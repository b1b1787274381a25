//! What every verb needs: the directories, the configuration, the log; and from them the store and the platform.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::client;
use thimble_core::hal::{Hal, Level, Log};
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::bootloader;
use thimble_hal_linux::config::{ConfigError, ConfigFault, MenderConf, Source};
use thimble_hal_linux::lock::Lock;
use thimble_hal_linux::log::Logger;
use thimble_hal_linux::network::{HttpNetwork, NetworkConfig, Proxies};
use thimble_hal_linux::paths::Paths;
use thimble_hal_linux::platform::{self, AuthKey, Linux, Parts};
use thimble_hal_linux::rootfs::{self, slot};
use thimble_hal_linux::storage::{Access, DataDirectory, Notice, Store, of_image};
use thimble_hal_linux::system::Device as System;
use thimble_hal_linux::verify::KeyVerifier;

use crate::args::Invocation;
use crate::output::Failure;
use crate::verbs::VerbName;

/// Bytes that records, logs of deployments and state scripts take in a long life. With less, updates may begin and then fail.
pub(crate) const SPACE_WANTED: u64 = 1024 * 1024;

/// How often a store is looked at again that ends in the middle of a record.
const LOOKS_AGAIN: usize = 3;

/// The device as one run of the program uses it.
pub(crate) struct Device {
    pub(crate) paths: Paths,
    pub(crate) conf: MenderConf,
    /// What is wrong with the configuration. For verbs that look at a device that may be broken, and go on without the file;
    /// other verbs end.
    pub(crate) conf_trouble: Option<ConfigError>,
    pub(crate) log: SharedLog,
}

impl Device {
    /// Whether the end of this store, opened for reading alone, is cut off. A write that is under way looks the same for a moment, so it
    /// is looked at again.
    pub(crate) fn is_cut_off(&self, store: &Store) -> bool {
        let again = || {
            let directory = DataDirectory::open(self.paths.datastore()).ok()?;
            Store::open(directory, Access::ReadOnly).ok().map(|(store, _)| store.is_cut_off())
        };
        store.is_cut_off() && (0..LOOKS_AGAIN).all(|_| again() == Some(true))
    }

    /// Reads the configuration and begins to log. Nothing is changed.
    pub(crate) fn open(invocation: &Invocation) -> Result<Self, Failure> {
        let globals = &invocation.globals;
        let paths = Paths::from_environment(globals.datastore.as_deref());
        let mut logger = Logger::new(globals.log_level.unwrap_or(Level::Info), paths.deployment_logs());
        if let Some(path) = &globals.log_file {
            logger
                .to_file(path)
                .map_err(|error| Failure::new(format_args!("log file {}: {error}", path.display())))?;
        }
        let (main, fallback) = (paths.config(), paths.fallback_config());
        let source = |given: &'_ Option<PathBuf>, default: &PathBuf| {
            (given.clone().unwrap_or_else(|| default.clone()), given.is_some())
        };
        let (main, main_required) = source(&globals.config, &main);
        let (fallback, fallback_required) = source(&globals.fallback_config, &fallback);
        let fallback = Source { path: &fallback, required: fallback_required };
        let main = Source { path: &main, required: main_required };
        let mut conf_trouble = None;
        let (mut conf, warnings) = match MenderConf::load(fallback, main) {
            Err(error) if goes_on(invocation) => {
                let nothing = Source { path: Path::new(NO_FILE), required: false };
                let fallback = if fallback.path == error.path { nothing } else { fallback };
                let main = if main.path == error.path { nothing } else { main };
                let rest = MenderConf::load(fallback, main);
                conf_trouble = Some(error);
                rest.or_else(|_| MenderConf::load(nothing, nothing))
            }
            loaded => loaded,
        }
        .map_err(|error| {
            let is_hidden = matches!(&error.fault, ConfigFault::Read(error) if error.kind() == io::ErrorKind::PermissionDenied);
            // Nobody need have written that file: it is the directory that is not for this user.
            if is_hidden && !fallback_required && error.path.starts_with(paths.datastore()) {
                not_for_this_user(paths.datastore())
            } else {
                Failure::new(error)
            }
        })?;
        conf.skip_verify |= globals.skip_verify;
        if globals.trusted_certs.is_some() {
            conf.server_certificate.clone_from(&globals.trusted_certs);
        }
        let default = match invocation.verb {
            VerbName::ShowArtifact
            | VerbName::ShowProvides
            | VerbName::ShowFlightRecord
            | VerbName::Inspect
            | VerbName::Doctor
            | VerbName::Status
            | VerbName::Setup
            | VerbName::Snapshot
            | VerbName::Control
            | VerbName::ExportMender => Level::Warning,
            VerbName::Install
            | VerbName::Resume
            | VerbName::Commit
            | VerbName::Rollback
            | VerbName::CheckUpdate
            | VerbName::SendInventory
            | VerbName::Daemon
            | VerbName::Bootstrap => Level::Info,
        };
        logger.set_level(globals.log_level.or(conf.daemon_log_level).unwrap_or(default));
        if let Some(directory) = &conf.update_log_path {
            logger.set_deployment_logs(directory);
        }
        if let Some(path) = &globals.trusted_certs {
            conf.server_certificate = Some(path.clone());
        }
        conf.skip_verify |= globals.skip_verify;
        let unknown = conf.unknown_keys.iter().filter(|_| invocation.verb == VerbName::Daemon);
        for warning in warnings.iter().chain(unknown) {
            logger.log(Level::Warning, format_args!("{warning}"));
        }
        Ok(Self { paths, conf, conf_trouble, log: Rc::new(RefCell::new(logger)) })
    }

    pub(crate) fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.log.borrow_mut().log(level, message);
    }

    /// Checks that the URL of every configured server can be used. For verbs that ask servers.
    pub(crate) fn check_servers(&self) -> Result<(), Failure> {
        self.conf.unusable_server.as_ref().map_or(Ok(()), |unusable| Err(Failure::new(unusable)))
    }

    /// Takes the datastore for this process alone; creates the directory if it is missing.
    pub(crate) fn lock(&self, verb: VerbName) -> Result<Lock, Failure> {
        let directory = DataDirectory::open_or_create(self.paths.datastore())
            .map_err(|error| self.no_datastore(&error))?;
        let weakness = directory.weakness(self.paths.datastore());
        if let Some((level, text)) = weakness.map_err(|error| self.no_datastore(&error))? {
            self.log(level, format_args!("{text}"));
        }
        let mut lock = Lock::acquire(&directory, verb.name()).map_err(Failure::new)?;
        // Where nothing is begun, it stays noted for the next one.
        if !matches!(verb, VerbName::ShowArtifact | VerbName::ShowProvides | VerbName::Control) {
            self.end_leftover(&mut lock);
        }
        Ok(lock)
    }

    /// Ends a script or module that a killed client left running: it must not run beside the next one.
    fn end_leftover(&self, lock: &mut Lock) {
        match lock.end_leftover() {
            Ok(None) => {}
            Ok(Some(pid)) => self.log(
                Level::Warning,
                format_args!("process {pid}, which a client left running when it was killed, was ended"),
            ),
            Err((pid, error)) => self.log(
                Level::Error,
                format_args!("process {pid}, which a client left running, cannot be ended: {error}"),
            ),
        }
    }

    /// Opens the store to change it, for the holder of the lock.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let (store, notices) = self.open_store(Access::ReadWrite)?;
        self.log_notices(&notices);
        Ok(store)
    }

    /// Opens the store, and says what was noticed. Only the holder of the lock may ask for more than reading.
    pub(crate) fn open_store(&self, access: Access) -> Result<(Store, Vec<Notice>), Failure> {
        let directory =
            DataDirectory::open(self.paths.datastore()).map_err(|error| self.no_datastore(&error))?;
        let (store, notices) = Store::open(directory, access).map_err(Failure::new)?;
        let name = if store.has_name() { UNKNOWN.to_owned() } else { self.name_of_image() };
        Ok((store.named(name), notices))
    }

    /// The name of a device that was never updated.
    pub(crate) fn name_of_image(&self) -> String {
        of_image(&self.paths.artifact_info()).unwrap_or_else(|fault| {
            self.log(Level::Warning, format_args!("{fault}"));
            UNKNOWN.to_owned()
        })
    }

    /// Logs what was noticed when the store was opened.
    pub(crate) fn log_notices(&self, notices: &[Notice]) {
        for notice in notices {
            self.log(notice.level(), format_args!("{notice}"));
        }
    }

    /// The platform on top of a store, with what is configured for it. A certificate or verify key that cannot be
    /// used is an error where artifacts are installed, and not looked at elsewhere.
    pub(crate) fn hal(
        &self,
        storage: Store,
        verb: VerbName,
        lock: Option<&Lock>,
    ) -> Result<Hal<Linux>, Failure> {
        let conf = &self.conf;
        let device_type = self.device_type_file();
        let installs =
            matches!(verb, VerbName::Install | VerbName::Resume | VerbName::Daemon | VerbName::Bootstrap);
        let verifier = if installs {
            KeyVerifier::load(&conf.artifact_verify_keys).map_err(Failure::new)?
        } else {
            KeyVerifier::without_keys()
        };
        let mut network = NetworkConfig::default();
        if installs {
            network = network_config(conf);
        }
        let network = HttpNetwork::new(network, self.log.clone()).map_err(Failure::new)?;
        let deployment_logs =
            conf.update_log_path.clone().unwrap_or_else(|| self.paths.deployment_logs().to_owned());
        let key = match &conf.auth_private_key {
            Some(path) => AuthKey::new(path.expose().into(), false, self.log.clone()),
            None => AuthKey::new(self.paths.agent_key(), true, self.log.clone()),
        };
        let parts = Parts {
            paths: &self.paths,
            device_type: &device_type,
            storage,
            network,
            verifier,
            deployment_logs,
            key,
            boot: self.boot_settings(),
            slots: rootfs::Options { verify: conf.rootfs_verify },
            policies: conf.policies.clone(),
            log: self.log.clone(),
            note: lock.map(Lock::note),
        };
        let hal = platform::hal(parts).map_err(Failure::new)?;
        if matches!(verb, VerbName::Install | VerbName::Daemon) {
            hal.scripts.warn_of_near_misses();
        }
        Ok(hal)
    }

    /// Facts about the device.
    pub(crate) fn facts(&self) -> System {
        System::new(&self.device_type_file(), self.log.clone())
    }

    fn device_type_file(&self) -> PathBuf {
        self.conf.device_type_file.clone().unwrap_or_else(|| self.paths.device_type())
    }

    /// The base URLs of the servers.
    pub(crate) fn servers(&self) -> Vec<&str> {
        self.conf.servers.iter().map(String::as_str).collect()
    }

    /// What a client says of this device, to these servers ([`Self::servers`]).
    pub(crate) fn about<'a>(&'a self, servers: &'a [&'a str]) -> client::Device<'a> {
        client::Device {
            servers,
            tenant_token: self.conf.tenant_token.as_ref().map_or("", |token| token.expose()),
            tier: self.conf.device_tier,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The boot loader and the two slots, as they are configured.
    pub(crate) fn boot_settings(&self) -> bootloader::Settings {
        let conf = &self.conf;
        bootloader::Settings {
            choice: conf.bootloader,
            allow_single: conf.bootloader_allow_single,
            parts: slot::Parts { a: conf.rootfs_part_a.clone(), b: conf.rootfs_part_b.clone() },
        }
    }

    /// Whether there is no datastore yet, on any file system. A link on the way to it that leads nowhere, to a file system that
    /// is not mounted, is an error: what is installed is not known then.
    pub(crate) fn was_never_used(&self) -> Result<bool, Failure> {
        match fs::metadata(self.paths.datastore()) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.broken_link().map_or(Ok(true), Err),
            Err(error) => Err(self.no_datastore(&error)),
        }
    }

    /// No daemon is running in the datastore, in these words; or there is nothing to run in.
    pub(crate) fn no_daemon(&self, words: &str) -> Failure {
        self.broken_link().unwrap_or_else(|| Failure::new(words))
    }

    fn no_datastore(&self, error: &io::Error) -> Failure {
        self.broken_link().unwrap_or_else(|| {
            let path = self.paths.datastore().display();
            let hint =
                if error.kind() == io::ErrorKind::PermissionDenied { "; run this as root" } else { "" };
            Failure::new(format_args!("the datastore {path} cannot be used: {error}{hint}"))
        })
    }

    /// A link on the way to the datastore that leads nowhere.
    fn broken_link(&self) -> Option<Failure> {
        let path = self.paths.datastore();
        path.ancestors().find_map(|part| {
            let target = fs::read_link(part).ok().filter(|_| fs::metadata(part).is_err())?;
            Some(Failure::new(format_args!(
                "the datastore {} cannot be used: {} is a link to {}, which is not there; is its file system mounted?",
                path.display(),
                part.display(),
                target.display()
            )))
        })
    }
}

/// Only root, as whom the client runs, may look into the datastore.
pub(crate) fn not_for_this_user(datastore: &Path) -> Failure {
    Failure::new(format_args!("the datastore {} is not for this user: run this as root", datastore.display()))
}

/// Where no configuration file is.
const NO_FILE: &str = "/proc/self/no-configuration";

/// Whether a verb goes on where the configuration cannot be used: it changes nothing, and says what is wrong.
fn goes_on(invocation: &Invocation) -> bool {
    match invocation.verb {
        VerbName::Status | VerbName::Doctor | VerbName::Inspect => true,
        VerbName::Install => invocation.switch("check") == Some(true),
        VerbName::ShowArtifact
        | VerbName::ShowProvides
        | VerbName::ShowFlightRecord
        | VerbName::Setup
        | VerbName::Snapshot
        | VerbName::Control
        | VerbName::ExportMender
        | VerbName::Resume
        | VerbName::Commit
        | VerbName::Rollback
        | VerbName::CheckUpdate
        | VerbName::SendInventory
        | VerbName::Daemon
        | VerbName::Bootstrap => false,
    }
}

/// How servers are connected to, by the configuration and the environment.
pub(crate) fn network_config(conf: &MenderConf) -> NetworkConfig {
    let client = conf.https_client.as_ref();
    NetworkConfig {
        server_certificate: conf.server_certificate.clone(),
        skip_verify: conf.skip_verify,
        client_certificate: client.map(|client| client.certificate.clone()),
        client_key: client.map(|client| client.key.expose().into()),
        proxies: Proxies::from_env(|name| std::env::var_os(name)),
    }
}
