//! `setup`: what it writes, what it asks, what it says of the server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};
use std::thread;

use thimble_tests::lab::{Lab, Ran, has, is_root, thimble};

/// A server that answers one request with this status.
fn server(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("the answer");
    });
    format!("http://{address}")
}

/// Runs `setup` with these answers.
fn answered(lab: &Lab, args: &[&str], answers: &str) -> Ran {
    let mut child =
        lab.command(["setup"].iter().chain(args)).stdin(Stdio::piped()).spawn().expect("it starts");
    // It may have ended before it read them all.
    drop(child.stdin.take().expect("its input").write_all(answers.as_bytes()));
    Ran::of(child)
}

fn config(lab: &Lab) -> String {
    fs::read_to_string(lab.path("conf/mender.conf")).unwrap_or_default()
}

fn device_type(lab: &Lab) -> String {
    fs::read_to_string(lab.path("store/device_type")).unwrap_or_default()
}

#[test]
fn asks_nothing_when_all_is_given() {
    let lab = Lab::new();
    let url = server("401 Unauthorized");
    let given =
        ["setup", "--device-type", "gate-way_1", "--server-url", &format!("{url}/"), "--server-cert="];
    let ran = lab.run(given.iter().chain(&["--update-poll", "60"]));
    ran.status(0);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains(&format!("{url} is a Mender server")), "{}", ran.stdout);
    assert!(!ran.stdout.contains('?'), "{}", ran.stdout);
    assert_eq!(
        config(&lab),
        format!(
            "{{\n  \"ServerURL\": \"{url}\",\n  \"UpdatePollIntervalSeconds\": 60,\n  \
             \"InventoryPollIntervalSeconds\": 28800,\n  \"RetryPollIntervalSeconds\": 300\n}}\n"
        )
    );
    assert_eq!(device_type(&lab), "device_type=gate-way_1\n");
    assert_eq!(fs::metadata(lab.path("conf/mender.conf")).expect("the file").mode() & 0o777, 0o600);
    // Nothing but these was made, and the server was told nothing of this device.
    assert!(!lab.path("store/mender-agent.pem").exists());
}

#[test]
fn asks_what_is_not_given_and_keeps_other_keys() {
    let lab = Lab::new();
    lab.configure(
        "{\"ArtifactVerifyKey\": \"/etc/key.pem\", \"tenanttoken\": \"old\", \"ServerURL\": \"http://old\"}",
    );
    let url = server("200 OK");
    // Another name, no; a URL that is none, then the URL; no certificates; not for trying out; the first interval.
    let answers = format!("a b\n\nn\nno\nwww.example.com\n{url}\n\nn\n99\n\n\n");
    let ran = answered(&lab, &[], &answers);
    ran.status(0);
    assert!(ran.stdout.contains("\"a b\" is no device type"), "{}", ran.stdout);
    assert!(ran.stdout.contains("does not begin with http:// or https://"), "{}", ran.stdout);
    assert!(ran.stderr.contains("answers 200 where a Mender server says 401"), "{}", ran.stderr);
    assert_eq!(
        config(&lab),
        format!(
            "{{\n  \"ArtifactVerifyKey\": \"/etc/key.pem\",\n  \"ServerURL\": \"{url}\",\n  \
             \"UpdatePollIntervalSeconds\": 99,\n  \"InventoryPollIntervalSeconds\": 28800,\n  \
             \"RetryPollIntervalSeconds\": 300\n}}\n"
        )
    );
    // The device type that is there is what Enter takes.
    assert_eq!(device_type(&lab), "device_type=lab\n");
}

