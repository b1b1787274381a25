use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::rc::Rc;

use thimble_core::hal::Error as _;

use super::*;
use crate::testing::{self, TestLog, Waits, executable, is_alive, now, run, script};

const FACTS: TreeFacts<'_> = TreeFacts {
    current_artifact_name: "old",
    current_artifact_group: "",
    current_device_type: "board",
    artifact_name: "new",
    artifact_group: "",
    payload_type: "it",
    header_info: b"{\"a\": 1}",
    type_info: b"{}",
    meta_data: b"",
    files: 1,
};

impl Waits for Modules {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        Modules::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        UpdateModule::deadline(self)
    }
}

struct Lab {
    dir: tempfile::TempDir,
    modules: Modules,
    lines: Rc<RefCell<TestLog>>,
}

impl Lab {
    fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data/modules/v3")).unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let (lines, log) = testing::log();
        let modules = Modules::new(&dir.path().join("data"), &dir.path().join("store"), log).unwrap();
        Self { dir, modules, lines }
    }

    /// A selected module `it` with this body, its work tree built.
    fn new(body: &str) -> Self {
        let mut lab = Self::bare();
        script(&lab.module(), body);
        lab.modules.select("it").unwrap();
        lab.modules.prepare(&FACTS).unwrap();
        lab
    }

    fn module(&self) -> PathBuf {
        self.path("data/modules/v3/it")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn in_tree(&self, name: &str) -> PathBuf {
        self.modules.tree.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.in_tree(name)).unwrap()
    }

    fn exit(&mut self) -> Result<Exit, ModuleError> {
        run(&mut self.modules, |modules, now| modules.poll_exit(now))
    }

    fn call(&mut self, call: Call) -> Exit {
        self.modules.start(now(), call).unwrap();
        self.exit().unwrap()
    }

    fn begin(&mut self, name: &str, size: u64) -> Result<(), ModuleError> {
        run(&mut self.modules, |modules, now| modules.poll_begin(now, name, size))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), ModuleError> {
        while !bytes.is_empty() {
            let n = run(&mut self.modules, |modules, now| modules.poll_write(now, bytes))?;
            assert!(n > 0);
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ModuleError> {
        run(&mut self.modules, |modules, now| modules.poll_end(now))
    }

    fn finish(&mut self) -> Result<(), ModuleError> {
        run(&mut self.modules, |modules, now| modules.poll_finish(now))
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), ModuleError> {
        self.begin(name, content.len() as u64)?;
        self.write(content)?;
        self.end()
    }

    /// All of a download. After an error: aborts, ends the module, waits for it.
    fn download_by(&mut self, call: Call, files: &[(&str, &[u8])]) -> Result<(), ModuleError> {
        self.modules.start(now(), call)?;
        let result = files
            .iter()
            .try_for_each(|(name, content)| self.file(name, content))
            .and_then(|()| self.finish());
        if result.is_err() {
            self.modules.abort();
            self.modules.kill(now(), Duration::ZERO);
            self.exit().unwrap();
            assert!(!self.in_tree("stream-next").exists() && !self.in_tree("streams").exists());
        }
        result
    }

    fn download(&mut self, files: &[(&str, &[u8])]) -> Result<(), ModuleError> {
        self.download_by(Call::Download, files)
    }

    fn fails(body: &str, files: &[(&str, &[u8])]) -> String {
        let mut lab = Self::new(body);
        lab.download(files).unwrap_err().to_string()
    }

    fn said(&self) -> Vec<String> {
        self.lines.borrow().0.clone()
    }
}

/// The loop of a module that streams: each file to `got-<name>`, each line to `lines`.
const STREAMER: &str = r#"while :; do
    line=$(cat stream-next); [ -n "$line" ] || break
    echo "$line" >> lines; file=${line%% *}; cat "$file" > "got-${file#streams/}"
done"#;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 251 + i) as u8).collect()
}

/// What an earlier process marked as stored of the file `f`, and that file.
fn mark(lab: &Lab, length: u64, whole: [u8; 32], content: &[u8]) {
    let stored = Stored { length, sum: [1; 32] };
    lab.modules.tree.write_mark(&Mark { name: "f".into(), stored, whole }).unwrap();
    fs::create_dir(lab.in_tree("files")).unwrap();
    fs::write(lab.in_tree("files/f"), content).unwrap();
}

