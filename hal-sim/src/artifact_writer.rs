//! Writes artifacts of format version 3, good ones and, by the `edit_*` methods, every kind of bad one.
//!
//! ```
//! use thimble_hal_sim::artifact_writer::ArtifactWriter;
//! let artifact = ArtifactWriter::new("release-2", "single-file", &["board"]).file("data", b"hello").build();
//! ```

mod tar;

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

pub use tar::{END, Member, NameAs, Patch, SizeAs, archive};
use thimble_core::hal::Compression;
use thimble_core::json::Escape;

type Edit<'a, T> = Box<dyn FnOnce(&mut T) + 'a>;

/// Compresses a whole archive.
pub type Compress<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;

/// Signs the manifest; what it gives is stored as `manifest.sig`, so it should be base64.
pub type Sign<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;

/// A builder of artifacts.
///
/// Edits are made in the order of the file's making: `header-info` and `type-info`, then the header archive (its
/// digest in the manifest is that of the edited one), the manifest (signed as edited), the payload archive (the
/// manifest lists the files as they were given), last the outer archive.
pub struct ArtifactWriter<'a> {
    name: String,
    group: Option<String>,
    payload_type: Option<String>,
    device_types: Vec<String>,
    header_depends: Vec<(String, Vec<String>)>,
    depends: Vec<(String, Vec<String>)>,
    provides: Vec<(String, String)>,
    clears: Option<Vec<String>>,
    scripts: Vec<(String, Vec<u8>)>,
    meta_data: Option<Vec<u8>>,
    files: Vec<(String, Vec<u8>)>,
    version: Vec<u8>,
    header_info: Option<Vec<u8>>,
    type_info: Option<Vec<u8>>,
    compression: Compression,
    compress: Compress<'a>,
    sign: Option<Sign<'a>>,
    edit_header: Option<Edit<'a, Vec<Member>>>,
    edit_manifest: Option<Edit<'a, String>>,
    edit_payload: Option<Edit<'a, Vec<Member>>>,
    edit_outer: Option<Edit<'a, Vec<Member>>>,
    end: Vec<u8>,
}

impl<'a> ArtifactWriter<'a> {
    /// An artifact without files, uncompressed, unsigned.
    #[must_use]
    pub fn new(name: &str, payload_type: &str, device_types: &[&str]) -> Self {
        Self {
            name: name.into(),
            group: None,
            payload_type: Some(payload_type.into()),
            device_types: strings(device_types),
            header_depends: Vec::new(),
            depends: Vec::new(),
            provides: Vec::new(),
            clears: None,
            scripts: Vec::new(),
            meta_data: None,
            files: Vec::new(),
            version: br#"{"format":"mender","version":3}"#.to_vec(),
            header_info: None,
            type_info: None,
            compression: Compression::None,
            compress: Box::new(<[u8]>::to_vec),
            sign: None,
            edit_header: None,
            edit_manifest: None,
            edit_payload: None,
            edit_outer: None,
            end: END.to_vec(),
        }
    }

    /// An artifact without payload, as bootstrap artifacts are.
    #[must_use]
    pub fn empty(name: &str, device_types: &[&str]) -> Self {
        Self { payload_type: None, ..Self::new(name, "", device_types) }
    }

