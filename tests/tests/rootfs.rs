//! Root file systems by the real binary: slot A is the machine's own root (which is never written), slot B a loop
//! device; the boot loader's tools are scripts over a file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::{Security, Wire};
use thimble_hal_sim::server::Endpoint;
use thimble_tests::foreign;
use thimble_tests::lab::{DEVICE_TYPE, Lab, Package, Ran, is_root};
use thimble_tests::managed::{ID, LIMIT, Managed};

const PRINT: &str = "#!/bin/sh\n[ $# = 0 ] && exec cat 'ENV'\ngrep \"^$1=\" 'ENV'\n";
const SET: &str = "#!/bin/sh\n[ ! -e 'ENV.broken' ] || { echo 'No space left on device' >&2; exit 1; }\n\
                   cp 'ENV' 'ENV.new'\n\
                   while IFS= read -r line; do grep -v \"^${line%%=*}=\" 'ENV.new' > 'ENV.newer'\n\
                   echo \"$line\" >> 'ENV.newer'; mv 'ENV.newer' 'ENV.new'; done\n\
                   mv 'ENV.new' 'ENV'\necho >> 'ENV.writes'\n";

const SLOT: usize = 4 * 1024 * 1024;

struct Device {
    lab: Lab,
    slots: Slots,
}

/// A loop device on a file of the lab; detached when it is dropped.
struct Slots {
    disk: PathBuf,
    slot: String,
}

impl Slots {
    /// Makes it, and the boot loader's tools. `None`, said aloud, where there is no root device or no loop device.
    fn new(lab: &Lab, size: usize, tools: &str) -> Option<Self> {
        let left_out = |why: &str| {
            eprintln!("left out: {why}");
            None
        };
        if !is_root() {
            return left_out("needs root");
        }
        let root = fs::metadata("/").expect("the root").dev();
        if libc::major(root) == 0 {
            return left_out("this machine's root is on no device");
        }
        let disk = lab.path("disk");
        fs::write(&disk, vec![0xa5; size]).expect("a disk");
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&disk).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            return left_out("no loop device can be set up");
        };
        let slot = String::from_utf8(output.stdout).expect("a name").trim().to_owned();
        let env = lab.path("env");
        fs::create_dir_all(lab.path(tools)).expect("a directory");
        for (name, text) in [("fw_printenv", PRINT), ("fw_setenv", SET)] {
            lab.program(&format!("{tools}/{name}"), &text.replace("ENV", env.to_str().expect("a path")));
        }
        let slots = Self { disk, slot };
        slots.run_in(lab, 'A');
        set_env(lab, "2", "0");
        Some(slots)
    }

    /// The members of `mender.conf` that say where the slots are.
    fn members(lab: &Lab) -> String {
        format!(
            "\"RootfsPartA\":\"{0}/part2\",\"RootfsPartB\":\"{0}/part3\",\"Bootloader\":\"uboot-tools\"",
            lab.path("").to_str().expect("a path").trim_end_matches('/')
        )
    }

    /// Which slot is this machine's root.
    fn run_in(&self, lab: &Lab, slot: char) {
        let root = fs::metadata("/").expect("the root").dev();
        let [a, b] = ["part2", "part3"].map(|name| lab.path(name));
        let (root_node, loop_node) = if slot == 'A' { (&a, &b) } else { (&b, &a) };
        for node in [&a, &b] {
            drop(fs::remove_file(node));
        }
        let numbers = [libc::major(root).to_string(), libc::minor(root).to_string()];
        let made = Command::new("mknod").arg(root_node).arg("b").args(numbers).status().expect("mknod runs");
        assert!(made.success());
        std::os::unix::fs::symlink(&self.slot, loop_node).expect("a link");
    }

    fn disk(&self) -> Vec<u8> {
        // What a block device's own cache still holds is not in the file.
        assert!(Command::new("sync").arg(&self.slot).status().expect("sync runs").success());
        fs::read(&self.disk).expect("the disk")
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["-d", &self.slot]).status());
    }
}

