//! What the header says: `header-info` and `type-info` as a view over their bytes, checked once as a whole.

use super::{Error, Limited, Rule, Trust};
use crate::json::{self, Index, Items, KeysError, Members, Str, Value};
use crate::limits;

/// The verified header of an artifact: a view that costs nothing to make, over bytes that were checked before.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    header_info: &'a [u8],
    type_info: &'a [u8],
    meta_data: &'a [u8],
    info: Value<'a>,
    type_: Value<'a>,
}

/// The proof that the parts of a header keep the rules, as long as their bytes stay the same. Only [`Self::check`] makes
/// one, so that the bytes, which may be a megabyte, are looked at once and not at each use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    lengths: [usize; 3],
    /// Where the JSON object begins and ends in `header-info` and in `type-info`.
    objects: [(usize, usize); 2],
}

impl Checked {
    /// Checks `header-info`, `type-info` and `meta-data` and all that must hold between them. `scratch` is for the keys of
    /// one text at a time: see [`Value::check_keys`].
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn check(parts: [&[u8]; 3], scratch: &mut [u8]) -> Result<Self, Error> {
        let [header_info, type_info, meta_data] = parts;
        // What is looked up later by its key has room in the same memory.
        let most = limits::JSON_MEMBERS.min(scratch.len() / json::ENTRY);
        let info = Value::parse(header_info).map_err(Error::HeaderInfoJson)?;
        info.check_keys(most, scratch)
            .map_err(|error| keys(error, Limited::HeaderInfoKeys, Error::BadHeaderInfo))?;
        check_header_info(info).map_err(Error::BadHeaderInfo)?;
        let type_ = Value::parse(type_info).map_err(Error::TypeInfoJson)?;
        type_
            .check_keys(most, scratch)
            .map_err(|error| keys(error, Limited::TypeInfoKeys, Error::BadTypeInfo))?;
        let header = Header { header_info, type_info, meta_data, info, type_ };
        header.check_payloads()?;
        check_type_info(type_, header.kind()).map_err(Error::BadTypeInfo)?;
        header.check_overlap(scratch)?;
        if !meta_data.is_empty() {
            let value = Value::parse(meta_data).map_err(Error::MetaDataJson)?;
            check_object(value).map_err(Error::BadMetaData)?;
            let checked = value.check_keys(limits::JSON_KEYS, scratch);
            checked.map_err(|error| keys(error, Limited::MetaDataKeys, Error::BadMetaData))?;
        }
        if header.kind().is_none() && !meta_data.is_empty() {
            return Err(Error::EmptyPayloadRule(Rule::HasMetaData));
        }
        let objects = [(header_info, info), (type_info, type_)].map(|(text, value)| {
            let begins = text.len().saturating_sub(text.trim_ascii_start().len());
            (begins, begins.saturating_add(value.raw().len()))
        });
        Ok(Self { lengths: parts.map(<[u8]>::len), objects })
    }

    /// The header in these buffers, which hold at their front what was checked.
    pub(super) fn view<'a>(&self, buffers: [&'a [u8]; 3]) -> Option<Header<'a>> {
        let [info, type_] = self.objects;
        let [header_info, type_info, meta_data] = buffers;
        let object = |text: &'a [u8], (begins, ends)| str::from_utf8(text.get(begins..ends)?).ok();
        let [a, b, c] = self.lengths;
        Some(Header {
            header_info: header_info.get(..a)?,
            type_info: type_info.get(..b)?,
            meta_data: meta_data.get(..c)?,
            info: Value::parsed_before(object(header_info, info)?),
            type_: Value::parsed_before(object(type_info, type_)?),
        })
    }
}

/// Why keys are refused; `what` names their number.
fn keys(error: KeysError, what: Limited, bad: impl FnOnce(Rule) -> Error) -> Error {
    match error {
        KeysError::Repeated => bad(Rule::RepeatedKey),
        KeysError::Chosen => bad(Rule::ChosenKeys),
        KeysError::TooMany(limit) => Error::TooLarge { what, limit },
    }
}