#[test]
fn changes_nothing_when_anything_is_wrong() {
    let lab = Lab::new();
    let full =
        ["--device-type", "x", "--server-url", "http://127.0.0.1:1", "--server-cert=", "--demo-polling"];
    let cases: [(&[&str], &str); 10] = [
        (&[], "nobody answers \"Device type"),
        (&["--device-type", "x", "--hosted-mender"], "give --tenant-token. Nothing was changed"),
        (&["--device-type", "x y"], "\"x y\" is no device type"),
        (&["--server-url", "http://x", "--server-ip", "127.0.0.1"], "do not go together"),
        (&["--device-type", "x", "--server-url", "ftp://x"], "no URL of a server"),
        (&["--device-type", "x", "--server-ip", "localhost"], "no IP address"),
        (
            &["--device-type", "x", "--server-url", "http://x", "--server-cert", "/nowhere"],
            "no file /nowhere",
        ),
        (
            &["--device-type", "x", "--server-url", "http://x", "--server-cert=", "--retry-poll", "0"],
            "--retry-poll: \"0\" is no number of seconds",
        ),
        (&["--demo-polling=perhaps"], "is a switch"),
        (&["now"], "takes no argument"),
    ];
    for (args, reason) in cases {
        let ran = lab.run(["setup"].iter().chain(args));
        ran.status(1);
        assert!(ran.reason().contains(reason), "{args:?}: {}", ran.stderr);
        assert_eq!(
            (config(&lab).as_str(), device_type(&lab).as_str()),
            ("", "device_type=lab\n"),
            "{args:?}"
        );
    }
    answered(&lab, &[], &"?\n".repeat(100)).failed("10 answers to \"Device type");
    for text in ["{\"ServerURL\" \"x\"}", "{\"DeviceTier\": \"system\"}", "{\"RootfsPartA\": 5}"] {
        lab.configure(text);
        lab.run(["setup"].iter().chain(&full)).failed("conf/mender.conf");
        assert_eq!((config(&lab).as_str(), device_type(&lab).as_str()), (text, "device_type=lab\n"));
    }
    let names: Vec<_> =
        fs::read_dir(lab.path("conf")).expect("a directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn what_is_not_given_stays_and_another_server_gets_no_token() {
    let lab = Lab::new();
    let old = "{\"ServerURL\": \"http://127.0.0.1:1/\", \"TenantToken\": \"secret\", \"UpdatePollIntervalSeconds\": 77, \
               \"InventoryPollIntervalSeconds\": 99}";
    lab.configure(old);
    let same = ["setup", "--device-type", "x", "--server-url", "http://127.0.0.1:1", "--retry-poll", "44"];
    lab.run(same).status(0);
    for kept in
        ["\"TenantToken\": \"secret\"", "Seconds\": 77", "Seconds\": 99", "\"RetryPollIntervalSeconds\": 44"]
    {
        assert!(config(&lab).contains(kept), "{kept}: {}", config(&lab));
    }
    let other = ["setup", "--device-type", "x", "--server-url", "http://127.0.0.1:2", "--retry-poll", "44"];
    let ran = lab.run(other);
    ran.status(0);
    assert!(ran.stderr.contains("the tenant token was another server's"), "{}", ran.stderr);
    assert!(!config(&lab).contains("secret"), "{}", config(&lab));
}

#[test]
fn certificates_are_read_before_anything_is_written() {
    let lab = Lab::new();
    lab.write("no.pem", "no certificate at all");
    let given = [
        "setup",
        "--device-type",
        "x",
        "--server-url",
        "https://127.0.0.1:1",
        "--demo-polling",
        "--server-cert",
    ];
    lab.run(given.iter().chain(&["no.pem"])).failed("holds no certificate");
    assert_eq!((config(&lab).as_str(), device_type(&lab).as_str()), ("", "device_type=lab\n"));
    if !has("openssl") {
        thimble_tests::lab::left_out("openssl");
        return;
    }
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "key.pem", "-out",
            "ca.pem",
        ])
        .current_dir(lab.path(""))
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl runs").success());
    // Named from the directory that the person is in, which the daemon is not.
    lab.run(given.iter().chain(&["ca.pem"])).status(0);
    let whole = format!("\"ServerCertificate\": \"{}\"", lab.path("ca.pem").display());
    assert!(config(&lab).contains(&whole), "{}", config(&lab));
}