fn set_env(lab: &Lab, part: &str, upgrade: &str) {
    lab.write(
        "env",
        &format!(
            "bootcmd=run\nmender_boot_part={part}\nmender_boot_part_hex={part}\nupgrade_available={upgrade}\n"
        ),
    );
}

fn env(lab: &Lab) -> (String, String) {
    let text = fs::read_to_string(lab.path("env")).expect("the environment");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    assert!(text.contains("bootcmd=run\n"), "what is not ours is kept");
    (value("mender_boot_part"), value("upgrade_available"))
}

impl Device {
    /// `None`, said aloud, where there is no root device or no loop device.
    fn new() -> Option<Self> {
        let lab = Lab::new();
        let slots = Slots::new(&lab, SLOT, "tools")?;
        lab.configure(&format!("{{{}}}", Slots::members(&lab)));
        Some(Self { lab, slots })
    }

    fn run_in(&self, slot: char) {
        self.slots.run_in(&self.lab, slot);
    }

    fn set_env(&self, part: &str, upgrade: &str) {
        set_env(&self.lab, part, upgrade);
    }

    fn env(&self) -> (String, String) {
        env(&self.lab)
    }

    fn command(&self, args: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = self.lab.path("tools");
        let mut command = self.lab.command(args);
        command.env("PATH", format!("{}:{path}", tools.display()));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).spawn().expect("the client starts"))
    }

    fn install(&self, image: &[u8]) -> Ran {
        let package = Package::new("new").payload_type("rootfs-image").files(&[("rootfs.ext4", image)]);
        let artifact = package.build(&self.lab);
        self.run(&["install", artifact.to_str().expect("a path")])
    }

    fn disk(&self) -> Vec<u8> {
        self.slots.disk()
    }

    fn is_untouched(&self) -> bool {
        self.disk().iter().all(|&byte| byte == 0xa5)
    }
}

fn image(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..size).map(byte).collect()
}

fn pair(part: &str, upgrade: &str) -> (String, String) {
    (part.into(), upgrade.into())
}

#[test]
fn an_image_is_installed_tried_and_committed() {
    let Some(device) = Device::new() else { return };
    let image = image(1024 * 1024 + 513);
    let ran = device.install(&image);
    ran.status(0);
    assert_eq!(device.env(), pair("3", "1"));
    let disk = device.disk();
    assert!(disk[..image.len()] == image && disk[image.len()..].iter().all(|&byte| byte == 0xa5));
    device.run_in('B');
    device.run(&["commit"]).status(0);
    assert_eq!(device.env(), pair("3", "0"));
    assert_eq!(device.lab.name(), "new");
    let writes = fs::read_to_string(device.lab.path("env.writes")).expect("written");
    assert_eq!(writes.len(), 2, "one write of the environment each");
}

#[test]
fn whoever_watches_sees_another_slot_being_selected() {
    let Some(device) = Device::new() else { return };
    let mut watching = device.command(&["status", "--watch", "--json"]).spawn().expect("the client starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    let mut selected = |slot: &str| {
        let wanted = format!("\"root_selected\":\"{slot}\",");
        // It is killed when it says nothing for too long.
        lines.any(|line| line.expect("a line").contains(&wanted))
    };
    assert!(selected("A"));
    device.install(&image(1000)).status(0);
    assert!(selected("B"), "the boot loader is not looked at again");
    let pid = watching.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill runs").success());
    watching.wait().expect("it ends");
}

