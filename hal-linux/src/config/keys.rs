//! The keys of `mender.conf`: one table, from which they are read, and from which a test makes `docs/configuration.md` and the manual page
//! mender.conf(5).

use std::path::PathBuf;

use thimble_core::config::Tier;
use thimble_core::hal::Level;

use super::fault::shown;
use super::setting::Setting;
use super::update_control::{self, Button, Line};
use super::{ConfigFault, UnusableServer};
use crate::bootloader::Choice;
use crate::log::level_of;
use crate::policy::{Inhibitor, Window};
use crate::secret::Secret;

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
    pub(super) token_in_file: bool,
}

/// A key.
pub(super) struct Key {
    /// Spelled as in the documentation; `Group.Key` for a key in an object. In a file upper and lower case are not distinguished.
    pub(super) name: &'static str,
    /// Checks the value, which is not `null`, and remembers it.
    pub(super) read: fn(&mut Keys, Setting<'_>) -> Result<(), ConfigFault>,
    /// The heading it stands under in the reference.
    #[cfg(test)]
    pub(super) section: &'static str,
    /// As in a file; empty if nothing stands for the missing key.
    #[cfg(test)]
    pub(super) default: &'static str,
    /// The generations of Mender's client that know it; empty if none does.
    #[cfg(test)]
    pub(super) mender: &'static str,
    /// What it does: sentences in Markdown.
    #[cfg(test)]
    pub(super) text: &'static str,
}

/// A row: name, default, generations of Mender's client; its text; how it is read.
macro_rules! keys {
    (|$keys:ident, $setting:ident| $($section:literal { $(
        $name:literal, $default:literal, $mender:literal, $text:literal => $read:expr;
    )* })*) => {
        /// The known keys.
        pub(super) const KEYS: [Key; NAMES.len()] = [$($(Key {
            name: $name,
            read: |$keys: &mut Keys, $setting: Setting<'_>| {
                // Some values are only checked.
                let _: &Keys = $keys;
                $read;
                Ok(())
            },
            #[cfg(test)]
            section: $section,
            #[cfg(test)]
            default: $default,
            #[cfg(test)]
            mender: $mender,
            #[cfg(test)]
            text: $text,
        },)*)*];

        /// Their names.
        pub(super) const NAMES: [&str; [$($($name),*),*].len()] = [$($($name),*),*];
    };
}

/// What `DaemonLogLevel` may be.
const LEVELS: &str = "it may be trace, debug, info, warning, error or fatal";

/// The error for an empty value that would switch off the verify keys of the file read before.
const A_KEY: &str = "set: the file read before it has a verify key";