#[test]
fn a_file_named_from_here_is_written_here() {
    let lab = Lab::new();
    let given = [
        "setup",
        "-c",
        "my.conf",
        "--device-type",
        "x",
        "--server-url",
        "http://127.0.0.1:1",
        "--demo-polling",
    ];
    lab.run(given).status(0);
    assert!(fs::read_to_string(lab.path("my.conf")).expect("the file").contains("ServerURL"));
}

#[test]
fn several_at_once_leave_a_whole_file() {
    let lab = Lab::new();
    let runs: Vec<_> = (0..6)
        .map(|n| {
            let url = format!("http://127.0.0.1:{}", n + 1);
            lab.start([
                "setup",
                "--quiet",
                "--device-type",
                &format!("t{n}"),
                "--server-url",
                &url,
                "--demo-polling",
            ])
        })
        .collect();
    let ended: Vec<_> = runs.into_iter().map(Ran::of).collect();
    assert!(ended.iter().any(|ran| ran.code == 0));
    for ran in ended.iter().filter(|ran| ran.code != 0) {
        ran.failed("another program is changing it");
    }
    lab.run(["show-artifact"]).status(0);
    let of_run =
        config(&lab).lines().find_map(|line| line.strip_suffix("\",")?.chars().last()).expect("a URL");
    let of_device = device_type(&lab).trim_end().chars().last().expect("a digit");
    assert_eq!(
        of_run.to_digit(10),
        of_device.to_digit(10).map(|digit| digit + 1),
        "{}{}",
        config(&lab),
        device_type(&lab)
    );
}

#[test]
fn a_fallback_that_lists_servers_is_no_contradiction() {
    let lab = Lab::new();
    lab.write("store/mender.conf", "{\"Servers\": [{\"ServerURL\": \"http://old\"}]}");
    let given =
        ["setup", "--quiet", "--device-type", "x", "--server-url", "http://127.0.0.1:1", "--server-cert="];
    let ran = lab.run(given.iter().chain(&["--demo-polling"]));
    ran.status(0);
    assert_eq!(ran.stdout, "");
    assert!(
        config(&lab).contains("\"Servers\": [{\"ServerURL\": \"http://127.0.0.1:1\"}]"),
        "{}",
        config(&lab)
    );
    // For trying out, holds of updates end soon too.
    assert!(config(&lab).contains("\"UpdateControlMapExpirationTimeSeconds\": 90"), "{}", config(&lab));
}

/// By Mender's name of it, for the demo server, in a mount namespace with an own `/etc/hosts`.
#[test]
fn the_demo_server_gets_a_line_in_hosts() {
    if !is_root() || !has("unshare") {
        thimble_tests::lab::left_out("root and unshare");
        return;
    }
    let lab = Lab::new();
    lab.write("hosts", "127.0.0.1 localhost # not docker.mender.io");
    symlink(thimble(), lab.path("mender-setup")).expect("a link");
    for _ in 0..2 {
        let output = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "sh",
                "-c",
                "mount --bind hosts /etc/hosts && exec ./mender-setup \"$@\"",
                "sh",
            ])
            .args(["--device-type", "x", "--demo", "--server-ip", "192.0.2.7", "--quiet"])
            .current_dir(lab.path(""))
            .env("MENDER_CONF_DIR", lab.path("conf"))
            .env("MENDER_DATASTORE_DIR", lab.path("store"))
            .output()
            .expect("unshare runs");
        assert!(output.status.success(), "{output:?}");
        let hosts = fs::read_to_string(lab.path("hosts")).expect("the file");
        assert_eq!(
            hosts,
            "127.0.0.1 localhost # not docker.mender.io\n192.0.2.7 docker.mender.io s3.docker.mender.io\n"
        );
    }
    assert!(config(&lab).contains("\"ServerURL\": \"https://docker.mender.io\""), "{}", config(&lab));
    assert!(config(&lab).contains("\"UpdatePollIntervalSeconds\": 5"), "{}", config(&lab));
}
