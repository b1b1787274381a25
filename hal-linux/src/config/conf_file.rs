//! Reads one configuration file: checks its keys one by one and replaces those of the file that was read before.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thimble_core::config::Tier;
use thimble_core::hal::Level;
use thimble_core::json::Value;
use thimble_core::limits;
use zeroize::Zeroizing;

use super::fault::{NotJson, shown};
use super::setting::Setting;
use super::update_control::{self, Button, Line};
use super::{ConfigFault, FILE_MAX, ServerFault, Source, UnusableServer};
use crate::bootloader::Choice;
use crate::fsat::open_regular;
use crate::log::level_of;
use crate::near::nearest;
use crate::network::check_url;
use crate::paths::Word;
use crate::policy::{Inhibitor, Window};
use crate::secret::Secret;
use crate::trust::{Untrusted, check_file};

/// The keys that the files read so far have set.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) server_url: Option<String>,
    pub(super) servers: Vec<String>,
    pub(super) unusable_server: Option<UnusableServer>,
    pub(super) server_certificate: Option<PathBuf>,
    pub(super) skip_verify: Option<bool>,
    pub(super) tenant_token: Option<Secret>,
    pub(super) device_tier: Option<Tier>,
    pub(super) device_type_file: Option<PathBuf>,
    pub(super) artifact_verify_key: Option<PathBuf>,
    pub(super) artifact_verify_keys: Vec<PathBuf>,
    pub(super) update_poll_interval: Option<u64>,
    pub(super) inventory_poll_interval: Option<u64>,
    pub(super) retry_poll_interval: Option<u64>,
    pub(super) retry_poll_count: Option<u32>,
    pub(super) retry_download_count: Option<u32>,
    pub(super) resume_downloads: Option<bool>,
    pub(super) state_script_timeout: Option<u64>,
    pub(super) state_script_retry_interval: Option<u64>,
    pub(super) state_script_retry_timeout: Option<u64>,
    pub(super) module_timeout: Option<u64>,
    pub(super) update_control_map_expiration: Option<u64>,
    pub(super) update_control_map_boot_expiration: Option<u64>,
    pub(super) update_log_path: Option<PathBuf>,
    pub(super) daemon_log_level: Option<Level>,
    pub(super) https_certificate: Option<PathBuf>,
    pub(super) https_key: Option<Secret>,
    pub(super) https_ssl_engine: Option<String>,
    pub(super) auth_private_key: Option<Secret>,
    pub(super) auth_ssl_engine: Option<String>,
    pub(super) rootfs_part_a: Option<PathBuf>,
    pub(super) rootfs_part_b: Option<PathBuf>,
    pub(super) bootloader: Option<Choice>,
    pub(super) bootloader_allow_single: Option<bool>,
    pub(super) rootfs_verify: Option<bool>,
    pub(super) dbus_enabled: Option<bool>,
    pub(super) dbus_proxy: Option<bool>,
    pub(super) windows: Vec<Window>,
    pub(super) inhibitors: Vec<Inhibitor>,
    pub(super) button: Option<Button>,
    pub(super) light: Option<Line>,
    /// A warning for each key that is not known.
    pub(super) unknown: Vec<String>,
    /// A warning about a `DaemonLogLevel` that is none.
    pub(super) unknown_level: Option<String>,
    /// The current file sets `TenantToken`.
    token_in_file: bool,
}

/// The known keys, spelled as in the documentation. In a file upper and lower case are not distinguished.
const KEYS: [&str; 43] = [
    "ServerURL",
    "Servers",
    "ServerCertificate",
    "SkipVerify",
    "TenantToken",
    "DeviceTier",
    "DeviceTypeFile",
    "ArtifactVerifyKey",
    "ArtifactVerifyKeys",
    "UpdatePollIntervalSeconds",
    "InventoryPollIntervalSeconds",
    "RetryPollIntervalSeconds",
    "RetryPollCount",
    "RetryDownloadCount",
    "ResumeDownloads",
    "StateScriptTimeoutSeconds",
    "StateScriptRetryIntervalSeconds",
    "StateScriptRetryTimeoutSeconds",
    "ModuleTimeoutSeconds",
    "UpdateControlMapExpirationTimeSeconds",
    "UpdateControlMapBootExpirationTimeSeconds",
    "UpdateLogPath",
    "DaemonLogLevel",
    "HttpsClient.Certificate",
    "HttpsClient.Key",
    "HttpsClient.SSLEngine",
    "Security.AuthPrivateKey",
    "Security.SSLEngine",
    "RootfsPartA",
    "RootfsPartB",
    "Bootloader",
    "BootloaderAllowSingle",
    "RootfsVerify",
    "DBus.Enabled",
    "DBus.Proxy",
    "UpdateControl.Windows",
    "UpdateControl.Inhibitors",
    "UpdateControl.Button",
    "UpdateControl.Light",
    "Connectivity.DisableKeepAlive",
    "Connectivity.IdleConnTimeoutSeconds",
    // Only Mender's client in Go uses these. Their type is checked; their value is not used.
    "BootUtilitiesSetActivePart",
    "BootUtilitiesGetNextActivePart",
];

