//! The inventory: what the client itself knows of the device and what the inventory scripts print
//! (SERVER-50 to SERVER-55).

use core::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::pairs::{Line, Pair, lines, write_values};
use crate::json::{Members, Out, Overflow, Value, write_string};
use crate::limits;
use crate::message::texts;
use crate::sort::sort;

/// Collects attributes in lent memory, as lines of `key=value`.
///
/// First the client's own ([`Self::own`]; the first of a name wins), then script after script in the order of
/// their names ([`Self::begin_script`], [`Self::push`], [`Self::end_script`]). The client's own word on a name wins
/// over the scripts'; a name that scripts print more than once, in one or in several, has all their values.
///
/// The first [`limits::ATTRIBUTES`] names in this order are sent, and of those as many as the body has room for; the
/// others are counted (R-26).
#[derive(Debug)]
pub struct Attributes<'b> {
    buf: &'b mut [u8],
    len: usize,
    /// End of the client's own lines.
    own: usize,
    /// Where the output of the running script begins.
    script: usize,
    overflown: bool,
    names: [Name; limits::ATTRIBUTES],
    /// So many of them are in use.
    count: usize,
    left_out: LeftOut,
}

/// A name that is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    /// Of the name: names that differ in it are not compared.
    hash: u32,
    /// Where the first line with this name begins.
    at: u32,
    /// It has more than one value.
    listed: bool,
}

/// The names that are not sent: each counts once, unless it shares its hash with another.
#[derive(Debug)]
struct LeftOut {
    hashes: [u32; Self::MOST],
    count: usize,
}

/// What the server will not hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotSent {
    /// So many names.
    pub names: usize,
    /// There may be more of them than were counted.
    pub or_more: bool,
}

/// What a script printed more than these bytes, which were left for it: [`limits::INVENTORY_SCRIPT`], or what the
/// others left of the lent memory. Nothing that it printed counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooLong(pub usize);

texts! {
    TOO_LONG = 'N': TooLong {
        1 Self(limit) => "it printed more than {limit} bytes and is left out",
    }

    NOT_SENT = 'N': NotSent {
        2 Self { names, or_more } with (names = Names::of(*names, *or_more), limit = limits::ATTRIBUTES) =>
            "{names} attributes are left out of the inventory: the server takes {limit}, and a request has its length",
    }

    NAMES = 'N': Names {
        3 Exactly(count) => "{count}",
        4 OrMore(count) => "{count} or more",
    }
}

/// How many names.
enum Names {
    Exactly(usize),
    OrMore(usize),
}

impl Names {
    const fn of(count: usize, or_more: bool) -> Self {
        if or_more { Self::OrMore(count) } else { Self::Exactly(count) }
    }
}

impl core::error::Error for TooLong {}

