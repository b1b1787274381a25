//! The inventory: what the client itself knows of the device and what the inventory scripts print
//! (SERVER-50 to SERVER-55).

use core::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::pairs::{lines, next_key, pairs, write_values};
use crate::json::{Out, Overflow, Value};
use crate::limits;

/// Collects attributes in lent memory, as lines of `key=value`.
///
/// First the client's own ([`Self::own`]; the first of a name wins), then script after script in the order of
/// their names ([`Self::begin_script`], [`Self::push`], [`Self::end_script`]). The client's own word on a name wins
/// over the scripts'; a name that scripts print more than once, in one or in several, has all their values.
#[derive(Debug)]
pub struct Attributes<'b> {
    buf: &'b mut [u8],
    len: usize,
    /// End of the client's own lines.
    own: usize,
    /// Where the output of the running script begins.
    script: usize,
    overflown: bool,
}

/// Why nothing that a script printed counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScriptRefused {
    /// More than these bytes, which were left for it: [`limits::INVENTORY_SCRIPT`], or what the others left of the
    /// lent memory.
    TooLong(usize),
    /// With its names there would be more than [`limits::ATTRIBUTES`].
    TooMany,
}

impl fmt::Display for ScriptRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(limit) => write!(f, "it printed more than {limit} bytes and is left out"),
            Self::TooMany => write!(
                f,
                "with its attributes there would be more than {}, and it is left out",
                limits::ATTRIBUTES
            ),
        }
    }
}

impl core::error::Error for ScriptRefused {}

/// Why there is no inventory to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InventoryError {
    /// More than [`limits::ATTRIBUTES`] names.
    TooMany,
    /// The body does not fit.
    Overflow(Overflow),
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => {
                write!(f, "inventory of more than {} attributes: remove a script", limits::ATTRIBUTES)
            }
            Self::Overflow(overflow) => write!(f, "inventory: {overflow}"),
        }
    }
}

impl core::error::Error for InventoryError {}