fn begins(lab: &mut Lab, size: u64) -> Result<(), ModuleError> {
    lab.modules.start(now(), Call::Download).unwrap();
    lab.modules.expect(&[7; 32]);
    run(&mut lab.modules, |modules, now| modules.poll_begin(now, "f", size))
}

#[test]
fn what_was_stored_of_a_file_is_read_back_and_gone_on_with() {
    let mut lab = Lab::new("exit 0");
    mark(&lab, 4, [7; 32], b"stored and more than was marked");
    lab.modules.prepare_again(&FACTS).unwrap();
    begins(&mut lab, 6).unwrap();
    assert_eq!(lab.modules.stored(), Some(Stored { length: 4, sum: [1; 32] }));
    let mut to = [0; 3];
    assert_eq!(lab.modules.read_stored(&mut to).unwrap(), 3);
    assert_eq!(lab.modules.read_stored(&mut to).unwrap(), 1);
    assert_eq!(lab.modules.read_stored(&mut to).unwrap(), 0, "what is behind the mark is gone");
    assert!(matches!(lab.modules.poll_write(now(), b"??"), Poll::Ready(Ok(2))));
    assert!(matches!(lab.modules.poll_end(now()), Poll::Ready(Ok(()))));
    assert_eq!(lab.read("files/f"), "stor??");
}

#[test]
fn what_was_stored_can_be_dropped() {
    let mut lab = Lab::new("exit 0");
    mark(&lab, 4, [7; 32], b"stored");
    lab.modules.prepare_again(&FACTS).unwrap();
    begins(&mut lab, 6).unwrap();
    lab.modules.read_stored(&mut [0; 2]).unwrap();
    lab.modules.forget_stored().unwrap();
    assert_eq!(lab.modules.stored(), None);
    assert!(matches!(lab.modules.poll_write(now(), b"anew:)"), Poll::Ready(Ok(6))));
    assert!(matches!(lab.modules.poll_end(now()), Poll::Ready(Ok(()))));
    assert_eq!(lab.read("files/f"), "anew:)");
}

#[test]
fn a_part_of_another_file_counts_for_nothing() {
    // Another digest, longer than the file, shorter than the mark says.
    for (length, whole, content) in
        [(4, [8; 32], &b"stored"[..]), (7, [7; 32], b"stored!!"), (4, [7; 32], b"sto")]
    {
        let mut lab = Lab::new("exit 0");
        mark(&lab, length, whole, content);
        lab.modules.prepare_again(&FACTS).unwrap();
        begins(&mut lab, 6).unwrap();
        assert_eq!(lab.modules.stored(), None, "{length} {content:?}");
        assert_eq!(lab.read("files/f"), "");
    }
}

#[test]
fn a_new_update_and_a_cleanup_leave_nothing_of_what_was_kept() {
    let mut lab = Lab::new("exit 0");
    let kept = |lab: &Lab| {
        ["mark", "stored"].map(|name| lab.path("store/modules/v3/payloads/0000").join(name).exists())
    };
    mark(&lab, 4, [7; 32], b"stored");
    lab.modules.prepare_again(&FACTS).unwrap();
    assert_eq!(kept(&lab), [true, true]);
    lab.modules.prepare(&FACTS).unwrap();
    assert_eq!(kept(&lab), [false, false]);
    // Power was lost while the tree was built anew.
    mark(&lab, 4, [7; 32], b"stored");
    lab.modules.prepare_again(&FACTS).unwrap();
    fs::remove_dir_all(lab.in_tree("")).unwrap();
    assert!(!lab.modules.is_clean());
    lab.modules.start(now(), Call::Cleanup).unwrap();
    assert_eq!(lab.exit().unwrap(), Exit::Code(0));
    lab.modules.remove().unwrap();
    assert!(lab.modules.is_clean());
    assert_eq!(kept(&lab), [false, false]);
}

