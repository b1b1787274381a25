//! Every attack of `docs/rules/hardening.md` that an artifact can carry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Seen, Signer, gzip, parse, parse_as};
use thimble_core::artifact::{Error, Foreign, Limited, Rule, Trust, is_payload_type};
use thimble_core::hal::{Compression, DecompressError};
use thimble_hal_sim::artifact_writer::{ArtifactWriter, Member, NameAs, Patch, SizeAs, hex};

fn good() -> ArtifactWriter<'static> {
    ArtifactWriter::new("r", "t", &["d"]).file("f", b"content")
}

/// The error of an artifact that must be refused.
fn refused(artifact: ArtifactWriter<'_>) -> Error {
    parse(&artifact.build()).unwrap_err()
}

#[test]
fn a1_payload_types_are_plain_names() {
    for bad in ["../../tmp/x", "a/b", ".", "..", ".hidden", "a b", "ä", "a\u{0}b", &"x".repeat(65)] {
        assert!(!is_payload_type(bad), "{bad}");
        assert_eq!(refused(ArtifactWriter::new("r", bad, &["d"])), Error::BadPayloadType, "{bad}");
    }
    assert!(matches!(refused(ArtifactWriter::new("r", "", &["d"])), Error::BadHeaderInfo(_)));
    for good in ["a", "rootfs-image", "A_b.c-9", &"x".repeat(64)] {
        assert!(parse(&ArtifactWriter::new("r", good, &["d"]).build()).is_ok(), "{good}");
    }
}

const BAD_NAMES: [&[u8]; 12] = [
    b"",
    b".",
    b"..",
    b"/etc/passwd",
    b"../x",
    b"a/b",
    b"a/",
    b"a b",
    b"a\nb",
    b"a\x7f",
    b"\xc3\xa4",
    b"a\\b",
];

#[test]
fn a2_payload_file_names_are_plain_names() {
    for bad in BAD_NAMES {
        // In the archive only: the manifest cannot list it.
        let in_archive = good().edit_payload(|m| m[0].name = bad.into());
        assert!(matches!(refused(in_archive), Error::BadFileName(_) | Error::BadTar), "{bad:?}");
        let text = String::from_utf8_lossy(bad).into_owned();
        let listed = good().edit_manifest(|m| *m += &format!("{}  data/0000/{text}\n", hex(b"")));
        assert!(matches!(refused(listed), Error::BadFileName(_) | Error::BadManifest(_)), "{bad:?}");
    }
    let long = "n".repeat(256);
    assert!(matches!(
        refused(good().edit_payload(|m| m[0] = Member { name_as: NameAs::Pax, ..Member::new(long, "x") })),
        Error::TooLarge { .. }
    ));
}

#[test]
fn a3_script_names_keep_to_the_grammar() {
    for bad in [
        "ArtifactInstall_Enter_00_../../x",
        "ArtifactInstall_Enter_00_a/b",
        "../ArtifactInstall_Enter_00",
        "-ArtifactInstall_Enter_00",
        "ArtifactInstall_Enter_0",
        "Idle_Enter_00",
        "Download_Enter_00",
        "Sync_Leave_00",
        "ArtifactInstall_Enter_00_\u{85}",
        "ArtifactInstall_Enter_00_a b",
        "version",
        "",
        &format!("ArtifactInstall_Enter_00_{}", "x".repeat(65)),
    ] {
        let error = refused(good().edit_header(|m| {
            let name = format!("scripts/{bad}");
            let name_as = if name.len() > 100 { NameAs::Pax } else { NameAs::Ustar };
            m.insert(1, Member { name_as, ..Member::new(name, "x") });
        }));
        assert!(matches!(error, Error::BadScriptName(_)), "{bad}: {error}");
    }
}

