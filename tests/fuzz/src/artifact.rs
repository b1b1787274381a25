//! Artifacts: what is accepted is covered by the manifest, and the manifest by the signature.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use thimble_core::artifact::{ManifestEntry, Parsed, Parser, Trust, Workspace};
use thimble_core::hal::{Compression, Verifier};
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_sim::artifact_writer::{ArtifactWriter, Member, gzip_stored, hex};

use crate::recipe::Recipe;

/// Made-up bytes as they are, or an artifact that they are the recipe of, with things moved, left out, doubled, renamed
/// and flipped.
pub fn artifact(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, raw)) => parse(raw, &mut Recipe(&[])),
        Some((_, recipe)) => {
            let mut recipe = Recipe(recipe);
            let artifact = build(&mut recipe);
            parse(&artifact, &mut recipe);
        }
        None => {}
    }
}

/// The signature of a manifest, here: its digest, in base64.
fn sign(manifest: &[u8]) -> Vec<u8> {
    STANDARD.encode(digest(&SHA256, manifest)).into_bytes()
}

#[derive(Default)]
struct Keys {
    manifest: Vec<u8>,
    verified: Option<Vec<u8>>,
}

impl Verifier for Keys {
    fn has_keys(&self) -> bool {
        true
    }

    fn reset(&mut self) {
        self.manifest.clear();
    }

    fn update(&mut self, manifest: &[u8]) -> bool {
        self.manifest.extend(manifest);
        true
    }

    fn verify(&mut self, signature: &[u8]) -> bool {
        let good = digest(&SHA256, &self.manifest).as_ref() == signature;
        if good {
            self.verified = Some(self.manifest.clone());
        }
        good
    }
}

fn build(recipe: &mut Recipe<'_>) -> Vec<u8> {
    let types: Vec<_> = (0..=recipe.below(2)).map(|_| recipe.text(8)).collect();
    let types: Vec<_> = types.iter().map(String::as_str).collect();
    let mut writer = ArtifactWriter::new(&recipe.text(12), &recipe.text(8), &types);
    for _ in 0..recipe.below(3) {
        writer = writer.provides(&recipe.text(8), &recipe.text(8));
    }
    for _ in 0..recipe.below(3) {
        writer = writer.depends(&recipe.text(8), &[&recipe.text(8)]);
    }
    if recipe.below(2) == 1 {
        writer = writer.clears(&[&recipe.text(8)]);
    }
    for number in 0..recipe.below(3) {
        let name = match recipe.below(4) {
            0 => recipe.text(20),
            _ => format!("ArtifactInstall_Enter_{number:02}_{}", recipe.text(4)),
        };
        writer = writer.script(&name, recipe.bytes(600));
    }
    if recipe.below(2) == 1 {
        writer = writer.meta_data(recipe.bytes(40));
    }
    for number in 0..recipe.below(4) {
        let name = match recipe.below(4) {
            0 => recipe.text(12),
            _ => format!("file-{number}"),
        };
        writer = writer.file(&name, recipe.bytes(1200));
    }
    if recipe.below(2) == 1 {
        writer = writer.compress(Compression::Gzip, gzip_stored);
    }
    let edits: [Vec<u8>; 4] = std::array::from_fn(|_| recipe.bytes(12).to_vec());
    let [header, payload, outer, manifest] = edits;
    let mut artifact = writer
        .sign(sign)
        .edit_header(move |members| edit(members, &header))
        .edit_payload(move |members| edit(members, &payload))
        .edit_outer(move |members| edit(members, &outer))
        .edit_manifest(move |text| {
            let mut recipe = Recipe(&manifest);
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            match recipe.byte() % 5 {
                1 => drop(lines.pop()),
                2 => lines.extend(lines.first().cloned()),
                3 => lines.reverse(),
                4 => lines.push(format!("{}  {}", "0".repeat(64), recipe.text(8))),
                _ => {}
            }
            *text = lines.iter().map(|line| format!("{line}\n")).collect();
        })
        .build();
    for _ in 0..recipe.below(3) {
        let at = recipe.below(artifact.len());
        let at = (at * 256 + recipe.below(256)) % artifact.len().max(1);
        if let Some(byte) = artifact.get_mut(at) {
            *byte ^= recipe.byte();
        }
    }
    artifact
}

