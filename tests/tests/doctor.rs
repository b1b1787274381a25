//! `doctor`: what a device can and cannot before its first update, on devices that are broken in every way that a test can make.
//! It changes nothing, and names first what is to be mended first.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use thimble_tests::lab::{Lab, Package, Ran, has, is_root, left_out, thimble};

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

/// A server that answers each request with this status, and tells what it heard.
fn server(status: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let (sender, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.extend(byte);
            }
            drop(stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()));
            drop(sender.send(String::from_utf8_lossy(&head).into_owned()));
        }
    });
    (format!("http://{address}"), heard)
}

/// A device of which nothing stops an update: a server, an identity, a module.
fn healthy() -> (Lab, Receiver<String>) {
    let lab = Lab::new();
    let (url, heard) = server("401 Unauthorized");
    lab.configure(&format!("{{\"ServerURL\": \"{url}\"}}"));
    fs::create_dir_all(lab.path("data/identity")).expect("a directory");
    lab.program("data/identity/mender-device-identity", "#!/bin/sh\ntouch \"$0.ran\"; echo mac=1\n");
    (lab, heard)
}

/// Runs it, which must leave everything as it is.
fn doctor(lab: &Lab) -> Ran {
    let before = all(&lab.path(""));
    let ran = lab.run(["doctor"]);
    assert!(all(&lab.path("")) == before, "something was changed:\n{}", ran.stdout);
    ran
}

/// It stops updates, and this is the first to be mended.
#[track_caller]
fn first(lab: &Lab, name: &str, part: &str) -> Ran {
    let ran = doctor(lab);
    ran.failed(part);
    let reason = ran.reason().split_once("mend this first: ").map_or("", |(_, reason)| reason);
    assert!(reason.starts_with(&format!("{name}: ")), "{}", ran.reason());
    assert!(ran.stdout.starts_with(&format!("stops     {name}: ")), "{}", ran.stdout);
    // Each says what to do, once: below, or in the text.
    for (line, next) in ran.stdout.lines().zip(ran.stdout.lines().skip(1)) {
        if ["stops ", "doubtful ", "unseen "].iter().any(|word| line.starts_with(word)) {
            let is_told = [
                "; run `chmod ",
                "; check its first line",
                "; a script begins with",
                "; put the key back, or delete",
                ": name it like ",
            ]
            .iter()
            .any(|told| line.contains(told));
            assert_eq!(next.trim_start().starts_with("mend: "), !is_told, "{line}\n{next}");
        }
    }
    ran
}

/// Nothing stops updates, and this is said.
#[track_caller]
fn says(lab: &Lab, line: &str) {
    let ran = doctor(lab);
    ran.status(0);
    assert!(ran.stdout.lines().any(|said| said.contains(line)), "{line}:\n{}", ran.stdout);
}

/// The same where something else stops updates.
#[track_caller]
fn says_beside(lab: &Lab, line: &str) {
    let ran = doctor(lab);
    ran.status(1);
    assert!(ran.stdout.lines().any(|said| said.contains(line)), "{line}:\n{}", ran.stdout);
}

#[test]
fn a_healthy_device() {
    let (lab, heard) = healthy();
    let ran = doctor(&lab);
    ran.status(0);
    assert!(
        !ran.stdout.contains("stops  ") && ran.stdout.contains("\nNothing stops updates; "),
        "{}",
        ran.stdout
    );
    for line in [
        "good      server: http://127.0.0.1:",
        "good      update modules: recorder",
        "good      device type: \"lab\"",
    ] {
        assert!(ran.stdout.contains(line), "{line}:\n{}", ran.stdout);
    }
    // The server hears that somebody is there, and not who: no identity, no token, no key is made, and no program was started.
    let request = heard.recv().expect("a request");
    assert!(request.starts_with("GET /api/devices/v1/deployments/device/deployments/next?artifact_name=unknown&device_type=unknown "), "{request}");
    assert!(!request.contains("Authorization") && !request.contains("X-MEN"), "{request}");
    assert!(!lab.path("store/mender-agent.pem").exists());
    assert!(!lab.path("data/identity/mender-device-identity.ran").exists());
}