/// How the warnings about a file begin.
const CONFIGURATION: &str = "configuration file ";

/// What `DaemonLogLevel` may be.
const LEVELS: &str = "it may be trace, debug, info, warning, error or fatal";

/// The error for an empty value that would switch off the verify keys of the file read before.
const A_KEY: &str = "set: the file read before it has a verify key";

/// Keys that older or other parts of Mender's client use and that mean nothing to this one.
const OTHERS: [&str; 2] = ["ClientProtocol", "HttpsClient.SkipVerify"];

/// Keys whose value is an object with further keys.
const GROUPS: [&str; 5] = ["HttpsClient", "Security", "DBus", "Connectivity", "UpdateControl"];

impl Keys {
    /// Reads a file; its keys replace those set so far. Returns a warning if the file exposes a secret.
    pub(super) fn read(&mut self, source: Source<'_>) -> Result<Option<String>, ConfigFault> {
        // Who may write here can switch verification off, and send the device to another server.
        match check_file(source.path) {
            Ok(()) => {}
            Err(Untrusted::Io(_, error)) if error.kind() == io::ErrorKind::NotFound && !source.required => {
                return Ok(None);
            }
            Err(Untrusted::Io(_, error)) => return Err(ConfigFault::Read(error)),
            Err(
                untrusted @ (Untrusted::NotRegular(_)
                | Untrusted::NotExecutable(_)
                | Untrusted::Owner(..)
                | Untrusted::Writable(..)),
            ) => return Err(ConfigFault::Untrusted(untrusted)),
        }
        let file = open_regular(source.path).map_err(ConfigFault::Read)?;
        let mode = file.metadata().map_err(ConfigFault::Read)?.mode();
        let mut text = Zeroizing::new(Vec::new());
        file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(ConfigFault::Read)?;
        if text.len() as u64 > FILE_MAX {
            return Err(ConfigFault::TooLong);
        }
        self.token_in_file = false;
        let unknown = self.unknown.len();
        self.apply(&text)?;
        for warning in self.unknown.iter_mut().skip(unknown).chain(&mut self.unknown_level) {
            if !warning.starts_with(CONFIGURATION) {
                *warning = format!("{CONFIGURATION}{}: {warning}", source.path.display());
            }
        }
        self.judge_servers(source.path);
        let exposed = self.token_in_file && mode & 0o004 != 0;
        let (path, word) = (source.path.display(), Word(source.path));
        Ok(exposed
            .then(|| format!("{path} holds TenantToken and can be read by every user (chmod 0600 {word})")))
    }

    fn apply(&mut self, text: &[u8]) -> Result<(), ConfigFault> {
        // A byte order mark, which some editors write.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let value = Value::parse(text).map_err(|error| ConfigFault::Json(NotJson::new(text, error)))?;
        for (name, value) in value.members().ok_or(ConfigFault::NoObject)? {
            if let Some(group) = GROUPS.into_iter().find(|group| name.is_ignoring_case(group)) {
                self.apply_group(group, value)?;
            } else if let Some(key) = KEYS.into_iter().find(|key| name.is_ignoring_case(key)) {
                self.set(Setting { key, value })?;
            } else {
                self.note_unknown(name.to_string());
            }
        }
        Ok(())
    }

    /// Nobody knows the key of this name: a warning says so.
    fn note_unknown(&mut self, name: String) {
        if OTHERS.iter().any(|key| key.eq_ignore_ascii_case(&name)) {
            return;
        }
        let shown = shown(&name);
        let meant = match nearest(&name, GROUPS.into_iter().chain(KEYS)) {
            Some(key) => format!("; did you mean {key}?"),
            None => String::new(),
        };
        self.unknown.push(format!("nobody knows the key \"{shown}\", and it is ignored{meant}"));
    }

