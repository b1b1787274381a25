//! The configuration, `mender.conf` (`docs/rules/configuration.md`).
//!
//! A fallback file is read first, then the main file; a key of the second replaces that of the first. Anything wrong
//! with a known key, or with a file as a whole, is an error that names both: a security setting that is ignored
//! is worse than a client that does not start (C-6). Unknown keys are told, and
//! ignored: other programs read this file too.

mod conf_file;
mod edit;
mod fault;
mod keys;
mod setting;
mod update_control;

pub use edit::{Draft, NewValue, replace};
pub use fault::NotJson;
pub use update_control::{Button, Line};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thimble_core::config::{Config, Tier};
use thimble_core::hal::{self, Kind, Level};
use thimble_core::limits;
use thimble_core::time::Duration;

use crate::bootloader;
use crate::fsat::kind_of;
use crate::near::nearest;
use crate::network::UrlFault;
use crate::policy;
use crate::secret::Secret;
use crate::trust::Untrusted;

/// Longest configuration file in bytes: a thousand times a usual one.
pub const FILE_MAX: u64 = 1024 * 1024;

/// The configuration. An empty string in a file counts as not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenderConf {
    /// `ServerURL` or `Servers`, in the order to try them, each once, without a `/` at the end.
    pub servers: Vec<String>,
    /// The first server whose URL cannot be used, if any. This is an error only for verbs that ask servers: a device
    /// that is updated from files needs no valid server.
    pub unusable_server: Option<UnusableServer>,
    /// `ServerCertificate`: certificates trusted in addition to the system's.
    pub server_certificate: Option<PathBuf>,
    /// `SkipVerify`: certificates of servers are not verified. A warning is logged at every connection.
    pub skip_verify: bool,
    /// `TenantToken`, without white space around it.
    pub tenant_token: Option<Secret>,
    /// `DeviceTier`; sent only when it is set.
    pub device_tier: Option<Tier>,
    /// `DeviceTypeFile`.
    pub device_type_file: Option<PathBuf>,
    /// `ArtifactVerifyKey` or `ArtifactVerifyKeys`. If there is any, unsigned artifacts are refused.
    pub artifact_verify_keys: Vec<PathBuf>,
    /// `UpdateLogPath`: the directory of deployment logs.
    pub update_log_path: Option<PathBuf>,
    /// `DaemonLogLevel`; `--log-level` takes precedence.
    pub daemon_log_level: Option<Level>,
    /// `HttpsClient`: the certificate with which the client authenticates in TLS.
    pub https_client: Option<HttpsClient>,
    /// `Security.AuthPrivateKey`: path or `pkcs11:` URI of the authentication key. If it is set, the
    /// client never makes a key.
    pub auth_private_key: Option<Secret>,
    /// `Security.SSLEngine`.
    pub auth_ssl_engine: Option<String>,
    /// `RootfsPartA`.
    pub rootfs_part_a: Option<PathBuf>,
    /// `RootfsPartB`.
    pub rootfs_part_b: Option<PathBuf>,
    /// `Bootloader`: `auto` unless it is set.
    pub bootloader: bootloader::Choice,
    /// `BootloaderAllowSingle`: the client may write a boot environment that has only one copy.
    pub bootloader_allow_single: bool,
    /// `RootfsVerify`: images are read back from their slot; true unless it is set.
    pub rootfs_verify: bool,
    /// `DBus.Enabled`, true unless it is set (C-10).
    pub dbus_enabled: bool,
    /// `DBus.Proxy`, true unless it is set: other programs get the URL of a proxy on the loopback interface (CONFIG-23).
    pub dbus_proxy: bool,
    /// `UpdateControl.Windows` and `UpdateControl.Inhibitors`: when updates are welcome.
    pub policies: policy::Settings,
    /// `UpdateControl.Button`: lets a waiting update go on.
    pub button: Option<Button>,
    /// `UpdateControl.Light`: shows how the client stands.
    pub light: Option<Line>,
    /// For each key that nobody knows a warning for the log of the daemon.
    pub unknown_keys: Vec<String>,
    core: Config,
}

/// A configured server whose URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableServer {
    /// The configuration file that names the server.
    pub path: PathBuf,
    /// `ServerURL`, `Servers[].ServerURL` or `Servers`.
    pub key: &'static str,
    /// What is wrong with it.
    pub fault: ServerFault,
}

/// What is wrong with a server, or with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFault {
    /// Its URL.
    Url(UrlFault),
    /// Its URL is longer than [`limits::SERVER_URL`].
    TooLong,
    /// There are more than [`limits::SERVERS`].
    TooMany,
}

/// A client certificate and its key, which are only set together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsClient {
    /// Path of the certificate.
    pub certificate: PathBuf,
    /// Path or `pkcs11:` URI of the key.
    pub key: Secret,
    /// OpenSSL engine of the key.
    pub ssl_engine: Option<String>,
}

/// A file to read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its path; empty: there is none.
    pub path: &'a Path,
    /// Whether it is an error that the file is missing, as for a file named on the command line.
    pub required: bool,
}