#[test]
fn the_configuration() {
    let (lab, _heard) = healthy();
    for text in ["{\"ServerURL\" \"x\"}", "[]", "{\"DeviceTier\": \"system\"}", "{\"RootfsPartA\": 5}", ""] {
        lab.configure(text);
        let ran = first(&lab, "configuration", "conf/mender.conf");
        // What is set is not known.
        assert!(!ran.stdout.contains("are not set"), "{}", ran.stdout);
        assert!(ran.stdout.contains("unseen    verify keys: which ArtifactVerifyKeys are set is not known"));
        assert!(ran.stdout.contains("unseen    root file systems: "), "{}", ran.stdout);
    }
    lab.configure("{\"ServerURL\": \"ftp://x\"}");
    first(&lab, "configuration", "ServerURL cannot be used");
    lab.configure("{\"ServerURLs\": \"http://x\", \"SkipVerify\": true}");
    says(&lab, "did you mean");
    says(&lab, "no server is set");
    says(&lab, "SkipVerify is set");
    let logs = lab.path("logs");
    lab.configure(&format!("{{\"UpdateLogPath\": \"{}\"}}", logs.display()));
    says(&lab, &format!("doubtful  configuration: UpdateLogPath {} is no directory", logs.display()));
    let conf = lab.path("conf/mender.conf");
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o666)).expect("a mode");
    let ran = first(&lab, "configuration", "chmod go-w");
    assert!(!ran.stdout.contains("correct the file"), "{}", ran.stdout);
}

#[test]
fn the_datastore() {
    let (lab, _heard) = healthy();
    // Never used: that is no fault, but the device type is missing.
    let device_type = fs::read(lab.path("store/device_type")).expect("the device type");
    fs::remove_dir_all(lab.path("store")).expect("the datastore");
    let ran = first(&lab, "device type", "there is no device type file");
    assert!(ran.stdout.contains("good      datastore: "), "{}", ran.stdout);
    symlink(lab.path("not-mounted"), lab.path("store")).expect("a link");
    first(&lab, "datastore", "which is not there; is its file system mounted?");
    fs::remove_file(lab.path("store")).expect("the link");
    fs::write(lab.path("store"), "a file").expect("a file");
    let ran = first(&lab, "datastore", "store is a file: move it away");
    assert!(!ran.stdout.contains(" space: "), "{}", ran.stdout);
    fs::remove_file(lab.path("store")).expect("the file");
    fs::create_dir(lab.path("store")).expect("the datastore");
    fs::write(lab.path("store/device_type"), device_type).expect("the device type");
    says(&lab, "what is installed: artifact \"unknown\"");
    // Records that a loss of power, or somebody, has spoilt.
    lab.install(&Package::new("new")).status(0);
    says(&lab, "update in progress: there is one");
    let store = lab.path("store/mender-store-thimble");
    assert!(store.is_file(), "the records");
    fs::File::options().write(true).open(&store).and_then(|file| file.set_len(60)).expect("a cut");
    says(&lab, "doubtful  datastore: the last record is cut off");
    says(&lab, "doubtful  what is installed: its name is not known: records were lost");
    fs::write(&store, [0xa5; 8192]).expect("damage");
    says(&lab, "the store is damaged");
    // A database of Mender's client that is none.
    fs::remove_file(&store).expect("the store");
    fs::write(lab.path("store/mender-store"), [0x5a; 16384]).expect("a database");
    says(&lab, "mender-store: it is not a database of a Mender client");
}

