//! Where things are: the directories of CLI-70 and everything in them (CLI-71, CLI-72).

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// A path as a word of a command that a person may copy into a shell.
pub struct Word<'a>(pub &'a Path);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.to_string_lossy();
        if path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte)) {
            return f.write_str(&path);
        }
        f.write_char('\'')?;
        for part in path.split_inclusive('\'') {
            match part.strip_suffix('\'') {
                Some(part) => write!(f, "{part}'\\''")?,
                None => f.write_str(part)?,
            }
        }
        f.write_char('\'')
    }
}

/// The three directories, always absolute: children run elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    conf: PathBuf,
    data: PathBuf,
    datastore: PathBuf,
}

impl Paths {
    /// The directories from the variables `MENDER_CONF_DIR`, `MENDER_DATA_DIR` and `MENDER_DATASTORE_DIR`, or the
    /// defaults. `datastore` is the value of `--datastore`, which takes precedence.
    #[must_use]
    pub fn from_environment(datastore: Option<&Path>) -> Self {
        Self::new(|name| std::env::var_os(name), datastore)
    }

    /// As [`Self::from_environment`], with variables read through `var`. An empty variable counts as not set.
    #[must_use]
    pub fn new(var: impl Fn(&str) -> Option<OsString>, datastore: Option<&Path>) -> Self {
        let directory = |name: &str, default: &str| {
            let value = var(name).filter(|value| !value.is_empty());
            absolute(value.map_or_else(|| PathBuf::from(default), PathBuf::from))
        };
        Self {
            conf: directory("MENDER_CONF_DIR", "/etc/mender"),
            data: directory("MENDER_DATA_DIR", "/usr/share/mender"),
            datastore: datastore.map_or_else(
                || directory("MENDER_DATASTORE_DIR", "/var/lib/mender"),
                |path| absolute(path.into()),
            ),
        }
    }

    /// Configuration and the state scripts of the root file system.
    #[must_use]
    pub fn conf(&self) -> &Path {
        &self.conf
    }

    /// Update modules, inventory and identity.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runtime data: the store, the lock, the key, work trees.
    #[must_use]
    pub fn datastore(&self) -> &Path {
        &self.datastore
    }

    /// The main configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.conf.join("mender.conf")
    }

    /// The fallback configuration file, read first.
    #[must_use]
    pub fn fallback_config(&self) -> PathBuf {
        self.datastore.join("mender.conf")
    }

    /// The file in which an image says what it holds.
    #[must_use]
    pub fn artifact_info(&self) -> PathBuf {
        self.conf.join("artifact_info")
    }

    /// State scripts of the root file system, with their `version` file.
    #[must_use]
    pub fn rootfs_scripts(&self) -> PathBuf {
        self.conf.join("scripts")
    }

    /// State scripts of the artifact being installed.
    #[must_use]
    pub fn artifact_scripts(&self) -> PathBuf {
        self.datastore.join("scripts")
    }

    /// Update modules, one executable per payload type.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.data.join("modules/v3")
    }

    /// Work trees of update modules; the first payload's is `0000/tree` in it.
    #[must_use]
    pub fn payloads(&self) -> PathBuf {
        self.datastore.join("modules/v3/payloads")
    }

    /// Inventory scripts, `mender-inventory-*`.
    #[must_use]
    pub fn inventory(&self) -> PathBuf {
        self.data.join("inventory")
    }

    /// The program that prints the device's identity.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity/mender-device-identity")
    }

    /// The authentication key, unless `Security.AuthPrivateKey` names one.
    #[must_use]
    pub fn agent_key(&self) -> PathBuf {
        self.datastore.join("mender-agent.pem")
    }

    /// The file with `device_type=...`, unless `DeviceTypeFile` names one.
    #[must_use]
    pub fn device_type(&self) -> PathBuf {
        self.datastore.join("device_type")
    }

    /// The bootstrap artifact.
    #[must_use]
    pub fn bootstrap(&self) -> PathBuf {
        self.datastore.join("bootstrap.mender")
    }

    /// The directory of deployment logs, unless `UpdateLogPath` names one.
    #[must_use]
    pub fn deployment_logs(&self) -> &Path {
        &self.datastore
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    // `absolute` fails only for an empty path, or when the working directory was removed.
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], datastore: Option<&str>) -> Paths {
        let var = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        Paths::new(var, datastore.map(Path::new))
    }

    #[test]
    fn the_defaults_are_menders() {
        let paths = with(&[], None);
        let found = [
            paths.config(),
            paths.fallback_config(),
            paths.rootfs_scripts(),
            paths.artifact_scripts(),
            paths.modules(),
            paths.payloads(),
            paths.inventory(),
            paths.identity(),
            paths.agent_key(),
            paths.device_type(),
            paths.bootstrap(),
        ];
        let expected = [
            "/etc/mender/mender.conf",
            "/var/lib/mender/mender.conf",
            "/etc/mender/scripts",
            "/var/lib/mender/scripts",
            "/usr/share/mender/modules/v3",
            "/var/lib/mender/modules/v3/payloads",
            "/usr/share/mender/inventory",
            "/usr/share/mender/identity/mender-device-identity",
            "/var/lib/mender/mender-agent.pem",
            "/var/lib/mender/device_type",
            "/var/lib/mender/bootstrap.mender",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        assert_eq!(paths.deployment_logs(), paths.datastore());
    }

    #[test]
    fn empty_variables_count_as_not_set() {
        let empty = [("MENDER_CONF_DIR", ""), ("MENDER_DATA_DIR", ""), ("MENDER_DATASTORE_DIR", "")];
        assert_eq!(with(&empty, None), with(&[], None));
    }

    #[test]
    fn variables_move_directories_and_the_flag_wins() {
        let set = [("MENDER_CONF_DIR", "/c"), ("MENDER_DATA_DIR", "/d"), ("MENDER_DATASTORE_DIR", "/s")];
        let paths = with(&set, None);
        assert_eq!(paths.config(), Path::new("/c/mender.conf"));
        assert_eq!(paths.modules(), Path::new("/d/modules/v3"));
        assert_eq!(paths.datastore(), Path::new("/s"));
        let paths = with(&set, Some("/flag"));
        assert_eq!(paths.fallback_config(), Path::new("/flag/mender.conf"));
        assert_eq!(paths.payloads(), Path::new("/flag/modules/v3/payloads"));
        assert_eq!(paths.config(), Path::new("/c/mender.conf"));
    }

    #[test]
    fn a_path_in_a_command_is_one_word_of_the_shell() {
        for path in ["/etc/mender/key.pem", "/my keys/it's $HOME.pem", "''", "/a\nb"] {
            let command = format!("printf %s {}", Word(Path::new(path)));
            let output = std::process::Command::new("sh").arg("-c").arg(command).output().unwrap();
            assert_eq!(output.stdout, path.as_bytes());
        }
    }

    #[test]
    fn a_relative_path_is_made_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(with(&[], Some("data")).datastore(), here.join("data"));
    }
}
