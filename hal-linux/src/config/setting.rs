//! Converts the value of one key of `mender.conf` to the type that the key needs.

use std::path::PathBuf;

use thimble_core::config::Tier;
use thimble_core::json::Value;
use zeroize::Zeroizing;

use super::ConfigFault;
use crate::bootloader::Choice;
use crate::secret::Secret;

/// A value with the key it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) key: &'static str,
    pub(super) value: Value<'a>,
}

impl<'a> Setting<'a> {
    /// The members of an object by their names; an unknown member is an error.
    pub(super) fn members<const N: usize>(
        self,
        known: [&'static str; N],
    ) -> Result<[Option<Value<'a>>; N], ConfigFault> {
        let mut values = [None; N];
        for (name, value) in self.value.members().ok_or(self.wrong("an object"))? {
            let index = known.iter().position(|key| name.is_ignoring_case(key));
            let place = index.and_then(|index| values.get_mut(index));
            match place {
                Some(place @ None) => *place = Some(value).filter(|value| !value.is_null()),
                Some(Some(_)) => return Err(self.wrong("an object whose keys stand there once")),
                None => return Err(ConfigFault::unknown(self.key, &name.to_string(), known)),
            }
        }
        Ok(values)
    }
}

impl Setting<'_> {
    pub(super) fn wrong(self, expected: &'static str) -> ConfigFault {
        ConfigFault::Value { key: self.key, expected }
    }

    pub(super) fn string(self) -> Result<Option<String>, ConfigFault> {
        self.text("a string")
    }

    /// A string that has to be what `expected` says.
    fn text(self, expected: &'static str) -> Result<Option<String>, ConfigFault> {
        let text = self.value.as_str().ok_or(self.wrong(expected))?;
        Ok((!text.is_empty()).then(|| text.to_string()))
    }

    pub(super) fn path(self) -> Result<Option<PathBuf>, ConfigFault> {
        let path = self.text("a path")?;
        if path.as_ref().is_some_and(|path| path.contains('\0')) {
            return Err(self.wrong("a path"));
        }
        Ok(path.map(PathBuf::from))
    }

    /// A list of paths. An empty path is an error: ignoring it would use fewer keys than the author of the file thinks.
    pub(super) fn paths(self) -> Result<Vec<PathBuf>, ConfigFault> {
        let expected = "a list of paths, none of them empty";
        let items = self.value.items().ok_or(self.wrong(expected))?;
        let path = |value| Self { value, ..self }.path().ok().flatten().ok_or(self.wrong(expected));
        items.map(path).collect()
    }

    pub(super) fn secret(self) -> Result<Option<Secret>, ConfigFault> {
        let text = self.string()?.map(Zeroizing::new);
        Ok(text.filter(|text| !text.trim().is_empty()).map(|text| Secret::new(text.trim().to_owned())))
    }

    pub(super) fn boolean(self) -> Result<bool, ConfigFault> {
        match self.value.raw() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// A number of seconds; 0 stands for the default.
    pub(super) fn seconds(self) -> Result<u64, ConfigFault> {
        let seconds = self.value.as_integer().and_then(|seconds| u64::try_from(seconds).ok());
        seconds.ok_or(self.wrong("a number of seconds, an integer, 0 (for the default) or more"))
    }

    pub(super) fn count(self, least: u32, most: u32, expected: &'static str) -> Result<u32, ConfigFault> {
        let count = self.value.as_integer().and_then(|count| u32::try_from(count).ok());
        count.filter(|count| (least..=most).contains(count)).ok_or(self.wrong(expected))
    }

    /// A URL without blanks, control characters and a user name: a user name would end up in logs.
    pub(super) fn url(self) -> Result<Option<String>, ConfigFault> {
        let expected = "a URL without blanks and without a user name";
        let url = self.text(expected)?;
        let plain = |url: &String| {
            let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).split('/').next();
            !url.chars().any(|c| c.is_control() || c.is_whitespace())
                && !authority.is_some_and(|a| a.contains('@'))
        };
        if url.as_ref().is_some_and(|url| !plain(url)) {
            return Err(self.wrong(expected));
        }
        Ok(url)
    }

    pub(super) fn servers(self) -> Result<Vec<String>, ConfigFault> {
        let wrong = || self.wrong("a list of objects, each with a ServerURL");
        let mut servers = Vec::new();
        for item in self.value.items().ok_or_else(wrong)? {
            let mut url = None;
            for (name, value) in item.members().ok_or_else(wrong)? {
                if name.is_ignoring_case("ServerURL") && !value.is_null() {
                    url = Self { key: "Servers[].ServerURL", value }.url()?;
                }
            }
            servers.push(url.ok_or_else(wrong)?);
        }
        Ok(servers)
    }

    pub(super) fn device_tier(self) -> Result<Tier, ConfigFault> {
        let tier = self.value.as_str().and_then(|text| Tier::parse(&text.to_string()));
        tier.ok_or(self.wrong("\"standard\", \"system\" or \"micro\""))
    }

    pub(super) fn bootloader(self) -> Result<Option<Choice>, ConfigFault> {
        let expected =
            "\"auto\", \"uboot\", \"uboot-tools\", \"grub\", \"grub-tools\", \"tryboot\" or \"systemd-boot\"";
        self.text(expected)?.map(|word| Choice::parse(&word).ok_or(self.wrong(expected))).transpose()
    }
}