    /// Sets `artifact_group`.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.into());
        self
    }

    /// A key of `artifact_depends` in `header-info`.
    #[must_use]
    pub fn header_depends(mut self, key: &str, values: &[&str]) -> Self {
        self.header_depends.push((key.into(), strings(values)));
        self
    }

    /// A key of `artifact_depends` in `type-info`: a string when there is one value, else a list.
    #[must_use]
    pub fn depends(mut self, key: &str, values: &[&str]) -> Self {
        self.depends.push((key.into(), strings(values)));
        self
    }

    /// A key of `artifact_provides` in `type-info`.
    #[must_use]
    pub fn provides(mut self, key: &str, value: &str) -> Self {
        self.provides.push((key.into(), value.into()));
        self
    }

    /// `clears_artifact_provides`; without this call it is absent.
    #[must_use]
    pub fn clears(mut self, patterns: &[&str]) -> Self {
        self.clears = Some(strings(patterns));
        self
    }

    /// A state script.
    #[must_use]
    pub fn script(mut self, name: &str, body: &[u8]) -> Self {
        self.scripts.push((name.into(), body.into()));
        self
    }

    /// `meta-data`; without this call there is no such member.
    #[must_use]
    pub fn meta_data(mut self, bytes: &[u8]) -> Self {
        self.meta_data = Some(bytes.into());
        self
    }

    /// A payload file.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.push((name.into(), bytes.into()));
        self
    }

    /// The bytes of `version`.
    #[must_use]
    pub fn version(mut self, bytes: &[u8]) -> Self {
        self.version = bytes.into();
        self
    }

    /// The bytes of `header-info`, instead of what the other calls ask for.
    #[must_use]
    pub fn header_info(mut self, bytes: &[u8]) -> Self {
        self.header_info = Some(bytes.into());
        self
    }

    /// The bytes of `type-info`, instead of what the other calls ask for.
    #[must_use]
    pub fn type_info(mut self, bytes: &[u8]) -> Self {
        self.type_info = Some(bytes.into());
        self
    }

    /// The suffix of header and payload, and how they are compressed.
    #[must_use]
    pub fn compress(mut self, kind: Compression, compress: impl Fn(&[u8]) -> Vec<u8> + 'a) -> Self {
        self.compression = kind;
        self.compress = Box::new(compress);
        self
    }

    /// Adds `manifest.sig`.
    #[must_use]
    pub fn sign(mut self, sign: impl Fn(&[u8]) -> Vec<u8> + 'a) -> Self {
        self.sign = Some(Box::new(sign));
        self
    }

    /// Changes the members of the header archive.
    #[must_use]
    pub fn edit_header(mut self, edit: impl FnOnce(&mut Vec<Member>) + 'a) -> Self {
        self.edit_header = Some(Box::new(edit));
        self
    }

    /// Changes the manifest before it is signed.
    #[must_use]
    pub fn edit_manifest(mut self, edit: impl FnOnce(&mut String) + 'a) -> Self {
        self.edit_manifest = Some(Box::new(edit));
        self
    }

    /// Changes the members of the payload archive.
    #[must_use]
    pub fn edit_payload(mut self, edit: impl FnOnce(&mut Vec<Member>) + 'a) -> Self {
        self.edit_payload = Some(Box::new(edit));
        self
    }

    /// Changes the members of the artifact itself, when all else is done.
    #[must_use]
    pub fn edit_outer(mut self, edit: impl FnOnce(&mut Vec<Member>) + 'a) -> Self {
        self.edit_outer = Some(Box::new(edit));
        self
    }

    /// What stands behind the last member, instead of the end marker.
    #[must_use]
    pub fn end(mut self, bytes: &[u8]) -> Self {
        self.end = bytes.into();
        self
    }

    /// The artifact's bytes.
    #[must_use]
    pub fn build(mut self) -> Vec<u8> {
        let mut header = vec![Member::new(
            "header-info",
            self.header_info.take().unwrap_or_else(|| self.write_header_info()),
        )];
        header
            .extend(self.scripts.iter().map(|(name, body)| Member::new(format!("scripts/{name}"), &**body)));
        let type_info = self.type_info.take().unwrap_or_else(|| self.write_type_info());
        header.push(Member::new("headers/0000/type-info", type_info));
        header.extend(self.meta_data.take().map(|m| Member::new("headers/0000/meta-data", m)));
        if let Some(edit) = self.edit_header.take() {
            edit(&mut header);
        }
        let header = (self.compress)(&archive(&header, END));

        let suffix = match self.compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        };
        let mut manifest = String::new();
        let mut line = |bytes: &[u8], name: &str| {
            let _ = writeln!(manifest, "{}  {name}", hex(bytes));
        };
        for (name, bytes) in &self.files {
            line(bytes, &format!("data/0000/{name}"));
        }
        line(&header, &format!("header.tar{suffix}"));
        line(&self.version, "version");
        if let Some(edit) = self.edit_manifest.take() {
            edit(&mut manifest);
        }

        let mut payload = self.files.iter().map(|(name, bytes)| Member::new(&**name, &**bytes)).collect();
        if let Some(edit) = self.edit_payload.take() {
            edit(&mut payload);
        }
        let payload = (self.compress)(&archive(&payload, END));

        let mut outer =
            vec![Member::new("version", &*self.version), Member::new("manifest", manifest.as_bytes())];
        outer.extend(self.sign.map(|sign| Member::new("manifest.sig", sign(manifest.as_bytes()))));
        outer.push(Member::new(format!("header.tar{suffix}"), header));
        outer.push(Member::new(format!("data/0000.tar{suffix}"), payload));
        if let Some(edit) = self.edit_outer.take() {
            edit(&mut outer);
        }
        archive(&outer, &self.end)
    }

    fn write_header_info(&self) -> Vec<u8> {
        let payload_type = self.payload_type.as_ref().map_or("null".into(), |t| quoted(t));
        let group =
            self.group.as_ref().map_or(String::new(), |g| format!(r#","artifact_group":{}"#, quoted(g)));
        let depends = [("device_type".to_string(), self.device_types.clone())];
        let depends: Vec<_> = depends
            .iter()
            .chain(&self.header_depends)
            .map(|(key, values)| format!("{}:{}", quoted(key), list(values)))
            .collect();
        format!(
            r#"{{"payloads":[{{"type":{payload_type}}}],"artifact_provides":{{"artifact_name":{}{group}}},"artifact_depends":{{{}}}}}"#,
            quoted(&self.name),
            depends.join(",")
        )
        .into_bytes()
    }

    fn write_type_info(&self) -> Vec<u8> {
        let mut members =
            vec![format!(r#""type":{}"#, self.payload_type.as_ref().map_or("null".into(), |t| quoted(t)))];
        if !self.provides.is_empty() {
            let all: Vec<_> =
                self.provides.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
            members.push(format!(r#""artifact_provides":{{{}}}"#, all.join(",")));
        }
        if !self.depends.is_empty() {
            let value = |values: &[String]| match values {
                [one] => quoted(one),
                several => list(several),
            };
            let all: Vec<_> =
                self.depends.iter().map(|(k, v)| format!("{}:{}", quoted(k), value(v))).collect();
            members.push(format!(r#""artifact_depends":{{{}}}"#, all.join(",")));
        }
        if let Some(clears) = &self.clears {
            members.push(format!(r#""clears_artifact_provides":{}"#, list(clears)));
        }
        format!("{{{}}}", members.join(",")).into_bytes()
    }
}

/// A gzip file whose blocks are stored, not compressed: what a test needs where no compressor is at hand.
#[must_use]
pub fn gzip_stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let len = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
    }
    out.extend(crc32fast::hash(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

/// The digest of `bytes` as a manifest has it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.into()).collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let _ = Escape(&mut out).write_str(text);
    out.push('"');
    out
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(","))
}
