use std::fs;

use super::super::tests::look;
use super::*;
use crate::testing::{is_alive, script};

/// `print` and `set` over a file, as U-Boot's tools do it.
fn lab(print: &str, set: &str) -> (tempfile::TempDir, Tools) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    fs::write(&file, "bootcmd=run x=y\nmender_boot_part=2\nupgrade_available=0\n").unwrap();
    let file = file.display();
    script(&dir.path().join("print"), &print.replace("FILE", &file.to_string()));
    script(&dir.path().join("set"), &set.replace("FILE", &file.to_string()));
    let tools = Tools::at(dir.path(), ["print", "set"]);
    (dir, tools)
}

/// For the contract.
pub(crate) fn uboot_tools() -> (tempfile::TempDir, Tools) {
    lab(PRINT_ALL, SET)
}

const PRINT_ALL: &str = "[ $# = 0 ] && exec cat FILE; grep \"^$1=\" FILE";
const PRINT_ONE: &str = "[ $# = 1 ] || exit 9; grep \"^$1=\" FILE || echo \"$1 not defined\" >&2";
const SET: &str = "[ \"$*\" = '-s -' ] || exit 8\nwhile IFS= read -r line; do n=${line%%=*}; \
                   grep -v \"^$n=\" FILE > FILE.new; echo \"$line\" >> FILE.new; mv FILE.new FILE; done; echo >> FILE.calls";

const NEW: [Change<'_>; 4] = [
    ("mender_boot_part", Some("10")),
    ("upgrade_available", Some("1")),
    ("bootcount", Some("0")),
    ("mender_boot_part_hex", Some("a")),
];

#[test]
fn variables_are_read_at_once_or_one_by_one_and_written_in_one_call() {
    for print in [PRINT_ALL, PRINT_ONE] {
        let (dir, mut tools) = lab(print, SET);
        let vars = tools.load(&mut look()).unwrap();
        assert_eq!((vars.get("mender_boot_part"), vars.get("upgrade_available")), (Some("2"), Some("0")));
        tools.store(&mut look(), &NEW).unwrap();
        tools.store(&mut look(), &NEW).unwrap();
        let calls = fs::read_to_string(dir.path().join("env.calls")).unwrap();
        assert_eq!(calls.len(), 1, "one write, and none when nothing changes");
        assert_eq!(tools.load(&mut look()).unwrap().get("mender_boot_part"), Some("10"));
        let all = fs::read_to_string(dir.path().join("env")).unwrap();
        assert!(all.contains("bootcmd=run x=y\n") && all.contains("mender_boot_part_hex=a\n"));
    }
}

/// As U-Boot's own tool of 2014: the name ends at the first blank, and a name without a value is deleted, where
/// `NAME=...` is a name of the variable NAME too.
const SET_BLANK: &str = "[ \"$*\" = '-s -' ] || exit 8\nwhile IFS= read -r line; do n=${line%% *}; n=${n%%=*}; \
                         grep -v \"^$n=\" FILE > FILE.new; case \"$line\" in *' '*) echo \"$n=${line#* }\" >> FILE.new;; esac; \
                         mv FILE.new FILE; done; echo >> FILE.calls";

#[test]
fn a_tool_that_wants_a_blank_gets_one_and_never_loses_a_variable() {
    let print =
        format!("[ \"$1\" = --version ] && {{ echo 'Compiled with U-Boot 2014.07'; exit; }}; {PRINT_ALL}");
    let (dir, mut tools) = lab(&print, SET_BLANK);
    tools.store(&mut look(), &NEW).unwrap();
    assert_eq!(tools.load(&mut look()).unwrap().get("mender_boot_part"), Some("10"));
    assert_eq!(tools.load(&mut look()).unwrap().get("mender_boot_part_hex"), Some("a"));
    let calls = || fs::read_to_string(dir.path().join("env.calls")).unwrap().len();
    assert_eq!(calls(), 1);
    // One that does not say what it is gets a blank when '=' did not help.
    let (_dir, mut tools) = lab(PRINT_ALL, SET_BLANK);
    tools.store(&mut look(), &NEW).unwrap();
    assert_eq!(tools.load(&mut look()).unwrap().get("upgrade_available"), Some("1"));
}

#[test]
fn b11_tools_that_fail_or_lie_are_noticed() {
    let (_dir, mut tools) = lab("echo 'Cannot read: no permission' >&2; exit 243", SET);
    let error = tools.load(&mut look()).unwrap_err().to_string();
    assert!(error.contains("exit status 243") && error.contains("no permission"), "{error}");
    let (_dir, mut tools) = lab(PRINT_ALL, "cat > /dev/null; exit 244");
    assert!(tools.store(&mut look(), &NEW).unwrap_err().to_string().contains("244"));
    let (_dir, mut tools) = lab(PRINT_ALL, "exit 0");
    assert!(matches!(tools.store(&mut look(), &NEW), Err(BootError::ReadBack)));
    let (_dir, mut tools) = lab(PRINT_ALL, "kill -9 $$");
    assert!(tools.store(&mut look(), &NEW).unwrap_err().to_string().contains("signal 9"));
    let (_dir, mut tools) = lab("yes a=b", SET);
    assert!(tools.load(&mut look()).unwrap_err().to_string().contains("more than an environment"));
    let (dir, mut tools) = lab("", SET);
    fs::remove_file(dir.path().join("print")).unwrap();
    assert!(tools.load(&mut look()).is_err());
}