impl<'b> Attributes<'b> {
    /// No attributes yet.
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0, own: 0, script: 0, overflown: false }
    }

    /// An attribute the client itself knows, before the first script. A line feed in it is written as `%0A`, an
    /// equals sign in its name as `%3D`: the attribute is one line. Nothing is kept of one that does not fit.
    pub fn own(&mut self, name: impl fmt::Display, value: impl fmt::Display) -> Result<(), Overflow> {
        let start = self.len;
        self.overflown = false;
        let _ = write!(Line { to: self, is_name: true }, "{name}");
        self.append(b"=");
        let _ = write!(Line { to: self, is_name: false }, "{value}");
        // Both, so that a carriage return at the end of the value stays a part of it.
        self.append(b"\r\n");
        if self.overflown {
            self.len = start;
            self.overflown = false;
            return Err(Overflow { limit: self.buf.len() });
        }
        self.own = self.len;
        Ok(())
    }

    /// The strings in the record of what is installed, each as an attribute of its own.
    pub fn own_provides(&mut self, provides: Value<'_>) -> Result<(), Overflow> {
        for (key, value) in provides.members().into_iter().flatten() {
            if let Some(value) = value.as_str() {
                self.own(key, value)?;
            }
        }
        Ok(())
    }

    /// A script starts.
    pub const fn begin_script(&mut self) {
        self.script = self.len;
        self.overflown = false;
    }

    /// What the running script printed, in pieces of any size.
    pub fn push(&mut self, output: &[u8]) {
        let length = self.len.saturating_sub(self.script).saturating_add(output.len());
        if length > limits::INVENTORY_SCRIPT {
            self.overflown = true;
        }
        self.append(output);
    }

    /// The script ended: what it printed counts when it was `good` (exit status 0, in time). Says how many of its
    /// lines are left out because they are no `key=value` in UTF-8 or their key is too long.
    pub fn end_script(&mut self, good: bool) -> Result<usize, ScriptRefused> {
        self.append(b"\n");
        let room = self.buf.len().saturating_sub(self.script);
        let overflown = core::mem::take(&mut self.overflown);
        if overflown || !good {
            self.len = self.script;
        }
        if overflown && good {
            return Err(ScriptRefused::TooLong(room.min(limits::INVENTORY_SCRIPT)));
        }
        if self.has_too_many() {
            self.len = self.script;
            return Err(ScriptRefused::TooMany);
        }
        let output = self.buf.get(self.script..self.len).unwrap_or(&[]);
        self.script = self.len;
        Ok(lines(output).filter(|(_, pair)| pair.is_none_or(|pair| !is_name(pair.key))).count())
    }

    /// The body: attributes sorted by name, so that equal inventories are equal bytes.
    pub fn write<'o>(&self, buf: &'o mut [u8]) -> Result<&'o str, InventoryError> {
        let all = self.buf.get(..self.script.max(self.own)).unwrap_or(&[]);
        let (own, scripts) = all.split_at_checked(self.own).unwrap_or((all, &[]));
        let mut out = Out::new(buf);
        let mut last = None;
        let mut count: usize = 0;
        out.raw("[");
        while let Some(name) = next_key(all, last) {
            last = Some(name);
            if !is_name(name) {
                continue;
            }
            if count == limits::ATTRIBUTES {
                return Err(InventoryError::TooMany);
            }
            out.raw(if count == 0 { "{\"name\":" } else { ",{\"name\":" });
            count = count.saturating_add(1);
            out.string(name);
            out.raw(",\"value\":");
            match pairs(own).find(|pair| pair.key == name) {
                Some(pair) => out.string(pair.value),
                // A failure is remembered by `out`.
                None => drop(write_values(&mut out, scripts, name)),
            }
            out.raw("}");
        }
        out.raw("]");
        out.finish().map_err(InventoryError::Overflow)
    }

    /// One script with too many names must not cost the server all that the others and the client say.
    fn has_too_many(&self) -> bool {
        let all = self.buf.get(..self.len).unwrap_or(&[]);
        let mut last = None;
        let names = core::iter::from_fn(|| {
            last = next_key(all, last);
            last
        });
        names.filter(|name| is_name(name)).nth(limits::ATTRIBUTES).is_some()
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.buf.get_mut(self.len..end) {
            Some(room) if !self.overflown => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            Some(_) | None => self.overflown = true,
        }
    }
}

fn is_name(key: &str) -> bool {
    key.chars().nth(limits::ATTRIBUTE_NAME).is_none()
}

/// Keeps what passes within its part of a line.
struct Line<'w, 'b> {
    to: &'w mut Attributes<'b>,
    is_name: bool,
}

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(['\n', '=']) {
            if let Some(before) = part.strip_suffix('\n') {
                self.to.append(before.as_bytes());
                self.to.append(b"%0A");
            } else if let (true, Some(before)) = (self.is_name, part.strip_suffix('=')) {
                self.to.append(before.as_bytes());
                self.to.append(b"%3D");
            } else {
                self.to.append(part.as_bytes());
            }
        }
        Ok(())
    }
}

/// The last body that a server accepted. In memory only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Accepted(Option<[u8; 32]>);

impl Accepted {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether that was exactly this.
    #[must_use]
    pub fn is(&self, body: &str) -> bool {
        self.0 == Some(digest(body))
    }

    /// A server accepted this.
    pub fn remember(&mut self, body: &str) {
        self.0 = Some(digest(body));
    }
}

