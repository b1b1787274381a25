//! Good artifacts in all their forms.

use crate::harness::{Keys, Memory, Random, Seen, Signer, gzip, parse, parse_as, pipe, run, run_with};
use thimble_core::artifact::{Error, Trust};
use thimble_core::hal::{Compression, Decompress, DecompressError, Decompressed};
use thimble_hal_sim::artifact_writer::{ArtifactWriter, Member, NameAs, SizeAs, gzip_stored};

fn full() -> ArtifactWriter<'static> {
    let big: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    ArtifactWriter::new("release-2", "single-file", &["board", "other"])
        .group("g")
        .header_depends("artifact_name", &["release-1"])
        .depends("a", &["1"])
        .depends("b", &["1", "2"])
        .provides("rootfs-image.x.version", "2")
        .clears(&["rootfs-image.x.*"])
        .script("ArtifactInstall_Leave_10_b", b"#!/bin/sh\n")
        .script("ArtifactRollback_Error_00", b"")
        .meta_data(br#"{"k":[1,{"x":null}]}"#)
        .file("empty", b"")
        .file("a.gz", b"x")
        .file("big", &big)
}

fn files(seen: &[Seen]) -> Vec<(&str, usize)> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::File { name, bytes, ended, .. } => {
                assert!(ended);
                Some((&**name, bytes.len()))
            }
            Seen::Script(..) | Seen::Header { .. } => None,
        })
        .collect()
}