/// Why the configuration cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    /// The file that is wrong.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: ConfigFault,
}

/// What is wrong with a file. Never holds a value: it may be a secret.
#[derive(Debug)]
pub enum ConfigFault {
    /// It cannot be read.
    Read(io::Error),
    /// It cannot be written.
    Write(io::Error),
    /// Others than root and the client's user may change it or put another file in its place.
    Untrusted(Untrusted),
    /// It is longer than [`FILE_MAX`].
    TooLong,
    /// It is not JSON.
    Json(NotJson),
    /// It is JSON, but not an object.
    NoObject,
    /// A key has a value that is not allowed.
    Value {
        /// The key as the documentation has it, such as `HttpsClient.Key`.
        key: &'static str,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// An object of the client's own has a key that is not known, which is an error there: a misspelt policy would let
    /// updates through.
    Unknown {
        /// The object, such as `UpdateControl.Windows`.
        object: &'static str,
        /// The key.
        key: String,
        /// The known key that may have been meant.
        nearest: Option<&'static str>,
    },
    /// Two keys, here or in the two files together, exclude each other.
    Conflict(&'static str, &'static str),
    /// A key needs another one.
    Needs(&'static str, &'static str),
    /// `DeviceTier` is `system`.
    SystemTier,
}

impl ConfigFault {
    /// `object`, one of the client's own, has a key that is not among `keys`.
    fn unknown(object: &'static str, key: &str, keys: impl IntoIterator<Item = &'static str>) -> Self {
        Self::Unknown { object, key: fault::shown(key), nearest: nearest(key, keys) }
    }
}

impl MenderConf {
    /// Reads both files. The texts are warnings for the log.
    pub fn load(fallback: Source<'_>, main: Source<'_>) -> Result<(Self, Vec<String>), ConfigError> {
        let mut keys = keys::Keys::default();
        let mut warnings = Vec::new();
        let mut of_tier = main.path;
        for source in [fallback, main].into_iter().filter(|source| !source.path.as_os_str().is_empty()) {
            let tier_before = keys.device_tier.take();
            let of_file = |fault| ConfigError { path: source.path.to_owned(), fault };
            if let Some(warning) = keys.read(source).map_err(of_file)? {
                // A warning about one file is enough for the user to act on.
                if warnings.is_empty() {
                    warnings.push(warning);
                }
            }
            match keys.device_tier {
                Some(_) => of_tier = source.path,
                None => keys.device_tier = tier_before,
            }
            // Checked after each file, so that the file that brings a conflict is the one named.
            keys.check().map_err(of_file)?;
        }
        if keys.device_tier == Some(Tier::System) {
            return Err(ConfigError { path: of_tier.to_owned(), fault: ConfigFault::SystemTier });
        }
        keys.check_pairs().map_err(|fault| ConfigError { path: main.path.to_owned(), fault })?;
        let engines = [
            ("HttpsClient.SSLEngine", &keys.https_ssl_engine),
            ("Security.SSLEngine", &keys.auth_ssl_engine),
        ];
        for (key, _) in engines.into_iter().filter(|(_, engine)| engine.is_some()) {
            warnings.push(format!("{key} is set and not used: keys are read from files only; remove it"));
        }
        warnings.extend(keys.unknown_level.take());
        Ok((Self::from_keys(keys), warnings))
    }

    /// The part of the configuration that core uses.
    #[must_use]
    pub fn core_config(&self) -> Config {
        self.core.clone()
    }