keys! { |keys, setting|
"Server" {
    "ServerURL", "", "3, 5",
    "The server, such as `https://hosted.mender.io`. A path behind the host is kept, a `/` at its end is not. At most 1024 bytes. \
     Not together with `Servers`, also across the two files."
        => keys.server_url = setting.url()?;
    "Servers", "", "3, 5",
    "Up to 8 servers, `[{\"ServerURL\": \"https://a.example\"}, ...]`, tried in this order until one answers."
        => keys.servers = setting.servers()?;
    "ServerCertificate", "", "3, 5",
    "A file of certificates in PEM that are trusted beside those of the system. Those of an authority are anchors; any other is trusted \
     for itself alone (R-47)."
        => keys.server_certificate = setting.path()?;
    "SkipVerify", "false", "3, 5",
    "`true`: certificates of servers are not verified, and each connection writes a warning. For tests only: who is between device and server \
     can then be the server."
        => keys.skip_verify = Some(setting.boolean()?);
    "TenantToken", "", "3, 5",
    "Says to hosted Mender which organization the device belongs to. A file with it should have mode 0600."
        => {
            keys.tenant_token = setting.secret()?;
            keys.token_in_file = keys.tenant_token.is_some();
        };
    "HttpsClient.Certificate", "", "3, 5",
    "The certificate with which the device shows who it is in TLS (mutual TLS), in PEM. Comes together with `HttpsClient.Key`."
        => keys.https_certificate = setting.path()?;
    "HttpsClient.Key", "", "3, 5",
    "The key of that certificate, a file. `pkcs11:` URIs are refused when a connection is made."
        => keys.https_key = setting.secret()?;
    "HttpsClient.SSLEngine", "", "3, 5",
    "Read and not used: keys come from files only. The log says so."
        => keys.https_ssl_engine = setting.string()?;
    "Connectivity.DisableKeepAlive", "", "3",
    "Checked and not used."
        => _ = setting.boolean()?;
    "Connectivity.IdleConnTimeoutSeconds", "", "3",
    "Checked and not used."
        => _ = setting.seconds()?;
}
"Who the device is" {
    "DeviceTypeFile", "", "3, 5",
    "The file with `device_type=TYPE`, in place of `device_type` in the datastore."
        => keys.device_type_file = setting.path()?;
    "DeviceTier", "", "5.1",
    "Sent when the device asks to be accepted, if it is set. `system` is understood and refused: it belongs to Mender's orchestrator (R-42)."
        => keys.device_tier = Some(setting.device_tier()?);
    "Security.AuthPrivateKey", "", "3, 5",
    "The file of the key that the server knows the device by, in place of `mender-agent.pem` in the datastore. If it is set, the client never \
     makes a key."
        => keys.auth_private_key = setting.secret()?;
    "Security.SSLEngine", "", "3, 5",
    "Read and not used, as `HttpsClient.SSLEngine`."
        => keys.auth_ssl_engine = setting.string()?;
}
"What is installed" {
    "ArtifactVerifyKey", "", "3, 5",
    "A public key in PEM (RSA, ECDSA P-256 or Ed25519). If it is set, an artifact without a signature by this key is refused. An empty value \
     does not undo the key of the fallback file: it is an error."
        => match setting.path()? {
            // Without keys artifacts are not verified at all.
            None if keys.artifact_verify_key.is_some() => return Err(setting.wrong(A_KEY)),
            key => keys.artifact_verify_key = key,
        };
    "ArtifactVerifyKeys", "", "3, 5",
    "Several of them; a signature by one is enough. Not together with `ArtifactVerifyKey`."
        => match setting.paths()? {
            paths if paths.is_empty() && !keys.artifact_verify_keys.is_empty() => {
                return Err(setting.wrong(A_KEY));
            }
            paths => keys.artifact_verify_keys = paths,
        };
}
"When the server is asked" {
    "UpdatePollIntervalSeconds", "1800", "3, 5",
    "The wait between two questions for a deployment."
        => keys.update_poll_interval = Some(setting.seconds()?);
    "InventoryPollIntervalSeconds", "28800", "3, 5",
    "The wait between two inventories."
        => keys.inventory_poll_interval = Some(setting.seconds()?);
    "RetryPollIntervalSeconds", "300", "3, 5",
    "The longest wait before a request that failed is sent again; the first waits are a minute, and double after each third."
        => keys.retry_poll_interval = Some(setting.seconds()?);
    "RetryPollCount", "0", "3, 5",
    "How often a request that failed is sent again. 0: until each wait up to `RetryPollIntervalSeconds` has been used three times."
        => keys.retry_poll_count = Some(setting.count(0, u32::MAX, "an integer, 0 or more")?);
    "RetryDownloadCount", "10", "5.1",
    "How often a download that broke off is gone on with where it broke, a minute apart, before the update fails. Counted anew after a \
     mebibyte of progress."
        => keys.retry_download_count = Some(setting.count(1, 10_000, "an integer from 1 to 10000")?);
    "ResumeDownloads", "false", "",
    "`true`: a download that a restart or a loss of power has interrupted goes on where it was, instead of ending its deployment."
        => keys.resume_downloads = Some(setting.boolean()?);
}
"State scripts and update modules" {
    "StateScriptTimeoutSeconds", "3600", "3, 5",
    "How long a state script may run before it is ended, which counts as a failure."
        => keys.state_script_timeout = Some(setting.seconds()?);
    "StateScriptRetryIntervalSeconds", "60", "3, 5",
    "The wait before a script that asked for it (exit status 21) is run again."
        => keys.state_script_retry_interval = Some(setting.seconds()?);
    "StateScriptRetryTimeoutSeconds", "1800", "3, 5",
    "How long a script may go on asking for that, from its first run."
        => keys.state_script_retry_timeout = Some(setting.seconds()?);
    "ModuleTimeoutSeconds", "14400", "3, 5",
    "How long one call of an update module may take before it is ended."
        => keys.module_timeout = Some(setting.seconds()?);
}
"Two root file systems" {
    "RootfsPartA", "", "3, 5",
    "The first slot: a device such as `/dev/mmcblk0p2`, `PARTUUID=...`, `PARTLABEL=...`, `UUID=...`, `LABEL=...`, or a UBI volume, `ubi0_1`."
        => keys.rootfs_part_a = setting.path()?;
    "RootfsPartB", "", "3, 5",
    "The second slot. Set both or none."
        => keys.rootfs_part_b = setting.path()?;
    "Bootloader", "\"auto\"", "",
    "Who chooses the slot at the start; `auto` takes the first that is found."
        => keys.bootloader = setting.bootloader()?;
    "BootloaderAllowSingle", "false", "",
    "`true`: a boot environment of a single copy is written too, although a loss of power during the write can destroy it."
        => keys.bootloader_allow_single = Some(setting.boolean()?);
    "RootfsVerify", "true", "",
    "`false`: the image is not read back from its slot and compared (R-19), which halves the time."
        => keys.rootfs_verify = Some(setting.boolean()?);
    "BootUtilitiesSetActivePart", "", "3",
    "Checked and not used: set `Bootloader`."
        => _ = setting.string()?;
    "BootUtilitiesGetNextActivePart", "", "3",
    "Checked and not used: set `Bootloader`."
        => _ = setting.string()?;
}
"Holding updates up" {
    "UpdateControl.Windows", "[]", "",
    "Times in which updates may go on, at most 16. Each is an object: `At` (a list of `install`, `reboot`, `commit`), `From` and `To` (`HH:MM` in \
     the device's local time), `Days` (a list such as `[\"Sat\", \"Sun\"]`; all of them unless it is set), `DeadlineSeconds` (a week \
     unless it is set, a year at most), `AtDeadline` (`continue`, the default, or `fail`). An unknown member is an error."
        => keys.windows = update_control::windows(setting)?;
    "UpdateControl.Inhibitors", "[]", "",
    "What holds updates up while it is there, at most 16: objects with `At`, `DeadlineSeconds` and `AtDeadline` as above, and either `File`, an \
     absolute path that must not exist, or `Program`, which must end with status 0 within ten seconds and belong to root."
        => keys.inhibitors = update_control::inhibitors(setting)?;
    "UpdateControl.Button", "", "",
    "A button that lets a waiting update go on: `Chip` (such as `/dev/gpiochip0`), `Line` (its number), `ActiveLow` (false unless it is set), \
     `HoldMilliseconds` (how long it is held, 50 to 60000; 1000 unless it is set)."
        => keys.button = Some(update_control::button(setting)?);
    "UpdateControl.Light", "", "",
    "A light that shows how the client stands: `Chip`, `Line`, `ActiveLow`."
        => keys.light = Some(update_control::light(setting)?);
    "UpdateControlMapExpirationTimeSeconds", "", "3",
    "How long an update control map counts that is not set again. Twice `UpdatePollIntervalSeconds` unless it is set."
        => keys.update_control_map_expiration = Some(setting.seconds()?);
    "UpdateControlMapBootExpirationTimeSeconds", "600", "3",
    "How long such a map counts after a start of the daemon, until it is set again."
        => keys.update_control_map_boot_expiration = Some(setting.seconds()?);
}
"Log and D-Bus" {
    "DaemonLogLevel", "\"info\"", "3, 5",
    "`trace`, `debug`, `info`, `warning`, `error` or `fatal`, in any case; another word is a warning, and means `info` (R-36). `--log-level` wins."
        => {
            let word = setting.string()?;
            let level = word.as_deref().map(|word| level_of(word).ok_or(word));
            keys.unknown_level = level.and_then(Result::err).map(|word| {
                format!("there is no DaemonLogLevel \"{}\", so it is info; {LEVELS}", shown(word))
            });
            keys.daemon_log_level = level.map(|level| level.unwrap_or(Level::Info));
        };
    "UpdateLogPath", "", "3, 5",
    "The directory of the deployments' logs, in place of the datastore."
        => keys.update_log_path = setting.path()?;
    "DBus.Enabled", "true", "3",
    "`false`: nothing on D-Bus."
        => keys.dbus_enabled = Some(setting.boolean()?);
    "DBus.Proxy", "true", "",
    "`false`: programs that ask for the token get the server's own URL with it, and not that of the proxy on the loopback interface (R-43)."
        => keys.dbus_proxy = Some(setting.boolean()?);
}
}