#[test]
fn scripts_that_never_run() {
    let (lab, _heard) = healthy();
    fs::create_dir_all(lab.path("conf/scripts")).expect("a directory");
    lab.program("conf/scripts/Download_Entr_00", "#!/bin/sh\n");
    lab.program("conf/scripts/ArtifactInstall_Enter_00", "#!/bin/sh\n");
    lab.write("conf/scripts/Sync_Enter_00", "#!/bin/sh\n");
    says(&lab, "Download_Entr_00 is no state script and never runs");
    says(&lab, "ArtifactInstall_Enter_00 never runs: scripts of Artifact states come with the artifact");
    says(&lab, "Sync_Enter_00 is not executable");
    let script = lab.path("conf/scripts/Sync_Enter_00");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o777)).expect("a mode");
    first(&lab, "state scripts", "can be changed by group or others");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    lab.program("conf/scripts/Sync_Leave_00", "#!/bin/sh\r\n");
    first(&lab, "state scripts", "Sync_Leave_00: its interpreter is not there; check its first line (#!)");
    fs::remove_file(lab.path("conf/scripts/Sync_Leave_00")).expect("it goes");
    lab.write("conf/scripts/version", "9");
    first(&lab, "state scripts", "version");
    fs::remove_file(lab.path("conf/scripts/version")).expect("it goes");
    // The client goes on after errors in Idle and in error scripts (SCRIPT-30, SCRIPT-34).
    for (name, told) in [
        ("Idle_Enter_00", "no script of Idle_Enter runs, and the client goes on without them"),
        ("Download_Error_00", "no script of Download_Error runs, and the client goes on without them"),
        ("Idle_Error_00", "never runs: Idle has no Error scripts"),
    ] {
        lab.program(&format!("conf/scripts/{name}"), "#!/bin/sh\n");
        let script = lab.path(format!("conf/scripts/{name}"));
        fs::set_permissions(script, fs::Permissions::from_mode(0o777)).expect("a mode");
        says(&lab, told);
    }
    // More than anybody reads are counted.
    for number in 0..70 {
        lab.program(&format!("conf/scripts/Sync_Entr_{number:02}"), "#!/bin/sh\n");
    }
    says(&lab, "doubtful  state scripts: 11 more are not shown");
}

#[test]
fn modules_and_identity() {
    let (lab, _heard) = healthy();
    let module = lab.path("data/modules/v3/recorder");
    lab.write("data/modules/v3/other", "#!/bin/sh\n");
    says(&lab, "other is not executable");
    fs::remove_file(lab.path("data/modules/v3/other")).expect("it goes");
    symlink("/nowhere/module", lab.path("data/modules/v3/dang")).expect("a link");
    says(
        &lab,
        "dang is a link to /nowhere/module, which cannot be reached; until then artifacts of type dang fail",
    );
    fs::remove_file(lab.path("data/modules/v3/dang")).expect("it goes");
    lab.program("data/modules/v3/recorder", "echo\n");
    first(&lab, "update modules", "there is none in ");
    says_beside(&lab, "recorder: it is no program and no script");
    fs::remove_file(&module).expect("it goes");
    first(&lab, "update modules", "there is none in ");
    fs::remove_dir_all(lab.path("data/modules")).expect("it goes");
    first(&lab, "update modules", "there is none in ");
    fs::remove_file(lab.path("data/identity/mender-device-identity")).expect("it goes");
    first(&lab, "identity", "mender-device-identity");
    fs::create_dir_all(lab.path("data/inventory")).expect("a directory");
    let program = lab.path("data/inventory/mender-inventory-x");
    lab.program("data/inventory/mender-inventory-x", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).expect("a mode");
    let ran = doctor(&lab);
    assert!(
        ran.stdout.contains("inventory: ") && ran.stdout.contains("mender-inventory-x"),
        "{}",
        ran.stdout
    );
}

#[test]
fn servers() {
    let (lab, _heard) = healthy();
    lab.configure("{\"ServerURL\": \"http://127.0.0.1:1\"}");
    first(&lab, "server", "http://127.0.0.1:1: ");
    let (other, _heard) = server("200 OK");
    lab.configure(&format!("{{\"ServerURL\": \"{other}\"}}"));
    first(&lab, "server", "answers 200 where a Mender server says 401");
    // One of several is enough, wherever it stands.
    let (good, _heard) = server("401 No");
    let none = "{\"ServerURL\": \"http://127.0.0.1:1\"}";
    lab.configure(&format!("{{\"Servers\": [{none}, {none}, {none}, {{\"ServerURL\": \"{good}\"}}]}}"));
    says(&lab, "is a Mender server");
    lab.configure(&format!(
        "{{\"Servers\": [{{\"ServerURL\": \"{other}\"}}, {{\"ServerURL\": \"{good}\"}}]}}"
    ));
    says(&lab, "is a Mender server");
    says(&lab, "doubtful  server: ");
}

