//! Reads one configuration file: checks its keys one by one and replaces those of the file that was read before.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use thimble_core::json::Value;
use thimble_core::limits;
use zeroize::Zeroizing;

use super::fault::{NotJson, shown};
use super::keys::{KEYS, Key, Keys, NAMES};
use super::setting::Setting;
use super::{ConfigFault, FILE_MAX, ServerFault, Source, UnusableServer};
use crate::fsat::open_regular;
use crate::near::nearest;
use crate::network::check_url;
use crate::paths::Word;
use crate::trust::{Untrusted, check_file};

/// How the warnings about a file begin.
const CONFIGURATION: &str = "configuration file ";

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
            } else if let Some(key) = KEYS.iter().find(|key| name.is_ignoring_case(key.name)) {
                self.set(key, value)?;
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
        let meant = match nearest(&name, GROUPS.into_iter().chain(NAMES)) {
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
            let known = KEYS.iter().find(|key| {
                key.name.split_once('.').is_some_and(|(of, key)| of == group && name.is_ignoring_case(key))
            });
            match known {
                Some(key) => self.set(key, value)?,
                // This group is thimble's own, so that an unknown key in it can only be a misspelt one, and a misspelt
                // policy would let updates through.
                None if group == "UpdateControl" => {
                    let keys = NAMES.into_iter().filter_map(|key| key.strip_prefix("UpdateControl."));
                    return Err(ConfigFault::unknown(group, &name.to_string(), keys));
                }
                None => self.note_unknown(format!("{group}.{name}")),
            }
        }
        Ok(())
    }

    /// Sets a key. The value `null` counts as if the key were missing.
    fn set(&mut self, key: &'static Key, value: Value<'_>) -> Result<(), ConfigFault> {
        if value.is_null() {
            return Ok(());
        }
        (key.read)(self, Setting { key: key.name, value })
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
