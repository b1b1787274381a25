//! `thimble-sim run` and `test`, as people and CI jobs call them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// A folder of its own, which vanishes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("thimble-sim-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("a file with text")
    }

    /// Runs `thimble-sim` in the folder: its exit status, standard output and standard error.
    fn call(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
            .args(words)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .expect("it can be run");
        let text = |bytes| String::from_utf8(bytes).expect("its output is UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The names of all files, with those of folders in front.
    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).map(Path::to_path_buf);
                    names.push(name.expect("below it").display().to_string());
                }
            }
        }
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const GOOD: &str = "# Nothing to do.\nno-deployment\nrun\n----\nstatus:\nname: old   slot: A\n";
const OTHERWISE: &str = "no-deployment\nrun\n----\nstatus: success\nname: old   slot: A\n";
const NONSENSE: &str = "no-deployment\nfail ArtifactInstal\nwait 10m\n";
const UNUSED: &str = "no-deployment\nfail ArtifactInstall\nrun\n----\nstatus:\nname: old   slot: A\n";
const NEW: &str = "no-deployment\nrun\n";

#[test]
fn a_scenario_is_run_and_its_timeline_printed() {
    let folder = Folder::new("run");
    folder.write("new.txt", NEW);
    let timeline = "no-deployment\nrun\n----\nstatus:\nname: old   slot: A\n";
    assert_eq!(folder.call(&["run", "new.txt"]), (Some(0), timeline.into(), String::new()));
    folder.write("otherwise.txt", OTHERWISE);
    let told = "otherwise.txt: this is not the timeline that stands in the file\n";
    assert_eq!(folder.call(&["run", "otherwise.txt"]), (Some(1), timeline.into(), told.into()));
    folder.write("unused.txt", UNUSED);
    let told = "unused.txt:2: never used: ArtifactInstall never happened\n";
    assert_eq!(folder.call(&["run", "unused.txt"]), (Some(1), UNUSED.into(), told.into()));
}

#[test]
fn nothing_is_run_where_one_scenario_makes_no_sense() {
    let folder = Folder::new("nonsense");
    folder.write("good.txt", GOOD);
    folder.write("nonsense.txt", NONSENSE);
    let (status, out, error) = folder.call(&["run", "good.txt", "nonsense.txt", "none.txt"]);
    assert_eq!((status, out.as_str()), (Some(2), ""));
    let expected = "nonsense.txt:2: fail: `ArtifactInstal` is nothing that happens; is ArtifactInstall meant?\n\
                    nonsense.txt:3: wait: `10m` is no number: a time is a number and a unit, as in 30 s, 10 min or 2 h\n\
                    none.txt: No such file or directory (os error 2)\n";
    assert_eq!(error, expected);
}

#[test]
fn a_folder_is_searched_and_each_file_has_its_line() {
    let folder = Folder::new("folder");
    folder.write("s/b.txt", OTHERWISE);
    folder.write("s/a/deep/c.txt", GOOD);
    folder.write("s/d.txt", UNUSED);
    folder.write("s/e.txt", NEW);
    folder.write("s/notes.md", "no scenario");
    let (status, out, error) = folder.call(&["test", "s", "s/b.txt"]);
    let difference = "FAILED  s/b.txt\n--- expected\n+++ happened\n@@ -1,5 +1,5 @@\n no-deployment\n run\n ----\n\
                      -status: success\n+status:\n name: old   slot: A\n";
    let expected = format!(
        "ok      s/a/deep/c.txt\n{difference}\
         FAILED  s/d.txt\ns/d.txt:2: never used: ArtifactInstall never happened\n\
         FAILED  s/e.txt\ns/e.txt:2: no timeline stands here yet: `thimble-sim test --update` writes it\n\
         --- expected\n+++ happened\n@@ -1,2 +1,5 @@\n no-deployment\n run\n+----\n+status:\n+name: old   slot: A\n\
         {difference}5 scenarios: 1 ok, 4 failed\n"
    );
    assert_eq!((status, out, error), (Some(1), expected, String::new()));
    assert_eq!(folder.call(&["test", "s/a"]).0, Some(0));
}