impl<'b> Attributes<'b> {
    /// No attributes yet. At most 4 GiB of `buf` are used.
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self {
            buf,
            len: 0,
            own: 0,
            script: 0,
            overflown: false,
            names: [Name { hash: 0, at: 0, listed: false }; limits::ATTRIBUTES],
            count: 0,
            left_out: LeftOut { hashes: [0; LeftOut::MOST], count: 0 },
        }
    }

    /// An attribute the client itself knows, before the first script. A line feed in it is written as `%0A`, an
    /// equals sign in its name as `%3D`: the attribute is one line. Nothing is kept of one that does not fit.
    pub fn own(&mut self, name: &dyn fmt::Display, value: &dyn fmt::Display) -> Result<(), Overflow> {
        let start = self.len;
        self.overflown = false;
        let _ = write!(OneLine { to: self, is_name: true }, "{name}");
        self.append(b"=");
        let _ = write!(OneLine { to: self, is_name: false }, "{value}");
        // Both, so that a carriage return at the end of the value stays a part of it.
        self.append(b"\r\n");
        if self.overflown {
            self.len = start;
            self.overflown = false;
            return Err(Overflow { limit: self.buf.len() });
        }
        self.own = self.len;
        self.note(start);
        self.script = self.len;
        Ok(())
    }

    /// The strings in the record of what is installed, each as an attribute of its own.
    pub fn own_provides(&mut self, provides: Value<'_>) -> Result<(), Overflow> {
        for (key, value) in Members::of(Some(provides)) {
            if let Some(value) = value.as_str() {
                self.own(&key, &value)?;
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
    pub fn end_script(&mut self, good: bool) -> Result<usize, TooLong> {
        self.append(b"\n");
        let room = self.buf.len().saturating_sub(self.script);
        let overflown = core::mem::take(&mut self.overflown);
        if overflown || !good {
            self.len = self.script;
        }
        if overflown && good {
            return Err(TooLong(room.min(limits::INVENTORY_SCRIPT)));
        }
        let bad = self.note(self.script);
        self.script = self.len;
        Ok(bad)
    }

    /// The body: attributes sorted by name, so that equal inventories are equal bytes; and what is not in it.
    ///
    /// # Errors
    /// The buffer is shorter than an empty inventory.
    pub fn write(mut self, out: &mut [u8]) -> Result<(&str, NotSent), Overflow> {
        let room = out.len();
        let mut length = "[]".len();
        let mut kept: usize = 0;
        for index in 0..self.count {
            let Some(name) = self.names.get(index).copied() else { break };
            let mut one = Length(0);
            // A length takes any text.
            let _ = self.write_one(&mut one, name);
            let with = length.saturating_add(one.0).saturating_add(usize::from(kept > 0));
            if with > room {
                self.left_out.add(name.hash);
            } else if let Some(place) = self.names.get_mut(kept) {
                length = with;
                *place = name;
                kept = kept.saturating_add(1);
            }
        }
        let Self { buf, names, .. } = &mut self;
        let text: &[u8] = buf;
        let names = names.get_mut(..kept).unwrap_or_default();
        sort(names, |a, b| key_at(text, a.at) < key_at(text, b.at));
        let mut out = Out::new(out);
        out.raw("[");
        for index in 0..kept {
            if index > 0 {
                out.raw(",");
            }
            if let Some(&name) = self.names.get(index) {
                // A failure is remembered by `out`.
                let _ = self.write_one(&mut out, name);
            }
        }
        out.raw("]");
        Ok((out.finish()?, self.left_out.told()))
    }

    /// One attribute as JSON.
    fn write_one(&self, f: &mut dyn Write, name: Name) -> fmt::Result {
        let Some(Pair { key, value }) = pair_at(self.buf, name.at) else { return Ok(()) };
        f.write_str("{\"name\":")?;
        write_string(f, key)?;
        f.write_str(",\"value\":")?;
        if name.listed {
            let lines = self.buf.get(to_usize(name.at)..self.script).unwrap_or_default();
            write_values(f, lines, key)?;
        } else {
            write_string(f, value)?;
        }
        f.write_str("}")
    }

    /// Looks at the lines from `start` on; how many of them are no attributes.
    fn note(&mut self, start: usize) -> usize {
        let mut bad: usize = 0;
        let text = self.buf.get(start..self.len).unwrap_or_default();
        for Line { at, pair, .. } in lines(text) {
            let Some(pair) = pair.filter(|pair| pair.key.len() <= limits::ATTRIBUTE_NAME) else {
                bad = bad.saturating_add(1);
                continue;
            };
            let hash = crate::crc::hash(pair.key.as_bytes());
            let known = self.names.get_mut(..self.count).unwrap_or_default().iter_mut();
            let known =
                known.filter(|name| name.hash == hash).find(|name| key_at(self.buf, name.at) == pair.key);
            let at = u32::try_from(start.saturating_add(at)).unwrap_or(u32::MAX);
            match known {
                // The client's own word wins, and the first of it.
                Some(name) => name.listed |= to_usize(name.at) >= self.own,
                None => match self.names.get_mut(self.count) {
                    Some(place) => {
                        *place = Name { hash, at, listed: false };
                        self.count = self.count.saturating_add(1);
                    }
                    None => self.left_out.add(hash),
                },
            }
        }
        bad
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

impl LeftOut {
    /// So many are counted.
    const MOST: usize = 256;

    fn add(&mut self, hash: u32) {
        let known = self.hashes.get(..self.count).unwrap_or_default();
        if known.contains(&hash) {
            return;
        }
        if let Some(place) = self.hashes.get_mut(self.count) {
            *place = hash;
            self.count = self.count.saturating_add(1);
        }
    }

    const fn told(&self) -> NotSent {
        NotSent { names: self.count, or_more: self.count == Self::MOST }
    }
}

/// The pair in the line that begins at `at`.
fn pair_at(text: &[u8], at: u32) -> Option<Pair<'_>> {
    lines(text.get(to_usize(at)..).unwrap_or_default()).next()?.pair
}

/// Its key.
fn key_at(text: &[u8], at: u32) -> &str {
    pair_at(text, at).map_or("", |pair| pair.key)
}

const fn to_usize(at: u32) -> usize {
    at as usize
}

/// Counts the bytes of what is written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}

/// Keeps what passes within its part of a line.
struct OneLine<'w, 'b> {
    to: &'w mut Attributes<'b>,
    is_name: bool,
}

impl Write for OneLine<'_, '_> {
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
            attributes.own(&name, &value).unwrap();
        }
        for output in scripts {
            attributes.begin_script();
            output.as_bytes().chunks(3).for_each(|piece| attributes.push(piece));
            attributes.end_script(true).unwrap();
        }
        attributes.write(&mut out).unwrap().0.to_string()
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
            attributes.write(&mut out).unwrap().0,
            r#"[{"name":"artifact_group","value":"g"},{"name":"artifact_name","value":"n&"}]"#
        );
    }

    #[test]
    fn lines_that_are_no_pairs_are_counted_and_left_out() {
        let (mut buf, mut out) = (vec![0; 8192], vec![0; 8192]);
        let mut attributes = Attributes::new(&mut buf);
        attributes.begin_script();
        attributes.push(b"\nno pair\n=x\na=\xff\n\ngood=1\n");
        attributes.push(format!("{}=1\n{}=2\n", "ä".repeat(513), "ä".repeat(512)).as_bytes());
        assert_eq!(attributes.end_script(true), Ok(4));
        let expected =
            format!(r#"[{{"name":"good","value":"1"}},{{"name":"{}","value":"2"}}]"#, "ä".repeat(512));
        assert_eq!(attributes.write(&mut out).unwrap().0, expected);
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
        assert_eq!(attributes.write(&mut out).unwrap().0, r#"[{"name":"good","value":"1"}]"#);
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
        assert_eq!(run(32 * 1024 + 1), Err(TooLong(32 * 1024)));
        assert_eq!(run(32 * 1024), Ok(0));
        assert_eq!(run(32 * 1024), Ok(0));
        assert_eq!(run(20_000), Err(TooLong(80_000 - 2 * (32 * 1024 + 1))));
        assert_eq!(run(10), Ok(0));
        let (body, _) = attributes.write(&mut out).unwrap();
        assert_eq!(body.matches("vvvv").count(), 2 * ((32 * 1024 - 2) / 4) + 2);
    }

    #[test]
    fn own_attributes_that_do_not_fit_leave_nothing_behind() {
        let (mut buf, mut out) = ([0; 8], [0; 64]);
        let mut attributes = Attributes::new(&mut buf);
        assert_eq!(attributes.own(&"name", &"value"), Err(Overflow { limit: 8 }));
        attributes.own(&"a", &"1").unwrap();
        assert_eq!(attributes.write(&mut out).unwrap().0, r#"[{"name":"a","value":"1"}]"#);
    }

    #[test]
    fn r26_the_first_hundred_names_are_sent_and_the_others_counted() {
        let (mut buf, mut out) = (vec![0; 8192], vec![0; 32768]);
        let mut attributes = Attributes::new(&mut buf);
        attributes.own(&"artifact_name", &"a").unwrap();
        for script in 0..3 {
            attributes.begin_script();
            for n in 0..50 {
                attributes.push(format!("k{script}-{n}=v\nartifact_name=lie\nk{script}-{n}=w\n").as_bytes());
            }
            assert_eq!(attributes.end_script(true), Ok(0));
        }
        let (body, not_sent) = attributes.write(&mut out).unwrap();
        assert_eq!(not_sent, NotSent { names: 51, or_more: false });
        assert_eq!(body.matches("\"name\"").count(), 100);
        assert!(
            body.starts_with(r#"[{"name":"artifact_name","value":"a"},{"name":"k0-0","value":["v","w"]}"#)
        );
        assert!(body.contains("k1-48") && !body.contains("k1-49") && !body.contains("k2-"), "{body}");
    }

    #[test]
    fn a_name_that_is_left_out_counts_once_and_many_are_more_than_were_counted() {
        let mut buf = vec![0; 32768];
        for (names, expected) in [(255, (255, false)), (256, (256, true)), (2000, (256, true))] {
            let mut attributes = Attributes::new(&mut buf);
            for _ in 0..2 {
                attributes.begin_script();
                for n in 0..100 + names {
                    attributes.push(format!("{n}=\n").as_bytes());
                }
                attributes.end_script(true).unwrap();
            }
            let (_, NotSent { names, or_more }) = attributes.write(&mut [0; 4096]).unwrap();
            assert_eq!((names, or_more), expected);
        }
    }

    #[test]
    fn r26_what_the_body_has_no_room_for_is_left_out_and_the_rest_is_sent() {
        let mut buf = [0; 256];
        let mut out = [0; 75];
        let mut attributes = Attributes::new(&mut buf);
        attributes.own(&"z", &"1").unwrap();
        attributes.begin_script();
        attributes.push(b"long=0123456789012345678901234567890123456789\nb=\x01\nc=3\nd=4\n");
        attributes.end_script(true).unwrap();
        let (body, not_sent) = attributes.write(&mut out).unwrap();
        assert_eq!(body, r#"[{"name":"b","value":"\u0001"},{"name":"z","value":"1"}]"#);
        assert_eq!(not_sent.names, 3);
        assert_eq!(Attributes::new(&mut []).write(&mut [0]), Err(Overflow { limit: 1 }));
    }

    /// The work is bounded by the length of what scripts print, whatever is in it.
    #[test]
    fn a_walk_over_the_output_for_each_name_that_is_sent_is_the_most() {
        let mut buf = vec![0; 64 * 1024];
        let mut attributes = Attributes::new(&mut buf);
        for _ in 0..2 {
            attributes.begin_script();
            for n in 0..5000 {
                attributes.push(format!("{:x}=\n", n % 4096).as_bytes());
            }
            attributes.end_script(true).unwrap();
        }
        let mut out = vec![0; 64 * 1024];
        let (looked, _) = crate::json::counter::bytes_of(|| attributes.write(&mut out).unwrap());
        assert!((64 * 1024..100 * 4 * 64 * 1024).contains(&looked), "{looked}");
    }

    #[test]
    fn an_accepted_body_is_known() {
        let mut accepted = Accepted::new();
        assert!(!accepted.is("[]"));
        accepted.remember("[]");
        assert!(accepted.is("[]") && !accepted.is("[ ]"));
    }
}