/// A server that takes the connection and says nothing must not hold it up. What counts is that it ends by itself, and the reason.
#[test]
fn a_silent_server() {
    let (lab, _heard) = healthy();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    lab.configure(&format!("{{\"ServerURL\": \"http://{address}\"}}"));
    first(&lab, "server", "no answer within 5 s");
}

#[test]
fn keys_and_certificates() {
    let (lab, _heard) = healthy();
    let url = fs::read_to_string(lab.path("conf/mender.conf")).expect("the configuration");
    let with = |more: &str| lab.configure(&format!("{}, {more}}}", url.trim_end().trim_end_matches('}')));
    let certificate = |from: i32, to: i32| {
        let mut params = CertificateParams::new(vec!["x".to_owned()]).expect("parameters");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    };
    let path = |name: &str| lab.path(name).display().to_string();
    with("\"ArtifactVerifyKey\": \"/nowhere.pem\"");
    first(&lab, "verify keys", "/nowhere.pem");
    lab.write("garbage.pem", "no key");
    with(&format!("\"ArtifactVerifyKey\": \"{}\"", path("garbage.pem")));
    first(&lab, "verify keys", "garbage.pem");
    with(&format!("\"ServerCertificate\": \"{}\"", path("garbage.pem")));
    let ran = first(&lab, "certificates", "holds no certificate");
    assert!(ran.stdout.contains("unseen    server: none was asked: "), "{}", ran.stdout);
    lab.write("old.pem", &certificate(2001, 2002).0);
    with(&format!("\"ServerCertificate\": \"{}\"", path("old.pem")));
    first(
        &lab,
        "certificates",
        "is not valid now: it is valid from 2001-01-01 00:00 UTC to 2002-01-01 00:00 UTC",
    );
    lab.write("future.pem", &certificate(2090, 2091).0);
    with(&format!("\"ServerCertificate\": \"{}\"", path("future.pem")));
    first(&lab, "certificates", "is not valid now");
    let (good, key) = certificate(2001, 2090);
    lab.write("good.pem", &good);
    with(&format!("\"ServerCertificate\": \"{}\"", path("good.pem")));
    says(&lab, "good.pem is valid from 2001-01-01 00:00 UTC to 2090-01-01 00:00 UTC");
    lab.write("both.pem", &(certificate(2001, 2002).0 + &good));
    with(&format!("\"ServerCertificate\": \"{}\"", path("both.pem")));
    says(&lab, "also holds one that was valid from 2001-01-01 00:00 UTC to 2002-01-01 00:00 UTC");
    // The device's own certificate, and its key.
    lab.write("key.pem", &key);
    fs::set_permissions(lab.path("key.pem"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let client = |certificate: &str| {
        with(&format!(
            "\"HttpsClient\": {{\"Certificate\": \"{}\", \"Key\": \"{}\"}}",
            path(certificate),
            path("key.pem")
        ));
    };
    client("good.pem");
    says(&lab, "HttpsClient.Certificate");
    client("old.pem");
    first(&lab, "certificates", "HttpsClient.Key");
    // The device's key: one that is there and none is not replaced, and others may not read it, which stays as it is.
    lab.configure(&url);
    lab.write("store/mender-agent.pem", "no key");
    first(&lab, "device key", "mender-agent.pem");
    lab.write("store/mender-agent.pem", &key);
    let agent_key = lab.path("store/mender-agent.pem");
    fs::set_permissions(&agent_key, fs::Permissions::from_mode(0o666)).expect("a mode");
    says(&lab, "mender-agent.pem can be read or changed by others (mode 0666)");
    says(&lab, "mend: run `chmod 600 ");
    fs::set_permissions(&agent_key, fs::Permissions::from_mode(0o600)).expect("a mode");
    says(&lab, "good      device key: ");
    lab.configure(&url.replace('}', ", \"Security\": {\"AuthPrivateKey\": \"pkcs11:x\"}}"));
    doctor(&lab).failed("which is not supported; give a file");
}

#[test]
fn a_full_disk_and_a_read_only_one() {
    if !is_root() || !has("unshare") {
        left_out("root and unshare");
        return;
    }
    let (lab, _heard) = healthy();
    for (mount, fill, part) in [
        (
            "mount -t tmpfs -o size=2m none store",
            "head -c 3000000 /dev/zero > store/fill 2> /dev/null; true",
            " are free at",
        ),
        ("mount -t tmpfs -o size=2m none store", "mount -o remount,ro store", "is read-only"),
    ] {
        let script = format!(
            "cp store/device_type t && {mount} && cp t store/device_type && {{ {fill}; }} && exec \"$0\" doctor"
        );
        let mut command = lab.command_of("unshare", ["--mount", "sh", "-c", &script]);
        let ran = Ran::of(command.arg(thimble()).spawn().expect("it starts"));
        ran.failed("mend this first: space: ");
        assert!(ran.reason().contains(part), "{}", ran.reason());
    }
}

#[test]
fn an_ordinary_user_sees_what_may_be_seen() {
    if !is_root() || !has("setpriv") {
        left_out("root and setpriv");
        return;
    }
    let (lab, _heard) = healthy();
    fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(lab.path("store"), fs::Permissions::from_mode(0o700)).expect("a mode");
    let copy = lab.path("thimble");
    fs::copy(thimble(), &copy).expect("a copy");
    let mut command = lab.command_of("setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups"]);
    let ran = Ran::of(command.arg(copy).arg("doctor").spawn().expect("it starts"));
    ran.status(0);
    for part in [
        "unseen    user: ",
        "unseen    datastore: ",
        "unseen    device type: ",
        "unseen    configuration: ",
        "good      update modules: recorder",
    ] {
        assert!(ran.stdout.contains(part), "{part}:\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("mend: run this as root"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nNothing that was seen stops updates; "), "{}", ran.stdout);
    let mut command = lab.command_of("setpriv", ["--reuid=1234", "--regid=1234", "--clear-groups"]);
    let ran =
        Ran::of(command.arg(lab.path("thimble")).args(["doctor", "--json"]).spawn().expect("it starts"));
    ran.status(0);
    assert!(ran.stdout.starts_with("{\"can_update\":null,"), "{}", ran.stdout);
}

#[test]
fn root_file_systems_without_a_boot_loader() {
    let (lab, _heard) = healthy();
    says(&lab, "RootfsPartA and RootfsPartB are not set");
    let url = fs::read_to_string(lab.path("conf/mender.conf")).expect("the configuration");
    lab.configure(&url.replace('}', ", \"RootfsPartA\": \"/dev/thimble-none1\"}"));
    says(&lab, "doubtful  root file systems: RootfsPartB is not set");
    lab.configure(
        &url.replace(
            '}',
            ", \"RootfsPartA\": \"/dev/thimble-none1\", \"RootfsPartB\": \"/dev/thimble-none2\"}",
        ),
    );
    if is_root() {
        first(&lab, "boot loader", "");
    }
}

#[test]
fn programs_read_json() {
    let (lab, _heard) = healthy();
    let ran = lab.run(["doctor", "--json"]);
    ran.status(0);
    // Nobody knows what an ordinary user could not see.
    let can = if is_root() { "true" } else { "null" };
    let start = format!("{{\"can_update\":{can},\"findings\":[{{\"severity\":\"");
    assert!(ran.stdout.starts_with(&start), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 1);
    fs::remove_file(lab.path("store/device_type")).expect("it goes");
    let ran = lab.run(["doctor", "--json"]);
    ran.status(1);
    let start = "{\"can_update\":false,\"findings\":[{\"severity\":\"stops\",\"name\":\"device type\",\"text\":\"there is no device type file ";
    assert!(ran.stdout.starts_with(start), "{}", ran.stdout);
    assert!(ran.stdout.contains(",\"mend\":\"have it written: 'thimble setup'\"}"), "{}", ran.stdout);
    lab.run(["doctor", "now"]).failed("takes no argument");
    let version = Command::new(thimble()).args(["doctor", "--help"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&version.stdout).contains("Exit status 1"));
}
