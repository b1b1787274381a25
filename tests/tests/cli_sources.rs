//! Where artifacts come from and where they go: URLs, pipes, signatures, a full disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use thimble_core::hal::Compression;
use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_tests::cuts::can_trace;
use thimble_tests::lab::{DEVICE_TYPE, Lab, MODULE, Package, Ran, has, is_root, thimble};

/// A file system of a few kilobytes on the datastore of a lab.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(lab: &Lab, size: &str) -> Option<Self> {
        let store = lab.path("store");
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "lab"])
                .arg(&store)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            thimble_tests::lab::left_out("root and mount");
            return None;
        }
        lab.write("store/device_type", "device_type=lab\n");
        Some(Self(store))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn i13_a_full_disk_is_named_and_the_device_stays_usable() {
    let lab = Lab::new();
    let Some(_disk) = SmallDisk::mount(&lab, "256k") else { return };
    let large = vec![7; 1024 * 1024];
    let ran = lab.install(&Package::new("large").files(&[("large", &large)]));
    ran.failed("no space left");
    assert!(ran.stdout.ends_with("Streaming failed.\nSystem not modified.\n"), "{ran:?}");
    assert_eq!((lab.name().as_str(), lab.leftovers()), ("unknown", vec![]));
    lab.install(&Package::new("small")).status(0);
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "small");
}

#[test]
fn i13_a_store_that_a_full_disk_has_no_room_for_says_what_to_do() {
    let lab = Lab::new();
    let Some(_disk) = SmallDisk::mount(&lab, "64k") else { return };
    let artifact = Package::new("small").build(&lab);
    // The last byte that is free goes too, whatever the size of a page.
    let mut filler = File::create(lab.path("store/filler")).expect("a file");
    while filler.write(&[7; 4096]).is_ok() {}
    lab.run(["install".as_ref(), artifact.as_os_str()]).failed("free some");
    drop(filler);
    fs::remove_file(lab.path("store/filler")).expect("it is there");
    lab.run(["install".as_ref(), artifact.as_os_str()]).status(0);
}

#[test]
fn i13_a_limit_of_file_sizes_fails_the_update_and_reaches_the_children() {
    let lab = Lab::new();
    lab.on("Download", "grep SigIgn: /proc/self/status > \"$lab/ignored\"");
    let artifact = Package::new("large").files(&[("large", &vec![7; 1024 * 1024])]).build(&lab);
    let limited = |limit: &str| {
        let mut command = lab.command_of("prlimit", [format!("--fsize={limit}")]);
        command.arg(thimble()).arg("install").arg(&artifact);
        Ran::of(command.spawn().expect("prlimit runs"))
    };
    limited("500000").failed("File too large");
    assert_eq!((lab.name().as_str(), lab.leftovers()), ("unknown", vec![]));
    limited("unlimited").status(0);
    // Bit 24 is SIGXFSZ, whose number is 25.
    let ignored = fs::read_to_string(lab.path("ignored")).expect("the module ran");
    let mask = ignored.trim_start_matches("SigIgn:").trim();
    assert_eq!(u64::from_str_radix(mask, 16).expect("a mask") >> 24 & 1, 0, "{ignored}");
}

/// Answers one request with `body` after `head`, and says what was asked.
fn serve_once(head: String, body: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url =
        format!("http://{}/a/release.mender?token=x%20y&z=1", listener.local_addr().expect("its address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            request.push(byte[0]);
        }
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        String::from_utf8(request).expect("text")
    });
    (url, server)
}

#[test]
fn an_artifact_comes_from_a_url_that_is_asked_for_verbatim() {
    let lab = Lab::new();
    let bytes = fs::read(Package::new("new").build(&lab)).expect("the artifact");
    let (url, server) =
        serve_once(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()), bytes);
    lab.run(["install", &url]).status(0);
    let request = server.join().expect("the server");
    assert!(request.starts_with("GET /a/release.mender?token=x%20y&z=1 HTTP/1.1\r\n"), "{request}");
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "new");
}

