//! Writes and reads the messages of D-Bus.
//!
//! Messages are written with the library, but read by code of our own: the library adds up received lengths without
//! checking for overflow, which can panic on a 32-bit processor, and only texts and numbers have to be read here.

use std::borrow::Cow;

use zbus::wire::serialized::{Context, Data};
use zbus::wire::{Endian, to_bytes};
use zbus::{ObjectPath, Variant};

/// Longest message that is read, in bytes. The longest ones hold a control map, which has at most 4 KiB.
pub(crate) const MESSAGE_MAX: usize = 16 * 1024;

/// The specification's limit: no bus delivers a longer message.
const SPECIFIED_MAX: u64 = 128 * 1024 * 1024;

/// Length of the fixed part of every message, which holds the lengths of the others.
const FIXED: usize = 16;

const VERSION: u8 = 1;

/// Where a body begins, as far as its padding is concerned.
const START: fn() -> Context = || Context::new(Endian::Little, 0);
const NO_REPLY_EXPECTED: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Call,
    Reply,
    Error,
    Signal,
}

impl MessageKind {
    const fn code(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Reply => 2,
            Self::Error => 3,
            Self::Signal => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Call,
            2 => Self::Reply,
            3 => Self::Error,
            4 => Self::Signal,
            _ => return None,
        })
    }
}

/// A message. Empty text is a header field that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) no_reply: bool,
    pub(crate) serial: u32,
    pub(crate) reply_to: u32,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) error: String,
    pub(crate) destination: String,
    pub(crate) sender: String,
    pub(crate) body: Body,
}

/// Arguments and their types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    signature: Cow<'static, str>,
    big_endian: bool,
    bytes: Vec<u8>,
}

/// A value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `s`
    Text(&'a str),
    /// `t`
    Count(u64),
    /// `x`
    Number(i64),
}

impl Value<'_> {
    /// The type, as introspection data name it.
    #[must_use]
    pub const fn signature(self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Count(_) => "t",
            Self::Number(_) => "x",
        }
    }

    fn variant(self) -> Variant<'static> {
        match self {
            Self::Text(text) => Variant::Str(clean(text).into_owned().into()),
            Self::Count(count) => Variant::U64(count),
            Self::Number(number) => Variant::I64(number),
        }
    }
}

/// The received bytes are no message, so that the beginning of the next message cannot be found either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Where the next message in a stream of bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Length of its header, with the padding behind it.
    pub(crate) header: usize,
    /// Its whole length.
    pub(crate) total: usize,
}

impl Frame {
    /// `None` while there are too few bytes to tell.
    pub(crate) fn find(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(&[endian, _, _, version, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3]) =
            bytes.first_chunk::<FIXED>()
        else {
            return Ok(None);
        };
        let number: fn([u8; 4]) -> u32 = match endian {
            b'l' => u32::from_le_bytes,
            b'B' => u32::from_be_bytes,
            _ => return Err(Malformed),
        };
        let (body, fields) = (number([b0, b1, b2, b3]), number([f0, f1, f2, f3]));
        let header = (FIXED as u64 + u64::from(fields)).next_multiple_of(8);
        let total = header + u64::from(body);
        if version != VERSION || total > SPECIFIED_MAX {
            return Err(Malformed);
        }
        let length = |bytes| usize::try_from(bytes).map_err(|_| Malformed);
        Ok(Some(Self { header: length(header)?, total: length(total)? }))
    }
}

impl Message {
    /// A call of the bus itself.
    pub(crate) fn to_bus(member: &str, body: Body) -> Self {
        Self {
            path: BUS_PATH.into(),
            interface: BUS.into(),
            member: member.into(),
            destination: BUS.into(),
            ..Self::new(MessageKind::Call, body)
        }
    }

    pub(crate) const fn new(kind: MessageKind, body: Body) -> Self {
        Self {
            kind,
            no_reply: false,
            serial: 0,
            reply_to: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            destination: String::new(),
            sender: String::new(),
            body,
        }
    }