    /// Builds the configuration. Where a key is missing or 0, the default of [`Config`] is used.
    fn from_keys(keys: keys::Keys) -> Self {
        let default = Config::default();
        let interval = |seconds: Option<u64>, default: Duration| match seconds {
            None | Some(0) => default,
            Some(seconds) => Duration::from_secs(seconds),
        };
        let update_poll_interval = interval(keys.update_poll_interval, default.update_poll_interval);
        let servers = keys.servers_in_order().map(str::to_owned).collect();
        let policies = policy::Settings { windows: keys.windows, inhibitors: keys.inhibitors };
        let core = Config {
            update_poll_interval,
            inventory_poll_interval: interval(keys.inventory_poll_interval, default.inventory_poll_interval),
            retry_poll_interval: interval(keys.retry_poll_interval, default.retry_poll_interval),
            retry_poll_count: keys.retry_poll_count.unwrap_or(default.retry_poll_count),
            retry_download_count: keys.retry_download_count.unwrap_or(default.retry_download_count),
            resume_downloads: keys.resume_downloads.unwrap_or(default.resume_downloads),
            state_script_timeout: interval(keys.state_script_timeout, default.state_script_timeout),
            state_script_retry_interval: interval(
                keys.state_script_retry_interval,
                default.state_script_retry_interval,
            ),
            state_script_retry_timeout: interval(
                keys.state_script_retry_timeout,
                default.state_script_retry_timeout,
            ),
            module_timeout: interval(keys.module_timeout, default.module_timeout),
            update_control_map_expiration: interval(
                keys.update_control_map_expiration,
                update_poll_interval.doubled(),
            ),
            update_control_map_boot_expiration: interval(
                keys.update_control_map_boot_expiration,
                default.update_control_map_boot_expiration,
            ),
            policies: !policies.is_empty(),
        };
        let https_client = keys.https_certificate.zip(keys.https_key).map(|(certificate, key)| HttpsClient {
            certificate,
            key,
            ssl_engine: keys.https_ssl_engine,
        });
        Self {
            servers,
            unusable_server: keys.unusable_server,
            server_certificate: keys.server_certificate,
            skip_verify: keys.skip_verify.unwrap_or(false),
            tenant_token: keys.tenant_token,
            device_tier: keys.device_tier,
            device_type_file: keys.device_type_file,
            artifact_verify_keys: keys
                .artifact_verify_key
                .into_iter()
                .chain(keys.artifact_verify_keys)
                .collect(),
            update_log_path: keys.update_log_path,
            daemon_log_level: keys.daemon_log_level,
            https_client,
            auth_private_key: keys.auth_private_key,
            auth_ssl_engine: keys.auth_ssl_engine,
            rootfs_part_a: keys.rootfs_part_a,
            rootfs_part_b: keys.rootfs_part_b,
            bootloader: keys.bootloader.unwrap_or_default(),
            bootloader_allow_single: keys.bootloader_allow_single.unwrap_or(false),
            rootfs_verify: keys.rootfs_verify.unwrap_or(true),
            dbus_enabled: keys.dbus_enabled.unwrap_or(true),
            dbus_proxy: keys.dbus_proxy.unwrap_or(true),
            policies,
            button: keys.button,
            light: keys.light,
            unknown_keys: keys.unknown,
            core,
        }
    }
}

impl Default for MenderConf {
    /// The configuration that two empty files give.
    fn default() -> Self {
        Self::from_keys(keys::Keys::default())
    }
}

impl fmt::Display for UnusableServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, key, fault } = self;
        write!(f, "configuration file {}: ", path.display())?;
        match fault {
            ServerFault::Url(fault) => write!(f, "{key} cannot be used: {fault}"),
            ServerFault::TooLong => {
                write!(f, "{key} cannot be used: it is longer than {} bytes", limits::SERVER_URL)
            }
            ServerFault::TooMany => write!(f, "{key} has more than {} servers", limits::SERVERS),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            // The reason names the file, or the directory above it that is meant.
            ConfigFault::Untrusted(_) => f.write_str("configuration refused: ")?,
            ConfigFault::Read(_)
            | ConfigFault::Write(_)
            | ConfigFault::TooLong
            | ConfigFault::Json(_)
            | ConfigFault::NoObject
            | ConfigFault::Value { .. }
            | ConfigFault::Unknown { .. }
            | ConfigFault::Conflict(..)
            | ConfigFault::Needs(..)
            | ConfigFault::SystemTier => write!(f, "configuration file {}: ", self.path.display())?,
        }
        match &self.fault {
            ConfigFault::Untrusted(untrusted) => untrusted.fmt(f),
            ConfigFault::Read(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "cannot be read: {error}; run this as root")
            }
            ConfigFault::Read(error) => write!(f, "cannot be read: {error}"),
            ConfigFault::Write(error) => write!(f, "cannot be written: {error}"),
            ConfigFault::TooLong => write!(f, "longer than {FILE_MAX} bytes"),
            ConfigFault::Json(error) => write!(f, "{error}"),
            ConfigFault::NoObject => f.write_str("not a JSON object"),
            ConfigFault::Value { key, expected } => write!(f, "{key} must be {expected}"),
            ConfigFault::Unknown { object, key, nearest } => {
                write!(f, "{object} has no key {key}; ")?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean {nearest}?"),
                    None => f.write_str("see the documentation for its keys"),
                }
            }
            ConfigFault::Conflict(a, b) => {
                write!(
                    f,
                    "{a} and {b} exclude each other, also across the two configuration files; remove one"
                )
            }
            ConfigFault::Needs(key, other) => write!(f, "{key} needs {other} too"),
            ConfigFault::SystemTier => f.write_str(
                "DeviceTier \"system\" is not supported: such a device is updated by Mender's orchestrator, which this \
                 client does not have; set \"standard\" or \"micro\", or remove the key, to update this device by itself",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl hal::Error for ConfigError {
    fn kind(&self) -> Kind {
        match &self.fault {
            ConfigFault::Read(error) | ConfigFault::Write(error) => kind_of(error),
            ConfigFault::Untrusted(untrusted) => untrusted.kind(),
            ConfigFault::TooLong => Kind::TooLarge,
            ConfigFault::Json(_)
            | ConfigFault::NoObject
            | ConfigFault::Value { .. }
            | ConfigFault::Unknown { .. } => Kind::Corrupt,
            ConfigFault::Conflict(..) | ConfigFault::Needs(..) | ConfigFault::SystemTier => Kind::Refused,
        }
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
