use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::rc::Rc;

use thimble_core::hal::Error as _;
use thimble_core::script::{ScriptAction, ScriptState};
use thimble_core::time::Duration;

use super::*;
use crate::testing::{self, TestLog, Waits, executable, is_alive, now, run, script};

const INSTALL_ENTER: Transition =
    Transition { state: ScriptState::ArtifactInstall, action: ScriptAction::Enter };
const IDLE_ENTER: Transition = Transition { state: ScriptState::Idle, action: ScriptAction::Enter };

impl Waits for Scripts {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        Scripts::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        ScriptRunner::deadline(self)
    }
}

struct Lab {
    dir: tempfile::TempDir,
    scripts: Scripts,
    lines: Rc<RefCell<TestLog>>,
}

impl Lab {
    /// Directories for both kinds of scripts, empty.
    fn new() -> Self {
        let lab = Self::bare();
        fs::create_dir_all(lab.path("conf/scripts")).unwrap();
        fs::create_dir_all(lab.path("data/scripts")).unwrap();
        lab
    }

    /// A datastore, and nothing else.
    fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let (lines, log) = testing::log();
        let scripts = Scripts::new(&dir.path().join("conf"), &dir.path().join("data"), log).unwrap();
        Self { dir, scripts, lines }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn artifact_script(&self, name: &str, body: &str) {
        script(&self.path("data/scripts").join(name), body);
    }

    fn exit(&mut self) -> Result<Exit, ScriptError> {
        run(&mut self.scripts, |scripts, now| scripts.poll_exit(now))
    }

    fn start(&mut self, index: u16) -> Result<bool, ScriptError> {
        self.scripts.start(now(), INSTALL_ENTER, index)
    }

    /// Runs all scripts of a transition and returns their exits.
    fn transition(&mut self, transition: Transition) -> Vec<Exit> {
        let mut exits = Vec::new();
        while self.scripts.start(now(), transition, u16::try_from(exits.len()).unwrap()).unwrap() {
            exits.push(self.exit().unwrap());
        }
        exits
    }

    /// Log lines that scripts wrote on stderr.
    fn said(&self) -> Vec<String> {
        let lines = self.lines.borrow();
        let said = lines.0.iter().filter_map(|line| line.strip_prefix("info: ")?.split_once(": "));
        said.map(|(_, said)| said.to_owned()).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let lines = self.lines.borrow();
        lines.0.iter().filter(|line| line.starts_with("warning: ")).cloned().collect()
    }

