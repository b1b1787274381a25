//! The service under a real systemd, which runs in namespaces of its own over this machine's root file system.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_hal_sim::listen::Security;
use thimble_tests::lab::{DEVICE_TYPE, Package, has, is_root, thimble};
use thimble_tests::managed::Managed;

/// An update module that tells what it may do.
const MODULE: &str = r#"#!/bin/sh
case $1 in
ArtifactInstall)
    echo "core dumps: $(ulimit -c)" >> /data/told
    echo x > /data/file && echo "may write: /data" >> /data/told
    echo x > /etc/file && echo "may write: /etc" >> /data/told
    mount -t tmpfs none /mnt && echo "may mount" >> /data/told;;
NeedsArtifactReboot) echo No;;
SupportsRollback) echo Yes;;
esac
exit 0
"#;

/// Waits until the update is there, stops the service, and ends the device.
const PROBE: &str = r"
[Unit]
DefaultDependencies=no
Wants=mender-client.service mender-authd.service mender-updated.service
After=mender-updated.service
[Service]
Type=oneshot
StandardError=append:/out/probe
ExecStart=/bin/sh -c 'i=0; until thimble show-artifact 2>/dev/null | grep -q release-2 || [ $$i = 100 ]; do sleep 0.2; i=$$((i+1)); done; sleep 1; cp /data/told /out/told; pgrep -xc thimble > /out/clients; systemctl stop mender-updated; systemctl show mender-updated -p Result,NRestarts > /out/ended'
ExecStopPost=/bin/systemctl --force --force poweroff
";

/// What is at `/var/lib/mender` before the service starts.
#[derive(Clone, Copy, Debug)]
enum Datastore {
    Nothing,
    Directory,
    /// A link to the data partition.
    Link,
}

/// A deployment on a device with this datastore: what the module told, and how the service ended.
fn deploy(datastore: Datastore, drop_in: bool) -> (String, String) {
    let managed = Managed::with(Security::Plain);
    managed.deploy(&Package::new("release-2").payload_type("probe"));
    let device = managed.lab.path("device");
    let write = |name: &str, text: &str, mode: u32| {
        let path = device.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(&path, text).expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let mut install = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../support/install"));
    // As this machine has it: /lib may be a link, which a folder cannot be copied over.
    install
        .args(["--units", "/usr/lib/systemd/system", "--program"])
        .arg(thimble())
        .arg("--destdir")
        .arg(&device);
    if drop_in {
        install.arg("--any-module");
    }
    assert!(install.status().expect("it runs").success());
    let units = "etc/systemd/system/";
    let settings = "[Service]\nStandardOutput=append:/out/log\nStandardError=append:/out/log\n";
    write(&format!("{units}mender-updated.service.d/test.conf"), settings, 0o644);
    write(&format!("{units}probe.service"), PROBE, 0o644);
    // What this machine does at its start is none of the device's affair.
    for target in ["sysinit.target", "basic.target", "network-online.target"] {
        write(&format!("{units}{target}"), "[Unit]\nDefaultDependencies=no\n", 0o644);
    }
    write(&format!("{units}probe.target"), "[Unit]\nDefaultDependencies=no\nRequires=probe.service\n", 0o644);
    let conf = format!(
        r#"{{"ServerURL":"{}","UpdatePollIntervalSeconds":1,"RetryPollIntervalSeconds":1,"DeviceTypeFile":"/etc/mender/device_type"}}"#,
        managed.server.url()
    );
    write("etc/mender/mender.conf", &conf, 0o600);
    write("etc/mender/device_type", &format!("device_type={DEVICE_TYPE}\n"), 0o644);
    write("usr/share/mender/identity/mender-device-identity", "#!/bin/sh\necho mac=00:01\n", 0o755);
    write("usr/share/mender/modules/v3/probe", MODULE, 0o755);
    fs::create_dir_all(device.join("var/lib")).expect("it is made");
    match datastore {
        Datastore::Nothing => {}
        Datastore::Directory => fs::create_dir(device.join("var/lib/mender")).expect("it is made"),
        Datastore::Link => {
            fs::create_dir_all(device.join("data/mender")).expect("it is made");
            symlink("/data/mender", device.join("var/lib/mender")).expect("a link");
        }
    }
    start(&managed);
    let out = |name: &str| fs::read_to_string(managed.lab.path("out").join(name)).unwrap_or_default();
    assert_eq!(managed.status(), "success", "{datastore:?}: {}\n{}", managed.story(), out("log"));
    assert_eq!(out("clients"), "1\n", "the service has three names and is one");
    (out("told"), out("ended"))
}

/// Runs the device until it ends itself.
fn start(managed: &Managed) {
    for name in ["top", "out"] {
        fs::create_dir(managed.lab.path(name)).expect("it is made");
    }
    let inside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/inside.sh");
    let group = cgroup().join(format!("thimble-test-{}", std::process::id()));
    fs::create_dir_all(&group).expect("a control group");
    // The group becomes the root of what the device sees of them.
    let status = Command::new("sh")
        .args(["-c", "echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"", "sh"])
        .arg(&group)
        .args(["timeout", "--signal=KILL", "120", "unshare", "--mount", "--pid", "--fork", "--uts", "--ipc"])
        .args(["--cgroup", "--kill-child", "sh"])
        .args([&inside, &managed.lab.path("")])
        .stdout(fs::File::create(managed.lab.path("console")).expect("a file"))
        .stderr(fs::File::create(managed.lab.path("console.errors")).expect("a file"))
        .status()
        .expect("it runs");
    let read = |name: &str| fs::read_to_string(managed.lab.path(name)).unwrap_or_default();
    let said = ["console", "console.errors", "out/probe", "out/log"].map(read).join("\n");
    let _ =
        Command::new("find").arg(&group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).status();
    assert!(fs::exists(managed.lab.path("out/ended")).is_ok_and(|ended| ended), "{status}: {said}");
}

fn cgroup() -> PathBuf {
    let own = Path::new("/sys/fs/cgroup/systemd");
    if own.is_dir() { own.to_owned() } else { PathBuf::from("/sys/fs/cgroup") }
}

#[test]
#[ignore = "as root: starts a systemd in namespaces of its own, for some seconds each time"]
fn the_service_carries_out_a_deployment_under_systemd() {
    if !(is_root() && has("unshare") && fs::exists("/lib/systemd/systemd").is_ok_and(|there| there)) {
        println!("left out: needs root, unshare and systemd");
        return;
    }
    for (datastore, drop_in) in [
        (Datastore::Directory, false),
        (Datastore::Link, false),
        (Datastore::Nothing, false),
        (Datastore::Directory, true),
    ] {
        let (told, ended) = deploy(datastore, drop_in);
        let allowed = if drop_in { "may write: /etc\nmay mount\n" } else { "" };
        assert_eq!(told, format!("core dumps: 0\nmay write: /data\n{allowed}"), "{datastore:?} {drop_in}");
        assert!(ended.contains("Result=success") && ended.contains("NRestarts=0"), "{datastore:?}: {ended}");
    }
}