#[test]
fn script_names_in_any_script_are_taken() {
    for name in [
        "ArtifactInstall_Enter_00_prüfen",
        "ArtifactCommit_Leave_99_検査",
        "ArtifactFailure_Enter_00_a(1)~:@",
    ] {
        let seen = parse(&good().script(name, b"x").build()).unwrap();
        assert!(seen.contains(&Seen::Script(name.into(), b"x".to_vec())), "{name}: {seen:?}");
    }
}

/// The error that says what stands in the place of an artifact, whatever the chunks.
fn foreign(bytes: &[u8]) -> String {
    let mut memory = crate::harness::Memory::new();
    let mut keys = crate::harness::Keys::default();
    let mut parser = memory.parser();
    let mut run =
        |chunk| match crate::harness::run(&mut parser, bytes, Trust::Unsigned, &mut keys, || chunk).1 {
            Err(Error::Foreign(what)) => what.to_string(),
            other => panic!("{other:?}"),
        };
    let (one, all) = (run(1), run(usize::MAX >> 1));
    assert_eq!(one, all);
    all
}

#[test]
fn what_is_given_in_the_place_of_an_artifact_is_named() {
    let mut disk = vec![0; 4096];
    disk[1080..1082].copy_from_slice(&[0x53, 0xef]);
    assert_eq!(foreign(&disk), "a raw image of a disk or file system");
    disk[0] = 0xeb;
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(foreign(&disk), "a raw image of a disk or file system");
    for length in [40, 5000] {
        let page = format!("<!DOCTYPE html>\n<html><title>Login</title>{}", "x".repeat(length));
        assert_eq!(foreign(page.as_bytes()), "an HTML page");
    }
    assert_eq!(foreign(b"{\"error\": \"not found\"}"), "a JSON text");
    assert_eq!(foreign(&gzip(&[7; 5000])), "a file packed with gzip");
    assert_eq!(foreign(b""), "an empty file");
    assert_eq!(foreign("404 nicht möglich\n".as_bytes()), "a text");
    assert_eq!(foreign("größe\n".repeat(500).as_bytes()), "a text");
}

#[test]
fn a_wrong_digest_is_told_with_the_right_one() {
    let error = refused(good().edit_payload(|m| m[0].data[0] ^= 1)).to_string();
    let digests = error.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    assert_eq!(digests.collect::<std::collections::BTreeSet<_>>().len(), 2, "{error}");
}

