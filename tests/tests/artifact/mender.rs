//! Artifacts of Mender's own writer, and our writer's before Mender's reader.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Keys, Seen, gzip, parse_as};
use thimble_core::artifact::{Error, Trust};
use thimble_core::hal::Compression;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

/// Runs a command; `None`, and a line that says so, when it is not installed.
fn tool(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn must(program: &str, arguments: &[&str]) -> String {
    let (good, text) = tool(program, arguments).unwrap();
    assert!(good, "{program} {arguments:?}: {text}");
    text
}

struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    /// `None` when `mender-artifact` or `openssl` is not installed.
    fn new() -> Option<Self> {
        tool("mender-artifact", &["--version"])?;
        tool("openssl", &["version"])?;
        let dir = tempfile::tempdir().unwrap();
        let room = Self { dir };
        fs::write(room.path("rootfs.ext4"), vec![7; 65 * 1024]).unwrap();
        fs::write(room.path("one"), b"one").unwrap();
        fs::write(room.path("two.gz"), vec![1; 5000]).unwrap();
        fs::write(room.path("meta"), br#"{"a":{"b":[1,2]}}"#).unwrap();
        fs::write(room.path("ArtifactInstall_Enter_01_x"), b"#!/bin/sh\n").unwrap();
        fs::write(room.path("ArtifactFailure_Leave_00"), b"#!/bin/sh\n").unwrap();
        Some(room)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    /// `mender-artifact write`, `more` with `@name` for a file here.
    fn write(&self, kind: &str, more: &[&str]) -> Vec<u8> {
        let out = self.path("out.mender");
        let more: Vec<_> = more
            .iter()
            .map(|word| word.strip_prefix('@').map_or_else(|| word.to_string(), |name| self.path(name)))
            .collect();
        let mut words = vec!["write", kind, "-o", &out, "-n", "release-1", "-t", "board"];
        words.extend(more.iter().map(|word| &**word));
        must("mender-artifact", &words);
        fs::read(Path::new(&out)).unwrap()
    }
}

const KINDS: [(&str, &[&str]); 4] = [
    ("rootfs-image", &["-f", "@rootfs.ext4"]),
    (
        "rootfs-image",
        &["-f", "@rootfs.ext4", "-s", "@ArtifactInstall_Enter_01_x", "-s", "@ArtifactFailure_Leave_00"],
    ),
    (
        "module-image",
        &["-T", "files", "-f", "@one", "-f", "@two.gz", "-m", "@meta", "-d", "k:v", "-p", "p:q"],
    ),
    ("bootstrap-artifact", &["-p", "rootfs-image.checksum:1234", "--clears-provides", "x.*"]),
];

fn files(seen: &[Seen]) -> usize {
    seen.iter().filter(|s| matches!(s, Seen::File { ended: true, .. })).count()
}

#[test]
fn artifacts_of_menders_writer_are_read() {
    let Some(room) = Room::new() else { return };
    for (kind, words) in KINDS {
        for compression in ["none", "gzip", "lzma"] {
            let artifact = room.write(kind, &[words, &["--compression", compression]].concat());
            let trust = if kind == "bootstrap-artifact" { Trust::Bootstrap } else { Trust::Unsigned };
            let seen = parse_as(&artifact, trust, &mut Keys::default());
            if compression == "lzma" {
                assert_eq!(seen, Err(Error::UnsupportedCompression(Compression::Xz)), "{kind}");
                continue;
            }
            let seen = seen.unwrap_or_else(|error| panic!("{kind} {compression}: {error}"));
            let expected = match kind {
                "rootfs-image" => 1,
                "module-image" => 2,
                _ => 0,
            };
            assert_eq!(files(&seen), expected, "{kind}");
        }
    }
}

#[test]
fn signatures_of_menders_writer_are_good_and_cover_the_manifest() {
    let Some(room) = Room::new() else { return };
    must("openssl", &["genrsa", "-traditional", "-out", &room.path("rsa"), "3072"]);
    must(
        "openssl",
        &[
            "rsa",
            "-in",
            &room.path("rsa"),
            "-RSAPublicKey_out",
            "-outform",
            "DER",
            "-out",
            &room.path("rsa.pub"),
        ],
    );
    must("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &room.path("ec")]);
    must(
        "openssl",
        &["ec", "-in", &room.path("ec"), "-pubout", "-outform", "DER", "-out", &room.path("ec.pub")],
    );
    let rsa = fs::read(room.path("rsa.pub")).unwrap();
    let ec = fs::read(room.path("ec.pub")).unwrap();
    // The point stands at the end of the structure.
    let ec = &ec[ec.len() - 65..];
    for (kind, words) in &KINDS[..3] {
        for (key, mut keys) in [("@rsa", Keys::rsa(&rsa)), ("@ec", Keys::ec(ec))] {
            let mut artifact = room.write(kind, &[*words, &["-k", key]].concat());
            let seen = parse_as(&artifact, Trust::Signed, &mut keys);
            assert!(seen.is_ok(), "{kind} {key}: {seen:?}");
            assert_eq!(keys.asked.len(), 1);
            // A digest in the manifest, which begins at 1536: still hex, no longer what was signed.
            artifact[1536] = if artifact[1536] == b'0' { b'1' } else { b'0' };
            assert_eq!(parse_as(&artifact, Trust::Signed, &mut keys), Err(Error::BadSignature));
        }
    }
}

#[test]
fn a_script_name_that_is_not_ascii_is_read_as_menders_writer_writes_it() {
    let Some(room) = Room::new() else { return };
    let name = "ArtifactInstall_Enter_00_prüfen-検査";
    fs::write(room.path(name), b"#!/bin/sh\n").unwrap();
    let artifact = room.write("rootfs-image", &["-f", "@rootfs.ext4", "-s", &format!("@{name}")]);
    let seen = parse_as(&artifact, Trust::Unsigned, &mut Keys::default()).unwrap();
    assert!(matches!(&seen[0], Seen::Script(found, _) if found == name), "{:?}", seen[0]);
}

#[test]
fn menders_reader_takes_what_our_writer_writes() {
    let Some(room) = Room::new() else { return };
    let module = || {
        ArtifactWriter::new("release \"2\"", "files", &["board"])
            .group("g")
            .depends("k", &["v"])
            .provides("p", "q")
            .clears(&["p.*"])
            .script("ArtifactInstall_Enter_00", b"x")
            .meta_data(br#"{"a":1}"#)
            .file("one", b"1")
            .file("two", &[2; 3000])
    };
    let rootfs = ArtifactWriter::new("r", "rootfs-image", &["board"]).file("image", &[0; 9000]).build();
    let empty = ArtifactWriter::empty("boot", &["board"]).provides("p", "q").build();
    for artifact in [module().build(), module().compress(Compression::Gzip, gzip).build(), rootfs, empty] {
        let path = room.path("ours.mender");
        fs::write(&path, artifact).unwrap();
        must("mender-artifact", &["validate", &path]);
        let text = must("mender-artifact", &["read", &path]);
        assert!(text.contains("board"), "{text}");
    }
}