impl<'a> Header<'a> {
    /// What the bootstrap artifact must be beyond that (CLI-61).
    pub(super) fn check_trust(&self, trust: Trust) -> Result<(), Error> {
        if trust != Trust::Bootstrap {
            return Ok(());
        }
        if self.kind().is_some() {
            return Err(Error::Bootstrap(Rule::HasPayload));
        }
        if Members::of(self.provides()).next().is_none() {
            return Err(Error::Bootstrap(Rule::ProvidesNothing));
        }
        for depends in self.depends() {
            if Members::of(depends).any(|(key, _)| !key.is("device_type")) {
                return Err(Error::Bootstrap(Rule::DependsOnMore));
            }
        }
        Ok(())
    }

    /// `header-info` as it stands in the artifact.
    #[must_use]
    pub const fn header_info(&self) -> &'a [u8] {
        self.header_info
    }

    /// `type-info` as it stands in the artifact.
    #[must_use]
    pub const fn type_info(&self) -> &'a [u8] {
        self.type_info
    }

    /// `meta-data` as it stands in the artifact; empty if there is none, and after a restart.
    #[must_use]
    pub const fn meta_data(&self) -> &'a [u8] {
        self.meta_data
    }

    /// The artifact's name, in the front of `buf`.
    #[must_use]
    pub fn artifact_name<'b>(&self, buf: &'b mut [u8; limits::NAME]) -> &'b str {
        self.name().and_then(|name| name.unescape(buf)).unwrap_or_default()
    }

    /// The artifact's group, in the front of `buf`.
    #[must_use]
    pub fn artifact_group<'b>(&self, buf: &'b mut [u8; limits::NAME]) -> Option<&'b str> {
        self.group()?.unescape(buf)
    }

    /// The payload type, in the front of `buf`; `None` for an artifact without payload.
    #[must_use]
    pub fn payload_type<'b>(&self, buf: &'b mut [u8; limits::PAYLOAD_TYPE]) -> Option<&'b str> {
        self.kind()?.unescape(buf)
    }

    /// Whether the header lists this device type.
    #[must_use]
    pub fn has_device_type(&self, device_type: &str) -> bool {
        Items::of(self.device_types()).any(|t| t.as_str().is_some_and(|t| t.is(device_type)))
    }

    /// The device types it lists: an array of strings.
    pub(super) fn device_types(&self) -> Option<Value<'a>> {
        child(child(self.info, "artifact_depends")?, "device_type")
    }

    pub(super) fn name(&self) -> Option<Str<'a>> {
        child(child(self.info, "artifact_provides")?, "artifact_name")?.as_str()
    }

    pub(super) fn group(&self) -> Option<Str<'a>> {
        child(child(self.info, "artifact_provides")?, "artifact_group")?.as_str()
    }

    fn kind(&self) -> Option<Str<'a>> {
        child(child(self.info, "payloads")?.items()?.next()?, "type")?.as_str()
    }

    /// All that the artifact depends on, in two objects: a key and a string or an array of strings.
    pub(super) fn depends(&self) -> [Option<Value<'a>>; 2] {
        [self.info, self.type_].map(|part| child(part, "artifact_depends"))
    }

    /// What the payload provides beyond name and group: an object of strings.
    pub(super) fn provides(&self) -> Option<Value<'a>> {
        child(self.type_, "artifact_provides")
    }

    /// The patterns of provides to clear, a list of strings; `None` when the artifact does not say, which clears
    /// everything.
    pub(super) fn clears(&self) -> Option<Value<'a>> {
        child(self.type_, "clears_artifact_provides")
    }

    fn check_payloads(&self) -> Result<(), Error> {
        let count = Items::of(child(self.info, "payloads")).count();
        if count != 1 {
            return Err(Error::PayloadCount);
        }
        let Some(kind) = self.kind() else { return Ok(()) };
        let mut buf = [0; limits::PAYLOAD_TYPE];
        match kind.unescape(&mut buf) {
            Some(kind) if is_payload_type(kind) => Ok(()),
            Some(_) | None => Err(Error::BadPayloadType),
        }
    }

    /// The same key in both parts would let one override the other.
    fn check_overlap(&self, scratch: &mut [u8]) -> Result<(), Error> {
        let [first, second] = self.depends();
        let known = Index::of(first, scratch)
            .map_err(|error| keys(error, Limited::HeaderInfoKeys, Error::BadTypeInfo))?;
        let mut second = Members::of(second);
        if second.any(|(key, _)| key.is("device_type") || known.find(key).is_some()) {
            return Err(Error::BadTypeInfo(Rule::DependsRepeat));
        }
        let mut provides = Members::of(self.provides());
        if provides.any(|(key, _)| key.is("artifact_name") || key.is("artifact_group")) {
            return Err(Error::BadTypeInfo(Rule::ProvidesRepeat));
        }
        Ok(())
    }
}