#[test]
fn a1_a_payload_type_is_one_plain_name() {
    let mut lab = Lab::bare();
    let outside = lab.path("data/modules/evil");
    script(&outside, "exit 0");
    script(&lab.path("data/modules/v3/.hidden"), "exit 0");
    let long = "x".repeat(65);
    for bad in [
        "../evil",
        "../../x",
        outside.to_str().unwrap(),
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a b",
        "ä",
        "a\0",
        &long,
    ] {
        let error = lab.modules.select(bad).unwrap_err();
        assert!(matches!(error, ModuleError::PayloadType), "{bad}");
        assert!(lab.modules.selected.is_none());
    }
    for good in ["it", "A.b_c-9", &"x".repeat(64)] {
        script(&lab.path("data/modules/v3").join(good), "exit 0");
        lab.modules.select(good).unwrap();
    }
}

#[test]
fn u1_a_module_must_be_there_and_run() {
    let mut lab = Lab::bare();
    let error = lab.modules.select("it").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string();
    assert!(
        text.contains("no update module for it: install it as /") && text.ends_with("/modules/v3/it"),
        "{text}"
    );
    executable(&lab.module(), 0o644, "#!/bin/sh\n");
    let error = lab.modules.select("it").unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("chmod +x"), "{error}");
    fs::remove_file(lab.module()).unwrap();
    fs::create_dir(lab.module()).unwrap();
    assert_eq!(lab.modules.select("it").unwrap_err().kind(), Kind::Refused);
    fs::remove_dir(lab.module()).unwrap();
    symlink("real", lab.module()).unwrap();
    assert_eq!(lab.modules.select("it").unwrap_err().kind(), Kind::NotFound, "dangling");
    script(&lab.path("data/modules/v3/real"), "exit 0");
    lab.modules.select("it").unwrap();
}

#[test]
fn l11_a_module_others_could_change_is_refused_also_later() {
    let mut lab = Lab::new("exit 0");
    assert!(lab.call(Call::ArtifactInstall).is_success());
    executable(&lab.module(), 0o757, "#!/bin/sh\n");
    assert_eq!(lab.modules.start(now(), Call::ArtifactCommit).unwrap_err().kind(), Kind::Refused);
    assert!(lab.modules.select("it").unwrap_err().to_string().contains("chmod go-w"));
}

#[test]
fn the_tree_has_the_facts() {
    let lab = Lab::new("");
    for (name, content) in [
        ("version", "3\n"),
        ("current_artifact_name", "old\n"),
        ("current_artifact_group", ""),
        ("current_device_type", "board\n"),
        ("header/artifact_name", "new"),
        ("header/artifact_group", ""),
        ("header/payload_type", "it"),
        ("header/header-info", "{\"a\": 1}"),
        ("header/type-info", "{}"),
        ("header/meta-data", "null"),
    ] {
        assert_eq!(lab.read(name), content, "{name}");
        assert_eq!(fs::metadata(lab.in_tree(name)).unwrap().mode() & 0o7777, 0o600, "{name}");
    }
    for name in ["", "header", "tmp", "streams"] {
        let found = fs::metadata(lab.in_tree(name)).unwrap();
        assert!(found.is_dir() && found.mode() & 0o7777 == 0o700, "{name}");
    }
    let expected = lab.path("store/modules/v3/payloads/0000/tree");
    assert_eq!(lab.modules.tree.path(), expected);
    let entries = fs::read_dir(expected).unwrap().count();
    assert_eq!(entries, 7);
}

#[test]
fn meta_data_is_passed_as_it_is() {
    let mut lab = Lab::new("");
    lab.modules.prepare(&TreeFacts { meta_data: b"{ \"x\" : [] }\n", ..FACTS }).unwrap();
    assert_eq!(lab.read("header/meta-data"), "{ \"x\" : [] }\n");
}

#[test]
fn preparing_deletes_what_was_there() {
    let mut lab = Lab::new("");
    fs::create_dir_all(lab.in_tree("tmp/deep/er")).unwrap();
    fs::write(lab.in_tree("left"), "x").unwrap();
    lab.modules.prepare(&FACTS).unwrap();
    assert!(!lab.in_tree("left").exists());
    assert_eq!(fs::read_dir(lab.in_tree("tmp")).unwrap().count(), 0);
}

