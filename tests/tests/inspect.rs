//! `inspect` and `install --check`: what an artifact is, and whether this device would take it. Nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_tests::lab::{DEVICE_TYPE, Lab, MODULE, Ran, has, is_root, left_out, thimble};

/// Every file below a directory: mode, times and content.
fn all(dir: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let about = fs::symlink_metadata(&path).expect("its metadata");
        if about.is_dir() {
            found.extend(all(&path));
        }
        let content = if about.is_file() { fs::read(&path).expect("its content") } else { Vec::new() };
        found.insert(path, (about.mode(), about.mtime(), about.mtime_nsec(), content));
    }
    found
}

fn write(lab: &Lab, name: &str, artifact: &[u8]) -> PathBuf {
    let path = lab.path("made").join(name);
    fs::write(&path, artifact).expect("an artifact");
    path
}

fn plain(name: &str) -> ArtifactWriter<'_> {
    ArtifactWriter::new(name, MODULE, &[DEVICE_TYPE]).file("payload", b"payload\n")
}

/// Without how much is free, which others change.
fn without_free(text: &str) -> String {
    match text.split_once(", and there are ").map(|(front, rest)| (front, rest.split_once(" free"))) {
        Some((front, Some((_, rest)))) => format!("{front}{rest}"),
        Some((_, None)) | None => text.to_owned(),
    }
}

/// Runs both, which must leave everything as it is; they agree on what they print.
fn both(lab: &Lab, artifact: &Path) -> (Ran, Ran) {
    let before = all(&lab.path(""));
    let artifact = artifact.to_str().expect("text");
    let (inspect, check) = (lab.run(["inspect", artifact]), lab.run(["install", "--check", artifact]));
    assert_eq!(without_free(&inspect.stdout), without_free(&check.stdout));
    assert!(all(&lab.path("")) == before, "something was changed");
    (inspect, check)
}

#[test]
fn an_artifact_that_fits() {
    let lab = Lab::new();
    let artifact = ArtifactWriter::new("new", MODULE, &["other", DEVICE_TYPE])
        .group("field")
        .provides("rootfs-image.version", "2")
        .clears(&["rootfs-image.*"])
        .script("ArtifactInstall_Enter_00", b"#!/bin/sh\n")
        .file("payload", b"payload\n")
        .file("more", &[7; 1000])
        .build();
    let artifact = write(&lab, "new.mender", &artifact);
    let (inspect, check) = both(&lab, &artifact);
    inspect.status(0);
    check.status(0);
    let store = lab.path("store");
    let free = inspect
        .stdout
        .split(" bytes, and there are ")
        .nth(1)
        .and_then(|rest| rest.split(" free").next())
        .expect("free");
    let expected = format!(
        "Artifact:        new\nGroup:           field\nFor devices:     other, lab\nProvides:        rootfs-image.version=2\n\
         Removes:         rootfs-image.*\nPayload:         recorder\nFile:            payload, 8 bytes\n\
         File:            more, 1000 bytes\nState script:    ArtifactInstall_Enter_00, 10 bytes\n\
         Signature:       none; no ArtifactVerifyKeys are configured here, so that none is asked for\n\
         Checksums:       all are right\n\nThis device:\n\
         \x20 good      device type: the artifact is for \"other\" or \"lab\", and this device is a \"lab\"\n\
         \x20 good      what is installed: the artifact depends on nothing else\n\
         \x20 good      update module: {}\n\
         \x20 good      space: the payload has 1008 bytes, and there are {free} free at {}\n",
        lab.path("data/modules/v3/recorder").display(),
        store.display(),
    );
    assert_eq!(inspect.stdout, expected);
    // What it says is true.
    lab.run(["install", artifact.to_str().expect("text")]).status(0);
    // And now one is in progress.
    let (inspect, check) = both(&lab, &artifact);
    inspect.status(0);
    check.failed("it would be refused: there is one, which 'commit', 'rollback' or 'resume' ends");
    lab.run(["install", artifact.to_str().expect("text")]).status(1);
}

