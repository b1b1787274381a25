use super::*;
use crate::given::scripts::Kind;
use thimble_core::time::Duration;

fn script(home: Home, name: &str, bytes: &[u8]) -> Script {
    let place = match home {
        Home::RootFileSystem => format!("scripts/{name}"),
        Home::Artifact => "new.mender".to_owned(),
    };
    Script { name: name.to_owned(), place, home, kind: Kind::File(bytes.to_vec(), 0o755) }
}

const SH: &[u8] = b"#!/bin/sh\nexit 0\n";

/// Names of the rules that one script breaks.
fn of_one(home: Home, name: &str, bytes: &[u8]) -> Vec<&'static str> {
    let version = script(Home::RootFileSystem, "version", b"3\n");
    let found = lint(&[script(home, name, bytes), version], &About::default());
    found.iter().map(|finding| finding.rule.id).collect()
}

fn artifact(name: &str, bytes: &[u8]) -> Vec<&'static str> {
    of_one(Home::Artifact, name, bytes)
}

fn root(name: &str, bytes: &[u8]) -> Vec<&'static str> {
    of_one(Home::RootFileSystem, name, bytes)
}

#[test]
fn a_good_set_has_nothing_wrong() {
    assert!(artifact("ArtifactInstall_Enter_00", SH).is_empty());
    assert!(artifact("ArtifactCommit_Leave_99_check", SH).is_empty());
    assert!(root("Download_Enter_05_a", SH).is_empty());
}

#[test]
fn names_that_never_run_get_a_better_one() {
    for (name, better) in [
        ("ArtifactInstall_Enter_1", "ArtifactInstall_Enter_01"),
        ("ArtifactInstall_Enter_001", "ArtifactInstall_Enter_01"),
        ("ArtifactInstall_Enter_00.sh", "ArtifactInstall_Enter_00_sh"),
        ("ArtifactInstall_Enter", "ArtifactInstall_Enter_00"),
        ("ArtifactInstall-Enter-00", "ArtifactInstall_Enter_00"),
        ("ArtifactInstal_Enter_00", "ArtifactInstall_Enter_00"),
        ("artifactinstall_enter_07_x", "ArtifactInstall_Enter_07_x"),
        ("ArtifactCommit_Exit_00", "ArtifactCommit_Enter_00"),
        ("ArtifactInstall_Enter_00_a b", "ArtifactInstall_Enter_00_a-b"),
        ("ArtifactInstall_Enter_00_", "ArtifactInstall_Enter_00"),
    ] {
        let found = lint(&[script(Home::Artifact, name, SH)], &About::default());
        assert_eq!(found.first().map(|finding| finding.rule), Some(&NAME1), "{name}: {found:?}");
        assert_eq!(found[0].mend, format!("name it {better}"), "{name}");
        assert!(thimble_core::script::parse_name(better).is_some());
    }
    // A file that was meant as a script is looked into as one.
    assert_eq!(artifact("ArtifactInstall_Enter_1", b"exit 0\n"), ["NAME1", "RUN2"]);
    assert_eq!(artifact("README", b"x"), ["NAME5"]);
    assert_eq!(artifact("\u{1F600}_\u{1F600}", b"x"), ["NAME5"]);
}

#[test]
fn scripts_in_the_wrong_place_are_told() {
    assert_eq!(artifact("Download_Enter_00", SH), ["NAME2"]);
    assert_eq!(root("ArtifactInstall_Enter_00", SH), ["NAME2"]);
}

#[test]
fn who_calls_what_follows_the_tables_of_the_core() {
    for never in ["ArtifactRollback_Error_00", "ArtifactRollbackReboot_Error_00", "ArtifactFailure_Error_00"]
    {
        assert_eq!(artifact(never, SH), ["NAME3"], "{never}");
    }
    assert_eq!(root("Idle_Error_00", SH), ["NAME3"]);
    for daemon in ["ArtifactReboot_Enter_00", "ArtifactReboot_Error_00", "ArtifactRollbackReboot_Leave_00"] {
        assert_eq!(artifact(daemon, SH), ["NAME4"], "{daemon}");
    }
    assert_eq!(root("Sync_Leave_00", SH), ["NAME4"]);
    for both in [
        "ArtifactInstall_Error_00",
        "ArtifactCommit_Enter_00",
        "ArtifactRollback_Leave_00",
        "ArtifactFailure_Enter_00",
    ] {
        assert!(artifact(both, SH).is_empty(), "{both}");
    }
    assert!(root("Download_Error_00", SH).is_empty());
}

#[test]
fn what_the_kernel_cannot_start_is_told() {
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"exit 0\n"), ["RUN2"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b""), ["RUN2"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"#!\n"), ["RUN2"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"#!sh\n"), ["RUN2"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"\x7fELF and no more"), ["RUN2"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", &[b"#!/bin/sh ", &[b'x'; 300][..]].concat()), ["RUN2"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"\xef\xbb\xbf#!/bin/sh\n"), ["RUN5"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"#!/bin/sh\r\nexit 0\r\n"), ["RUN4", "RUN6"]);
    assert_eq!(artifact("ArtifactInstall_Enter_00", b"#!/bin/sh\nexit 0\r\n"), ["RUN6"]);
}