fn edit(members: &mut Vec<Member>, recipe: &[u8]) {
    let mut recipe = Recipe(recipe);
    for _ in 0..recipe.byte() % 3 {
        let index = recipe.below(members.len());
        match recipe.byte() % 6 {
            1 => members.reverse(),
            2 if index < members.len() => drop(members.remove(index)),
            3 => members.extend(members.get(index).cloned()),
            4 => {
                if let Some(member) = members.get_mut(index) {
                    member.name = recipe.bytes(6).to_vec();
                }
            }
            5 => {
                if let Some(member) = members.get_mut(index) {
                    member.size = Some(recipe.below(2000) as u64);
                }
            }
            _ => {}
        }
    }
}

/// Parses it in pieces; if it is accepted, holds what came out against the manifest that was verified.
fn parse(artifact: &[u8], recipe: &mut Recipe<'_>) {
    let (mut name, mut header_info, mut type_info) = (vec![0; 4096], vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut meta_data, mut window) = (vec![0; 64 << 10], vec![0; 128 << 10]);
    let mut files = vec![ManifestEntry::default(); 64];
    let mut parser = Parser::new(Workspace {
        name: &mut name,
        header_info: &mut header_info,
        type_info: &mut type_info,
        meta_data: &mut meta_data,
        files: &mut files,
        window: &mut window,
    });
    parser.reset(Trust::Signed, true);
    let (mut keys, mut decompressor) = (Keys::default(), Decompressor::default());
    let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut at, mut open, mut ended) = (0, None, 0);
    while at < artifact.len() {
        let end = (at + 1 + recipe.below(700)).min(artifact.len());
        let Some(mut piece) = artifact.get(at..end) else { return };
        at = end;
        loop {
            let Ok((taken, event)) = parser.push(piece, &mut keys, &mut decompressor) else {
                assert!(parser.finish().is_err(), "an artifact was refused, and is whole all the same");
                return;
            };
            match event {
                Parsed::NeedInput => {
                    assert_eq!(taken, piece.len());
                    break;
                }
                Parsed::Script { .. } | Parsed::ScriptData(_) | Parsed::Header => {
                    assert!(
                        keys.verified.is_some(),
                        "the header comes before the signature is known to be good"
                    );
                }
                Parsed::FileBegin { name, .. } => {
                    assert!(seen.insert(name.to_owned(), Vec::new()).is_none(), "file {name} comes twice");
                    open = Some(name.to_owned());
                }
                Parsed::FileData(data) => {
                    let file = open.as_ref().and_then(|name| seen.get_mut(name));
                    file.expect("data belong to a file").extend(data);
                }
                Parsed::FileEnd => ended += 1,
            }
            piece = piece.get(taken..).unwrap_or_default();
        }
    }
    if parser.finish().is_err() {
        return;
    }
    assert_eq!(ended, seen.len(), "a file has no end");
    let manifest = keys.verified.expect("what is accepted was verified");
    covered(artifact, &String::from_utf8_lossy(&manifest), &seen);
}

/// Another reader of archives says what is in the artifact.
fn covered(artifact: &[u8], manifest: &str, seen: &BTreeMap<String, Vec<u8>>) {
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    for line in manifest.lines() {
        let (sum, name) = line.split_once("  ").expect("a line of the manifest");
        assert!(lines.insert(name, sum).is_none(), "{name} stands twice in the manifest");
    }
    let mut archive = tar::Archive::new(artifact);
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("a member");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name == "version" || name.starts_with("header.tar") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            assert_eq!(lines.remove(name.as_str()), Some(hex(&bytes).as_str()), "{name}");
        }
    }
    for (name, bytes) in seen {
        let line = lines.remove(format!("data/0000/{name}").as_str());
        assert_eq!(line, Some(hex(bytes).as_str()), "{name}");
    }
    assert!(lines.is_empty(), "in the manifest and not in the artifact: {lines:?}");
}