    fn apply_group(&mut self, group: &'static str, value: Value<'_>) -> Result<(), ConfigFault> {
        if value.is_null() {
            return Ok(());
        }
        let expected = "an object";
        for (name, value) in value.members().ok_or(ConfigFault::Value { key: group, expected })? {
            let known = KEYS.into_iter().find(|key| {
                key.split_once('.').is_some_and(|(of, key)| of == group && name.is_ignoring_case(key))
            });
            match known {
                Some(key) => self.set(Setting { key, value })?,
                // This group is thimble's own, so that an unknown key in it can only be a misspelt one, and a misspelt
                // policy would let updates through.
                None if group == "UpdateControl" => {
                    let keys = KEYS.into_iter().filter_map(|key| key.strip_prefix("UpdateControl."));
                    return Err(ConfigFault::unknown(group, &name.to_string(), keys));
                }
                None => self.note_unknown(format!("{group}.{name}")),
            }
        }
        Ok(())
    }

    /// Sets a key. The value `null` counts as if the key were missing.
    fn set(&mut self, setting: Setting<'_>) -> Result<(), ConfigFault> {
        if setting.value.is_null() {
            return Ok(());
        }
        match setting.key {
            "ServerURL" => self.server_url = setting.url()?,
            "Servers" => self.servers = setting.servers()?,
            "ServerCertificate" => self.server_certificate = setting.path()?,
            "SkipVerify" => self.skip_verify = Some(setting.boolean()?),
            "TenantToken" => {
                self.tenant_token = setting.secret()?;
                self.token_in_file = self.tenant_token.is_some();
            }
            "DeviceTier" => self.device_tier = Some(setting.device_tier()?),
            "DeviceTypeFile" => self.device_type_file = setting.path()?,
            // An empty value must not remove a verify key: without keys artifacts are not verified at all.
            "ArtifactVerifyKey" => match setting.path()? {
                None if self.artifact_verify_key.is_some() => return Err(setting.wrong(A_KEY)),
                key => self.artifact_verify_key = key,
            },
            "ArtifactVerifyKeys" => match setting.paths()? {
                keys if keys.is_empty() && !self.artifact_verify_keys.is_empty() => {
                    return Err(setting.wrong(A_KEY));
                }
                keys => self.artifact_verify_keys = keys,
            },
            "UpdatePollIntervalSeconds" => self.update_poll_interval = Some(setting.seconds()?),
            "InventoryPollIntervalSeconds" => self.inventory_poll_interval = Some(setting.seconds()?),
            "RetryPollIntervalSeconds" => self.retry_poll_interval = Some(setting.seconds()?),
            "RetryPollCount" => {
                self.retry_poll_count = Some(setting.count(0, u32::MAX, "an integer, 0 or more")?)
            }
            "RetryDownloadCount" => {
                self.retry_download_count = Some(setting.count(1, 10_000, "an integer from 1 to 10000")?);
            }
            "ResumeDownloads" => self.resume_downloads = Some(setting.boolean()?),
            "StateScriptTimeoutSeconds" => self.state_script_timeout = Some(setting.seconds()?),
            "StateScriptRetryIntervalSeconds" => self.state_script_retry_interval = Some(setting.seconds()?),
            "StateScriptRetryTimeoutSeconds" => self.state_script_retry_timeout = Some(setting.seconds()?),
            "ModuleTimeoutSeconds" => self.module_timeout = Some(setting.seconds()?),
            "UpdateControlMapExpirationTimeSeconds" => {
                self.update_control_map_expiration = Some(setting.seconds()?);
            }
            "UpdateControlMapBootExpirationTimeSeconds" => {
                self.update_control_map_boot_expiration = Some(setting.seconds()?);
            }
            "UpdateLogPath" => self.update_log_path = setting.path()?,
            "DaemonLogLevel" => {
                let word = setting.string()?;
                let level = word.as_deref().map(|word| level_of(word).ok_or(word));
                self.unknown_level = level.and_then(Result::err).map(|word| {
                    format!("there is no DaemonLogLevel \"{}\", so it is info; {LEVELS}", shown(word))
                });
                self.daemon_log_level = level.map(|level| level.unwrap_or(Level::Info));
            }
            "HttpsClient.Certificate" => self.https_certificate = setting.path()?,
            "HttpsClient.Key" => self.https_key = setting.secret()?,
            "HttpsClient.SSLEngine" => self.https_ssl_engine = setting.string()?,
            "Security.AuthPrivateKey" => self.auth_private_key = setting.secret()?,
            "Security.SSLEngine" => self.auth_ssl_engine = setting.string()?,
            "RootfsPartA" => self.rootfs_part_a = setting.path()?,
            "RootfsPartB" => self.rootfs_part_b = setting.path()?,
            "Bootloader" => self.bootloader = setting.bootloader()?,
            "BootloaderAllowSingle" => self.bootloader_allow_single = Some(setting.boolean()?),
            "RootfsVerify" => self.rootfs_verify = Some(setting.boolean()?),
            "DBus.Enabled" => self.dbus_enabled = Some(setting.boolean()?),
            "DBus.Proxy" => self.dbus_proxy = Some(setting.boolean()?),
            "UpdateControl.Windows" => self.windows = update_control::windows(setting)?,
            "UpdateControl.Inhibitors" => self.inhibitors = update_control::inhibitors(setting)?,
            "UpdateControl.Button" => self.button = Some(update_control::button(setting)?),
            "UpdateControl.Light" => self.light = Some(update_control::light(setting)?),
            "Connectivity.DisableKeepAlive" => drop(setting.boolean()?),
            "Connectivity.IdleConnTimeoutSeconds" => drop(setting.seconds()?),
            "BootUtilitiesSetActivePart" | "BootUtilitiesGetNextActivePart" => drop(setting.string()?),
            unread => unreachable!("{unread} is in KEYS and must be read here; a test sets each of them"),
        }
        Ok(())
    }