#[test]
fn what_is_wanted_and_what_is_there_is_said_as_install_says_it() {
    let lab = Lab::new();
    let cases: [(&str, ArtifactWriter<'_>, &str); 5] = [
        (
            "type",
            ArtifactWriter::new("new", MODULE, &["board"]).file("f", b"x"),
            "the artifact is for the device type \"board\", and this device is a \"lab\"",
        ),
        ("group", plain("new").header_depends("artifact_group", &["a", "b"]), "\"artifact_group\""),
        ("name", plain("new").header_depends("artifact_name", &["old"]), "\"artifact_name\" being \"old\""),
        (
            "depends",
            plain("new").depends("rootfs-image.checksum", &["77"]),
            "\"rootfs-image.checksum\" being \"77\"",
        ),
        (
            "module",
            ArtifactWriter::new("new", "absent", &[DEVICE_TYPE]).file("f", b"x"),
            "there is no update module for it: install it as ",
        ),
    ];
    for (name, artifact, reason) in cases {
        let artifact = write(&lab, &format!("{name}.mender"), &artifact.build());
        let (inspect, check) = both(&lab, &artifact);
        inspect.status(0);
        assert!(inspect.stdout.contains("\n  refused   "), "{name}: {}", inspect.stdout);
        check.failed(reason);
        assert!(check.reason().contains("it would be refused: "), "{}", check.reason());
        lab.run(["install", artifact.to_str().expect("text")]).failed(reason);
    }
    // A module that anybody can change, or that nobody can run.
    let artifact = write(&lab, "plain.mender", &plain("new").build());
    for (mode, reason) in [(0o644, "is not executable"), (0o777, "can be changed by group or others")] {
        let module = lab.path("data/modules/v3/recorder");
        fs::set_permissions(&module, fs::Permissions::from_mode(mode)).expect("a mode");
        both(&lab, &artifact).1.failed(reason);
    }
}

#[test]
fn an_image_needs_slots() {
    let lab = Lab::new();
    let image = ArtifactWriter::new("new", "rootfs-image", &[DEVICE_TYPE]).file("rootfs.ext4", &[1; 4096]);
    let artifact = write(&lab, "image.mender", &image.build());
    both(&lab, &artifact).1.failed("RootfsPartA and RootfsPartB are not set");
    lab.configure("{\"RootfsPartA\": \"/dev/thimble-none1\", \"RootfsPartB\": \"/dev/thimble-none2\"}");
    both(&lab, &artifact).1.failed("/dev/thimble-none1");
}

#[test]
fn a_signature_is_good_bad_or_not_verified() {
    let lab = Lab::new();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
    let mut info = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    info.extend(pair.public_key().as_ref());
    lab.write(
        "key.pem",
        &format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(info)),
    );
    let sign = |manifest: &[u8]| STANDARD.encode(pair.sign(manifest).as_ref()).into_bytes();
    let signed = write(&lab, "signed.mender", &plain("new").sign(sign).build());
    let wrong =
        write(&lab, "wrong.mender", &plain("new").sign(|_| STANDARD.encode([7; 64]).into_bytes()).build());
    let garbage = write(&lab, "garbage.mender", &plain("new").sign(|_| b"!".to_vec()).build());
    let unsigned = write(&lab, "unsigned.mender", &plain("new").build());
    for artifact in [&signed, &wrong, &garbage] {
        let (inspect, check) = both(&lab, artifact);
        inspect.status(0);
        check.status(0);
        assert!(inspect.stdout.contains("Signature:       there, not verified"), "{}", inspect.stdout);
    }
    lab.configure(&format!("{{\"ArtifactVerifyKey\": \"{}\"}}", lab.path("key.pem").display()));
    let (inspect, check) = both(&lab, &signed);
    check.status(0);
    assert!(inspect.stdout.contains("Signature:       good, by a key of this device"), "{}", inspect.stdout);
    for (artifact, reason) in [
        (&wrong, "its signature is not by any of the configured verify keys"),
        (&garbage, "its signature is not by any of the configured verify keys"),
        (&unsigned, "it is not signed, and verify keys are configured"),
    ] {
        let (inspect, check) = both(&lab, artifact);
        inspect.failed(reason);
        check.failed(reason);
        // Nothing of it is worth telling.
        assert!(!inspect.stdout.contains("Artifact:"), "{}", inspect.stdout);
    }
    // A key that cannot be used is no reason to do without.
    lab.configure("{\"ArtifactVerifyKey\": \"/nowhere.pem\"}");
    let (inspect, check) = both(&lab, &signed);
    check.failed("it would be refused: verify key /nowhere.pem");
    assert!(inspect.stdout.contains("Signature:       not looked at: a key"), "{}", inspect.stdout);
    assert!(
        inspect.stdout.contains("  refused   verify keys: verify key /nowhere.pem"),
        "{}",
        inspect.stdout
    );
}