#[test]
fn r33_proxy_variables_concern_nothing_but_the_requests_that_would_use_them() {
    let lab = Lab::new();
    let artifact = Package::new("new").build(&lab);
    let install = |source: &str, variables: &[(&str, &str)]| {
        let mut command = lab.command_of(thimble().to_str().expect("text"), ["install", source]);
        command.envs(variables.iter().copied());
        Ran::of(command.spawn().expect("it starts"))
    };
    let bad = [("http_proxy", "socks5://p"), ("HTTP_PROXY", "http://p/path"), ("REQUEST_METHOD", "GET")];
    install(artifact.to_str().expect("text"), &bad).status(0);
    lab.run(["rollback"]).status(0);
    let nowhere = "http://device.example/new.mender";
    install(nowhere, &bad).failed("http_proxy names a proxy of another kind");
    let bytes = fs::read(artifact).expect("the artifact");
    let (url, server) =
        serve_once(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()), bytes);
    // A proxy without a scheme, of which lower case wins; it is asked for the whole URL.
    let proxy = url.trim_start_matches("http://").split('/').next().expect("a host");
    install(nowhere, &[("http_proxy", proxy), ("HTTP_PROXY", "socks5://p")]).status(0);
    let request = server.join().expect("the proxy");
    assert!(request.starts_with("GET http://device.example/new.mender HTTP/1.1\r\n"), "{request}");
    lab.run(["commit"]).status(0);
}

