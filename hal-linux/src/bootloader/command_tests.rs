use std::fs;

use super::*;
use crate::testing::script;

/// `print` and `set` over a file, as U-Boot's tools do it.
fn lab(print: &str, set: &str) -> (tempfile::TempDir, Tools) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    fs::write(&file, "bootcmd=run x=y\nmender_boot_part=2\nupgrade_available=0\n").unwrap();
    let file = file.display();
    script(&dir.path().join("print"), &print.replace("FILE", &file.to_string()));
    script(&dir.path().join("set"), &set.replace("FILE", &file.to_string()));
    let tools = Tools::at(dir.path());
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
        let vars = tools.load().unwrap();
        assert_eq!((vars.get("mender_boot_part"), vars.get("upgrade_available")), (Some("2"), Some("0")));
        tools.store(&NEW).unwrap();
        tools.store(&NEW).unwrap();
        let calls = fs::read_to_string(dir.path().join("env.calls")).unwrap();
        assert_eq!(calls.len(), 1, "one write, and none when nothing changes");
        assert_eq!(tools.load().unwrap().get("mender_boot_part"), Some("10"));
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
    tools.store(&NEW).unwrap();
    assert_eq!(tools.load().unwrap().get("mender_boot_part"), Some("10"));
    assert_eq!(tools.load().unwrap().get("mender_boot_part_hex"), Some("a"));
    let calls = || fs::read_to_string(dir.path().join("env.calls")).unwrap().len();
    assert_eq!(calls(), 1);
    // One that does not say what it is gets a blank when '=' did not help.
    let (_dir, mut tools) = lab(PRINT_ALL, SET_BLANK);
    tools.store(&NEW).unwrap();
    assert_eq!(tools.load().unwrap().get("upgrade_available"), Some("1"));
}

#[test]
fn b11_tools_that_fail_or_lie_are_noticed() {
    let (_dir, mut tools) = lab("echo 'Cannot read: no permission' >&2; exit 243", SET);
    let error = tools.load().unwrap_err().to_string();
    assert!(error.contains("exit status 243") && error.contains("no permission"), "{error}");
    let (_dir, mut tools) = lab(PRINT_ALL, "cat > /dev/null; exit 244");
    assert!(tools.store(&NEW).unwrap_err().to_string().contains("244"));
    let (_dir, mut tools) = lab(PRINT_ALL, "exit 0");
    assert!(matches!(tools.store(&NEW), Err(BootError::ReadBack)));
    let (_dir, mut tools) = lab(PRINT_ALL, "kill -9 $$");
    assert!(tools.store(&NEW).unwrap_err().to_string().contains("signal 9"));
    let (_dir, mut tools) = lab("yes a=b", SET);
    assert!(tools.load().unwrap_err().to_string().contains("more than an environment"));
    let (dir, mut tools) = lab("", SET);
    fs::remove_file(dir.path().join("print")).unwrap();
    assert!(tools.load().is_err());
}