#[test]
fn hostile_artifacts_end_in_words() {
    let lab = Lab::new();
    let good = plain("new").script("ArtifactInstall_Enter_00", b"#!/bin/sh\n").build();
    let mut cases = vec![
        ("empty", Vec::new(), "it is an empty file and no Mender artifact"),
        ("text", b"hello".to_vec(), ""),
        ("cut", good[..good.len() - 1600].to_vec(), ""),
        ("zeros", vec![0; 100_000], ""),
        ("script", plain("new").script("../../etc/passwd", b"x").build(), "script"),
        ("json", plain("new").header_info(b"{").build(), "header-info"),
        ("name", ArtifactWriter::new("new", MODULE, &[DEVICE_TYPE]).file("../x", b"x").build(), "file"),
    ];
    // The payload is changed behind a good header: what the header says is told, and that it is damaged.
    let mut damaged = plain("new").build();
    let at = damaged.windows(8).rposition(|bytes| bytes == b"payload\n").expect("the payload");
    damaged[at] ^= 1;
    cases.push(("damaged", damaged, "it is damaged, or was changed"));
    for (name, bytes, reason) in cases {
        let artifact = write(&lab, &format!("{name}.mender"), &bytes);
        let (inspect, check) = both(&lab, &artifact);
        inspect.failed(reason);
        check.failed(reason);
        assert_eq!(inspect.reason(), check.reason());
        assert_eq!(
            inspect.stdout.contains("Artifact:        new"),
            ["damaged", "cut"].contains(&name),
            "{name}: {}",
            inspect.stdout
        );
        assert!(inspect.stdout.lines().all(|line| !line.contains('\u{1b}')));
    }
    // What an artifact calls itself moves no terminal.
    let artifact = write(&lab, "escape.mender", &plain("a\u{1b}[2J").build());
    let ran = lab.run(["inspect", artifact.to_str().expect("text")]);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{}{}", ran.stdout, ran.stderr);
    lab.run(["inspect", "/nowhere.mender"]).failed("/nowhere.mender");
    lab.run(["inspect", lab.path("made").to_str().expect("text")]).failed("");
    lab.run(["inspect"]).failed("inspect needs an artifact: a file or a URL");
    lab.run(["install", "--json", "x"]).failed("--json only with --check");
    lab.run(["install", "--check", "--reboot-exit-code", "x"]).failed("does not go with");
}

/// However much an artifact says that it holds, it is read in pieces.
#[test]
fn memory_is_bounded() {
    if !has("sh") {
        left_out("sh");
        return;
    }
    let lab = Lab::new();
    let artifact = write(&lab, "large.mender", &plain("new").file("large", &vec![1; 60_000_000]).build());
    let ran = Ran::of(
        lab.command_of("sh", ["-c", "ulimit -v 40000 && exec \"$0\" inspect \"$1\""])
            .arg(thimble())
            .arg(&artifact)
            .spawn()
            .expect("it starts"),
    );
    ran.status(0);
    assert!(ran.stdout.contains("File:            large, 60000000 bytes"), "{}", ran.stdout);
}