    /// The message in `bytes`: one that [`Frame::find`] measured, or the header of one. `None`: to be passed over, as
    /// it is of a kind, or has header fields of a type, that does not exist (yet).
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let frame = Frame::find(bytes)?.ok_or(Malformed)?;
        let (head, body) = bytes.split_at_checked(frame.header).ok_or(Malformed)?;
        let big_endian = head.first() == Some(&b'B');
        let mut reader = Reader { bytes: head, at: 1, big_endian };
        let (code, flags) = (reader.byte()?, reader.byte()?);
        reader.at = 8;
        let serial = reader.number()?;
        let end = usize::try_from(reader.number()?).ok().and_then(|length| reader.at.checked_add(length));
        let end = end.ok_or(Malformed)?;
        let Some(kind) = MessageKind::from_code(code) else { return Ok(None) };
        let mut message = Self {
            no_reply: flags & NO_REPLY_EXPECTED != 0,
            serial,
            ..Self::new(kind, Body { signature: "".into(), big_endian, bytes: body.to_vec() })
        };
        while reader.at < end {
            reader.align(8)?;
            let (code, kind) = (reader.byte()?, reader.signature()?);
            match (code, kind) {
                (1, "o") => message.path = reader.text()?.into(),
                (2, "s") => message.interface = reader.text()?.into(),
                (3, "s") => message.member = reader.text()?.into(),
                (4, "s") => message.error = reader.text()?.into(),
                (5, "u") => message.reply_to = reader.number()?,
                (6, "s") => message.destination = reader.text()?.into(),
                (7, "s") => message.sender = reader.text()?.into(),
                (8, "g") => message.body.signature = reader.signature()?.to_owned().into(),
                // How many descriptors come with it: none was asked for, and the kernel drops them.
                (9, "u") => drop(reader.number()?),
                (0..=9, _) => return Err(Malformed),
                (10.., _) => return Ok(None),
            }
        }
        if reader.at == end && serial != 0 { Ok(Some(message)) } else { Err(Malformed) }
    }

    /// The bytes to send under this serial number.
    pub(crate) fn encode(&self, serial: u32) -> Vec<u8> {
        let flags = if self.no_reply { NO_REPLY_EXPECTED } else { 0 };
        let mut out = vec![b'l', self.kind.code(), flags, VERSION];
        let length = u32::try_from(self.body.bytes.len()).unwrap_or(u32::MAX);
        out.extend(length.to_le_bytes());
        out.extend(serial.to_le_bytes());
        out.extend([0; 4]);
        let texts = [(2, &self.interface), (3, &self.member), (4, &self.error), (6, &self.destination)];
        if !self.path.is_empty() {
            field(&mut out, 1, &Variant::ObjectPath(ObjectPath::from_str_unchecked(&self.path)));
        }
        for (code, text) in texts {
            if !text.is_empty() {
                field(&mut out, code, &Variant::Str(text.as_str().into()));
            }
        }
        if self.reply_to != 0 {
            field(&mut out, 5, &Variant::U32(self.reply_to));
        }
        if !self.body.signature.is_empty() {
            // By hand: the library puts several types into parentheses.
            let signature = self.body.signature.as_bytes();
            pad(&mut out);
            out.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap_or(u8::MAX)]);
            out.extend(signature);
            out.push(0);
        }
        let fields = u32::try_from(out.len().saturating_sub(FIXED)).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(FIXED - 4..FIXED) {
            place.copy_from_slice(&fields.to_le_bytes());
        }
        pad(&mut out);
        out.extend(&self.body.bytes);
        out
    }
}