#[test]
fn d6_planted_links_are_not_followed() {
    let mut lab = Lab::bare();
    script(&lab.module(), "exit 0");
    lab.modules.select("it").unwrap();
    let victim = lab.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("version"), "precious").unwrap();
    // In place of the tree: the link goes, what it leads to stays.
    fs::create_dir_all(lab.path("store/modules/v3/payloads/0000")).unwrap();
    symlink(&victim, lab.modules.tree.path()).unwrap();
    assert!(!lab.modules.is_clean());
    assert!(lab.modules.start(now(), Call::ArtifactInstall).is_err());
    lab.modules.remove().unwrap();
    symlink(&victim, lab.modules.tree.path()).unwrap();
    lab.modules.prepare(&FACTS).unwrap();
    assert!(fs::symlink_metadata(lab.modules.tree.path()).unwrap().is_dir());
    // In the tree.
    symlink(&victim, lab.in_tree("tmp/link")).unwrap();
    lab.modules.remove().unwrap();
    // On the way to the tree.
    fs::remove_dir_all(lab.path("store/modules")).unwrap();
    symlink(&victim, lab.path("store/modules")).unwrap();
    fs::create_dir_all(victim.join("v3/payloads/0000/tree")).unwrap();
    assert!(lab.modules.prepare(&FACTS).is_err());
    assert!(lab.modules.remove().is_err());
    assert!(victim.join("v3/payloads/0000/tree").exists());
    assert_eq!(fs::read_to_string(victim.join("version")).unwrap(), "precious");
}

#[test]
fn a_call_gets_its_name_and_the_tree() {
    let mut lab = Lab::new("echo \"$#|$1|$2\"; pwd; echo $0; wc -c; echo err >&2; exit 3");
    assert_eq!(lab.call(Call::ArtifactVerifyReboot), Exit::Code(3));
    let tree = lab.modules.tree.path().display().to_string();
    let module = lab.module().display().to_string();
    let said = lab.said();
    for (index, line) in
        [format!("2|ArtifactVerifyReboot|{tree}"), tree, module, "0".to_owned()].iter().enumerate()
    {
        let stdout: Vec<_> = said.iter().filter(|line| line.contains("(stdout)")).collect();
        assert_eq!(*stdout[index], format!("info: it ArtifactVerifyReboot (stdout): {line}"));
    }
    assert!(said.contains(&"info: it ArtifactVerifyReboot: err".to_owned()));
    assert!(lab.modules.answer().is_empty());
}

#[test]
fn a_query_is_answered_and_not_logged() {
    let mut lab = Lab::new("printf Automatic; echo why >&2");
    assert!(lab.call(Call::NeedsArtifactReboot).is_success());
    assert_eq!(lab.modules.answer(), b"Automatic");
    assert_eq!(lab.said(), ["info: it NeedsArtifactReboot: why"]);
    let mut lab = Lab::new("yes | head -c 100000");
    assert!(lab.call(Call::SupportsRollback).is_success());
    assert_eq!(lab.modules.answer().len(), limits::QUERY_ANSWER + 1);
    assert!(lab.call(Call::ArtifactInstall).is_success());
    assert!(lab.modules.answer().is_empty());
}

#[test]
fn a_query_whose_output_cannot_be_read_has_failed() {
    for body in ["echo Automatic", "true"] {
        let mut lab = Lab::new(body);
        lab.modules.start(now(), Call::NeedsArtifactReboot).unwrap();
        let Current::Call { process, .. } = &mut lab.modules.current else { panic!("no call") };
        process.break_output();
        let ended = run(&mut lab.modules, |modules, now| modules.poll_exit(now));
        assert!(matches!(ended, Err(ModuleError::Answer { .. })), "{body}: {ended:?}");
    }
    let mut lab = Lab::new("true");
    assert!(lab.call(Call::NeedsArtifactReboot).is_success());
    assert!(lab.modules.answer().is_empty(), "nothing printed is an answer");
}

#[test]
fn calls_without_a_tree_fail_and_cleanup_has_run() {
    let mut lab = Lab::new(": > ../../../../../called");
    assert!(!lab.modules.is_clean());
    assert!(lab.call(Call::Cleanup).is_success());
    assert!(lab.path("store/called").exists());
    fs::remove_file(lab.path("store/called")).unwrap();
    lab.modules.remove().unwrap();
    assert!(lab.modules.is_clean());
    lab.modules.remove().unwrap();
    for call in [Call::ArtifactInstall, Call::Download, Call::SupportsRollback] {
        assert!(matches!(lab.modules.start(now(), call), Err(ModuleError::NoTree { .. })), "{call}");
    }
    assert!(lab.call(Call::Cleanup).is_success());
    assert!(!lab.path("store/called").exists());
}