#[test]
fn off_the_device_it_says_what_it_does_not_know() {
    let lab = Lab::new();
    let artifact = write(&lab, "new.mender", &plain("new").build());
    fs::remove_dir_all(lab.path("store")).expect("the datastore");
    fs::remove_dir_all(lab.path("data")).expect("the modules");
    fs::remove_dir_all(lab.path("conf")).expect("the configuration");
    let (inspect, check) = both(&lab, &artifact);
    inspect.status(0);
    assert!(
        inspect.stdout.contains("  refused   device type: there is no device type file"),
        "{}",
        inspect.stdout
    );
    check.failed("there is no device type file");
    assert!(!lab.path("store").exists(), "nothing is made");
}

#[test]
fn what_an_ordinary_user_cannot_read_is_unknown() {
    let lab = Lab::new();
    let artifact = write(&lab, "new.mender", &plain("new").build());
    lab.run(["install", artifact.to_str().expect("text")]).status(0);
    lab.run(["commit"]).status(0);
    assert!(both(&lab, &artifact).1.code == 0);
    if !is_root() || !has("setpriv") {
        left_out("root and setpriv");
        return;
    }
    fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(lab.path("store"), fs::Permissions::from_mode(0o700)).expect("a mode");
    let copy = lab.path("thimble");
    fs::copy(thimble(), &copy).expect("a copy");
    let mut command = lab.command_of("setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups"]);
    let ran = Ran::of(command.arg(&copy).arg("inspect").arg(&artifact).spawn().expect("it starts"));
    ran.status(0);
    for part in ["  unknown   configuration: ", "  unknown   what is installed: ", "not looked at"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let mut command = lab.command_of("setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups"]);
    let ran =
        Ran::of(command.arg(copy).args(["install", "--check"]).arg(&artifact).spawn().expect("it starts"));
    ran.failed("whether it can be installed is not known: configuration: ");
}

#[test]
fn programs_read_json() {
    let lab = Lab::new();
    let artifact = plain("a\"b").depends("key", &["1", "2"]).provides("p", "q").clears(&["p.*"]);
    let artifact = write(&lab, "new.mender", &artifact.build());
    let artifact = artifact.to_str().expect("text");
    let ran = lab.run(["inspect", "--json", artifact]);
    ran.status(0);
    let start = "{\"signature\":\"none\",\"fault\":null,\"artifact_name\":\"a\\\"b\",\"artifact_group\":null,\
                 \"payload_type\":\"recorder\",\"device_types\":[\"lab\"],\"depends\":[{\"key\":\"key\",\"values\":[\"1\",\"2\"]}],\
                 \"provides\":[{\"key\":\"p\",\"value\":\"q\"}],\"clears_provides\":[\"p.*\"],\
                 \"files\":[{\"name\":\"payload\",\"size\":8}],\"scripts\":[],\"checks\":[{\"name\":\"device type\",\"standing\":\"good\"";
    assert!(ran.stdout.starts_with(start), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("{\"name\":\"what is installed\",\"standing\":\"refused\",\"text\":"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.lines().count(), 1);
    let check = lab.run(["install", "--check", "--json", artifact]);
    check.failed("it would be refused");
    assert_eq!(without_free(&check.stdout), without_free(&ran.stdout));
    let text = write(&lab, "text", b"hello");
    let ran = lab.run(["inspect", "--json", text.to_str().expect("text")]);
    ran.status(1);
    assert!(
        ran.stdout.contains("\"artifact_name\":null,") && ran.stdout.contains("\"checks\":[]"),
        "{}",
        ran.stdout
    );
}

/// From a server: once to see whether it is signed, once whole.
#[test]
fn a_url_is_read_like_a_file() {
    let lab = Lab::new();
    let artifact = plain("new").build();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let url = format!("http://{}/new.mender", listener.local_addr().expect("its address"));
    let server = thread::spawn(move || {
        for status in ["200 OK", "200 OK", "404 Not Found", "404 Not Found"] {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.extend(byte);
            }
            assert!(head.starts_with(b"GET /new.mender HTTP/1.1\r\n"));
            let front = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", artifact.len());
            // Whoever has read enough closes.
            drop(stream.write_all(front.as_bytes()).and_then(|()| stream.write_all(&artifact)));
        }
    });
    let ran = lab.run(["install", "--check", &url]);
    ran.status(0);
    assert!(
        ran.stdout.contains("Artifact:        new\n") && ran.stdout.contains("Signature:       none"),
        "{}",
        ran.stdout
    );
    lab.run(["inspect", &url]).failed("the server answers 404 instead of the artifact");
    server.join().expect("the server");
}