#[test]
fn status_says_which_boot_loader_it_is_and_what_each_slot_does() {
    let Some(device) = Device::new() else { return };
    // Without a daemon too.
    let lines = |name: &str| -> Vec<String> {
        let ran = device.run(&["status"]);
        // No server is configured: nothing is missing, unless the boot loader is in trouble.
        let trouble = ran.stdout.lines().find_map(|line| line.strip_prefix("Boot trouble:"));
        match trouble {
            Some(trouble) => ran.failed(trouble.trim()),
            None => ran.status(0),
        };
        let lines = ran.stdout.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let part = device.lab.path("part2").display().to_string();
    let slot = &device.slots.slot;
    assert_eq!(lines("Boot loader:"), ["fw_printenv and fw_setenv"]);
    assert_eq!(lines("Root"), [format!("{part}, runs"), format!("{slot}, does not run")]);
    device.install(&image(1000)).status(0);
    assert_eq!(
        lines("Root"),
        [format!("{part}, runs until the reboot"), format!("{slot}, starts next, on trial")]
    );
    device.run_in('B');
    let in_trial = lines("Root");
    assert!(
        in_trial[1].ends_with("runs on trial: unless it is committed, the next boot goes back"),
        "{in_trial:?}"
    );
    let json = device.run(&["status", "--json"]).status(0).stdout.clone();
    let members = r#""root_running":"B","root_selected":"B","root_trial":true,"boot_trouble":null}"#;
    assert!(
        json.starts_with(r#"{"running":false,"#)
            && json.contains(r#""boot_loader":"fw_printenv"#)
            && json.ends_with(&format!("{members}\n")),
        "{json}"
    );

    // What is wrong names the key or the variable.
    device.set_env("7", "0");
    assert_eq!(
        lines("Boot trouble:"),
        ["mender_boot_part in the boot environment is \"7\", which is not a valid value"]
    );
    fs::remove_file(device.lab.path("part3")).unwrap();
    assert!(lines("Boot trouble:")[0].starts_with("RootfsPartB: "));
    assert_eq!(lines("Root"), Vec::<String>::new());
}

#[test]
fn r41_a_commit_before_the_reboot_is_refused_and_the_update_is_kept() {
    let Some(device) = Device::new() else { return };
    device.install(&image(1000)).status(0);
    // As often as it is tried, and in both ways.
    for verb in ["commit", "resume", "commit"] {
        let ran = device.run(&[verb]);
        ran.failed("it does not run yet: reboot, then commit");
        assert!(ran.stderr.contains("not committed yet: reboot, then use 'commit'"), "{}", ran.stderr);
        assert_eq!(device.env(), pair("3", "1"), "{verb}");
    }
    assert_ne!(device.lab.name(), "new");
    device.run_in('B');
    device.run(&["commit"]).status(0);
    assert_eq!(device.env(), pair("3", "0"));
    assert_eq!(device.lab.name(), "new");
}

#[test]
fn r41_an_update_that_was_not_committed_before_the_reboot_can_be_rolled_back() {
    let Some(device) = Device::new() else { return };
    device.install(&image(1000)).status(0);
    device.run(&["commit"]).failed("does not run yet");
    device.run(&["rollback"]).status(0);
    assert_eq!(device.env(), pair("2", "0"));
    assert_ne!(device.lab.name(), "new");
}

#[test]
fn a_revert_by_the_boot_loader_is_recognised() {
    let Some(device) = Device::new() else { return };
    device.install(&image(1000)).status(0);
    device.set_env("2", "0");
    device.run(&["commit"]).failed("reverted");
    assert_eq!(device.env(), pair("2", "0"));
    assert_ne!(device.lab.name(), "new");
}

#[test]
fn an_update_is_rolled_back_before_and_after_the_reboot() {
    let Some(device) = Device::new() else { return };
    for slot in ['A', 'B'] {
        device.run_in('A');
        device.install(&image(1000)).status(0);
        device.run_in(slot);
        device.run(&["rollback"]).status(0);
        assert_eq!(device.env(), pair("2", "0"), "running in {slot}");
    }
}

#[test]
fn i7_a_rollback_of_a_trial_does_not_need_the_environment() {
    let Some(device) = Device::new() else { return };
    device.install(&image(1000)).status(0);
    device.run_in('B');
    device.lab.write("env.broken", "");
    device.run(&["rollback"]).status(0);
    assert_eq!(device.env(), pair("3", "1"), "the boot loader goes back");
}

const LITTLE: &str = include_str!("../../hal-linux/src/bootloader/testdata/tools-that-know-little.sh");

#[test]
fn boot_tools_that_know_little_are_enough_for_an_update() {
    let Some(device) = Device::new() else { return };
    let state = device.lab.path("state");
    fs::create_dir(&state).expect("a directory");
    let begin = format!("\nexport BOOT_STATE='{}' RUNNING=2\n", state.display());
    for tool in ["fw_printenv", "fw_setenv"] {
        device.lab.program(&format!("tools/{tool}"), &LITTLE.replacen('\n', &begin, 1));
    }
    let stored = || ["part", "trial"].map(|name| fs::read_to_string(state.join(name)).unwrap_or_default());
    device.install(&image(1000)).status(0);
    assert_eq!(stored(), ["3\n", "1\n"]);
    device.run(&["rollback"]).status(0);
    assert_eq!(stored(), ["2\n", "0\n"]);
    device.install(&image(1000)).status(0);
    device.run_in('B');
    device.run(&["commit"]).status(0);
    assert_eq!(stored(), ["3\n", "0\n"]);
    assert_eq!(device.lab.name(), "new");
}

#[test]
fn a_store_that_is_found_wrong_is_undone() {
    let Some(device) = Device::new() else { return };
    // As with a full environment: the first variable of a change is lost, and nothing is said.
    let env = device.lab.path("env");
    let set = SET.replace("while IFS=", "read -r lost\nwhile IFS=");
    device.lab.program("tools/fw_setenv", &set.replace("ENV", env.to_str().expect("a path")));
    device.install(&image(1000)).failed("do not read back");
    assert_eq!(device.env(), pair("2", "0"));
    device.run(&["resume"]).status(2);
}

#[test]
fn a_boot_tool_that_hangs_does_not_keep_the_client_from_its_end() {
    let Some(device) = Device::new() else { return };
    let pid = device.lab.path("tool.pid");
    let hang = "#!/bin/sh\nexec > /dev/null 2>&1\necho $$ > 'PID.new'; mv 'PID.new' 'PID'\nexec sleep 1000\n";
    device.lab.program("tools/fw_printenv", &hang.replace("PID", pid.to_str().expect("a path")));
    let package = Package::new("new").payload_type("rootfs-image").files(&[("rootfs.ext4", &image(1000))]);
    let artifact = package.build(&device.lab);
    let mut client =
        device.command(&["install", artifact.to_str().expect("a path")]).spawn().expect("it starts");
    let end = Instant::now() + LIMIT;
    while !pid.exists() {
        assert!(Instant::now() < end, "the tool is not run");
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Command::new("kill").arg(client.id().to_string()).status().expect("kill runs");
    assert!(asked.success());
    while client.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < end, "the client does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let tool = fs::read_to_string(&pid).expect("a number");
    let stat = fs::read_to_string(format!("/proc/{}/stat", tool.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the tool lives on: {stat}");
    assert!(device.is_untouched());
}

#[test]
fn r_45_a_rollback_before_the_reboot_that_cannot_be_stored_is_none_and_may_be_repeated() {
    let Some(device) = Device::new() else { return };
    for verb in ["rollback", "resume"] {
        device.install(&image(1000)).status(0);
        device.lab.write("env.broken", "");
        for _ in 0..2 {
            let ran = device.run(&["rollback"]);
            ran.failed("not rolled back, the next boot may start the new image");
            assert!(!ran.stdout.contains("rolled back."), "{}", ran.stdout);
        }
        assert_eq!(device.env(), pair("3", "1"));
        let status = device.run(&["status"]);
        assert!(status.stdout.contains("starts next, on trial"), "{}", status.stdout);
        device.run(&["commit"]).failed("not possible at this point of the update");
        device.run(&["install", "other.mender"]).failed("in progress");
        fs::remove_file(device.lab.path("env.broken")).expect("it was there");
        device.run(&[verb]).status(0);
        assert_eq!(device.env(), pair("2", "0"));
        device.run(&["resume"]).status(2);
    }
    assert!(!device.lab.name().contains("INCONSISTENT"));
}

#[test]
fn b5_b8_b11_a_slot_is_not_touched_when_the_image_cannot_be_installed() {
    let Some(device) = Device::new() else { return };
    device.install(&image(SLOT + 1)).failed("the image has 4194305 bytes, the slot 4194304");
    for (part, upgrade, reason) in [
        ("2", "1", "neither committed nor rolled back"),
        ("3", "0", "reboot, or correct"),
        ("7", "0", "mender_boot_part"),
        ("2", "x", "upgrade_available"),
    ] {
        device.set_env(part, upgrade);
        device.install(&image(1000)).failed(reason);
        assert_eq!(device.env(), pair(part, upgrade));
    }
    device.set_env("2", "0");
    fs::write(
        device.lab.path("env"),
        "bootcmd=run\nmender_boot_part=2\nupgrade_available=0\nmender_check_saveenv_canary=1\n",
    )
    .expect("the environment");
    device.install(&image(1000)).failed("canary");
    device.set_env("2", "0");
    fs::remove_file(device.lab.path("part3")).expect("the link");
    std::os::unix::fs::symlink(device.lab.path("part2"), device.lab.path("part3")).expect("a link");
    device.install(&image(1000)).failed("one device");
    assert!(device.is_untouched());
    // An environment that cannot be written: the image is there, and not selected.
    device.run_in('A');
    device.lab.write("env.broken", "");
    device.install(&image(1000)).failed("No space left");
    assert_eq!(device.env(), pair("2", "0"));
}

#[test]
fn a_mounted_slot_is_not_written() {
    let Some(device) = Device::new() else { return };
    let made = Command::new("mkfs.ext4").args(["-q", "-F", &device.slots.slot]).status();
    if !made.is_ok_and(|status| status.success()) {
        return eprintln!("left out: mkfs.ext4 is not installed");
    }
    let at = device.lab.path("mounted");
    fs::create_dir(&at).expect("a directory");
    assert!(Command::new("mount").arg(&device.slots.slot).arg(&at).status().expect("mount runs").success());
    let ran = device.install(&image(1000));
    assert!(Command::new("umount").arg(&at).status().expect("umount runs").success());
    ran.failed("busy");
    assert_eq!(device.env(), pair("2", "0"));
}

#[test]
fn a_module_of_that_name_takes_precedence() {
    let Some(device) = Device::new() else { return };
    device.lab.module("rootfs-image");
    device.install(&image(1000)).status(0);
    assert!(device.lab.take_journal().contains("ArtifactInstall"));
    assert!(device.is_untouched());
    assert_eq!(device.env(), pair("2", "0"));
}

#[test]
fn a_payload_of_two_files_is_no_root_file_system() {
    let Some(device) = Device::new() else { return };
    let package = Package::new("two").payload_type("rootfs-image").files(&[("a", b"1"), ("b", b"2")]);
    let artifact = package.build(&device.lab);
    device.run(&["install", artifact.to_str().expect("a path")]).failed("exactly one file");
    assert_eq!(device.env(), pair("2", "0"));
}

/// The device's reboot: the slots change places, and the daemon dies.
const REBOOT: &str =
    "#!/bin/sh\ncd 'LAB' && mv part2 was && mv part3 part2 && mv was part3\nkill -KILL $PPID\n";

const MIB: usize = 1024 * 1024;

#[test]
fn r_45_the_daemon_reports_no_rollback_before_the_boot_loader_is_told() {
    let managed = Managed::with(Security::Plain);
    let lab = &managed.lab;
    let Some(_slots) = Slots::new(lab, SLOT, "bin") else { return };
    managed.configure(&format!(",{}", Slots::members(lab)));
    // It fails behind the install, and takes the environment with it.
    let name = "ArtifactInstall_Leave_00";
    lab.on(name, &format!("touch '{}'; exit 1", lab.path("env.broken").display()));
    lab.program("bin/reboot", "#!/bin/sh\nkill -KILL $PPID\n");
    let image = image(1000);
    let package = Package::new("new").payload_type("rootfs-image").files(&[("rootfs.ext4", &image)]);
    managed.deploy(&package.script(name));
    let daemon = managed.start();
    let end = Instant::now() + LIMIT;
    while !managed
        .story()
        .contains("ArtifactRollback: not rolled back, the next boot may start the new image")
    {
        assert!(Instant::now() < end, "{}", managed.story());
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.signal("KILL");
    daemon.ended();
    assert_eq!(env(lab), pair("3", "1"));
    assert!(!managed.statuses().contains(&"failure".to_owned()));
    fs::remove_file(lab.path("env.broken")).expect("it was there");

    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    assert_eq!(env(lab), pair("2", "0"));
    assert!(!lab.name().contains("INCONSISTENT") && lab.name() != "new");
}

/// Where the second mark is: marks are every 4 MiB, at the next end of a whole buffer of 384 KiB.
const MARKED: u64 = 2 * (4 * MIB as u64).next_multiple_of(384 * 1024);

/// The daemon is killed when so many bytes of a larger image are marked as durable; `meanwhile` has the slot, and the daemon is
/// started again. Returns the `Range` of each request for the artifact, with the image's first byte as 0.
fn goes_on_after_a_kill(meanwhile: impl FnOnce(&Slots)) -> Option<Vec<Option<u64>>> {
    let managed = Managed::with(Security::Plain);
    let lab = &managed.lab;
    let slots = Slots::new(lab, 16 * MIB, "bin")?;
    managed.configure(&format!(",\"ResumeDownloads\":true,{}", Slots::members(lab)));
    lab.program("bin/reboot", &REBOOT.replace("LAB", lab.path("").to_str().expect("a path")));
    let image = image(10 * MIB + 513);
    let package = Package::new("new").payload_type("rootfs-image").files(&[("rootfs.ext4", &image)]);
    let artifact = package.bytes(lab);
    let begins = artifact.windows(64).position(|window| window == &image[..64]).expect("it is plain");
    managed.deploy_bytes("new", artifact.into());

    managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(9 * MIB));
    let daemon = managed.start();
    let mark = lab.path("store/modules/v3/payloads/0000/mark");
    let end = Instant::now() + LIMIT;
    while fs::read(&mark).ok().and_then(|bytes| bytes.get(1..9)?.try_into().ok().map(u64::from_le_bytes))
        != Some(MARKED)
    {
        assert!(Instant::now() < end, "{}", managed.story());
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.signal("KILL");
    daemon.ended();
    managed.server.calm();
    meanwhile(&slots);

    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert_eq!((lab.name().as_str(), env(lab)), ("new", pair("3", "0")));
    assert!(slots.disk()[..image.len()] == image);
    assert!(!mark.exists(), "nothing is left");
    let journal = managed.server.journal();
    let downloads = journal.iter().filter(|entry| entry.endpoint == Some(Endpoint::Artifact));
    let range = |headers: &[(String, String)]| {
        let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("range"))?;
        let first: u64 = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
        Some(first - begins as u64)
    };
    Some(downloads.map(|entry| range(&entry.headers)).collect())
}

#[test]
fn a_download_into_a_slot_goes_on_after_a_restart() {
    let Some(ranges) = goes_on_after_a_kill(|_| {}) else { return };
    assert_eq!(ranges, [None, None, Some(MARKED)]);
}

#[test]
fn d7_a_slot_that_lost_what_was_marked_is_written_anew() {
    let damage = |slots: &Slots| {
        let device = fs::File::options().write(true).open(&slots.slot).expect("the slot");
        device.write_all_at(b"other bytes", 5 * MIB as u64).expect("it can be written");
        device.sync_all().expect("it is durable");
    };
    let Some(ranges) = goes_on_after_a_kill(damage) else { return };
    assert_eq!(ranges, [None, None, Some(0)]);
}

/// A device whose Mender client 3.4 has written the image into slot B, selected it and rebooted: the image brings thimble.
fn left_by_mender(running: char, part: &str, upgrade: &str) -> Option<(Managed, Slots)> {
    let managed = Managed::with(Security::Plain);
    let lab = &managed.lab;
    let slots = Slots::new(lab, SLOT, "bin")?;
    managed.configure(&format!(",{}", Slots::members(lab)));
    lab.program("bin/reboot", &REBOOT.replace("LAB", lab.path("").to_str().expect("a path")));
    let package =
        Package::new(foreign::NAME).payload_type("rootfs-image").files(&[("rootfs.ext4", &image(1000))]);
    managed.deploy(&package);
    managed.server.with(|server| {
        let deployment = server.deployments.get_mut(ID).expect("the deployment");
        deployment.taken = Some(("{\"mac\":\"00:01\"}".into(), ("release-1".into(), DEVICE_TYPE.into())));
        deployment.statuses.push(("rebooting".into(), None));
    });
    let state = foreign::state("reboot", "rootfs-image");
    foreign::database(lab, &[("artifact-name", "release-1"), ("state", &state)]);
    foreign::scripts(
        lab,
        &["ArtifactReboot_Leave_00", "ArtifactCommit_Leave_00", "ArtifactFailure_Enter_00"],
    );
    slots.run_in(lab, running);
    set_env(lab, part, upgrade);
    Some((managed, slots))
}

#[test]
fn r40_an_image_that_brings_thimble_commits_what_menders_client_began_and_reports_it() {
    let Some((managed, _slots)) = left_by_mender('B', "3", "1") else { return };
    let database = fs::read(managed.lab.path("store/mender-store")).expect("the database");
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert_eq!(managed.statuses(), ["rebooting", "installing", "success"]);
    assert_eq!(managed.lab.take_journal(), "[ArtifactReboot_Leave_00] [ArtifactCommit_Leave_00]");
    assert_eq!(env(&managed.lab), pair("3", "0"));
    assert_eq!(
        managed.lab.run(["show-provides"]).stdout,
        "artifact_name=release-2\nrootfs-image.rootfs-image.version=release-2\n"
    );
    assert_eq!(fs::read(managed.lab.path("store/mender-store")).expect("the database"), database);
    assert!(!managed.lab.path("store/modules/v3/payloads/0000/tree").exists(), "nothing is left");
}

#[test]
fn r40_a_trial_that_the_boot_loader_took_back_is_reported_as_failed() {
    // Both images bring thimble, or its package came meanwhile.
    let Some((managed, _slots)) = left_by_mender('A', "2", "0") else { return };
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    assert_eq!(env(&managed.lab), pair("2", "0"));
    assert_eq!(managed.lab.name(), "release-1");
}

#[test]
fn r40_an_image_that_brings_thimble_and_is_not_good_goes_back_to_the_image_with_menders_client() {
    let Some((managed, slots)) = left_by_mender('B', "3", "1") else { return };
    managed.lab.on("ArtifactReboot_Leave_00", "exit 1");
    let database = fs::read(managed.lab.path("store/mender-store")).expect("the database");
    let mut daemon = managed.start();
    assert!(!managed.wait_while(&mut daemon, |_, _| false), "it reboots");
    assert_eq!(env(&managed.lab), pair("2", "0"));
    assert_eq!(managed.statuses(), ["rebooting"], "nothing is reported yet");
    // That client finds its own record, and ends the deployment itself.
    assert_eq!(fs::read(managed.lab.path("store/mender-store")).expect("the database"), database);
    // With thimble there as well, it is thimble that reports.
    drop(slots);
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    assert_eq!(managed.lab.name(), "release-1");
}

#[test]
fn r40_an_image_that_menders_client_installed_by_hand_is_committed_or_rolled_back() {
    for verb in ["commit", "rollback"] {
        let Some(device) = Device::new() else { return };
        let lab = &device.lab;
        let state = r#"{"Version":1,"ArtifactName":"new","ArtifactGroup":"","ArtifactTypeInfoProvides":{"rootfs-image.version":"new"},"PayloadTypes":["rootfs-image"]}"#;
        foreign::database(lab, &[("artifact-name", "release-1"), ("standalone-state", state)]);
        foreign::scripts(lab, &[]);
        device.set_env("3", "1");
        device.run(&["commit"]).failed("it does not run yet: reboot, then commit");
        device.run_in('B');
        device.run(&[verb]).status(0);
        let (expected, name) =
            if verb == "commit" { (pair("3", "0"), "new") } else { (pair("2", "0"), "release-1") };
        assert_eq!((device.env(), lab.name().as_str()), (expected, name));
    }
}