    fn stage(&mut self, name: &str, text: &[u8]) {
        self.scripts.stage(name, text.len() as u64).unwrap();
        self.scripts.stage_write(text).unwrap();
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(dir)) else { return vec!["(no directory)".to_owned()] };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn l18_scripts_run_in_bytewise_order() {
    let mut lab = Lab::new();
    for name in ["10", "00_b", "05_Z", "05_a", "00", "99_x", "05"] {
        lab.artifact_script(&format!("ArtifactInstall_Enter_{name}"), "echo ${0##*Enter_} >&2");
    }
    assert_eq!(lab.transition(INSTALL_ENTER), [Exit::Code(0); 7]);
    assert_eq!(lab.said(), ["00", "00_b", "05", "05_Z", "05_a", "10", "99_x"]);
}

#[test]
fn only_scripts_of_the_transition_run() {
    let mut lab = Lab::new();
    for name in [
        "ArtifactInstall_Enter_00_this",
        "ArtifactInstall_Leave_00",
        "ArtifactInstall_Error_00",
        "ArtifactCommit_Enter_00",
        "ArtifactInstall_Enter_0",
        "ArtifactInstall_Enter_00_",
        "ArtifactInstall_Enter_00.bak",
        "artifactinstall_Enter_00",
        "version.old",
    ] {
        lab.artifact_script(name, "echo $0 >&2");
    }
    assert_eq!(lab.transition(INSTALL_ENTER).len(), 1);
    assert!(lab.warnings().is_empty());
}

#[test]
fn each_kind_of_script_runs_only_from_its_own_directory() {
    let mut lab = Lab::new();
    for dir in ["conf/scripts", "data/scripts"] {
        for name in ["Idle_Enter_00", "ArtifactInstall_Enter_00"] {
            script(&lab.path(dir).join(name), "echo $0 >&2");
        }
    }
    lab.transition(IDLE_ENTER);
    lab.transition(INSTALL_ENTER);
    let expected = ["conf/scripts/Idle_Enter_00", "data/scripts/ArtifactInstall_Enter_00"];
    assert_eq!(lab.said(), expected.map(|name| lab.path(name).to_str().unwrap().to_owned()));
}

#[test]
fn no_directory_is_no_scripts() {
    let mut lab = Lab::bare();
    assert!(lab.transition(IDLE_ENTER).is_empty());
    assert!(lab.transition(INSTALL_ENTER).is_empty());
    lab.scripts.check_version().unwrap();
}

#[test]
fn a_directory_that_cannot_be_read_fails_the_transition() {
    let mut lab = Lab::bare();
    fs::write(lab.path("data/scripts"), "a file").unwrap();
    assert!(lab.start(0).is_err());
}

#[test]
fn the_version_file_must_be_2_or_3() {
    let mut lab = Lab::new();
    for (text, good) in [
        ("2", true),
        ("3", true),
        (" \n3 \n", true),
        ("", false),
        ("1", false),
        ("4", false),
        ("33", false),
        ("3 3", false),
        ("\u{1b}[2J", false),
    ] {
        for dir in ["conf/scripts", "data/scripts"] {
            fs::write(lab.path(dir).join("version"), text).unwrap();
        }
        // Also when there is no script at all.
        assert_eq!(lab.start(0).is_ok(), good, "{text:?}");
        assert_eq!(lab.scripts.check_version().is_ok(), good, "{text:?}");
    }
    let text = lab.start(0).unwrap_err().to_string();
    assert!(text.contains("data/scripts/version holds \"\\u{1b}[2J\""), "{text}");
    fs::write(lab.path("data/scripts/version"), [b' '; 100_000]).unwrap();
    assert!(lab.start(0).is_err());
    fs::remove_file(lab.path("data/scripts/version")).unwrap();
    fs::create_dir(lab.path("data/scripts/version")).unwrap();
    let text = lab.start(0).unwrap_err().to_string();
    assert!(text.contains("data/scripts/version: it is a directory, not a regular file"), "{text}");
}

#[test]
fn a_fifo_as_version_file_does_not_block() {
    let mut lab = Lab::new();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, lab.path("data/scripts/version"), mode).unwrap();
    let text = lab.start(0).unwrap_err().to_string();
    assert!(text.ends_with("data/scripts/version: it is a FIFO, not a regular file"), "{text}");
}

#[test]
fn what_cannot_run_is_skipped_with_a_warning() {
    let mut lab = Lab::new();
    let dir = lab.path("data/scripts");
    let path = |name: &str| dir.join(name);
    executable(&path("ArtifactInstall_Enter_00"), 0o644, "#!/bin/sh\nexit 1\n");
    fs::create_dir(path("ArtifactInstall_Enter_01")).unwrap();
    symlink("nowhere", path("ArtifactInstall_Enter_02")).unwrap();
    // A link to a regular file counts as one; any execute bit is enough.
    executable(&lab.path("elsewhere"), 0o501, "#!/bin/sh\necho $0 >&2\n");
    symlink("../../elsewhere", path("ArtifactInstall_Enter_03")).unwrap();
    assert_eq!(lab.transition(INSTALL_ENTER), [Exit::Code(0)]);
    assert_eq!(lab.said(), [path("ArtifactInstall_Enter_03").to_str().unwrap()]);
    assert_eq!(lab.warnings().len(), 3);
}

#[test]
fn l11_a_script_others_could_change_fails_the_transition_before_any_runs() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_00", "exit 0");
    executable(&lab.path("data/scripts/ArtifactInstall_Enter_01"), 0o757, "#!/bin/sh\n");
    let error = lab.start(0).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("chmod go-w"), "{error}");
    // Other transitions are not concerned.
    assert!(lab.transition(IDLE_ENTER).is_empty());
}

#[test]
fn l11_a_script_changed_while_others_ran_is_not_run() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_00", "chmod 777 ${0%0}1");
    lab.artifact_script("ArtifactInstall_Enter_01", "exit 0");
    assert!(lab.start(0).unwrap());
    assert!(lab.exit().unwrap().is_success());
    assert_eq!(lab.start(1).unwrap_err().kind(), Kind::Refused);
}

#[test]
fn the_directory_is_read_by_number_0_and_by_it_only() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_05", "exit 1");
    assert!(lab.start(0).unwrap());
    lab.exit().unwrap();
    lab.artifact_script("ArtifactInstall_Enter_00", "exit 2");
    assert!(!lab.start(1).unwrap());
    assert!(lab.start(0).unwrap());
    assert_eq!(lab.exit().unwrap(), Exit::Code(2));
    assert!(lab.start(1).unwrap());
    assert_eq!(lab.exit().unwrap(), Exit::Code(1));
}