#[test]
fn a_pipe_is_read_once() {
    let lab = Lab::new();
    let artifact = write(&lab, "new.mender", &plain("new").build());
    let mut command: Command = lab.command(["inspect", "/dev/stdin"]);
    let mut cat = Command::new("cat").arg(artifact).stdout(Stdio::piped()).spawn().expect("cat runs");
    let ran = Ran::of(command.stdin(cat.stdout.take().expect("a pipe")).spawn().expect("it starts"));
    ran.status(0);
    assert!(ran.stdout.contains("Signature:       not looked at"), "{}", ran.stdout);
    assert!(cat.wait().expect("cat ends").success());
}

#[test]
fn a_named_pipe_is_said_to_be_waited_for() {
    let lab = Lab::new();
    let (artifact, pipe) = (write(&lab, "new.mender", &plain("new").build()), lab.path("made/pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let mut inspect = lab.command(["inspect", pipe.to_str().expect("text")]);
    let mut inspect = inspect.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = String::new();
    BufReader::new(inspect.stderr.take().expect("a pipe")).read_line(&mut said).expect("a line");
    assert!(said.contains("waiting until somebody writes the artifact into it, 5 minutes at most"), "{said}");
    fs::write(&pipe, fs::read(&artifact).expect("the artifact")).expect("it is read");
    let ran = Ran::of(inspect);
    assert!(ran.status(0).stdout.starts_with("Artifact:        new\n"), "{}", ran.stdout);
}

#[test]
fn what_is_no_artifact_is_named_and_no_pipe() {
    let lab = Lab::new();
    let mut whole = plain("new").build();
    whole.truncate(whole.len() - 1500);
    for (name, bytes, artifact) in
        [("garbage", &b"nonsense"[..], false), ("empty", b"", false), ("cut", whole.as_slice(), true)]
    {
        let path = write(&lab, name, bytes);
        let (inspect, check) = both(&lab, &path);
        let says = format!("{}: the artifact is not good: ", path.display());
        assert!(inspect.failed("").reason().contains(&says), "{}", inspect.stderr);
        check.failed(&says);
        assert!(!inspect.stdout.contains("pipe"), "{}", inspect.stdout);
        let space = inspect.stdout.contains("unknown   space: how long the payload is is not known");
        assert_eq!(
            (inspect.stdout.contains("Artifact:        new\n"), space),
            (artifact, artifact),
            "{name}"
        );
    }
    let zero = lab.run(["inspect", "/dev/zero"]);
    zero.failed("/dev/zero: the artifact is not good: ");
    assert!(!zero.stdout.contains("pipe"), "{}", zero.stdout);
}

#[test]
fn a_certificate_or_key_that_is_missing_is_said_and_the_artifact_is_read() {
    let lab = Lab::new();
    let artifact = write(&lab, "new.mender", &plain("new").build());
    for (key, conf, name) in [
        ("ServerCertificate", r#"{"ServerCertificate":"/nowhere/cert.pem"}"#, "certificates"),
        ("ArtifactVerifyKeys", r#"{"ArtifactVerifyKeys":["/nowhere/key.pem"]}"#, "verify keys"),
    ] {
        lab.configure(conf);
        let (inspect, check) = both(&lab, &artifact);
        assert!(inspect.status(0).stdout.starts_with("Artifact:        new\n"), "{}", inspect.stdout);
        assert!(inspect.stdout.contains(&format!("  refused   {name}: ")), "{key}: {}", inspect.stdout);
        check.failed("/nowhere/");
    }
}