#[test]
fn r5_a_refused_first_request_is_not_repeated() {
    let lab = Lab::new();
    for status in ["404 Not Found", "503 Service Unavailable"] {
        let (url, server) = serve_once(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"), Vec::new());
        lab.run(["install", &url]).failed(&status[..3]);
        server.join().expect("one request and no more");
    }
    assert_eq!((lab.journal().len(), lab.leftovers()), (0, vec![]));
}

/// Answers one request with each of `answers` (a head, a body), one after the other, at a URL.
fn serve(answers: Vec<(String, Vec<u8>)>) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/new.mender", listener.local_addr().expect("its address"));
    let server = std::thread::spawn(move || {
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    (url, server)
}

#[test]
fn n11_the_rest_of_a_file_with_another_etag_is_not_taken() {
    let bytes = fs::read(Package::new("new").build(&Lab::new())).expect("the artifact");
    let (length, last) = (bytes.len(), bytes.len() - 1);
    for (etag, status) in [("\"a\"", 0), ("\"b\"", 1)] {
        let lab = Lab::new();
        let first = format!("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: {length}\r\n\r\n");
        // A server that does not know If-Range.
        let second = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: {etag}\r\nContent-Length: {}\r\n\
             Content-Range: bytes 100-{last}/{length}\r\n\r\n",
            length - 100
        );
        let (url, server) = serve(vec![(first, bytes[..100].to_vec()), (second, bytes[100..].to_vec())]);
        let ran = lab.run(["install", &url]);
        server.join().expect("the server");
        ran.status(status);
        assert_eq!(ran.stderr.contains("has changed on the server"), status == 1, "{ran:?}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip runs");
    let mut input = gzip.stdin.take().expect("its input");
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || input.write_all(&bytes).expect("gzip reads"));
    let output = gzip.wait_with_output().expect("gzip ends");
    writer.join().expect("the writer");
    output.stdout
}

/// Installs it, and counts the bytes that the client writes into files.
fn install_counting(lab: &Lab, artifact: &[u8]) -> (Ran, usize) {
    fs::write(lab.path("made.mender"), artifact).expect("a file");
    let trace = lab.path("trace");
    let mut command =
        lab.command_of("strace", ["-f", "-y", "-s", "0", "-e", "trace=write,pwrite64,writev,pwritev"]);
    command.arg("-o").arg(&trace).arg(thimble()).args(["install", "made.mender"]);
    let ran = Ran::of(command.spawn().expect("strace runs"));
    let store = lab.path("store");
    let store = store.to_str().expect("text");
    let trace = fs::read_to_string(trace).expect("the trace");
    let writes = trace.lines().filter(|line| line.contains(store));
    let bytes = writes.map(|line| line.rsplit_once("= ")?.1.parse().ok());
    let bytes: Option<Vec<usize>> = bytes.collect();
    (ran, bytes.expect("whole lines, and no failures").iter().sum())
}

#[test]
fn a20_scripts_are_written_once_and_8_mib_of_them_at_most_before_the_header_is_verified() {
    if !can_trace() {
        return;
    }
    const MIB: usize = 1024 * 1024;
    let with_scripts = |count: usize| {
        (0..count).fold(
            ArtifactWriter::new("many", MODULE, &[DEVICE_TYPE])
                .file("payload", b"payload\n")
                .compress(Compression::Gzip, gzip),
            |writer, n| writer.script(&format!("ArtifactFailure_Enter_00_{n}"), &vec![0; MIB]),
        )
    };
    let wrong = |manifest: &mut String| {
        let (digest, _) = manifest.split_once("  header.tar.gz").expect("the header's line");
        let at = digest.len() - 64;
        manifest.replace_range(at..at + 64, &"0".repeat(64));
    };
    for (artifact, reason) in [
        (with_scripts(56), "longer than 8 MiB"),
        (with_scripts(8).edit_manifest(wrong), "checksum of \"header.tar\""),
    ] {
        let lab = Lab::new();
        let artifact = artifact.build();
        assert!(artifact.len() < MIB, "what is sent is short");
        let (ran, bytes) = install_counting(&lab, &artifact);
        ran.failed(reason);
        assert!((8 * MIB..8 * MIB + 64 * 1024).contains(&bytes), "{bytes} bytes were written");
        assert_eq!(lab.leftovers(), Vec::<String>::new());
    }
    let lab = Lab::new();
    let (ran, bytes) = install_counting(&lab, &with_scripts(8).build());
    ran.status(0);
    assert!((8 * MIB..8 * MIB + 64 * 1024).contains(&bytes), "{bytes} bytes were written");
}

#[test]
fn an_artifact_may_come_through_a_pipe() {
    let lab = Lab::new();
    let artifact = Package::new("new").build(&lab);
    let mut cat = Command::new("cat").arg(&artifact).stdout(Stdio::piped()).spawn().expect("cat");
    let out = cat.stdout.take().expect("its output");
    let child = lab.command(["install", "/dev/stdin"]).stdin(Stdio::from(out)).spawn().expect("it starts");
    Ran::of(child).status(0);
    assert!(cat.wait().expect("it ends").success());
}

#[test]
fn with_verify_keys_only_a_good_signature_is_accepted() {
    if !(has("openssl") && has("mender-artifact")) {
        thimble_tests::lab::left_out("openssl and mender-artifact");
        return;
    }
    let lab = Lab::new();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(lab.path("")).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for name in ["ours", "other"] {
        let curve = ["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", &format!("{name}.key")];
        run("openssl", &curve);
    }
    run("openssl", &["ec", "-in", "ours.key", "-pubout", "-out", "ours.pem"]);
    let unsigned = Package::new("new").build(&lab);
    let unsigned = unsigned.to_str().expect("text");
    lab.configure(&format!(r#"{{"ArtifactVerifyKey": "{}"}}"#, lab.path("ours.pem").display()));
    lab.run(["install", unsigned]).status(1);
    for name in ["ours", "other"] {
        run(
            "mender-artifact",
            &["sign", unsigned, "-k", &format!("{name}.key"), "-o", &format!("{name}.mender")],
        );
    }
    lab.run(["install", "other.mender"]).status(1);
    assert_eq!((lab.journal().len(), lab.leftovers()), (0, vec![]));
    lab.run(["install", "ours.mender"]).status(0);
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "new");
}