#[test]
fn a_retry_runs_the_same_script_again() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_05", "exit 21");
    assert!(lab.start(0).unwrap());
    assert_eq!(lab.exit().unwrap(), Exit::Code(21));
    lab.artifact_script("ArtifactInstall_Enter_00", "exit 2");
    assert!(lab.start(0).unwrap());
    assert_eq!(lab.exit().unwrap(), Exit::Code(21), "number 0 is still the same script");
    // Another transition in between: the next time begins anew.
    assert!(lab.transition(IDLE_ENTER).is_empty());
    assert!(lab.start(0).unwrap());
    assert_eq!(lab.exit().unwrap(), Exit::Code(2));
}

#[test]
fn a_script_runs_without_arguments_by_its_absolute_path_where_we_are() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_00", "echo $#; echo $0; pwd; wc -c; echo on stdout; ");
    lab.transition(INSTALL_ENTER);
    let path = lab.path("data/scripts/ArtifactInstall_Enter_00");
    let cwd = std::env::current_dir().unwrap();
    let expected = ["0", path.to_str().unwrap(), cwd.to_str().unwrap(), "0", "on stdout"];
    assert_eq!(lab.said(), expected);
    let lines = lab.lines.borrow();
    assert_eq!(lines.0.last().unwrap(), "info: ArtifactInstall_Enter_00 (stdout): on stdout");
}

#[test]
fn l7_r9_output_is_split_and_capped_per_script_and_stream() {
    let mut lab = Lab::new();
    let noise = "head -c 20000 /dev/zero | tr '\\0' x >&2; seq 1 5000";
    lab.artifact_script("ArtifactInstall_Enter_00", noise);
    lab.artifact_script("ArtifactInstall_Enter_01", "echo fresh >&2");
    assert_eq!(lab.transition(INSTALL_ENTER), [Exit::Code(0); 2]);
    let said = lab.said();
    let xs: usize = said.iter().filter(|line| line.contains('x')).map(String::len).sum();
    assert_eq!(xs, limits::SCRIPT_OUTPUT);
    assert!(said.iter().all(|line| line.len() <= 1024));
    assert_eq!(said.iter().filter(|line| line.contains("truncated")).count(), 2);
    assert_eq!(said.last().unwrap(), "fresh");
}

#[test]
fn a_script_that_cannot_be_started_is_a_failed_script() {
    let mut lab = Lab::new();
    executable(&lab.path("data/scripts/ArtifactInstall_Enter_00"), 0o755, "#!/no/such/interpreter\n");
    lab.artifact_script("ArtifactInstall_Enter_01", "exit 0");
    // Not an error of the transition: with errors ignored, the others still run.
    assert!(lab.start(0).unwrap());
    let error = lab.exit().unwrap_err();
    assert!(error.to_string().starts_with("cannot start /"), "{error}");
    assert!(lab.start(1).unwrap());
    assert!(lab.exit().unwrap().is_success());
}

#[test]
fn l8_a_killed_script_leaves_nothing_behind() {
    let mut lab = Lab::new();
    let child = lab.path("child");
    let body = format!("trap '' TERM; sleep 3600 & echo $! > {}; wait", child.display());
    lab.artifact_script("ArtifactInstall_Enter_00", &body);
    assert!(lab.start(0).unwrap());
    while fs::read_to_string(&child).unwrap_or_default().is_empty() {
        assert!(lab.scripts.poll_exit(now()).is_pending());
    }
    lab.scripts.kill(now(), Duration::from_millis(20));
    assert_eq!(lab.exit().unwrap(), Exit::Signal(9));
    assert!(!is_alive(&fs::read_to_string(&child).unwrap()));
    lab.scripts.kill(now(), Duration::ZERO);
}