fn digest(body: &str) -> [u8; 32] {
    Sha256::digest(body).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec;

    fn body(own: &[(&str, &str)], scripts: &[&str]) -> String {
        let (mut buf, mut out) = (vec![0; 4096], vec![0; 4096]);
        let mut attributes = Attributes::new(&mut buf);
        for (name, value) in own {
            attributes.own(name, value).unwrap();
        }
        for output in scripts {
            attributes.begin_script();
            output.as_bytes().chunks(3).for_each(|piece| attributes.push(piece));
            attributes.end_script(true).unwrap();
        }
        attributes.write(&mut out).unwrap().to_string()
    }

    #[test]
    fn attributes_are_sorted_and_own_ones_come_first() {
        assert_eq!(
            body(&[("mender_client_version", "1"), ("device_type", "d\"")], &["z=1\na=2\n"]),
            concat!(
                r#"[{"name":"a","value":"2"},{"name":"device_type","value":"d\""},"#,
                r#"{"name":"mender_client_version","value":"1"},{"name":"z","value":"1"}]"#
            )
        );
        assert_eq!(body(&[], &[]), "[]");
    }

    #[test]
    fn values_of_one_name_are_listed_over_all_scripts() {
        // The first ends without a line feed, and the second does not continue its line.
        assert_eq!(body(&[], &["ip=1\nip=2", "ip=3\n"]), r#"[{"name":"ip","value":["1","2","3"]}]"#);
        assert_eq!(body(&[], &["ip=1", "ip=1"]), r#"[{"name":"ip","value":["1","1"]}]"#);
    }

    #[test]
    fn the_clients_own_word_wins_and_the_first_of_it() {
        let own = [("artifact_name", "right"), ("artifact_name", "second")];
        let expected = r#"[{"name":"artifact_name","value":"right"}]"#;
        assert_eq!(body(&own, &["artifact_name=stale\nartifact_name=worse\n"]), expected);
    }

    #[test]
    fn own_attributes_stay_in_their_line() {
        assert_eq!(
            body(&[("a=b\n", "1\nartifact_name=evil=")], &[]),
            r#"[{"name":"a%3Db%0A","value":"1%0Aartifact_name=evil="}]"#
        );
    }

    #[test]
    fn lines_of_scripts_may_end_in_cr_lf_and_own_attributes_keep_theirs() {
        assert_eq!(
            body(&[("own", "x\r")], &["a=1\r\nb=2\r\n\r\n", "b=3\r"]),
            r#"[{"name":"a","value":"1"},{"name":"b","value":["2","3"]},{"name":"own","value":"x\r"}]"#
        );
    }

    #[test]
    fn provides_become_attributes() {
        let (mut buf, mut out) = ([0; 256], [0; 256]);
        let mut attributes = Attributes::new(&mut buf);
        let provides = Value::parse(br#"{"artifact_name":"n\u0026","artifact_group":"g","x":1}"#).unwrap();
        attributes.own_provides(provides).unwrap();
        assert_eq!(
            attributes.write(&mut out).unwrap(),
            r#"[{"name":"artifact_group","value":"g"},{"name":"artifact_name","value":"n&"}]"#
        );
    }

    #[test]
    fn lines_that_are_no_pairs_are_counted_and_left_out() {
        let (mut buf, mut out) = (vec![0; 8192], vec![0; 8192]);
        let mut attributes = Attributes::new(&mut buf);
        attributes.begin_script();
        attributes.push(b"\nno pair\n=x\na=\xff\n\ngood=1\n");
        attributes.push(format!("{}=1\n{}=2\n", "ä".repeat(1025), "ä".repeat(1024)).as_bytes());
        assert_eq!(attributes.end_script(true), Ok(4));
        let expected =
            format!(r#"[{{"name":"good","value":"1"}},{{"name":"{}","value":"2"}}]"#, "ä".repeat(1024));
        assert_eq!(attributes.write(&mut out).unwrap(), expected);
    }

    #[test]
    fn nothing_of_a_failed_script_counts() {
        let (mut buf, mut out) = ([0; 64], [0; 64]);
        let mut attributes = Attributes::new(&mut buf);
        attributes.begin_script();
        attributes.push(b"bad=1\n");
        assert_eq!(attributes.end_script(false), Ok(0));
        attributes.begin_script();
        attributes.push(b"good=1\n");
        attributes.end_script(true).unwrap();
        // One that still runs does not count either.
        attributes.begin_script();
        attributes.push(b"half=");
        assert_eq!(attributes.write(&mut out).unwrap(), r#"[{"name":"good","value":"1"}]"#);
    }

    #[test]
    fn a_script_over_its_limit_is_left_out_and_the_next_one_counts() {
        let (mut buf, mut out) = (vec![0; 80_000], vec![0; 80_000]);
        let mut attributes = Attributes::new(&mut buf);
        let mut run = |length: usize| {
            attributes.begin_script();
            attributes.push(b"k=");
            (2..length).for_each(|_| attributes.push(b"v"));
            attributes.end_script(true)
        };
        assert_eq!(run(32 * 1024 + 1), Err(ScriptRefused::TooLong(32 * 1024)));
        assert_eq!(run(32 * 1024), Ok(0));
        assert_eq!(run(32 * 1024), Ok(0));
        assert_eq!(run(20_000), Err(ScriptRefused::TooLong(80_000 - 2 * (32 * 1024 + 1))));
        assert_eq!(run(10), Ok(0));
        let body = attributes.write(&mut out).unwrap();
        assert_eq!(body.matches("vvvv").count(), 2 * ((32 * 1024 - 2) / 4) + 2);
    }

    #[test]
    fn own_attributes_that_do_not_fit_leave_nothing_behind() {
        let (mut buf, mut out) = ([0; 8], [0; 64]);
        let mut attributes = Attributes::new(&mut buf);
        assert_eq!(attributes.own("name", "value"), Err(Overflow { limit: 8 }));
        attributes.own("a", "1").unwrap();
        assert_eq!(attributes.write(&mut out).unwrap(), r#"[{"name":"a","value":"1"}]"#);
        let short = attributes.write(&mut out[..10]);
        assert_eq!(short, Err(InventoryError::Overflow(Overflow { limit: 10 })));
    }

    #[test]
    fn too_many_names_are_an_error_that_says_how_many() {
        let (mut buf, mut out) = (vec![0; 4096], vec![0; 32768]);
        let mut attributes = Attributes::new(&mut buf);
        for n in 0..limits::ATTRIBUTES {
            attributes.own(n, 0).unwrap();
        }
        assert!(attributes.write(&mut out).is_ok());
        attributes.own("one more", 0).unwrap();
        let error = attributes.write(&mut out).unwrap_err();
        assert_eq!(error.to_string(), "inventory of more than 256 attributes: remove a script");
    }

    #[test]
    fn a_script_with_too_many_names_is_left_out_alone() {
        let (mut buf, mut out) = (vec![0; 8192], vec![0; 32768]);
        let mut attributes = Attributes::new(&mut buf);
        attributes.own("artifact_name", "a").unwrap();
        let mut run = |names: usize| {
            attributes.begin_script();
            for n in 0..names {
                attributes.push(format!("k{names}-{n}=v\n").as_bytes());
            }
            attributes.end_script(true)
        };
        assert_eq!(run(limits::ATTRIBUTES), Err(ScriptRefused::TooMany));
        assert_eq!(run(limits::ATTRIBUTES - 1), Ok(0));
        assert_eq!(run(1), Err(ScriptRefused::TooMany));
        let body = attributes.write(&mut out).unwrap();
        assert!(
            body.starts_with(r#"[{"name":"artifact_name","value":"a"},{"name":"k255-0","value":"v"}"#),
            "{body}"
        );
        assert_eq!(body.matches("\"name\"").count(), limits::ATTRIBUTES);
    }

    #[test]
    fn an_accepted_body_is_known() {
        let mut accepted = Accepted::new();
        assert!(!accepted.is("[]"));
        accepted.remember("[]");
        assert!(accepted.is("[]") && !accepted.is("[ ]"));
    }
}
