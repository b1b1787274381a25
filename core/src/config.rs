//! What is configured, and the fixed times.

#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::texts;
use crate::time::Duration;

/// The shortest interval or time limit: nothing is repeated sooner (N13).
pub const SHORTEST: Duration = Duration::from_secs(1);

/// How long the client waits to be ended by a reboot it asked for (STATE-85).
pub const REBOOT_WAIT: Duration = Duration::from_secs(600);

/// How long a request to the server and its answer may take from beginning to end. Without it, a server that sends a byte
/// a minute would hold the client for months. Downloads have no such limit.
pub const ANSWER_WAIT: Duration = Duration::from_secs(600);

/// How long it may take until the device's identity is known, its key is there, and a request for a token is signed. A key
/// that is made in software takes a small microcontroller many minutes, once.
pub const IDENTITY_WAIT: Duration = Duration::from_secs(3600);

/// [`ANSWER_WAIT`] for a deployment's log, which has a megabyte at most: some links carry no more than a few hundred bytes a second.
pub const LOG_WAIT: Duration = Duration::from_secs(3600);

/// Between SIGTERM and SIGKILL for a script (S-3).
pub const SCRIPT_KILL_GRACE: Duration = Duration::from_secs(10);

/// Between SIGTERM and SIGKILL for a module (U-4).
pub const MODULE_KILL_GRACE: Duration = Duration::from_secs(60);

/// The settings that steer the machine (CONFIG-10 to CONFIG-20).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it, and CONFIG-10 to CONFIG-20")]
pub struct Config {
    pub update_poll_interval: Duration,
    pub inventory_poll_interval: Duration,
    pub retry_poll_interval: Duration,
    /// 0: derived from the interval.
    pub retry_poll_count: u32,
    pub retry_download_count: u32,
    /// A daemon that is started again in Download goes on with it; never without the feature `resumed-downloads`.
    pub resume_downloads: bool,
    pub state_script_timeout: Duration,
    pub state_script_retry_interval: Duration,
    pub state_script_retry_timeout: Duration,
    pub module_timeout: Duration,
    pub update_control_map_expiration: Duration,
    pub update_control_map_boot_expiration: Duration,
    /// The device has policies, to be asked at the doors where no map decides.
    pub policies: bool,
}

/// A setting that a client does not start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field of [`Config`].
    pub field: &'static str,
}

texts! {
    ERRORS = 'G': ConfigError {
        31 Self { field } with (field = field, least = SHORTEST.as_secs()) =>
            "the setting `{field}` is shorter than {least} s: set it to {least} s or more, or leave its default",
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&ERRORS];

impl core::error::Error for ConfigError {}

impl Config {
    /// Whether downloads go on after a restart: never without the feature `resumed-downloads`.
    pub(crate) const fn resumes_downloads(&self) -> bool {
        cfg!(feature = "resumed-downloads") && self.resume_downloads
    }

    /// Checks that every interval and every time limit is at least [`SHORTEST`]: with an interval of 0 a daemon would ask
    /// its server without a pause.
    ///
    /// # Errors
    /// The first field that is shorter.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self {
            update_poll_interval,
            inventory_poll_interval,
            retry_poll_interval,
            retry_poll_count: _,
            retry_download_count: _,
            resume_downloads: _,
            state_script_timeout,
            state_script_retry_interval,
            state_script_retry_timeout,
            module_timeout,
            update_control_map_expiration,
            update_control_map_boot_expiration,
            policies: _,
        } = self;
        let times = [
            ("update_poll_interval", update_poll_interval),
            ("inventory_poll_interval", inventory_poll_interval),
            ("retry_poll_interval", retry_poll_interval),
            ("state_script_timeout", state_script_timeout),
            ("state_script_retry_interval", state_script_retry_interval),
            ("state_script_retry_timeout", state_script_retry_timeout),
            ("module_timeout", module_timeout),
            ("update_control_map_expiration", update_control_map_expiration),
            ("update_control_map_boot_expiration", update_control_map_boot_expiration),
        ];
        match times.into_iter().find(|(_, time)| **time < SHORTEST) {
            Some((field, _)) => Err(ConfigError { field }),
            None => Ok(()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            update_poll_interval: Duration::from_secs(1800),
            inventory_poll_interval: Duration::from_secs(28800),
            retry_poll_interval: Duration::from_secs(300),
            retry_poll_count: 0,
            retry_download_count: 10,
            resume_downloads: false,
            state_script_timeout: Duration::from_secs(3600),
            state_script_retry_interval: Duration::from_secs(60),
            state_script_retry_timeout: Duration::from_secs(1800),
            module_timeout: Duration::from_secs(14400),
            update_control_map_expiration: Duration::from_secs(3600),
            update_control_map_boot_expiration: Duration::from_secs(600),
            policies: false,
        }
    }
}

/// Kinds of devices the hosted service tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the service's own names")]
pub enum Tier {
    Standard,
    Micro,
    System,
}

impl Tier {
    /// The word in the configuration and in the request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Micro => "micro",
            Self::System => "system",
        }
    }

    /// Whether the daemon of such a device takes a payload of this type: a system is only ever updated as a whole
    /// (A26).
    #[must_use]
    pub fn accepts(self, payload_type: &str) -> bool {
        self != Self::System || payload_type == "mender-orchestrator-manifest"
    }

    /// The tier of this name. `None` is an error of the configuration, never a silent `standard`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Standard, Self::Micro, Self::System].into_iter().find(|tier| tier.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_known_words() {
        assert_eq!(Tier::parse("system"), Some(Tier::System));
        for bad in ["", "Standard", "micro "] {
            assert_eq!(Tier::parse(bad), None);
        }
    }

    #[test]
    fn a26_a_system_takes_only_manifests_of_the_orchestrator() {
        for kind in ["rootfs-image", "single-file", "mender-orchestrator-manifest"] {
            assert!(Tier::Standard.accepts(kind) && Tier::Micro.accepts(kind));
            assert_eq!(Tier::System.accepts(kind), kind == "mender-orchestrator-manifest");
        }
    }
}
