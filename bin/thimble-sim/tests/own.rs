//! `thimble-sim run --artifact`: a user's own programs on a throwaway device.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

/// A module that puts files into `/data`, takes them away again, and says what it is asked.
const MODULE: &str = r#"#!/bin/sh
case "$1" in
  NeedsArtifactReboot) echo No ;;
  SupportsRollback) echo Yes ;;
  ArtifactInstall) echo installs; cp files/* /data/ ;;
  ArtifactRollback) rm -f /data/payload ;;
esac
"#;

/// A folder with a user's things.
struct Things(TempDir);

impl Things {
    /// `None`, and a word about it, where there are no namespaces.
    fn new() -> Option<Self> {
        let tried = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork"])
            .args(["sh", "-c", "mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt && unshare --user --map-root-user --mount true"])
            .output();
        if !tried.is_ok_and(|output| output.status.success()) {
            println!("left out: there are no namespaces for users' programs here");
            return None;
        }
        let things = Self(tempfile::tempdir().unwrap());
        things.put("module", MODULE, 0o755);
        things.artifact(&[("ArtifactInstall_Enter_00", "#!/bin/sh\necho before\n")]);
        fs::create_dir(things.0.path().join("scripts")).unwrap();
        Some(things)
    }

    fn put(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn artifact(&self, scripts: &[(&str, &str)]) {
        let mut writer =
            ArtifactWriter::new("release-2", "app", &["board"]).file("payload", &[b'x'; 100_000]);
        for (name, body) in scripts {
            writer = writer.script(name, body.as_bytes());
        }
        fs::write(self.0.path().join("new.mender"), writer.build()).unwrap();
    }

    fn raw(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
            .arg("run")
            .args(words)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// Exit status and what was printed.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut all = vec!["--artifact", "new.mender", "--module", "module", "--scripts", "scripts"];
        all.extend(words);
        let output = self.raw(&all);
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    }

    /// What happened, by its own words: `LANE WHAT RESULT`.
    fn events(&self, words: &[&str]) -> (Value, Vec<String>) {
        let mut all = vec!["--json"];
        all.extend(words);
        let (_, text) = self.run(&all);
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let events = document["events"].as_array().unwrap();
        let line = |event: &Value| {
            format!("{} {} {}", text(&event["lane"]), text(&event["what"]), text(&event["result"]))
        };
        let events = events.iter().map(line).collect();
        (document, events)
    }
}

#[test]
fn programs_run_in_the_order_of_the_device_and_their_words_stand_beside_them() {
    let Some(things) = Things::new() else { return };
    things.put("scripts/Download_Enter_00", "#!/bin/sh\n", 0o755);
    things.put("scripts/version", "3", 0o644);
    let (document, events) = things.events(&[]);
    assert_eq!(
        events,
        [
            "server downloading -",
            "device Download_Enter_00 ok",
            "module ProvidePayloadFileSizes? ok",
            "module Download ok",
            "server installing -",
            "device ArtifactInstall_Enter_00 ok",
            "module ArtifactInstall ok",
            "module NeedsArtifactReboot? No",
            "server installing -",
            "module ArtifactCommit ok",
            "module Cleanup ok",
            "server success -",
        ]
    );
    assert_eq!((&document["end"], &document["installed"]), (&"success".into(), &"release-2".into()));
    assert_eq!(document["changes"], serde_json::json!(["+ /data/payload"]));
    assert_eq!(document["events"][5]["output"], serde_json::json!(["before"]));
    let (status, text) = things.run(&[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("  | installs\n") && text.contains("\nsuccess\ninstalled: release-2\n"), "{text}");
}

#[test]
fn what_a_failed_update_leaves_behind_is_wrong() {
    let Some(things) = Things::new() else { return };
    let (status, text) = things.run(&["--fail", "ArtifactCommit"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("failure: the update module ended ArtifactCommit with exit status 1\ninstalled: old\n"),
        "{text}"
    );
    things.artifact(&[("ArtifactInstall_Enter_00", "#!/bin/sh\ntouch /etc/flag\n")]);
    let (status, text) = things.run(&["--fail", "ArtifactCommit"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("  + /etc/flag\n")
            && text.contains("WRONG: the update failed, and the device is not as it was"),
        "{text}"
    );
    assert!(!Path::new("/etc/flag").exists());
    // A script of the way back beside the artifact takes it away.
    things.put("scripts/ArtifactRollback_Enter_00", "#!/bin/sh\nrm /etc/flag\n", 0o755);
    let (status, text) = things.run(&["--fail", "ArtifactCommit"]);
    assert_eq!(status, Some(0), "{text}");
}

#[test]
fn faults_happen_where_they_were_put_and_a_fault_that_never_happens_is_told() {
    let Some(things) = Things::new() else { return };
    let (document, events) = things.events(&["--exit", "21x2", "ArtifactInstall_Enter_00"]);
    let again = "device ArtifactInstall_Enter_00 exit status 21: again later";
    assert_eq!(events.iter().filter(|event| *event == again).count(), 2, "{events:?}");
    let at = |document: &Value, what: &str| {
        let events = document["events"].as_array().unwrap();
        events.iter().rev().find(|event| event["what"] == what).map(|event| event["at"].as_u64().unwrap())
    };
    assert_eq!(at(&document, "ArtifactInstall_Enter_00"), Some(120));

    let (document, events) = things.events(&["--hang", "ArtifactInstall"]);
    assert!(
        events.contains(&"module ArtifactInstall ended by the client: its time was over".to_owned()),
        "{events:?}"
    );
    assert_eq!(at(&document, "SupportsRollback?"), Some(14400));

    for cut in ["before", "inside", "after"] {
        let (document, events) = things.events(&["--power-cut", cut, "ArtifactInstall"]);
        assert!(events.contains(&"device power lost -".to_owned()), "{events:?}");
        assert_eq!((&document["end"], &document["installed"]), (&"failure".into(), &"old".into()), "{cut}");
        let began = events.iter().any(|event| event.starts_with("module ArtifactInstall "));
        assert_eq!(began, cut != "before", "{cut}: {events:?}");
        assert_eq!(document["wrong"], serde_json::json!([]), "{cut}");
    }
    let (document, _) = things.events(&["--abort-at", "installing"]);
    assert_eq!(document["reason"], "the server aborted the deployment");
    let (status, text) = things.run(&["--drop-connection-at", "60000"]);
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = things.run(&["--fail", "ArtifactInstall:2"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("WRONG: ArtifactInstall happened once, and something was to go wrong at number 2"),
        "{text}"
    );
}

#[test]
fn a_power_cut_keeps_what_a_program_had_done_and_takes_it_with_it() {
    let Some(things) = Things::new() else { return };
    let script = "#!/bin/sh\ntouch /data/first\necho done\nsleep 60\ntouch /data/second\n";
    things.artifact(&[("ArtifactInstall_Enter_00", script)]);
    let (document, _) = things.events(&["--power-cut", "inside", "ArtifactInstall_Enter_00"]);
    assert_eq!(document["changes"], serde_json::json!(["+ /data/first"]));
}

#[test]
fn a_module_that_reboots_reboots_the_throwaway_device_alone() {
    let Some(things) = Things::new() else { return };
    let module = MODULE
        .replace("echo No", "echo Yes")
        .replace("  ArtifactRollback)", "  ArtifactReboot) reboot; sleep 60 ;;\n  ArtifactRollback)");
    things.put("module", &module, 0o755);
    let (document, events) = things.events(&[]);
    let at = events.iter().position(|event| event == "device reboot, by a program -").expect("a reboot");
    assert_eq!(events[at + 1], "module ArtifactVerifyReboot ok");
    assert_eq!(document["end"], "success");
}

#[test]
fn programs_cannot_reach_this_machine() {
    let Some(things) = Things::new() else { return };
    let outside = things.0.path().join("outside");
    let script = format!(
        "#!/bin/sh\ntouch {} 2>/dev/null\ntouch /usr/bin/thimble-was-here 2>/dev/null && echo WROTE\ngrep -c : /proc/net/dev\n\
         systemctl stop everything\nfw_setenv bootcount 3\nfw_printenv bootcount\nls /proc | grep -c '^[0-9]'\n",
        outside.display()
    );
    things.artifact(&[("ArtifactInstall_Enter_00", &script)]);
    let (document, _) = things.events(&["--keep", "kept"]);
    assert!(!outside.exists() && !Path::new("/usr/bin/thimble-was-here").exists());
    let output = document["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["what"] == "ArtifactInstall_Enter_00")
        .unwrap();
    let output: Vec<&str> =
        output["output"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    // The loopback device alone.
    assert_eq!(output[0], "1", "{output:?}");
    assert!(output.contains(&"bootcount=3") && !output.contains(&"WROTE"), "{output:?}");
    // This process, the script, and what it starts.
    assert!(output.last().unwrap().parse::<u32>().unwrap() < 10, "{output:?}");
    let calls = fs::read_to_string(things.0.path().join("kept/sim/calls")).unwrap();
    assert!(calls.starts_with("systemctl stop everything\nfw_setenv bootcount 3\n"), "{calls}");
}

#[test]
fn hostile_programs_end_in_a_line() {
    let Some(things) = Things::new() else { return };
    for (call, part) in [
        ("exec yes", "still ran after 2 s"),
        ("head -c 2G /dev/zero > /data/x", "No space left on device"),
        ("sleep 1000 & sleep 1000", "still ran after 2 s"),
    ] {
        let module = MODULE
            .replace("echo installs; cp files/* /data/", call)
            .replace("rm -f /data/payload", "rm -f /data/x");
        things.put("module", &module, 0o755);
        let (status, text) = things.run(&["--limit", "2s", "--disk", "16M"]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains(part) || text.contains("its time was over"), "{call}: {text}");
        assert!(text.contains("WRONG: nothing was to go wrong, and the update failed"), "{call}: {text}");
        assert!(text.len() < 10_000, "{call}: {}", text.len());
    }
    things.put("module", "#!/no/such/interpreter\n", 0o755);
    let (status, text) = things.run(&[]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("its interpreter is not there"), "{text}");
}

/// Everything a hostile script may try to reach what is outside.
const ESCAPES: &str = r#"#!/bin/sh
exec 2>/dev/null
for process in /proc/[0-9]*; do
  for way in $process/fd/* $process/root $process/cwd; do
    echo escaped > $way/VICTIM && echo "ESCAPED by $way"
    echo escaped > $way/../../../../../../VICTIM && echo "ESCAPED above $way"
  done
  chmod 0700 $process/exe
done
mount -o remount,bind,rw /usr && touch /usr/share/thimble-was-here && echo WROTE_USR
umount /usr && echo UMOUNTED
umount /proc/sys && echo UMOUNTED_SYS
mount -o remount,bind,rw /proc/sys && echo REMOUNTED_SYS
cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern && echo WROTE_SYS
mkdir -p /tmp/p && mount -t proc proc /tmp/p && cat /tmp/p/sys/kernel/core_pattern > /tmp/p/sys/kernel/core_pattern && echo WROTE_PROC
mount -t sysfs sysfs /tmp/p && echo MOUNTED_SYSFS
unshare -C sh -c 'mount -t cgroup2 none /tmp/p && echo $$ > /tmp/p/cgroup.procs' && echo MOVED
nsenter -t 1 -m true && echo ENTERED
[ -e /dev/tty ] && echo TTY
env | grep SECRET
perl -e 'syscall(169, 0xfee1dead, 672274793, 0x1234567, 0)'
mknod /tmp/disk b 254 0 && echo MKNOD
echo tried
exit 0
"#;

#[test]
fn hostile_programs_find_no_way_out() {
    let Some(things) = Things::new() else { return };
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o666)).unwrap();
    let script = ESCAPES.replace("/VICTIM", victim.to_str().unwrap());
    things.artifact(&[("ArtifactInstall_Enter_00", &script)]);
    let program = env!("CARGO_BIN_EXE_thimble-sim");
    let mode = fs::metadata(program).unwrap().permissions().mode();
    // A descriptor of the caller's, and a secret, come along.
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("exec 7</; exec {program} run --artifact new.mender --module module --json"))
        .current_dir(things.0.path())
        .env("SECRET", "abc")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let event = document["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["what"] == "ArtifactInstall_Enter_00");
    assert_eq!(event.unwrap()["output"], serde_json::json!(["tried"]));
    assert_eq!(document["end"], "success");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::metadata(program).unwrap().permissions().mode(), mode);
    assert!(!Path::new("/usr/share/thimble-was-here").exists());
}

#[test]
fn links_in_a_root_file_system_lead_nowhere_else() {
    let Some(things) = Things::new() else { return };
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(outside.path().join("file"), "untouched").unwrap();
    fs::set_permissions(outside.path().join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    let root = things.0.path().join("root");
    things.put("root/etc/mender/x", "", 0o644);
    things.put("mender.conf", "{}", 0o644);
    let link = |to: &Path, from: std::path::PathBuf| std::os::unix::fs::symlink(to, from);
    for name in ["sim", "dev", "proc", "var", "data", "tmp", "bin"] {
        link(outside.path(), root.join(name)).unwrap();
    }
    link(&outside.path().join("file"), root.join("etc/mender/mender.conf")).unwrap();
    link(outside.path(), root.join("etc/mender/scripts")).unwrap();
    things.put("scripts/Download_Enter_00", "#!/bin/sh\n", 0o755);
    let (_, text) = things.run(&["--root", "root", "--config", "mender.conf"]);
    assert!(text.contains("update module"), "{text}");
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn nothing_that_is_there_is_kept_over() {
    let Some(things) = Things::new() else { return };
    things.put("kept/etc/hostname", "mine", 0o644);
    let (status, text) = things.run(&["--keep", "kept"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("--keep kept: it is there already"), "{text}");
    assert_eq!(fs::read_to_string(things.0.path().join("kept/etc/hostname")).unwrap(), "mine");
}

#[test]
fn what_an_artifact_depends_on_is_installed_on_the_device() {
    let Some(things) = Things::new() else { return };
    let artifact = ArtifactWriter::new("release-2", "app", &["board"])
        .depends("board-revision", &["3"])
        .file("payload", b"x");
    fs::write(things.0.path().join("new.mender"), artifact.build()).unwrap();
    let (status, text) = things.run(&[]);
    assert_eq!(status, Some(0), "{text}");
}

#[test]
fn a_fault_that_cannot_be_the_reason_hides_no_failure() {
    let Some(things) = Things::new() else { return };
    things.artifact(&[("ArtifactInstall_Enter_00", "#!/bin/sh\nseq 1 40\necho the-error >&2\nexit 1\n")]);
    let (status, text) = things.run(&["--drop-connection-at", "60000"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("WRONG: the update failed, and nothing that was to go wrong is the reason"),
        "{text}"
    );
    // The last lines are what tells.
    assert!(text.contains("| the-error\n") && text.contains("earlier lines"), "{text}");
    for words in [["--hang", "save"], ["--hang", "installing"], ["--takes", "save=1h"]] {
        let (status, text) = things.run(&words);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains("no program"), "{text}");
    }
    let module =
        MODULE.replace("echo installs; cp files/* /data/", "touch \"$(printf '/data/a\\nsuccess')\"");
    things.put("module", &module, 0o755);
    things.artifact(&[]);
    let (_, text) = things.run(&[]);
    assert!(text.contains("  + /data/a\\nsuccess\n"), "{text}");
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_running() {
    let Some(things) = Things::new() else { return };
    let throwaway = tempfile::tempdir().unwrap();
    fs::set_permissions(throwaway.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // It would run for an hour.
    things.artifact(&[("ArtifactInstall_Enter_00", "#!/bin/sh\nexec sleep 3599.5\n")]);
    let mut run = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .args(["run", "--artifact", "new.mender", "--module", "module", "--limit", "1h"])
        .current_dir(things.0.path())
        .env("TMPDIR", throwaway.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = || {
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        processes.any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x003599.5\x00")
        })
    };
    let until = |wanted: bool| {
        let mut turns = 0;
        while sleeps() != wanted {
            turns += 1;
            assert!(turns < 3000, "the script {}", if wanted { "never ran" } else { "still runs" });
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    until(true);
    run.kill().unwrap();
    run.wait().unwrap();
    until(false);
    let copies =
        fs::read_dir(throwaway.path()).unwrap().flatten().find(|entry| entry.path().join("in").exists());
    assert!(copies.is_none(), "{copies:?}");
}

#[test]
fn the_command_line_and_the_settings_of_a_device_are_tried_too() {
    let Some(things) = Things::new() else { return };
    let (document, events) = things.events(&["--standalone"]);
    assert!(events.iter().all(|event| !event.starts_with("server")), "{events:?}");
    let typed: Vec<&String> = events.iter().filter(|event| event.starts_with("device $")).collect();
    assert_eq!(typed, ["device $ install -", "device $ commit -"]);
    assert_eq!(document["end"], "success");
    things.put("mender.conf", "{\"StateScriptTimeoutSeconds\": 5}", 0o644);
    let (status, text) = things.run(&["--config", "mender.conf", "--takes", "ArtifactInstall_Enter_00=6s"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("state script ArtifactInstall_Enter_00 did not end within 5 s"), "{text}");
    things.put("mender.conf", "{\"StateScriptTimeoutSeconds\": \"5\"}", 0o644);
    let (status, text) = things.run(&["--config", "mender.conf"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("StateScriptTimeoutSeconds"), "{text}");
}

#[test]
fn a_root_file_system_is_copied_and_never_changed() {
    let Some(things) = Things::new() else { return };
    // A root file system that can run a shell: this machine's, by links to where it is not there.
    things.put("root/etc/mender/scripts/version", "3", 0o644);
    things.put("root/etc/hostname", "board\n", 0o644);
    let (status, text) = things.run(&["--root", "root"]);
    // There is no shell in it, and that is said.
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("its interpreter is not there"), "{text}");
    assert!(!things.0.path().join("root/sim").exists() && !things.0.path().join("root/var").exists());
}

#[test]
fn what_makes_no_sense_is_told_before_anything_runs() {
    let Some(things) = Things::new() else { return };
    for (words, part) in [
        (&["--fail", "ArtifactInstal"][..], "is ArtifactInstall meant?"),
        (&["--exit", "300", "ArtifactInstall"], "from 0 to 255"),
        (&["--exit", "21x0", "ArtifactInstall"], "21x3"),
        (&["--exit", "21x3", "installing"], "--exit installing: it is no program"),
        (&["--exit", "1", "reboot:2"], "--exit reboot: it is no program"),
        (&["--power-cut", "during", "ArtifactInstall"], "before, inside or after"),
        (&["--abort-at", "instaling"], "is installing meant?"),
        (&["--takes", "ArtifactInstall"], "SCRIPT=60s"),
        (&["--takes", "ArtifactInstall=99999999999999999999h"], "no time like"),
        (&["--fail", "ArtifactInstall:0"], "from 1 on"),
        (&["--device", "slot"], "is slots meant?"),
        (&["--disk", "0"], "from 1M"),
        (&["--flail", "x"], "is --fail meant?"),
        (&["--drop-connection-at", "5", "--standalone"], "over no connection"),
        (&["--drop-connection-at", "99999999"], "the artifact has"),
    ] {
        let (status, text) = things.run(words);
        assert_eq!(status, Some(2), "{words:?}: {text}");
        assert!(text.contains(part), "{words:?}: {text}");
    }
    fs::write(things.0.path().join("new.mender"), b"<html>").unwrap();
    let (status, text) = things.run(&[]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("no device takes this artifact"), "{text}");
    let output = things.raw(&["--scripts", "scripts"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--artifact FILE is missing"));
}

#[test]
fn a_slow_link_takes_the_time_that_it_takes() {
    let Some(things) = Things::new() else { return };
    let installing = |words: &[&str]| {
        let (report, _) = things.events(words);
        let events = report["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["what"] == "installing");
        event.unwrap()["at"].as_u64().unwrap()
    };
    let (at_once, slow) = (installing(&[]), installing(&["--link", "1K"]));
    // The payload alone has 100,000 bytes.
    assert!((100..200).contains(&(slow - at_once)), "{at_once} {slow}");
    let (status, told) = things.run(&["--link", "5"]);
    assert_eq!(status, Some(2));
    assert!(told.contains("--link 5: bytes a second are wanted, from 10 on: 1200, 20K, 2M"), "{told}");
}

#[test]
fn programs_see_the_clock_that_was_told() {
    let Some(things) = Things::new() else { return };
    things.artifact(&[(
        "ArtifactInstall_Enter_00",
        "#!/bin/sh\ndate -u +%Y-%m-%dT%H; date -u -d @86400 +%d\n",
    )]);
    let (report, _) = things.events(&["--clock", "1970"]);
    let events = report["events"].as_array().unwrap();
    let script = events.iter().find(|event| event["what"] == "ArtifactInstall_Enter_00").unwrap();
    assert_eq!(script["output"], serde_json::json!(["1970-01-01T00", "02"]));
    let (report, _) = things.events(&["--clock", "@1924991940", "--takes", "Download=3h"]);
    let events = report["events"].as_array().unwrap();
    let script = events.iter().find(|event| event["what"] == "ArtifactInstall_Enter_00").unwrap();
    assert_eq!(script["output"][0], "2031-01-01T02");
    let (status, told) = things.run(&["--clock", "yesterday"]);
    assert_eq!(status, Some(2));
    assert!(told.contains("--clock yesterday: a year from 1970 to 2200 is wanted"), "{told}");
}

#[test]
fn the_clock_is_the_devices_by_every_path() {
    let Some(things) = Things::new() else { return };
    things.artifact(&[(
        "ArtifactInstall_Enter_00",
        "#!/bin/sh\n/usr/bin/date -u +%Y; /bin/date -u +%Y; /bin/date -u -d @86400 +%d\n",
    )]);
    let (report, _) = things.events(&["--clock", "1970"]);
    let events = report["events"].as_array().unwrap();
    let script = events.iter().find(|event| event["what"] == "ArtifactInstall_Enter_00").unwrap();
    assert_eq!(script["output"], serde_json::json!(["1970", "1970", "02"]));
}

#[test]
fn an_artifact_may_be_named_as_the_models_are() {
    let Some(things) = Things::new() else { return };
    for name in ["old", "new", "older", "x_INCONSISTENT"] {
        let bytes = ArtifactWriter::new(name, "app", &["board"]).file("payload", b"x").build();
        fs::write(things.0.path().join("new.mender"), bytes).unwrap();
        let (document, _) = things.events(&[]);
        assert_eq!(
            (&document["end"], &document["installed"], &document["wrong"]),
            (&"success".into(), &name.into(), &serde_json::json!([])),
            "{document:#}"
        );
        // The device goes back to something that is another artifact.
        let (document, _) = things.events(&["--fail", "ArtifactCommit"]);
        assert_eq!(document["end"], "failure", "{document:#}");
        assert_ne!(document["installed"], name);
        let (document, _) = things.events(&["--fail", "ArtifactCommit", "--fail", "ArtifactRollback"]);
        let inconsistent = format!("{}_INCONSISTENT", name.trim_end_matches("_INCONSISTENT"));
        assert_eq!(document["installed"], inconsistent, "{document:#}");
        assert!(document["wrong"].to_string().contains("is not known any more"), "{document:#}");
    }
}

#[test]
fn a_reboot_interrupts_the_program_that_asks_for_it() {
    let Some(things) = Things::new() else { return };
    let module = MODULE.replace("echo installs;", "echo installs; reboot; echo after; exit 0;");
    things.put("module", &module, 0o755);
    for _ in 0..4 {
        let (document, events) = things.events(&[]);
        let at =
            events.iter().position(|event| event.starts_with("module ArtifactInstall ")).expect("a call");
        assert_eq!(events[at..at + 2], ["module ArtifactInstall -", "device reboot, by a program -"]);
        assert_eq!(document["events"][at]["output"], serde_json::json!(["installs"]));
    }
}