#[test]
fn a_module_that_vanished_fails_every_call_but_its_tree_can_be_removed() {
    let mut lab = Lab::new("exit 0");
    fs::remove_file(lab.module()).unwrap();
    assert!(lab.modules.select("it").is_err());
    assert!(lab.modules.start(now(), Call::ArtifactRollback).is_err());
    assert!(lab.modules.start(now(), Call::Cleanup).is_err());
    lab.modules.remove().unwrap();
    assert!(lab.modules.is_clean());
}

#[test]
fn l8_a_killed_call_leaves_nothing_behind() {
    let mut lab = Lab::new("trap '' TERM; sleep 3600 & echo $! > child; wait");
    lab.modules.start(now(), Call::ArtifactInstall).unwrap();
    while fs::read_to_string(lab.in_tree("child")).unwrap_or_default().is_empty() {
        assert!(lab.modules.poll_exit(now()).is_pending());
    }
    lab.modules.kill(now(), Duration::from_millis(20));
    assert_eq!(lab.exit().unwrap(), Exit::Signal(9));
    assert!(!is_alive(&lab.read("child")));
}

#[test]
fn files_are_streamed_in_order() {
    let mut lab = Lab::new(&format!("echo $1 > call; {STREAMER}"));
    let (small, large) = (pattern(100), pattern(3_000_000));
    lab.download(&[("b", &small), ("a", &large), ("empty", b"")]).unwrap();
    assert_eq!(lab.read("call"), "Download\n");
    assert_eq!(lab.read("lines"), "streams/b\nstreams/a\nstreams/empty\n");
    assert!(fs::read(lab.in_tree("got-b")).unwrap() == small);
    assert!(fs::read(lab.in_tree("got-a")).unwrap() == large);
    assert_eq!(fs::read(lab.in_tree("got-empty")).unwrap(), b"");
    for gone in ["stream-next", "streams", "files"] {
        assert!(!lab.in_tree(gone).exists(), "{gone}");
    }
}

#[test]
fn sizes_are_given_to_who_asks() {
    let mut lab = Lab::new(&format!("echo $1 > call; {STREAMER}"));
    let large = pattern(5_000_000);
    lab.download_by(Call::DownloadWithFileSizes, &[("rootfs.img", &large), ("b", b"")]).unwrap();
    assert_eq!(lab.read("call"), "DownloadWithFileSizes\n");
    assert_eq!(lab.read("lines"), "streams/rootfs.img 5000000\nstreams/b 0\n");
    assert!(fs::read(lab.in_tree("got-rootfs.img")).unwrap() == large);
}

#[test]
fn fifos_are_private_and_there_before_the_module() {
    let mut lab = Lab::new(&format!("stat -c %a:%F stream-next streams >&2; {STREAMER}"));
    lab.download(&[("f", b"x")]).unwrap();
    let said = lab.said();
    assert_eq!(said, ["info: it Download: 600:fifo", "info: it Download: 700:directory"]);
    lab.modules.prepare(&FACTS).unwrap();
    lab.modules.start(now(), Call::Download).unwrap();
    assert!(fs::metadata(lab.in_tree("stream-next")).unwrap().file_type().is_fifo());
}

#[test]
fn a_payload_without_files_ends_at_once() {
    let mut lab = Lab::new(STREAMER);
    lab.download(&[]).unwrap();
    assert!(!lab.in_tree("lines").exists());
}

#[test]
fn a_module_that_does_not_stream_gets_files() {
    let mut lab = Lab::new("[ $1 = Download ] || cat files/*");
    let content = pattern(1_000_000);
    lab.download(&[("a", &content), ("b", b"")]).unwrap();
    assert!(fs::read(lab.in_tree("files/a")).unwrap() == content);
    for (name, mode) in [("files", 0o700), ("files/a", 0o600), ("files/b", 0o600)] {
        assert_eq!(fs::metadata(lab.in_tree(name)).unwrap().mode() & 0o7777, mode);
    }
    for gone in ["stream-next", "streams"] {
        assert!(!lab.in_tree(gone).exists(), "{gone}");
    }
    assert_eq!(lab.read("files/b"), "");
}