#[test]
fn the_exit_status_says_what_kind_of_trouble_there_is() {
    let folder = Folder::new("status");
    folder.write("nonsense.txt", NONSENSE);
    folder.write("otherwise.txt", OTHERWISE);
    fs::create_dir(folder.0.join("empty")).expect("a folder");
    for (words, status, told) in [
        (&["test"][..], 2, "2 scenarios: 0 ok, 2 failed\n"),
        (&["test", "otherwise.txt"], 1, "1 scenario: 0 ok, 1 failed\n"),
        (&["test", "nonsense.txt"], 2, "nonsense.txt:2: fail: "),
        (&["test", "none.txt"], 2, "none.txt: No such file"),
        (&["test", "empty"], 2, "empty: no scenario (*.txt) is in this folder"),
        (&["test", "--junit"], 2, "--junit needs the name of a file"),
        (&["test", "--junti", "x"], 2, "is --junit meant?"),
    ] {
        let (code, out, error) = folder.call(words);
        assert_eq!(code, Some(status), "{words:?}: {out}{error}");
        assert!((out + &error).contains(told), "{words:?}");
    }
}

#[test]
fn an_update_writes_the_timeline_and_nothing_else() {
    let folder = Folder::new("update");
    folder.write("b.txt", OTHERWISE);
    folder.write("c.txt", GOOD);
    folder.write("d.txt", UNUSED.replace("status:", "status: success"));
    folder.write("e.txt", format!("# Kept.\n\n{NEW}"));
    folder.write("f.txt", NONSENSE);
    let before = folder.files();
    let (status, out, _) = folder.call(&["test", "--update"]);
    assert_eq!(status, Some(2));
    assert!(out.contains("updated ./b.txt\nok      ./c.txt\nFAILED  ./d.txt\n"), "{out}");
    assert!(out.ends_with("5 scenarios: 1 ok, 2 updated, 2 failed\n"), "{out}");
    assert_eq!(folder.read("b.txt"), "no-deployment\nrun\n----\nstatus:\nname: old   slot: A\n");
    assert_eq!(folder.read("e.txt"), "# Kept.\n\nno-deployment\nrun\n----\nstatus:\nname: old   slot: A\n");
    // What does not show what it says keeps its timeline.
    assert_eq!(folder.read("d.txt"), UNUSED.replace("status:", "status: success"));
    assert_eq!((folder.read("f.txt"), folder.files()), (NONSENSE.into(), before));
    assert_eq!(folder.call(&["test", "b.txt", "c.txt", "e.txt"]).0, Some(0));
}

#[cfg(unix)]
#[test]
fn an_update_changes_what_a_link_leads_to_and_keeps_its_mode() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new("link");
    folder.write("file.txt", NEW);
    fs::set_permissions(folder.0.join("file.txt"), PermissionsExt::from_mode(0o640)).expect("its mode");
    symlink("file.txt", folder.0.join("link.txt")).expect("a link");
    // A circle of folders ends nothing.
    symlink(".", folder.0.join("circle")).expect("a link");
    assert_eq!(folder.call(&["test", "--update", "link.txt"]).0, Some(0));
    assert!(fs::symlink_metadata(folder.0.join("link.txt")).expect("it is there").is_symlink());
    assert_eq!(
        fs::metadata(folder.0.join("file.txt")).expect("it is there").permissions().mode() & 0o777,
        0o640
    );
    let (status, out, _) = folder.call(&["test"]);
    assert_eq!(
        (status, out.as_str()),
        (Some(0), "ok      ./file.txt\nok      ./link.txt\n2 scenarios: 2 ok, 0 failed\n")
    );
}

#[test]
fn programs_get_json_and_ci_services_xml() {
    let folder = Folder::new("reports");
    folder.write("a.txt", GOOD);
    folder.write("b.txt", NONSENSE);
    let (status, out, error) = folder.call(&["test", "--json", "--junit", "report.xml", "a.txt", "b.txt"]);
    assert_eq!((status, error.as_str()), (Some(2), ""));
    let document: Value = serde_json::from_str(&out).expect("a JSON document and nothing else");
    assert_eq!(
        (&document["schema"], &document["ok"], &document["nonsense"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(document["scenarios"][1]["complaints"][0]["line"], json!(2));
    let report = folder.read("report.xml");
    assert!(
        report.contains("<testsuite name=\"thimble-sim test\" tests=\"2\" failures=\"0\" errors=\"1\">"),
        "{report}"
    );
}