#[test]
fn a4_payload_list_and_sub_headers_are_one_each() {
    for payloads in 0..3 {
        for sub_headers in 0..3 {
            let list = vec![r#"{"type":"t"}"#; payloads].join(",");
            let info = format!(
                r#"{{"payloads":[{list}],"artifact_provides":{{"artifact_name":"r"}},"artifact_depends":{{"device_type":["d"]}}}}"#
            );
            let artifact = good().header_info(info.as_bytes()).edit_header(|m| {
                let type_info = m.pop().unwrap();
                for n in 0..sub_headers {
                    m.push(Member { name: format!("headers/{n:04}/type-info").into(), ..type_info.clone() });
                }
            });
            let result = parse(&artifact.build());
            if (payloads, sub_headers) == (1, 1) {
                assert!(result.is_ok());
            } else {
                assert_eq!(result, Err(Error::PayloadCount), "{payloads} {sub_headers}");
            }
        }
    }
    let twice = good().edit_outer(|m| {
        let second = Member { name: "data/0001.tar".into(), ..m[3].clone() };
        m.push(second);
    });
    assert_eq!(refused(twice), Error::PayloadCount);
}

#[test]
fn a5_signatures_of_every_length_are_refused_without_harm() {
    let signer = Signer::new();
    for len in 0..=100 {
        let artifact = good().sign(|m| {
            let mut raw = signer.raw(m);
            raw.resize(len, 0x30);
            STANDARD.encode(raw).into_bytes()
        });
        let result = parse_as(&artifact.build(), Trust::Signed, &mut signer.keys());
        if len == 64 {
            assert!(result.is_ok());
        } else {
            assert_eq!(result, Err(Error::BadSignature), "{len}");
        }
    }
    for bad in ["A", "AA=", "AAA", "AA==AAAA", "AAAA\n", "AAA*", "=AAA", "AB==", "AAB="] {
        let artifact = good().sign(|_| bad.into());
        let result = parse_as(&artifact.build(), Trust::Signed, &mut signer.keys());
        assert_eq!(result, Err(Error::BadSignature), "{bad}");
    }
}

#[test]
fn a6_a_file_that_is_not_in_the_signed_manifest_is_refused() {
    let signer = Signer::new();
    let artifact = good().sign(|m| signer.sign(m)).edit_payload(|m| m.push(Member::new("evil", "x"))).build();
    let error = parse_as(&artifact, Trust::Signed, &mut signer.keys()).unwrap_err();
    assert!(matches!(error, Error::UnlistedFile(name) if name == "evil"));
}

#[test]
fn a7_names_are_compared_whole() {
    for (listed, stored) in [("x", "x.gz"), ("x.gz", "x"), ("x.tar.gz", "x.tar"), ("x", "X")] {
        let artifact = ArtifactWriter::new("r", "t", &["d"])
            .file(listed, b"1")
            .edit_payload(move |m| m[0].name = stored.into());
        assert!(matches!(refused(artifact), Error::UnlistedFile(name) if name == stored));
    }
    let both =
        ArtifactWriter::new("r", "t", &["d"]).file("a", b"1").file("a.gz", b"2").file("header.tar.gz", b"3");
    assert_eq!(parse(&both.build()).unwrap().len(), 4);
    let suffix = good().edit_manifest(|m| *m = m.replace("header.tar", "header.tar.gz"));
    assert!(matches!(refused(suffix), Error::BadManifest(_)));
}

#[test]
fn a8_the_header_must_be_in_the_signed_manifest() {
    let signer = Signer::new();
    for part in ["header.tar", "version"] {
        let artifact = good()
            .edit_manifest(|m| {
                *m = m.lines().filter(|l| !l.ends_with(part)).map(|l| format!("{l}\n")).collect()
            })
            .sign(|m| signer.sign(m))
            .build();
        let error = parse_as(&artifact, Trust::Signed, &mut signer.keys()).unwrap_err();
        assert!(matches!(error, Error::BadManifest(_)), "{part}: {error}");
    }
}

#[test]
fn a9_every_listed_file_must_come() {
    let two = || good().file("g", b"more");
    assert_eq!(refused(two().edit_payload(|m| drop(m.pop()))), Error::MissingFile);
    assert_eq!(refused(two().edit_payload(Vec::clear)), Error::MissingFile);
    assert_eq!(refused(good().edit_outer(|m| drop(m.pop()))), Error::UnexpectedEof);
}

#[test]
fn a10_nothing_of_a_changed_header_leaves_but_scripts_to_the_staging_place() {
    let artifact = good().script("ArtifactInstall_Enter_00", b"script").edit_outer(|m| {
        // A bit of type-info, behind the script.
        let at = m[2].data.windows(4).rposition(|w| w == b"\"t\"}").unwrap();
        m[2].data[at + 1] ^= 1;
    });
    let mut memory = crate::harness::Memory::new();
    let mut keys = crate::harness::Keys::default();
    let mut parser = memory.parser();
    let (seen, result) =
        crate::harness::run(&mut parser, &artifact.build(), Trust::Unsigned, &mut keys, || 100);
    assert!(matches!(result, Err(Error::ChecksumMismatch(_))));
    assert_eq!(seen, [Seen::Script("ArtifactInstall_Enter_00".into(), b"script".into())]);
    assert!(parser.header().is_none());
}

#[test]
fn a11_type_info_cannot_override_what_the_header_depends_on() {
    for key in ["device_type", "artifact_name"] {
        let artifact = good().header_depends("artifact_name", &["old"]).depends(key, &["evil"]);
        assert!(matches!(refused(artifact), Error::BadTypeInfo(_)), "{key}");
    }
    for key in ["artifact_name", "artifact_group"] {
        assert!(matches!(refused(good().provides(key, "evil")), Error::BadTypeInfo(_)), "{key}");
    }
}

#[test]
fn a12_empty_lists_are_errors() {
    assert!(matches!(refused(ArtifactWriter::new("r", "t", &[])), Error::BadHeaderInfo(_)));
    for key in ["artifact_name", "artifact_group"] {
        assert!(matches!(refused(good().header_depends(key, &[])), Error::BadHeaderInfo(_)));
    }
}

#[test]
fn a13_manifest_lines_of_every_length_are_read_or_refused() {
    for len in 0..=200 {
        let line: String = format!("{}  data/0000/{}", hex(b""), "n".repeat(200)).chars().take(len).collect();
        let error = refused(good().edit_manifest(|m| *m += &format!("{line}\n")));
        let listed = len > 76;
        assert_eq!(matches!(error, Error::MissingFile), listed, "{len}: {error}");
        assert!(listed || matches!(error, Error::BadManifest(_) | Error::BadFileName(_)), "{len}: {error}");
    }
    let digest = hex(b"content");
    for (from, to) in [
        (&*digest, digest.to_uppercase()),
        ("  ", " ".into()),
        ("  ", " \t".into()),
        ("  ", "   ".into()),
        ("\n", "\r\n".into()),
        ("\n", "\n\n".into()),
        ("data/0000", "data/0001".into()),
        ("data/0000/f", "other".into()),
    ] {
        let error = refused(good().edit_manifest(|m| *m = m.replacen(from, &to, 1)));
        assert!(matches!(error, Error::BadManifest(_) | Error::BadFileName(_)), "{from:?} {to:?}: {error}");
    }
    assert!(matches!(refused(good().edit_manifest(|m| m.truncate(m.len() - 1))), Error::BadManifest(_)));
    for line in 0..3 {
        let twice = good().edit_manifest(|m| {
            let again = m.lines().nth(line).unwrap().to_string();
            *m += &format!("{again}\n");
        });
        assert!(matches!(refused(twice), Error::BadManifest(_)), "{line}");
    }
}

#[test]
fn a14_a_manifest_line_without_end_is_refused_at_once() {
    let long = "a".repeat(10 << 20);
    let error = refused(good().edit_manifest(|m| *m = long.clone()));
    assert!(matches!(error, Error::TooLarge { .. }));
    let error = refused(good().edit_manifest(|m| *m = long[..400 << 10].into()));
    assert!(matches!(error, Error::BadManifest(_)));
}

#[test]
fn a15_unknown_members_are_named_and_version_is_verified() {
    let evil = b"evil\"\n\x1b[31m";
    let error = refused(good().edit_outer(|m| m.insert(2, Member::new(evil, "x"))));
    let text = error.to_string();
    assert!(matches!(error, Error::UnexpectedMember(_)) && text.contains("evil"), "{text}");
    assert!(!text.chars().any(char::is_control), "{text}");
    for at in [0, 1, 3, 4] {
        let error = refused(good().edit_outer(|m| m.insert(at, Member::new("other", "x"))));
        assert!(matches!(error, Error::UnexpectedMember(_)), "{at}: {error}");
    }
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        assert!(matches!(refused(good().edit_outer(|m| m.swap(a, b))), Error::UnexpectedMember(_)));
    }
    for twice in 0..3 {
        let error = refused(good().edit_outer(|m| m.insert(twice, m[twice].clone())));
        assert!(matches!(error, Error::UnexpectedMember(_)), "{twice}: {error}");
    }
    for bad in [
        "",
        "{}",
        r#"{"format":"mender","version":2}"#,
        r#"{"format":"mender","version":"3"}"#,
        r#"{"format":"mender","version":3.0}"#,
        r#"{"format":"other","version":3}"#,
        r#"{"format":"mender","version":3}x"#,
    ] {
        assert_eq!(refused(good().version(bad.as_bytes())), Error::BadVersion, "{bad}");
    }
    let changed = good().edit_outer(|m| m[0].data = br#"{"version":3,"format":"mender"}"#.to_vec());
    assert!(matches!(refused(changed), Error::ChecksumMismatch(name) if name == "version"));
}

#[test]
fn a17_sizes_are_64_bits_wide() {
    let size = 5 << 30;
    for size_as in [SizeAs::Octal, SizeAs::Pax, SizeAs::Base256] {
        let inner = |m: &mut Vec<Member>| m[0] = Member { size: Some(size), size_as, ..m[0].clone() };
        let outer = |m: &mut Vec<Member>| {
            let last = m.last_mut().unwrap();
            *last = Member { size: Some(size + 2048), size_as, ..last.clone() };
        };
        let artifact = good().edit_payload(inner).edit_outer(outer).end(b"").build();
        let mut memory = crate::harness::Memory::new();
        let mut keys = crate::harness::Keys::default();
        let (seen, result) =
            crate::harness::run(&mut memory.parser(), &artifact, Trust::Unsigned, &mut keys, || 4096);
        assert_eq!(result, Err(Error::UnexpectedEof));
        assert!(matches!(seen.last(), Some(Seen::File { size: seen, ended: false, .. }) if *seen == size));
    }
}

#[test]
fn a20_bombs_stop_at_a_limit() {
    let zip = |a: ArtifactWriter<'static>| a.compress(Compression::Gzip, gzip);
    // Zeros behind the end of the archives inside.
    let zeros = vec![0; 3 << 20];
    let tail = |at: usize| {
        let zeros = zeros.clone();
        zip(good()).edit_outer(move |m| {
            let archive = [crate::harness::pipe("gzip", &["-dc"], &m[at].data), zeros].concat();
            m[at].data = gzip(&archive);
        })
    };
    assert_eq!(refused(tail(2)), Error::TrailingData);
    assert_eq!(refused(tail(3)), Error::TrailingData);
    // Entries that are only looked at: in the header and in the payload.
    let extension = |_| Member { kind: b'g', ..Member::new("g", vec![b'0'; 4000]) };
    let flood: Vec<_> = (0..20_000).map(extension).collect();
    let (header, payload) = (flood.clone(), flood.clone());
    for artifact in [
        zip(good()).edit_header(move |m| drop(m.splice(0..0, header))),
        zip(good()).edit_payload(move |m| drop(m.splice(0..0, payload))),
        good().edit_outer(move |m| drop(m.splice(0..0, flood))),
    ] {
        assert!(matches!(refused(artifact), Error::TooLarge { .. }));
    }
    for part in [1, 2] {
        let error =
            refused(zip(good()).meta_data(b"{}").edit_header(move |m| m[part].data = vec![b' '; 80 << 20]));
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn a21_keys_that_two_readers_read_differently_are_refused() {
    let info = |text: &str| refused(good().header_info(text.as_bytes()));
    let rest = r#""artifact_depends":{"device_type":["d"]}"#;
    for bad in [
        format!(
            r#"{{"payloads":[{{"type":"t"}}],"artifact_provides":{{"artifact_name":"r","Artifact_Name":"s"}},{rest}}}"#
        ),
        format!(
            r#"{{"payloads":[{{"type":"t","TYPE":"u"}}],"artifact_provides":{{"artifact_name":"r"}},{rest}}}"#
        ),
        format!(
            r#"{{"payloads":[{{"type":"t"}}],"artifact_provides":{{"artifact_name":"r"}},{rest},{rest}}}"#
        ),
    ] {
        assert!(matches!(info(&bad), Error::BadHeaderInfo(_)), "{bad}");
    }
    for bad in [r#"{"type":"t","type":"t"}"#, r#"{"type":"t","artifact_provides":{"a":"1","A":"2"}}"#] {
        assert!(matches!(refused(good().type_info(bad.as_bytes())), Error::BadTypeInfo(_)), "{bad}");
    }
    assert_eq!(refused(good().version(br#"{"format":"mender","version":3,"Version":2}"#)), Error::BadVersion);
    for bad in [r#"{"a":1,"A":2}"#, r#"{"x":[{"a":1,"a":2}]}"#] {
        let repeated = Error::BadMetaData(Rule::RepeatedKey);
        assert_eq!(refused(good().meta_data(bad.as_bytes())), repeated, "{bad}");
    }
}

#[test]
fn a21_the_search_for_ambiguous_keys_is_not_quadratic_in_bytes() {
    // A thousand keys before a value of nearly a megabyte, twenty levels deep: a quadratic search walks gigabytes.
    let keys: Vec<_> = (0..1000).map(|i| format!("\"k{i}\":0")).collect();
    let keys = keys.join(",");
    let mut text = format!("[{}]", vec!["0"; 200_000].join(","));
    for _ in 0..20 {
        text = format!("{{{keys},\"v\":{text}}}");
    }
    assert!(text.len() < 1 << 20 && parse(&good().meta_data(text.as_bytes()).build()).is_ok());
}

#[test]
fn a21_more_keys_than_can_be_compared_are_refused_with_their_limit() {
    let object = |keys: usize| {
        let keys: Vec<_> = (0..keys).map(|i| format!("\"k{i}\":0")).collect();
        format!("{{{}}}", keys.join(","))
    };
    assert!(parse(&good().meta_data(object(3000).as_bytes()).build()).is_ok());
    let limit = 6 * (32 << 10) / thimble_core::json::ENTRY;
    assert!(parse(&good().meta_data(object(limit).as_bytes()).build()).is_ok());
    let what = Limited::MetaDataKeys;
    assert_eq!(refused(good().meta_data(object(limit + 1).as_bytes())), Error::TooLarge { what, limit });
}

#[test]
fn strings_and_lists_over_a_limit_are_told_the_limit() {
    let told = |writer: ArtifactWriter<'_>| refused(writer).to_string();
    let long = "n".repeat(257);
    let named = ArtifactWriter::new(&long, "t", &["d"]).file("f", b"f");
    assert_eq!(told(named), "bad header-info: a string has more than 256 bytes");
    assert_eq!(
        told(good().provides("k", &"v".repeat(1025))),
        "bad type-info: a string has more than 1024 bytes"
    );
    let many: Vec<_> = (0..1025).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(
        told(good().depends("k", &many)),
        "bad type-info: a list is empty or has more than 1024 items"
    );
}

#[test]
fn a22_deep_nesting_is_refused() {
    for deep in ["[".repeat(1_000_000), "{\"a\":".repeat(100_000)] {
        let told = refused(good().meta_data(deep.as_bytes())).to_string();
        assert!(told.starts_with("bad meta-data: not valid JSON: more than 64 levels"), "{told}");
        let deep = &deep[..60_000];
        assert!(matches!(refused(good().header_info(deep.as_bytes())), Error::HeaderInfoJson(_)));
        assert!(matches!(refused(good().type_info(deep.as_bytes())), Error::TypeInfoJson(_)));
    }
}

#[test]
fn json_that_is_none_is_refused() {
    for bad in
        ["", "[]", "null", "{\"a\":\"\\ud800\"}", "{\"a\":1}x", "{\"a\":\"\u{1}\"}", "{\"a\":01}", "{'a':1}"]
    {
        if !bad.is_empty() {
            let error = refused(good().meta_data(bad.as_bytes()));
            assert!(
                matches!(error, Error::MetaDataJson(_) | Error::BadMetaData(Rule::Object)),
                "{bad}: {error}"
            );
        }
        assert!(matches!(
            refused(good().header_info(bad.as_bytes())),
            Error::HeaderInfoJson(_) | Error::BadHeaderInfo(_)
        ));
        assert!(matches!(
            refused(good().type_info(bad.as_bytes())),
            Error::TypeInfoJson(_) | Error::BadTypeInfo(_)
        ));
    }
    assert!(matches!(refused(ArtifactWriter::new("a\u{0}b", "t", &["d"])), Error::BadHeaderInfo(_)));
    assert!(matches!(refused(ArtifactWriter::new("", "t", &["d"])), Error::BadHeaderInfo(_)));
}

#[test]
fn a23_augmented_artifacts_are_refused_by_name() {
    for (at, name) in [(2, "manifest-augment"), (3, "header-augment.tar"), (3, "header-augment.tar.gz")] {
        let error = refused(good().edit_outer(|m| m.insert(at, Member::new(name, "x"))));
        assert_eq!(error, Error::Augmented);
        assert!(error.to_string().contains("augmented"));
    }
}

#[test]
fn damaged_tar_headers_are_refused() {
    let bad: [Patch; 9] = [
        (|b| b[0] ^= 1, false),
        (|b| b[257] = b'x', true),
        (|b| b[124..136].fill(b'9'), true),
        (|b| b[124..136].fill(0xff), true),
        (|b| b[124..136].fill(b' '), true),
        (|b| b[124..136].copy_from_slice(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), true),
        (|b| b[124..136].copy_from_slice(b"0000000001x\0"), true),
        (|b| b[124..136].copy_from_slice(b"777777777777"), true),
        (|b| b[148..156].fill(0), false),
    ];
    for (n, patch) in bad.into_iter().enumerate() {
        for level in 0..3 {
            let edit = move |m: &mut Vec<Member>| m[0].patch = Some(patch);
            let error = refused(match level {
                0 => good().edit_outer(edit),
                1 => good().edit_header(edit),
                _ => good().edit_payload(edit),
            });
            let plain = matches!(error, Error::BadTar | Error::TooLarge { .. } | Error::UnexpectedEof);
            assert!(plain, "{n} {level}: {error}");
        }
    }
}

#[test]
fn entries_that_are_no_files_are_refused() {
    for kind in *b"123456789ASDVNMKXZ" {
        for level in 0..3 {
            let edit = move |m: &mut Vec<Member>| m[0].kind = kind;
            let error = refused(match level {
                0 => good().edit_outer(edit),
                1 => good().edit_header(edit),
                _ => good().edit_payload(edit),
            });
            assert_eq!(error, Error::BadEntryType(kind), "{}", char::from(kind));
        }
    }
}

#[test]
fn bad_pax_records_are_refused() {
    for bad in [
        "0 path=x\n",
        "5 path=f\n",
        "99 path=f\n",
        "9 path=f",
        "8 pathf\n",
        "path=f\n",
        "x path=f\n",
        " 9 path=f\n",
        "-9 path=f\n",
        "18446744073709551616 path=f\n",
        "9 size=x\n",
        "10 size=-1\n",
        "28 size=18446744073709551616\n",
    ] {
        let error =
            refused(good().edit_payload(|m| m.insert(0, Member { kind: b'x', ..Member::new("x", bad) })));
        assert_eq!(error, Error::BadTar, "{bad:?}");
    }
    let sparse = "22 GNU.sparse.major=1\n";
    let error =
        refused(good().edit_payload(|m| m.insert(0, Member { kind: b'x', ..Member::new("x", sparse) })));
    assert_eq!(error, Error::BadEntryType(b'S'));
    for kind in *b"xL" {
        let long = Member { kind, ..Member::new("x", vec![b'n'; 5 << 20]) };
        assert!(matches!(refused(good().edit_payload(|m| m.insert(0, long))), Error::TooLarge { .. }));
    }
    // A name or size for an entry that never comes.
    let orphan = Member { kind: b'x', ..Member::new("x", "9 path=f\n") };
    assert_eq!(refused(good().edit_payload(|m| m.push(orphan))), Error::BadTar);
    let wrong = Member { kind: b'x', ..Member::new("x", "9 size=3\n") };
    let error = refused(good().edit_payload(|m| m.insert(0, wrong)));
    assert!(matches!(error, Error::BadTar | Error::ChecksumMismatch(_)), "{error}");
}

#[test]
fn files_that_are_not_what_the_manifest_says_are_refused() {
    assert!(
        matches!(refused(good().edit_payload(|m| m[0].data[0] ^= 1)), Error::ChecksumMismatch(n) if n == "f")
    );
    assert!(matches!(refused(good().edit_payload(|m| m[0].data.clear())), Error::ChecksumMismatch(_)));
    let twice = good().edit_payload(|m| m.push(m[0].clone()));
    assert!(matches!(refused(twice), Error::DuplicateFile(n) if n == "f"));
}

#[test]
fn suffix_and_content_must_agree() {
    let plain_as_gzip = good().compress(Compression::Gzip, <[u8]>::to_vec);
    assert_eq!(refused(plain_as_gzip), Error::Decompress(Compression::Gzip, DecompressError::Corrupt));
    assert!(matches!(
        refused(good().compress(Compression::None, gzip)),
        Error::BadTar | Error::UnexpectedEof
    ));
    let tail = good().compress(Compression::Gzip, |b| [gzip(b), vec![0]].concat());
    assert_eq!(refused(tail), Error::TrailingData);
    let two = good().compress(Compression::Gzip, |b| [gzip(b), gzip(b)].concat());
    assert_eq!(refused(two), Error::TrailingData);
    for back in 1..=8 {
        let trailer = good().compress(Compression::Gzip, |b| {
            let mut bytes = gzip(b);
            let at = bytes.len() - back;
            bytes[at] ^= 1;
            bytes
        });
        assert_eq!(refused(trailer), Error::Decompress(Compression::Gzip, DecompressError::Corrupt));
        let short = good().compress(Compression::Gzip, |b| {
            let mut bytes = gzip(b);
            bytes.truncate(bytes.len() - back);
            bytes
        });
        assert_eq!(refused(short), Error::Decompress(Compression::Gzip, DecompressError::Corrupt));
    }
}

#[test]
fn too_many_files_or_scripts_are_refused() {
    let files =
        |n: usize| (0..n).fold(ArtifactWriter::new("r", "t", &["d"]), |a, i| a.file(&format!("f{i}"), b"x"));
    assert_eq!(parse(&files(1024).build()).unwrap().len(), 1025);
    assert!(matches!(refused(files(1025)), Error::TooLarge { limit: 1024, .. }));
    let scripts =
        |n: usize| (0..n).fold(good(), |a, i| a.script(&format!("ArtifactInstall_Enter_00_{i}"), b"x"));
    assert_eq!(parse(&scripts(256).build()).unwrap().len(), 256 + 2);
    assert!(matches!(refused(scripts(257)), Error::TooLarge { limit: 256, .. }));
}

#[test]
fn a24_an_error_is_final_until_a_new_artifact_begins() {
    let mut memory = crate::harness::Memory::new();
    let mut keys = crate::harness::Keys::default();
    let mut parser = memory.parser();
    for len in 0..600 {
        // `run` asserts that everything behind the error gives the same error again.
        let bytes = vec![1; len];
        let (_, result) = crate::harness::run(&mut parser, &bytes, Trust::Unsigned, &mut keys, || 100);
        let expected = match len {
            0 => Error::Foreign(Foreign::Empty),
            1..512 => Error::UnexpectedEof,
            _ => Error::BadTar,
        };
        assert_eq!(result, Err(expected), "{len}");
        let good = good().build();
        assert_eq!(crate::harness::run(&mut parser, &good, Trust::Unsigned, &mut keys, || 4096).1, Ok(()));
    }
}