#[test]
fn a_payload_without_files_leaves_an_empty_directory() {
    let mut lab = Lab::new("exit 0");
    lab.download(&[]).unwrap();
    assert_eq!(fs::read_dir(lab.in_tree("files")).unwrap().count(), 0);
}

#[test]
fn a2_file_names_are_plain_in_both_modes() {
    let long = "x".repeat(256);
    for body in [STREAMER, "exit 0"] {
        for bad in ["../x", "/etc/x", "a/b", "", ".", "..", "a\nb", "a\0", "\u{1b}[2J", &long] {
            let mut lab = Lab::new(body);
            let error = lab.download(&[("good", b"x"), (bad, b"x")]).unwrap_err();
            assert!(matches!(error, ModuleError::FileName(_)), "{bad:?}");
            assert!(!error.to_string().contains(char::is_control));
        }
    }
    let mut lab = Lab::new(STREAMER);
    lab.download(&[("-n", b"y"), ("ü", b"z"), (&"x".repeat(200), b"")]).unwrap();
    assert!(lab.read("lines").starts_with("streams/-n\nstreams/ü\n"));
    // One line is one name, blanks and all, as long as no size follows.
    let mut lab = Lab::new("f=$(cat stream-next); cat \"$f\" > got; cat stream-next");
    lab.download(&[("a b", b"x")]).unwrap();
    assert_eq!(lab.read("got"), "x");
}

#[test]
fn a2_a_planted_link_is_not_written_through() {
    // The module itself plants them: the worst that can stand there.
    let mut lab = Lab::new("mkdir files; ln -s ../../../../../../victim files/f");
    fs::write(lab.path("victim"), "precious").unwrap();
    assert!(lab.download(&[("f", b"evil")]).is_err());
    let mut lab2 = Lab::new("ln -s ../../../../../.. files");
    assert!(lab2.download(&[("f", b"evil")]).is_err());
    assert!(!lab2.path("f").exists() && !lab2.path("store/f").exists());
    let mut lab3 = Lab::new("ln -s ../../../../../../../victim streams/f; cat stream-next");
    fs::write(lab3.path("victim"), "precious").unwrap();
    assert!(lab3.download(&[("f", b"evil")]).is_err());
    for lab in [lab, lab3] {
        assert_eq!(fs::read_to_string(lab.path("victim")).unwrap(), "precious");
    }
}

#[test]
fn a_name_may_occur_only_once() {
    for body in [STREAMER, "exit 0"] {
        let mut lab = Lab::new(body);
        assert!(lab.download(&[("f", b"1"), ("f", b"2")]).is_err());
    }
}

#[test]
fn a_failing_module_fails_the_download() {
    let text = Lab::fails("exit 7", &[("f", b"x")]);
    assert!(text.starts_with("it Download ") && text.ends_with("ended with exit status 7"), "{text}");
    let text = Lab::fails("exit 7", &[]);
    assert!(text.ends_with("ended with exit status 7"), "{text}");
    let text = Lab::fails("kill -9 $$", &[("f", b"x")]);
    assert!(text.ends_with("ended with signal 9"), "{text}");
    let text = Lab::fails("cat stream-next; exit 3", &[("f", b"x")]);
    assert!(text.ends_with("ended with exit status 3"), "{text}");
    let text = Lab::fails(&format!("{STREAMER}; exit 4"), &[("f", b"x")]);
    assert_eq!(text, "it Download ended with exit status 4");
}

#[test]
fn l12_opens_stream_next_without_reading_it_and_ends_well() {
    // Whether we see the closed stream or the exit first, it is an error.
    let text = Lab::fails(": < stream-next; exit 0", &[("f", b"x")]);
    assert!(text.contains("before") && text.starts_with("it Download"), "{text}");
}

#[test]
fn l12_reads_the_name_and_never_opens_the_stream_and_ends_well() {
    let text = Lab::fails("cat stream-next", &[("f", b"x")]);
    assert_eq!(text, "it Download ended before it had read all files (exit status 0)");
}

#[test]
fn l12_reads_only_some_files_and_ends_well() {
    let text = Lab::fails("cat $(cat stream-next)", &[("f", b"x"), ("g", b"y")]);
    assert!(text.contains("ended before it had read all files"), "{text}");
}