#[test]
fn staged_scripts_become_the_artifacts_by_publishing() {
    let mut lab = Lab::bare();
    lab.scripts.discard().unwrap();
    lab.stage("ArtifactInstall_Enter_00", b"#!/bin/sh\n");
    lab.scripts.stage("ArtifactInstall_Enter_01_empty", 0).unwrap();
    lab.stage("ArtifactFailure_Error_99", b"never run");
    assert_eq!(lab.names("data"), ["scripts.staging"]);
    lab.scripts.publish().unwrap();
    assert_eq!(lab.names("data"), ["scripts"]);
    assert_eq!(
        lab.names("data/scripts"),
        ["ArtifactFailure_Error_99", "ArtifactInstall_Enter_00", "ArtifactInstall_Enter_01_empty", "version"]
    );
    let mode = |name: &str| fs::metadata(lab.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("data/scripts"), mode("data/scripts/ArtifactInstall_Enter_00")), (0o700, 0o700));
    assert_eq!(fs::read_to_string(lab.path("data/scripts/version")).unwrap(), "3");
    assert_eq!(fs::read(lab.path("data/scripts/ArtifactInstall_Enter_00")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(listing::read(&lab.path("data/scripts"), INSTALL_ENTER, &lab.scripts.log).unwrap().len(), 2);
}

#[test]
fn publishing_replaces_what_was_there_also_by_nothing() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_00_old", "exit 1");
    lab.stage("ArtifactInstall_Enter_00_new", b"");
    lab.scripts.publish().unwrap();
    assert_eq!(lab.names("data/scripts"), ["ArtifactInstall_Enter_00_new", "version"]);
    lab.scripts.publish().unwrap();
    assert_eq!(lab.names("data"), Vec::<String>::new());
}

#[test]
fn i9_discard_removes_published_and_staged_scripts_also_those_of_a_crash() {
    let mut lab = Lab::new();
    lab.artifact_script("ArtifactInstall_Enter_00", "exit 1");
    fs::create_dir(lab.path("data/scripts.staging")).unwrap();
    fs::write(lab.path("data/scripts.staging/ArtifactInstall_Enter_00"), "torn").unwrap();
    lab.stage("ArtifactInstall_Enter_01", b"x");
    assert_eq!(lab.names("data/scripts.staging"), ["ArtifactInstall_Enter_01"]);
    lab.scripts.discard().unwrap();
    assert_eq!(lab.names("data"), Vec::<String>::new());
    assert!(lab.scripts.stage_write(b"x").is_err());
}

#[test]
fn a10_scripts_of_a_refused_artifact_neither_run_nor_stay() {
    let mut lab = Lab::bare();
    lab.stage("ArtifactInstall_Enter_00", b"#!/bin/sh\n");
    assert_eq!(lab.transition(INSTALL_ENTER), []);
    assert_eq!(lab.names("data"), Vec::<String>::new());
    // Of a process that power loss ended.
    fs::create_dir(lab.path("data/scripts.staging")).unwrap();
    fs::create_dir(lab.path("data/scripts")).unwrap();
    Scripts::new(&lab.path("conf"), &lab.path("data"), testing::log().1).unwrap();
    assert_eq!(lab.names("data"), ["scripts"]);
}

#[test]
fn staging_is_gone_when_the_client_ends_without_publishing() {
    let mut lab = Lab::bare();
    lab.stage("ArtifactInstall_Enter_01", b"x");
    lab.scripts = Scripts::new(&lab.path("conf"), &lab.path("data"), testing::log().1).unwrap();
    assert_eq!(lab.names("data"), Vec::<String>::new());
}

#[test]
fn a3_names_that_could_leave_the_directory_are_refused() {
    let mut lab = Lab::bare();
    for name in [
        "ArtifactInstall_Enter_00_../../x",
        "ArtifactInstall_Enter_00_/etc/x",
        "../ArtifactInstall_Enter_00",
        "version",
        "Idle_Enter_00",
        "ArtifactInstall_Enter_00_\u{1b}",
        "",
    ] {
        let error = lab.scripts.stage(name, 0).unwrap_err();
        assert!(matches!(error, ScriptError::Name(_)), "{name}");
        assert!(error.to_string().chars().all(|c| !c.is_control()), "{name}");
    }
}

#[test]
fn a3_d6_planted_links_are_not_followed() {
    let mut lab = Lab::bare();
    let victim = lab.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("ArtifactInstall_Enter_00"), "precious").unwrap();
    symlink(&victim, lab.path("data/scripts")).unwrap();
    symlink(&victim, lab.path("data/scripts.staging")).unwrap();
    lab.stage("ArtifactInstall_Enter_00", b"new");
    // Planted in the staging directory itself.
    symlink(victim.join("x"), lab.path("data/scripts.staging/ArtifactInstall_Enter_01")).unwrap();
    assert!(lab.scripts.stage("ArtifactInstall_Enter_01", 0).is_err());
    lab.stage("ArtifactInstall_Enter_02", b"new");
    lab.scripts.publish().unwrap();
    assert_eq!(lab.names("victim"), ["ArtifactInstall_Enter_00"]);
    assert_eq!(fs::read_to_string(victim.join("ArtifactInstall_Enter_00")).unwrap(), "precious");
    assert!(fs::symlink_metadata(lab.path("data/scripts")).unwrap().is_dir());
}