/// Tools over a directory, as the given script: it knows by its name which of the two it is.
fn board(script_text: &str) -> (tempfile::TempDir, Tools) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    for tool in ["fw_printenv", "fw_setenv"] {
        script(&dir.path().join(tool), &format!("export BOOT_STATE={at} RUNNING=2\n{script_text}"));
    }
    let tools = Tools::at(dir.path(), ["fw_printenv", "fw_setenv"]);
    (dir, tools)
}

const LITTLE: &str = include_str!("testdata/tools-that-know-little.sh");

const TRIAL: [Change<'_>; 4] = [
    ("mender_boot_part", Some("3")),
    ("upgrade_available", Some("1")),
    ("bootcount", Some("0")),
    ("mender_boot_part_hex", Some("3")),
];
const BACK: [Change<'_>; 4] = [
    ("mender_boot_part", Some("2")),
    ("upgrade_available", Some("0")),
    ("bootcount", Some("0")),
    ("mender_boot_part_hex", Some("2")),
];

fn pair(tools: &mut Tools) -> (Option<String>, Option<String>) {
    let vars = tools.load(&mut look()).unwrap();
    (vars.get("mender_boot_part").map(str::to_owned), vars.get("upgrade_available").map(str::to_owned))
}

fn some(part: &str, upgrade: &str) -> (Option<String>, Option<String>) {
    (Some(part.into()), Some(upgrade.into()))
}

#[test]
fn tools_that_know_two_variables_and_list_one_are_enough() {
    let (_dir, mut tools) = board(LITTLE);
    assert_eq!(pair(&mut tools), some("2", "0"), "asked for by name");
    tools.store(&mut look(), &TRIAL).unwrap();
    assert_eq!(pair(&mut tools), some("3", "1"));
    tools.store(&mut look(), &TRIAL).unwrap();
    tools.store(&mut look(), &BACK).unwrap();
    assert_eq!(pair(&mut tools), some("2", "0"));
}

/// As the tools of boards whose firmware chooses the slot: the selected slot is the one that runs, and takes no change.
const FIRMWARE: &str = "part=$RUNNING; flag=$BOOT_STATE/upgrade\ncase ${0##*/} in\nfw_printenv)\n\
    [ $# = 0 ] && set mender_boot_part\n\
    case $1 in mender_boot_part) echo $1=$part;; mender_boot_part_hex) printf '%s=%x\\n' $1 $part;;\n\
    upgrade_available) [ -e $flag ] && echo $1=1 || echo $1=0;; mender_check_saveenv_canary) echo $1=0;;\n\
    *) echo no such variable >&2; exit 1;; esac;;\nfw_setenv)\n\
    while IFS='= ' read -r n v; do [ $n = upgrade_available ] || continue\n\
    [ \"$v\" = 1 ] && touch $flag || rm -f $flag; done;;\nesac\nexit 0\n";

#[test]
fn tools_that_say_which_slot_runs_are_not_asked_for_what_they_cannot_know() {
    let (_dir, mut tools) = board(FIRMWARE);
    assert_eq!(pair(&mut tools), some("2", "0"));
    tools.store(&mut look(), &TRIAL).unwrap();
    assert_eq!(pair(&mut tools), some("2", "1"));
    tools.store(&mut look(), &BACK).unwrap();
    assert_eq!(pair(&mut tools), some("2", "0"));
    // A change of which nothing is to be seen was not made.
    let only_part = [("mender_boot_part", Some("3")), ("upgrade_available", Some("0"))];
    assert!(matches!(tools.store(&mut look(), &only_part), Err(BootError::ReadBack)));
    // Tools that know the number of starts know the slot too.
    let (_dir, mut tools) = board(&FIRMWARE.replace("*) echo no", "bootcount) echo $1=0;;\n*) echo no"));
    assert!(matches!(tools.store(&mut look(), &TRIAL), Err(BootError::ReadBack)));
}

#[test]
fn a_tool_that_does_not_end_is_ended_with_all_that_it_started() {
    let quiet = "sleep 1000 & echo $! > FILE.pid; exec > /dev/null 2>&1; sleep 1000";
    for hangs in [quiet, "sleep 1000 & echo $! > FILE.pid; sleep 1000"] {
        let (dir, mut tools) = lab(hangs, SET);
        let mut look = Look::new(Duration::from_millis(300));
        let error = tools.load(&mut look).unwrap_err().to_string();
        assert!(error.contains("did not end in time"), "{error}");
        let pid = fs::read_to_string(dir.path().join("env.pid")).unwrap();
        while is_alive(&pid) {
            std::thread::yield_now();
        }
    }
    // All tools of one look share its time: the first that is not in time ends it.
    let (_dir, mut tools) = lab("[ $# = 0 ] && exit 1; echo $1=0; sleep 0.2", SET);
    let error = tools.load(&mut Look::new(Duration::from_millis(300))).unwrap_err();
    assert!(error.to_string().contains("did not end in time"), "{error}");
}