fn field(out: &mut Vec<u8>, code: u8, value: &Variant<'_>) {
    pad(out);
    out.push(code);
    // Text, numbers and paths can always be written.
    if let Ok(bytes) = to_bytes(Context::new(Endian::Little, out.len()), value) {
        out.extend(bytes.bytes());
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

/// The bus, as a peer.
pub(crate) const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

impl Body {
    /// No arguments.
    #[must_use]
    pub const fn empty() -> Self {
        Self { signature: Cow::Borrowed(""), big_endian: false, bytes: Vec::new() }
    }

    /// One text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::of("s", to_bytes(START(), &(clean(text),)))
    }

    /// Two texts.
    #[must_use]
    pub fn texts(first: &str, second: &str) -> Self {
        Self::of("ss", to_bytes(START(), &(clean(first), clean(second))))
    }

    /// A truth value.
    #[must_use]
    pub fn truth(truth: bool) -> Self {
        Self::of("b", to_bytes(START(), &(truth,)))
    }

    /// A number of 32 bits.
    #[must_use]
    pub fn number(number: i32) -> Self {
        Self::of("i", to_bytes(START(), &(number,)))
    }

    /// The value of a property.
    #[must_use]
    pub fn property(value: Value<'_>) -> Self {
        Self::of("v", to_bytes(START(), &(value.variant(),)))
    }

    /// The answer of `GetAll`.
    #[must_use]
    pub fn properties(values: &[(&str, Value<'_>)]) -> Self {
        Self::of("a{sv}", to_bytes(START(), &(entries(values),)))
    }

    /// The arguments of `PropertiesChanged`.
    #[must_use]
    pub fn changes(interface: &str, values: &[(&str, Value<'_>)]) -> Self {
        Self::of("sa{sv}as", to_bytes(START(), &(interface, entries(values), Vec::<&str>::new())))
    }

    pub(crate) fn name_and_flags(name: &str, flags: u32) -> Self {
        Self::of("su", to_bytes(START(), &(name, flags)))
    }

    fn of(signature: &'static str, arguments: zbus::Result<Data<'_, '_>>) -> Self {
        // All of these can be written: texts are without zeros.
        let bytes = arguments.map(|data| data.bytes().to_vec()).unwrap_or_default();
        Self { signature: signature.into(), big_endian: false, bytes }
    }

    /// The types of the arguments.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// The arguments, if they are so many texts and nothing else.
    #[must_use]
    pub fn as_texts<const N: usize>(&self) -> Option<[String; N]> {
        if self.signature.len() != N || self.signature.bytes().any(|kind| kind != b's') {
            return None;
        }
        let mut texts = [const { String::new() }; N];
        let mut reader = self.reader();
        for text in &mut texts {
            *text = reader.text().ok()?.to_owned();
        }
        (reader.at == self.bytes.len()).then_some(texts)
    }

    /// The argument, if it is one number of 32 bits.
    pub(crate) fn as_u32(&self) -> Option<u32> {
        let number = if self.signature == "u" { self.reader().number().ok() } else { None };
        number.filter(|_| self.bytes.len() == 4)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.bytes, at: 0, big_endian: self.big_endian }
    }
}

/// Reads values one after the other. Each is checked against what there is.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    big_endian: bool,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    /// Padding is zeros.
    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let padding = self.at.next_multiple_of(to).saturating_sub(self.at);
        if self.take(padding)?.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Malformed) }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        let bytes = *self.take(4)?.first_chunk().ok_or(Malformed)?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn text(&mut self) -> Result<&'b str, Malformed> {
        let length = self.number()?;
        self.ended_by_zero(usize::try_from(length).map_err(|_| Malformed)?)
    }

    fn signature(&mut self) -> Result<&'b str, Malformed> {
        let length = self.byte()?;
        self.ended_by_zero(length.into())
    }

    fn ended_by_zero(&mut self, length: usize) -> Result<&'b str, Malformed> {
        let text = self.take(length)?;
        if self.byte()? != 0 || text.contains(&0) {
            return Err(Malformed);
        }
        str::from_utf8(text).map_err(|_| Malformed)
    }
}

/// What lies in the bytes is the same as a dictionary's.
fn entries<'a>(values: &'a [(&str, Value<'_>)]) -> Vec<(&'a str, Variant<'static>)> {
    values.iter().map(|&(name, value)| (name, value.variant())).collect()
}

/// Text on the bus has no zeros: one would end the connection.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub(super) mod tests;