#[test]
fn a_script_must_have_the_length_it_was_announced_with() {
    let mut lab = Lab::bare();
    lab.scripts.stage("ArtifactInstall_Enter_00", 3).unwrap();
    lab.scripts.stage_write(b"ab").unwrap();
    assert!(matches!(lab.scripts.stage_write(b"cd"), Err(ScriptError::Size(_))));
    lab.scripts.discard().unwrap();
    lab.scripts.stage("ArtifactInstall_Enter_00", 3).unwrap();
    assert!(matches!(lab.scripts.stage("ArtifactInstall_Enter_01", 0), Err(ScriptError::Size(_))));
    lab.scripts.discard().unwrap();
    lab.scripts.stage("ArtifactInstall_Enter_00", 3).unwrap();
    assert!(matches!(lab.scripts.publish(), Err(ScriptError::Size(_))));
    assert_eq!(lab.names("data"), Vec::<String>::new(), "a failed publication leaves nothing");
}

#[test]
fn a_name_may_occur_only_once() {
    let mut lab = Lab::bare();
    lab.scripts.stage("ArtifactInstall_Enter_00", 0).unwrap();
    let error = lab.scripts.stage("ArtifactInstall_Enter_00", 0).unwrap_err();
    assert_eq!(error.to_string(), "the artifact has two state scripts ArtifactInstall_Enter_00");
}

#[test]
fn the_number_of_scripts_is_limited() {
    let mut lab = Lab::bare();
    for n in 0..limits::SCRIPTS {
        lab.scripts.stage(&format!("ArtifactInstall_Enter_00_{n}"), 0).unwrap();
    }
    let error = lab.scripts.stage("ArtifactInstall_Enter_01", 0).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    lab.scripts.publish().unwrap();
    assert!(lab.scripts.listed(INSTALL_ENTER, limits::SCRIPTS - 1).unwrap().is_some());
    let one_more = lab.path("data/scripts/ArtifactInstall_Enter_01");
    fs::write(&one_more, "").unwrap();
    fs::set_permissions(&one_more, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(lab.start(0).unwrap_err().kind(), Kind::TooLarge);
}

#[test]
fn at_most_8_mib_of_scripts_are_written_before_the_header_is_verified() {
    let mut lab = Lab::bare();
    let script = vec![b'#'; 4 << 20];
    lab.stage("ArtifactInstall_Enter_00", &script);
    lab.stage("ArtifactInstall_Enter_01", &script);
    let error = lab.scripts.stage("ArtifactInstall_Enter_02", 1).unwrap_err();
    assert!(matches!(error, ScriptError::TooLarge(_)) && error.to_string().contains("8 MiB"), "{error}");
    assert_eq!(lab.names("data/scripts.staging").len(), 2);
    // The next artifact begins anew.
    lab.scripts.discard().unwrap();
    lab.stage("ArtifactInstall_Enter_00", &script);
}

#[test]
fn r38_names_that_look_like_a_state_script_and_are_none_are_told_once_each() {
    let lab = Lab::new();
    for name in [
        "Download_Enter_00",
        "Idle_Enter_00_text",
        "version",
        "README",
        ".gitkeep",
        "helper-lib.sh",
        "Download_Enter_0",
        "Donwload_Enter_00",
        "sync_leave_00",
        "Idle-Enter-00",
        "IdleEnter00",
        "Sync_Leaves_00",
        "ArtifactInstall_Enter_00",
    ] {
        script(&lab.path("conf/scripts").join(name), "");
    }
    lab.artifact_script("ArtifactInstall_Enter_00", "");
    lab.artifact_script("Idle_Enter_00", "");
    lab.scripts.warn_of_near_misses();
    let warnings = lab.warnings();
    for name in [
        "Download_Enter_0 is no",
        "Donwload_Enter_00 is no",
        "sync_leave_00 is no",
        "Idle-Enter-00 is no",
        "IdleEnter00 is no",
        "Sync_Leaves_00 is no",
        "ArtifactInstall_Enter_00 never runs",
        "Idle_Enter_00 never runs",
    ] {
        assert_eq!(warnings.iter().filter(|line| line.contains(name)).count(), 1, "{name}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 8, "{warnings:?}");
}
