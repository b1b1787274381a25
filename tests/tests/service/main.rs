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

/// A device on which Debian's mender-client gives way to the package, which is upgraded while an update waits for its commit, and after it.
const PACKAGE_PROBE: &str = r"
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardError=append:/out/probe
StandardOutput=append:/out/probe
Environment=DEBIAN_FRONTEND=noninteractive
ExecStart=/bin/bash /probe
ExecStopPost=/bin/systemctl --force --force poweroff
";

const PACKAGE_SCRIPT: &str = r#"
set -eux
wait_until() { { set +x; } 2> /dev/null; for i in $(seq 300); do if "$@" 2> /dev/null; then set -x; return; fi; sleep 0.2; done; false; }
pid() { systemctl show -p MainPID --value mender-updated; }
says() { thimble status --json | grep -q "$1"; }
over() { thimble show-artifact | grep -q release-2 && says '"deployment":null'; }
mkdir -p /data/mender; ln -sfn /data/mender /var/lib/mender
# Images of containers say there that no service is to be started.
rm -f /usr/sbin/policy-rc.d
dpkg-deb -R /one.deb /tmp/two
sed -i 's/^Version: .*/Version: 9-1/' /tmp/two/DEBIAN/control
dpkg-deb -b /tmp/two /two.deb
touch /hold
systemctl enable mender-client

dpkg -i /one.deb
wait_until says '"waiting_before":"commit"'
before=$(pid)
dpkg -i /two.deb > /out/during
during=$(pid)
rm /hold
wait_until over
dpkg -i /one.deb > /out/after
wait_until says '"running":true'
after=$(pid)
echo "$before $during $after" > /out/pids
systemctl show mender-connect mender-client -p Id --value > /out/ids
dpkg -r thimble
readlink /var/lib/mender > /out/link
systemctl show mender-updated -p ActiveState --value > /out/ended
"#;

/// What is at `/var/lib/mender` before the service starts.
#[derive(Clone, Copy, Debug)]
enum Datastore {
    Nothing,
    Directory,
    /// A link to the data partition.
    Link,
}

/// A device with what every device has, an update module called `probe`, and a unit that is started with it, to which the rest is left.
struct Device {
    managed: Managed,
}

impl Device {
    /// With a deployment. `more`: further members of its configuration.
    fn new(probe: &str, module: &str, more: &str) -> Self {
        let device = Self { managed: Managed::with(Security::Plain) };
        device.managed.deploy(&Package::new("release-2").payload_type("probe"));
        let units = "etc/systemd/system/";
        let settings = "[Service]\nStandardOutput=append:/out/log\nStandardError=append:/out/log\n";
        device.write(&format!("{units}mender-updated.service.d/test.conf"), settings, 0o644);
        device.write(&format!("{units}probe.service"), probe, 0o644);
        // What this machine does at its start is none of the device's affair.
        for target in ["sysinit.target", "basic.target", "network-online.target"] {
            device.write(&format!("{units}{target}"), "[Unit]\nDefaultDependencies=no\n", 0o644);
        }
        let target = "[Unit]\nDefaultDependencies=no\nRequires=probe.service\n";
        device.write(&format!("{units}probe.target"), target, 0o644);
        let conf = format!(
            r#"{{"ServerURL":"{}","UpdatePollIntervalSeconds":1,"RetryPollIntervalSeconds":1,"DeviceTypeFile":"/etc/mender/device_type"{more}}}"#,
            device.managed.server.url()
        );
        device.write("etc/mender/mender.conf", &conf, 0o600);
        device.write("etc/mender/device_type", &format!("device_type={DEVICE_TYPE}\n"), 0o644);
        device.write(
            "usr/share/mender/identity/mender-device-identity",
            "#!/bin/sh\necho mac=00:01\n",
            0o755,
        );
        device.write("usr/share/mender/modules/v3/probe", module, 0o755);
        device
    }

    fn path(&self, name: &str) -> PathBuf {
        self.managed.lab.path("device").join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(&path, text).expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// What it left in a file of `/out`.
    fn out(&self, name: &str) -> String {
        fs::read_to_string(self.managed.lab.path("out").join(name)).unwrap_or_default()
    }
}

fn support() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support")
}

/// A deployment on a device with this datastore: what the module told, and how the service ended.
fn deploy(datastore: Datastore, drop_in: bool) -> (String, String) {
    let device = Device::new(PROBE, MODULE, "");
    let mut install = Command::new(support().join("install"));
    // As this machine has it: /lib may be a link, which a folder cannot be copied over.
    install
        .args(["--units", "/usr/lib/systemd/system", "--program"])
        .arg(thimble())
        .arg("--destdir")
        .arg(device.path(""));
    if drop_in {
        install.arg("--any-module");
    }
    assert!(install.status().expect("it runs").success());
    fs::create_dir_all(device.path("var/lib")).expect("it is made");
    match datastore {
        Datastore::Nothing => {}
        Datastore::Directory => fs::create_dir(device.path("var/lib/mender")).expect("it is made"),
        Datastore::Link => {
            fs::create_dir_all(device.path("data/mender")).expect("it is made");
            symlink("/data/mender", device.path("var/lib/mender")).expect("a link");
        }
    }
    start(&device.managed);
    let managed = &device.managed;
    assert_eq!(managed.status(), "success", "{datastore:?}: {}\n{}", managed.story(), device.out("log"));
    assert_eq!(device.out("clients"), "1\n", "the service has three names and is one");
    (device.out("told"), device.out("ended"))
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
        .args(["timeout", "--signal=KILL", "400", "unshare", "--mount", "--pid", "--fork", "--uts", "--ipc"])
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
        thimble_tests::lab::left_out("root, unshare and systemd");
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

#[test]
#[ignore = "as root: starts a systemd in namespaces of its own, for some seconds"]
fn an_upgrade_of_the_package_while_an_update_waits_for_its_commit_changes_nothing_of_it() {
    let mender = Path::new("/var/lib/dpkg/info/mender-client.list").exists();
    if !(is_root()
        && has("unshare")
        && has("dpkg-shlibdeps")
        && mender
        && Path::new("/lib/systemd/systemd").exists())
    {
        thimble_tests::lab::left_out("root, unshare, systemd, dpkg-dev and Debian's mender-client");
        return;
    }
    let hold = r#","UpdateControl":{"Inhibitors":[{"At":["commit"],"File":"/hold"}]}"#;
    let device = Device::new(PACKAGE_PROBE, MODULE, hold);
    device.write("probe", PACKAGE_SCRIPT, 0o755);
    let built = Command::new(support().join("deb/build"))
        .arg("--program")
        .arg(thimble())
        .env("CARGO_TARGET_DIR", device.managed.lab.path("built"))
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .expect("it runs");
    let path = String::from_utf8(built.stdout).expect("text");
    fs::copy(path.trim(), device.path("one.deb")).expect("it is copied");
    start(&device.managed);
    let said = || format!("{}\n{}", device.out("probe"), device.out("log"));
    assert_eq!(device.managed.status(), "success", "{}", said());
    let pids = device.out("pids");
    let pids: Vec<_> = pids.split_whitespace().collect();
    assert!(pids.len() == 3 && pids[0] == pids[1] && pids[1] != pids[2], "{pids:?}: {}", said());
    assert!(device.out("during").contains("an update is in progress, so the daemon goes on"), "{}", said());
    assert!(!device.out("after").contains("in progress"), "{}", said());
    assert_eq!(
        (device.out("link").as_str(), device.out("ended").as_str()),
        ("/data/mender\n", "inactive\n"),
        "{}",
        said()
    );
}
