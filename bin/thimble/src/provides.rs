//! What the installed artifacts provide, as the datastore has it.

use std::fmt::Write;

use thimble_core::hal::{Key, Storage};
use thimble_core::json::Value;
use thimble_hal_linux::storage::{RECORD_MAX, Store};

use crate::output::{Failure, one_line};

/// What the store says of the installed software.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Provides(Vec<(String, String)>);

const NAME: &str = "artifact_name";

impl Provides {
    /// Those of a device of which only the name is known.
    pub(crate) fn of_name(name: String) -> Self {
        Self(vec![(NAME.into(), name)])
    }

    pub(crate) fn read(storage: &mut Store) -> Result<Self, Failure> {
        let mut buf = vec![0; RECORD_MAX];
        let Some(text) = storage.read(Key::Provides, &mut buf).map_err(Failure::new)? else {
            return Ok(Self::default());
        };
        Self::parse(text).ok_or_else(|| Failure::new("the stored provides are damaged"))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut list = Vec::new();
        for (key, value) in Value::parse(text).ok()?.members()? {
            list.push((key.chars().collect(), value.as_str()?.chars().collect()));
        }
        list.sort_by(|(one, _): &(String, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        Some(Self(list))
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == NAME).map(|(_, value)| value.as_str())
    }

    pub(crate) fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut out, (key, value)| {
            let _ = writeln!(out, "{}={}", one_line(key), one_line(value));
            out
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provides_are_sorted_by_their_bytes() {
        let provides =
            Provides::parse(br#"{"b":"2","artifact_name":"n\u00fc\n","a.b":"=","a":"1","B":""}"#).unwrap();
        assert_eq!(provides.lines(), "B=\na=1\na.b==\nartifact_name=nü\\n\nb=2\n");
        assert_eq!(provides.name(), Some("nü\n"));
        assert_eq!(Provides::parse(b"{\"a\":1}"), None);
        assert_eq!(Provides::parse(b"[]"), None);
    }
}
