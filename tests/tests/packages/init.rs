//! Without systemd: what keeps the daemon running, and the init script that starts it, on a device with nothing but busybox.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{run, small_root::SmallRoot, support};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
    fs::write(path, text).expect("it is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is a program");
}

/// Runs `keep-running` with programs in the place of the daemon, of the check before it, and of `sleep`; what they put into `journal`.
fn keep_running(daemon: &str, check: &str, sleep: &str) -> String {
    let lab = tempfile::tempdir().expect("a directory");
    let at = |name: &str| lab.path().join(name);
    fs::copy(support().join("init/keep-running"), at("keep-running")).expect("it is copied");
    for (name, text) in [("daemon", daemon), ("check-datastore", check), ("bin/sleep", sleep)] {
        write(&at(name), &format!("#!/bin/sh\n{text}\n"));
    }
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").expect("a path"));
    let (good, text) = run(Command::new("timeout")
        .args(["--signal=KILL", "60"])
        .arg(at("keep-running"))
        .arg(at("daemon"))
        .env("PATH", path)
        .current_dir(lab.path()));
    assert!(good, "{text}");
    fs::read_to_string(at("journal")).expect("what was done")
}

#[test]
fn the_daemon_is_started_again_and_the_waits_grow_up_to_ten_minutes() {
    let journal = keep_running(
        // The ninth time somebody ends it all.
        "echo daemon >> journal; [ $(grep -c daemon journal) -lt 9 ] || kill $PPID; exit 3",
        "[ -e checked ] || { echo 'not mounted' >> journal; touch checked; exit 1; }",
        // The 90 seconds are those after which a daemon that does not end is killed.
        "[ $1 != 90 ] || exec /bin/sleep 90; echo $1 >> journal",
    );
    let mut expected = "not mounted\n10\n".to_owned();
    for wait in ["20\n", "40\n", "80\n", "160\n", "320\n", "600\n", "600\n", "600\n", ""] {
        expected += "daemon\n";
        expected += wait;
    }
    assert_eq!(journal, expected);
}

#[test]
fn a_daemon_that_does_not_end_is_killed() {
    let journal = keep_running(
        "trap '' TERM; echo daemon >> journal; kill $PPID; exec /bin/sleep 1000",
        "exit 0",
        "echo $1 >> journal",
    );
    assert_eq!(journal, "daemon\n90\n");
}

#[test]
fn the_init_script_starts_one_daemon_and_ends_it_with_nothing_but_busybox() {
    let Some(device) = SmallRoot::new() else { return };
    let (good, text) = run(Command::new(support().join("install"))
        .args(["--program", "/bin/true", "--sysv", "/etc/init.d/S60thimble", "--destdir"])
        .arg(device.path()));
    assert!(good, "{text}");
    write(&device.path().join("usr/lib/thimble/check-datastore"), "#!/bin/sh\nexit 0\n");
    // Says who it is where the test waits for it.
    write(
        &device.path().join("usr/bin/thimble"),
        "#!/bin/sh\necho \"$*\" >> /tmp/journal\necho hello\ntrap 'echo end >> /tmp/journal; exit 0' TERM\n\
         echo $$ > /tmp/started\nwhile :; do sleep 100 > /dev/null 2>&1 & wait $!; done\n",
    );
    fs::remove_file(device.path().join("bin/logger")).expect("busybox's");
    write(
        &device.path().join("bin/logger"),
        "#!/bin/sh\nread -r line\necho \"$*: $line\" > /tmp/logged\nexec cat\n",
    );
    device.run(
        r#"
        init=/etc/init.d/S60thimble
        mkfifo /tmp/started /tmp/logged
        said() { echo "$1" | grep -qF -e "$2" || { echo "not said: $2: $1"; exit 1; }; }
        said "$($init status || true)" "does not run"
        $init start
        read -r first < /tmp/started
        read -r line < /tmp/logged
        said "$line" "-t thimble: hello"
        said "$($init start)" "it runs already"
        said "$($init status)" "mender-updated runs"
        $init restart
        read -r line < /tmp/logged
        read -r second < /tmp/started
        if kill -0 "$first" 2> /dev/null; then echo "the first one runs"; exit 1; fi
        $init stop
        if kill -0 "$second" 2> /dev/null; then echo "the second one runs"; exit 1; fi
        said "$($init status || true)" "does not run"
        # The number of an old one, which is another program now.
        echo $$ > /var/run/mender-updated.pid
        $init stop
        is=$(tr '\n' ' ' < /tmp/journal)
        [ "$is" = "daemon end daemon end " ] || { echo "$is"; exit 1; }
        # A process that is gone between two looks at it; here all of them are.
        echo $$ > /var/run/mender-updated.pid
        umount /proc
        is=$($init stop 2>&1)
        [ "$is" = "Stopping mender-updated: OK" ] || { echo "$is"; exit 1; }
        "#,
    );
}