    /// The servers in the order to try them, each once, without a `/` at the end.
    pub(super) fn servers_in_order(&self) -> impl Iterator<Item = &str> {
        let all = || {
            let urls = self.server_url.iter().chain(&self.servers);
            urls.map(|url| url.strip_suffix('/').unwrap_or(url)).filter(|url| !url.is_empty())
        };
        all()
            .enumerate()
            .filter(move |(at, url)| !all().take(*at).any(|known| known == *url))
            .map(|(_, url)| url)
    }

    /// Remembers the first server whose URL cannot be used, with the file that names it. A server from the file read
    /// before stays attributed to that file.
    fn judge_servers(&mut self, path: &Path) {
        let one = self.server_url.iter().map(|url| ("ServerURL", url));
        let servers = one.chain(self.servers.iter().map(|url| ("Servers[].ServerURL", url)));
        let judge = |url: &str| match check_url(url) {
            Err(fault) => Some(ServerFault::Url(fault)),
            Ok(()) => (url.len() > limits::SERVER_URL).then_some(ServerFault::TooLong),
        };
        let mut first = servers.filter_map(|(key, url)| Some((key, judge(url)?))).next();
        if self.servers_in_order().count() > limits::SERVERS {
            first.get_or_insert(("Servers", ServerFault::TooMany));
        }
        self.unusable_server = first.map(|(key, fault)| match self.unusable_server.take() {
            Some(before) if (before.key, before.fault) == (key, fault) => before,
            Some(_) | None => UnusableServer { path: path.to_owned(), key, fault },
        });
    }

    /// Checks for keys that exclude each other.
    pub(super) fn check(&self) -> Result<(), ConfigFault> {
        if self.server_url.is_some() && !self.servers.is_empty() {
            return Err(ConfigFault::Conflict("ServerURL", "Servers"));
        }
        if self.artifact_verify_key.is_some() && !self.artifact_verify_keys.is_empty() {
            return Err(ConfigFault::Conflict("ArtifactVerifyKey", "ArtifactVerifyKeys"));
        }
        Ok(())
    }

    /// Checks for keys that need each other. To be called when all files have been read.
    pub(super) fn check_pairs(&self) -> Result<(), ConfigFault> {
        match (&self.https_certificate, &self.https_key) {
            (Some(_), None) => Err(ConfigFault::Needs("HttpsClient.Certificate", "HttpsClient.Key")),
            (None, Some(_)) => Err(ConfigFault::Needs("HttpsClient.Key", "HttpsClient.Certificate")),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) const ALL_KEYS: &[&str] = &KEYS;