#[test]
fn everything_comes_out_in_order() {
    let seen = parse(&full().build()).unwrap();
    assert!(
        matches!(&seen[0], Seen::Script(name, body) if name == "ArtifactInstall_Leave_10_b" && body == b"#!/bin/sh\n")
    );
    assert!(
        matches!(&seen[1], Seen::Script(name, body) if name == "ArtifactRollback_Error_00" && body.is_empty())
    );
    assert!(matches!(&seen[2], Seen::Header { meta_data, .. } if meta_data == br#"{"k":[1,{"x":null}]}"#));
    assert_eq!(files(&seen), [("empty", 0), ("a.gz", 1), ("big", 100_000)]);
}

#[test]
fn compression_changes_nothing_but_the_bytes() {
    let plain = parse(&full().build()).unwrap();
    for compress in [gzip_stored as fn(&[u8]) -> Vec<u8>, gzip] {
        assert_eq!(parse(&full().compress(Compression::Gzip, compress).build()).unwrap(), plain);
    }
    for (kind, program) in [(Compression::Xz, "xz"), (Compression::Zstd, "zstd")] {
        let artifact = full().compress(kind, |bytes| pipe(program, &["-c"], bytes)).build();
        // The core's decoder knows gzip only; the platform's knows more.
        assert_eq!(parse(&artifact), Err(Error::UnsupportedCompression(kind)));
    }
}

/// What Linux decompresses with.
fn linux() -> thimble_hal_linux::decompress::Decompressor {
    thimble_hal_linux::decompress::Decompressor::default()
}

/// Frames of zstd that decoders pass over: an empty one, and one of four bytes.
const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\0\0\0\0\x5f\x2a\x4d\x18\x04\0\0\0skip";

/// Every way to make several streams of one archive.
fn streams(kind: Compression, program: &str, archive: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let packed = |bytes: &[u8]| pipe(program, &["-c"], bytes);
    let (front, back) = archive.split_at(700);
    let small = archive.chunks(30_000).map(packed).collect::<Vec<_>>().concat();
    let mut all = vec![
        ("two", [packed(front), packed(back)].concat()),
        ("many", small),
        (
            "empty ones",
            [packed(b""), packed(front), packed(b""), packed(b""), packed(back), packed(b"")].concat(),
        ),
    ];
    match kind {
        Compression::Zstd => {
            let parts = [SKIPPABLE, &packed(front), SKIPPABLE, &packed(back), SKIPPABLE].concat();
            all.push(("skippable ones", parts));
        }
        Compression::Xz => {
            all.push(("padding", [&packed(front)[..], &[0; 4], &packed(back), &[0; 512]].concat()));
        }
        Compression::None | Compression::Gzip => {}
    }
    all
}

#[test]
fn streams_that_follow_each_other_are_one_archive_whatever_the_chunks() {
    let plain = parse(&full().build()).unwrap();
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    for (kind, program) in [(Compression::Gzip, "gzip"), (Compression::Xz, "xz"), (Compression::Zstd, "zstd")]
    {
        for (what, _) in streams(kind, program, &[0; 1000]) {
            let compress = |archive: &[u8]| {
                let all = streams(kind, program, archive);
                all.into_iter().find(|(of, _)| *of == what).unwrap().1
            };
            let artifact = full().compress(kind, compress).build();
            for chunk in [1, 7, 4096, usize::MAX >> 1] {
                let mut keys = Keys::default();
                let (seen, result) =
                    run_with(&mut parser, &artifact, Trust::Unsigned, &mut keys, &mut linux(), || chunk);
                assert_eq!((result, seen), (Ok(()), plain.clone()), "{program} {what} {chunk}");
            }
        }
    }
}

#[test]
fn what_is_no_stream_behind_a_stream_is_refused_whatever_the_chunks() {
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    for (kind, program) in [(Compression::Gzip, "gzip"), (Compression::Xz, "xz"), (Compression::Zstd, "zstd")]
    {
        let packed = |bytes: &[u8]| pipe(program, &["-c"], bytes);
        let corrupt = Error::Decompress(kind, DecompressError::Corrupt);
        // Behind the end of its archive, a stream may give nothing but zeros.
        let tails: [(&[u8], _); 5] = [
            (b"rest", Error::TrailingData),
            (&packed(b"rest"), Error::TrailingData),
            (&packed(b"")[..1], corrupt.clone()),
            (&packed(b"")[..8], corrupt.clone()),
            (b"(\xfd\x1f", if kind == Compression::Zstd { corrupt } else { Error::TrailingData }),
        ];
        for (tail, expected) in tails {
            let artifact = full().compress(kind, |archive| [&packed(archive), tail].concat()).build();
            for chunk in [1, 4096, usize::MAX >> 1] {
                let mut keys = Keys::default();
                let (_, result) =
                    run_with(&mut parser, &artifact, Trust::Unsigned, &mut keys, &mut linux(), || chunk);
                assert_eq!(result, Err(expected.clone()), "{program} {tail:?} {chunk}");
            }
        }
    }
}

/// Takes all of its input before it gives anything, as decoders with buffers of their own do at the end of a stream.
#[derive(Default)]
struct Late {
    input: Vec<u8>,
    output: Option<Vec<u8>>,
}

impl Decompress for Late {
    fn begin(&mut self, _: Compression) -> Result<(), DecompressError> {
        *self = Self::default();
        Ok(())
    }

    fn decompress(
        &mut self,
        input: &[u8],
        window: &mut [u8],
        at: usize,
    ) -> Result<Decompressed, DecompressError> {
        self.input.extend(input);
        if !input.is_empty() {
            return Ok(Decompressed { consumed: input.len(), produced: 0, done: false });
        }
        let output = self.output.get_or_insert_with(|| pipe("gzip", &["-dc"], &self.input));
        let produced = output.len().min(window.len() - at);
        window[at..at + produced].copy_from_slice(&output[..produced]);
        output.drain(..produced);
        Ok(Decompressed { consumed: 0, produced, done: output.is_empty() })
    }
}

#[test]
fn a_decoder_may_hold_output_back_until_its_input_has_ended() {
    let artifact = full().compress(Compression::Gzip, gzip).build();
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    let mut keys = Keys::default();
    let (seen, result) =
        run_with(&mut parser, &artifact, Trust::Unsigned, &mut keys, &mut Late::default(), || 4096);
    assert_eq!(result.map(|()| seen), parse(&artifact));
}

#[test]
fn c6_any_chunks_give_the_same_events() {
    let seed = 0x5eed_0001_u64;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    for artifact in [full().build(), full().compress(Compression::Gzip, gzip).build()] {
        let whole = run(&mut parser, &artifact, Trust::Unsigned, &mut Keys::default(), || usize::MAX >> 1);
        assert_eq!(whole.1, Ok(()));
        for most in [1, 2, 3, 511, 513, 1000, 5000, 40_000] {
            for _ in 0..3 {
                let chunks = run(&mut parser, &artifact, Trust::Unsigned, &mut Keys::default(), || {
                    1 + random.below(most)
                });
                assert_eq!(chunks, whole, "chunks of at most {most}");
            }
        }
    }
}

#[test]
fn signatures_are_checked_only_with_keys() {
    let signer = Signer::new();
    let artifact = full().sign(|m| signer.sign(m)).build();
    assert!(parse_as(&artifact, Trust::Signed, &mut signer.keys()).is_ok());
    assert!(parse(&artifact).is_ok());
    assert_eq!(parse_as(&artifact, Trust::Signed, &mut Signer::new().keys()), Err(Error::BadSignature));
    // Several keys: the first that fits is enough.
    let mut keys = Signer::new().keys();
    keys.keys.extend(signer.keys().keys);
    assert!(parse_as(&artifact, Trust::Signed, &mut keys).is_ok());
    let unsigned = full().build();
    assert_eq!(parse_as(&unsigned, Trust::Signed, &mut signer.keys()), Err(Error::Unsigned));
    let garbage = full().sign(|_| b"no base64!".to_vec()).build();
    assert!(parse(&garbage).is_ok());
    assert_eq!(parse_as(&garbage, Trust::Signed, &mut signer.keys()), Err(Error::BadSignature));
}

#[test]
fn names_and_sizes_may_be_stored_in_every_way() {
    let name = "n".repeat(255);
    for name_as in [NameAs::Pax, NameAs::Gnu] {
        for size_as in [SizeAs::Octal, SizeAs::Pax, SizeAs::Base256] {
            for gnu in [false, true] {
                let artifact = ArtifactWriter::new("r", "t", &["d"])
                    .file(&name, b"12345")
                    .edit_payload(move |members| {
                        members[0] = Member { name_as, size_as, gnu, ..members[0].clone() };
                    })
                    .build();
                assert_eq!(files(&parse(&artifact).unwrap()), [(&*name, 5)]);
            }
        }
    }
}

#[test]
fn empty_payloads_need_no_archive() {
    let empty = || ArtifactWriter::empty("boot", &["d"]).provides("a", "b");
    for trust in [Trust::Unsigned, Trust::Bootstrap] {
        let parse = |bytes: Vec<u8>| parse_as(&bytes, trust, &mut Keys::default());
        assert!(parse(empty().build()).is_ok());
        assert!(parse(empty().edit_outer(|m| drop(m.pop())).build()).is_ok());
        assert!(parse(empty().compress(Compression::Gzip, gzip).build()).is_ok());
        assert!(matches!(parse(empty().meta_data(b"{}").build()), Err(Error::EmptyPayloadRule(_))));
        assert!(matches!(parse(empty().file("f", b"").build()), Err(Error::EmptyPayloadRule(_))));
    }
}

#[test]
fn the_bootstrap_artifact_carries_provides_only() {
    let parse = |a: ArtifactWriter<'_>| parse_as(&a.build(), Trust::Bootstrap, &mut Keys::default());
    let empty = || ArtifactWriter::empty("boot", &["d"]).provides("a", "b");
    assert!(parse(empty()).is_ok());
    assert!(matches!(parse(ArtifactWriter::empty("boot", &["d"])), Err(Error::Bootstrap(_))));
    assert!(matches!(parse(empty().depends("x", &["y"])), Err(Error::Bootstrap(_))));
    assert!(matches!(
        parse(ArtifactWriter::new("n", "t", &["d"]).provides("a", "b")),
        Err(Error::Bootstrap(_))
    ));
    let script = empty().script("ArtifactCommit_Enter_00", b"x");
    assert_eq!(parse(script), Err(Error::ScriptsNotAllowed));
}

#[test]
fn old_root_filesystem_artifacts_have_no_type_in_type_info() {
    let artifact = |kind| ArtifactWriter::new("r", kind, &["d"]).type_info(br#"{"type":""}"#).build();
    assert!(parse(&artifact("rootfs-image")).is_ok());
    assert!(matches!(parse(&artifact("module")), Err(Error::BadTypeInfo(_))));
}

#[test]
fn a16_zeros_may_follow_but_not_without_end() {
    let zeros = |n: usize| full().end(&vec![0; 1024 + n]).build();
    for n in [0, 512, 10 * 1024, 1024 * 1024] {
        assert!(parse(&zeros(n)).is_ok(), "{n}");
    }
    assert_eq!(parse(&zeros(1024 * 1024 + 512)), Err(Error::TrailingData));
    let mut one = zeros(10 * 1024);
    *one.last_mut().unwrap() = 1;
    assert_eq!(parse(&one), Err(Error::TrailingData));
    let twice = [full().build(), full().build()].concat();
    assert_eq!(parse(&twice), Err(Error::TrailingData));
    assert!(parse(&full().end(b"").build()).is_ok(), "no end marker behind the last payload");
}