/// A payload type becomes a file name in the module directory: one plain name (A1).
#[must_use]
pub fn is_payload_type(kind: &str) -> bool {
    !kind.is_empty()
        && kind.len() <= limits::PAYLOAD_TYPE
        && !kind.starts_with('.')
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The member of an object that was checked for ambiguous keys.
fn child<'a>(value: Value<'a>, name: &str) -> Option<Value<'a>> {
    Members::of(Some(value)).find(|(key, _)| key.is(name)).map(|(_, value)| value)
}

fn check_object(value: Value<'_>) -> Result<(), Rule> {
    if value.members().is_none() {
        return Err(Rule::Object);
    }
    Ok(())
}

/// A text that goes into names, files and requests.
fn check_text(text: Option<Str<'_>>, most: usize) -> Result<(), Rule> {
    let text = text.ok_or(Rule::String)?;
    if text.len() > most {
        return Err(Rule::StringOver(most));
    }
    if text.chars().any(char::is_control) {
        return Err(Rule::ControlCharacter);
    }
    Ok(())
}

fn check_list(list: Value<'_>) -> Result<(), Rule> {
    let mut count: usize = 0;
    for item in list.items().ok_or(Rule::List)? {
        check_text(item.as_str(), limits::JSON_STRING)?;
        count = count.saturating_add(1);
    }
    if count == 0 || count > limits::JSON_MEMBERS {
        return Err(Rule::ListLength(limits::JSON_MEMBERS));
    }
    Ok(())
}

fn check_header_info(info: Value<'_>) -> Result<(), Rule> {
    check_object(info)?;
    let payloads = child(info, "payloads").and_then(Value::items).ok_or(Rule::Payloads)?;
    for payload in payloads {
        check_object(payload)?;
        let kind = child(payload, "type").ok_or(Rule::NoPayloadType)?;
        if !kind.is_null() && kind.as_str().is_none_or(Str::is_empty) {
            return Err(Rule::PayloadType);
        }
    }
    let provides = child(info, "artifact_provides").ok_or(Rule::NoProvides)?;
    check_object(provides)?;
    let name = child(provides, "artifact_name").ok_or(Rule::NoName)?;
    check_text(name.as_str(), limits::NAME)?;
    if name.as_str().is_none_or(Str::is_empty) {
        return Err(Rule::EmptyName);
    }
    if let Some(group) = child(provides, "artifact_group") {
        check_text(group.as_str(), limits::NAME)?;
    }
    let depends = child(info, "artifact_depends").ok_or(Rule::NoDepends)?;
    check_object(depends)?;
    check_list(child(depends, "device_type").ok_or(Rule::NoDeviceType)?)?;
    for (_, list) in Members::of(Some(depends)) {
        check_list(list)?;
    }
    Ok(())
}

fn check_type_info(info: Value<'_>, kind: Option<Str<'_>>) -> Result<(), Rule> {
    check_object(info)?;
    let type_ = child(info, "type").ok_or(Rule::NoType)?;
    let same = match (type_.as_str(), kind) {
        (None, None) => type_.is_null(),
        // Old writers left it empty for root filesystems.
        (Some(type_), Some(kind)) => {
            type_.chars().eq(kind.chars()) || (type_.is_empty() && kind.is("rootfs-image"))
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !same {
        return Err(Rule::OtherType);
    }
    if let Some(provides) = child(info, "artifact_provides") {
        check_object(provides)?;
        for (key, value) in Members::of(Some(provides)) {
            check_text(Some(key), limits::JSON_STRING)?;
            check_text(value.as_str(), limits::JSON_STRING)?;
        }
    }
    if let Some(depends) = child(info, "artifact_depends") {
        check_object(depends)?;
        for (_, value) in Members::of(Some(depends)) {
            match value.as_str() {
                Some(text) => check_text(Some(text), limits::JSON_STRING)?,
                None => check_list(value)?,
            }
        }
    }
    if let Some(clears) = child(info, "clears_artifact_provides")
        && clears
            .items()
            .is_none_or(|mut items| items.any(|item| check_text(item.as_str(), limits::JSON_STRING).is_err()))
    {
        return Err(Rule::Clears);
    }
    Ok(())
}