#[test]
fn permissions_count_in_a_folder_of_the_root_file_system_alone() {
    let with = |home, mode| {
        let mut scripts = vec![script(Home::RootFileSystem, "version", b"3")];
        let name = if home == Home::Artifact { "ArtifactInstall_Enter_00" } else { "Download_Enter_00" };
        let mut one = script(home, name, SH);
        one.kind = Kind::File(SH.to_vec(), mode);
        scripts.push(one);
        lint(&scripts, &About::default()).iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(with(Home::RootFileSystem, 0o644), ["RUN1"]);
    assert_eq!(with(Home::RootFileSystem, 0o777), ["RUN7"]);
    assert!(with(Home::RootFileSystem, 0o700).is_empty());
    assert!(with(Home::Artifact, 0o644).is_empty());
}

#[test]
fn interpreters_are_looked_for_in_the_root() {
    let folder = std::env::temp_dir().join(format!("thimble-lint-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    std::fs::create_dir_all(folder.join("usr/bin")).unwrap();
    for program in ["bin/sh", "usr/bin/env"] {
        std::fs::write(folder.join(program), "").unwrap();
    }
    let about = About { root: Some(Root::new(&folder)), ..About::default() };
    let found = |bytes: &[u8]| {
        let found = lint(&[script(Home::Artifact, "ArtifactInstall_Enter_00", bytes)], &about);
        found.iter().map(|finding| format!("{} {}", finding.rule.id, finding.what)).collect::<Vec<_>>()
    };
    assert!(found(b"#!/bin/sh -e\n").is_empty());
    assert!(found(b"#! /usr/bin/env -S sh -e\n").is_empty());
    assert_eq!(found(b"#!/bin/bash\n"), ["RUN3 /bin/bash is not in the root file system"]);
    assert_eq!(found(b"#!/usr/bin/env python3\n"), ["RUN3 env finds no python3 in the root file system"]);
    // The program that runs this test was made for the host.
    let host = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(found(&host)[0].contains("which is not in the root file system"), "{:?}", found(&host));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn times_that_cannot_work_are_told() {
    let mut about = About::default();
    let found = |about: &About, home, names: &[&str], bytes: &[u8]| {
        let mut scripts: Vec<Script> = names.iter().map(|name| script(home, name, bytes)).collect();
        scripts.push(script(Home::RootFileSystem, "version", b"3"));
        lint(&scripts, about).iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    let again = b"#!/bin/sh\n[ -e /run/x ] || exit 21\n";
    let install = &["ArtifactInstall_Enter_00"][..];
    assert!(found(&about, Home::Artifact, install, again).is_empty());
    about.config.state_script_retry_interval = Duration::from_secs(1800);
    assert_eq!(found(&about, Home::Artifact, install, again), ["TIME1"]);
    assert!(found(&about, Home::Artifact, install, b"#!/bin/sh\nexit 210\n# exit 21\n").is_empty());
    assert_eq!(found(&about, Home::Artifact, install, b"#!/bin/sh\nsleep 2h\n"), ["TIME3"]);
    assert!(found(&about, Home::Artifact, install, b"#!/bin/sh\nsleep 60m; nosleep 9d\n").is_empty());
    let mut about = About::default();
    let before = &["Download_Enter_00", "Download_Enter_01"][..];
    about.config.state_script_timeout = Duration::from_secs(12 * 3600);
    assert!(found(&about, Home::RootFileSystem, before, SH).is_empty());
    assert_eq!(found(&about, Home::RootFileSystem, before, again), ["TIME2"]);
}

#[test]
fn what_install_changes_must_be_named_on_the_way_back() {
    let install = b"#!/bin/sh
# rm /not/this
systemctl stop app.service
cp \"new.conf\" /etc/app.conf; echo 1 > /etc/flag 2>/dev/null
touch /tmp/x && fw_setenv bootargs quiet
cat < /etc/other > /dev/null
";
    let found = |back: &[u8]| {
        let scripts = [
            script(Home::Artifact, "ArtifactInstall_Enter_00", install),
            script(Home::Artifact, "ArtifactRollback_Enter_00", back),
        ];
        let found = lint(&scripts, &About::default());
        found.iter().map(|finding| (finding.line.unwrap(), finding.what.clone())).collect::<Vec<_>>()
    };
    let all = found(SH);
    let says = |line: usize, part: &str| all.iter().any(|(at, what)| *at == line && what.contains(part));
    assert!(says(3, "`systemctl stop` changes app.service"), "{all:?}");
    assert!(says(4, "`cp` changes /etc/app.conf") && says(4, "`>` changes /etc/flag"), "{all:?}");
    assert!(says(5, "`fw_setenv` changes bootargs"), "{all:?}");
    assert_eq!(all.len(), 4, "{all:?}");
    let rest = found(b"#!/bin/sh\nsystemctl start app.service\nfw_setenv bootargs\nrm /etc/flag\n");
    assert_eq!(rest.len(), 1, "{rest:?}");
}

#[test]
fn versions_and_numbers_of_a_set() {
    let ids =
        |scripts: &[Script]| lint(scripts, &About::default()).iter().map(|f| f.rule.id).collect::<Vec<_>>();
    let one = script(Home::RootFileSystem, "Download_Enter_00", SH);
    assert_eq!(ids(std::slice::from_ref(&one)), ["VERSION1"]);
    assert_eq!(ids(&[one.clone(), script(Home::RootFileSystem, "version", b"4")]), ["VERSION2"]);
    assert!(ids(&[one.clone(), script(Home::RootFileSystem, "version", b" 2\n")]).is_empty());
    let twice = script(Home::RootFileSystem, "Download_Enter_00_b", SH);
    assert_eq!(ids(&[one, twice, script(Home::RootFileSystem, "version", b"3")]), ["NAME6"]);
}

#[test]
fn every_rule_says_all_there_is_to_say() {
    let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len());
    assert!(RULES.iter().all(|rule| rule.why.ends_with('.') && !rule.title.ends_with('.')));
}