#[test]
fn l12_u6_skips_the_final_empty_entry_and_ends_well() {
    let text = Lab::fails("cat $(cat stream-next)", &[("f", b"x")]);
    assert_eq!(
        text,
        "it Download ended before it had read all files and the end of stream-next (exit status 0)"
    );
}

#[test]
fn l12_i12_reads_a_file_only_partly_and_goes_on() {
    let content = pattern(400_000);
    let text = Lab::fails(
        "head -c 10 $(cat stream-next) > got; cat stream-next; exit 0",
        &[("f", &content), ("g", b"y")],
    );
    assert_eq!(text, "it Download stopped reading streams/f before its end");
}

#[test]
fn l12_ends_well_while_a_file_is_streamed() {
    let content = pattern(3_000_000);
    let body = "f=$(cat stream-next); exec 3< $f; sleep 3600 <&3 3<&- & echo $! > child; exit 0";
    let mut lab = Lab::new(body);
    // A child keeps the stream open: only the exit of the module tells.
    let text = lab.download(&[("f", &content)]).unwrap_err().to_string();
    assert_eq!(text, "it Download ended while a file was sent to it (exit status 0)");
    let child = lab.read("child").trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn l12_never_reads_and_is_killed() {
    for body in ["sleep 3600", "cat stream-next; sleep 3600", "exec 3< $(cat stream-next); sleep 3600"] {
        let mut lab = Lab::new(&format!("echo ready >&2; {body}"));
        lab.modules.start(now(), Call::Download).unwrap();
        let started = lab.modules.poll_begin(now(), "f", 1_000_000);
        assert!(started.is_pending());
        // What the client does when the time of the call is over.
        while !lab.lines.borrow().0.iter().any(|line| line.ends_with("ready")) {
            let _ = lab.modules.poll_begin(now(), "f", 1_000_000);
        }
        lab.modules.abort();
        // Not long: a shell that is just starting a program blocks signals until that runs, so the program may have missed
        // this one, and then the end of the grace ends it.
        lab.modules.kill(now(), Duration::from_secs(10));
        assert_eq!(lab.exit().unwrap(), Exit::Signal(15), "{body}");
        assert!(!lab.in_tree("stream-next").exists());
    }
}

#[test]
fn a_module_that_closes_its_outputs_is_served() {
    let mut lab = Lab::new(&format!("exec >&- 2>&-; {STREAMER}"));
    lab.download(&[("f", &pattern(200_000))]).unwrap();
}

#[test]
fn a_module_that_leaves_children_with_its_pipes_is_not_waited_for() {
    let mut lab = Lab::new(&format!("{STREAMER}; sleep 3600 & echo $! > child"));
    lab.download(&[("f", b"x")]).unwrap();
    let child = lab.read("child").trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_module_that_talks_more_than_a_pipe_holds_is_heard_while_it_reads() {
    let noise = "seq 1 100000 >&2";
    let mut lab = Lab::new(&format!(
        "{noise}; f=$(cat stream-next); {noise}; cat $f | (sleep 0; cat > got); {noise}; cat stream-next; {noise}"
    ));
    let content = pattern(1_000_000);
    lab.download(&[("f", &content)]).unwrap();
    assert!(fs::read(lab.in_tree("got")).unwrap() == content);
    let said = lab.said();
    assert_eq!(said.last().unwrap(), "info: it Download: (output truncated after 1048576 bytes)");
}

#[test]
fn an_aborted_stream_is_never_ended_before_the_module() {
    // An end of file in the middle would look like a complete file.
    let mut lab = Lab::new("trap '' TERM; cat $(cat stream-next) > got && : > complete; sleep 3600");
    lab.modules.start(now(), Call::Download).unwrap();
    lab.begin("f", 100).unwrap();
    lab.write(b"part").unwrap();
    while fs::read(lab.in_tree("got")).unwrap_or_default() != b"part" {
        std::thread::yield_now();
    }
    lab.modules.abort();
    lab.modules.kill(now(), Duration::from_millis(100));
    assert_eq!(lab.exit().unwrap(), Exit::Signal(9));
    assert!(!lab.in_tree("complete").exists());
    assert!(matches!(lab.write(b"x"), Err(ModuleError::Order)));
}

#[test]
fn nothing_is_waited_for_while_the_client_waits_for_the_network() {
    let mut lab = Lab::new(&format!("echo loud; {STREAMER}"));
    lab.modules.start(now(), Call::Download).unwrap();
    lab.begin("f", 4).unwrap();
    lab.write(b"ab").unwrap();
    let mut set = PollSet::new();
    lab.modules.wants(&mut set);
    assert!(set.is_empty() && UpdateModule::deadline(&lab.modules).is_none());
    lab.write(b"cd").unwrap();
    lab.end().unwrap();
    lab.finish().unwrap();
    assert_eq!(lab.read("got-f"), "abcd");
}

#[test]
fn i12_a_file_has_the_length_it_was_announced_with() {
    for body in [STREAMER, "exit 0"] {
        let mut lab = Lab::new(body);
        lab.modules.start(now(), Call::Download).unwrap();
        lab.begin("f", 4).unwrap();
        lab.write(b"ab").unwrap();
        assert!(matches!(lab.write(b"abc"), Err(ModuleError::Size(_))));
        assert!(matches!(lab.end(), Err(ModuleError::Size(_))));
    }
}

#[test]
fn i13_a_full_disk_is_said_to_be_full() {
    let mut lab = Lab::new("exit 0");
    // A file system of 64 KiB in place of `files/`.
    fs::create_dir(lab.in_tree("files")).unwrap();
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"])
        .arg(lab.in_tree("files"))
        .status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    // Known before the first byte.
    let error = lab.download(&[("f", &pattern(200_000))]).unwrap_err();
    assert!(matches!(error, ModuleError::Space { needed: 200_000, free: 65536, .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::NoSpace);
    let text = error.to_string();
    assert!(
        text.starts_with("no space left to write /") && text.contains("/tree/files/f: it needs"),
        "{text}"
    );
    assert!(!lab.in_tree("files/f").exists());
    // Somebody else is faster.
    lab.modules.start(now(), Call::Download).unwrap();
    lab.begin("f", 40_000).unwrap();
    fs::write(lab.in_tree("files/other"), pattern(40_000)).unwrap();
    let error = lab.write(&pattern(40_000)).and_then(|()| lab.end()).unwrap_err();
    lab.modules.abort();
    lab.modules.kill(now(), Duration::ZERO);
    lab.exit().unwrap();
    let unmounted = std::process::Command::new("umount").arg(lab.in_tree("files")).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(error.kind(), Kind::NoSpace);
    let text = error.to_string();
    assert!(text.starts_with("no space left to write /") && text.contains("/tree/files/f;"), "{text}");
}

#[test]
fn calls_out_of_order_are_errors() {
    let mut lab = Lab::new("exit 0");
    assert!(matches!(lab.exit(), Err(ModuleError::Order)));
    assert!(matches!(lab.begin("f", 1), Err(ModuleError::Order)));
    assert!(matches!(lab.finish(), Err(ModuleError::Order)));
    lab.modules.start(now(), Call::Download).unwrap();
    assert!(matches!(lab.write(b"x"), Err(ModuleError::Order)));
    assert!(matches!(lab.end(), Err(ModuleError::Order)));
    lab.begin("f", 1).unwrap();
    assert!(matches!(lab.begin("g", 1), Err(ModuleError::Order)));
    assert!(matches!(lab.finish(), Err(ModuleError::Order)));
}

#[test]
fn a_download_can_be_started_again() {
    let mut lab = Lab::new("[ -e ready ] || { : > ready; cat stream-next; exit 1; }; exit 0");
    assert!(lab.download(&[("f", b"x")]).is_err());
    lab.modules.prepare(&FACTS).unwrap();
    fs::write(lab.in_tree("ready"), "").unwrap();
    lab.download(&[("f", b"x")]).unwrap();
    assert_eq!(lab.read("files/f"), "x");
}

#[test]
fn l14_no_file_of_ours_is_made_for_a_shell_to_source() {
    // What a hostile artifact names stays data: no quoting that a `.` of the module would undo.
    let mut lab = Lab::new("cat header/artifact_name current_artifact_name >&2");
    let evil = "$(touch pwned); `touch pwned`";
    lab.modules.prepare(&TreeFacts { artifact_name: evil, current_artifact_name: evil, ..FACTS }).unwrap();
    assert!(lab.call(Call::ArtifactInstall).is_success());
    assert_eq!(lab.read("header/artifact_name"), evil);
    assert!(!lab.in_tree("pwned").exists());
}
