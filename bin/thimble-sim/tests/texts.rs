//! `thimble-sim texts`, as people call it.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs it with this standard input: its exit status, standard output and standard error.
fn texts(words: &[&str], input: &[u8]) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .arg("texts")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("thimble-sim can be run");
    // It may end without reading.
    let _ = child.stdin.take().expect("its input").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("its output is UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn codes_in_the_input_become_texts_and_the_rest_stays() {
    let (good, out, _) = texts(&[], b"W ~A23('a\\'b')\n~nothing~ \xff\r\n\n~A5 and ~T90");
    assert!(good);
    let expected = "W payload file \"a'b\" is not listed in the manifest\n~nothing~ \u{fffd}\r\n\n\
                    it is not signed, and verify keys are configured and 90 s";
    assert_eq!(out, expected);
}

#[test]
fn a_file_is_read_and_wrong_words_are_refused() {
    let path = std::env::temp_dir().join(format!("thimble-texts-{}", std::process::id()));
    std::fs::write(&path, "~A27\n").expect("a file can be written");
    let (good, out, _) = texts(&[path.to_str().expect("a path in UTF-8")], b"");
    std::fs::remove_file(&path).expect("it is there");
    assert!(good);
    assert_eq!(out, "it ends too early\n");
    for (words, part) in
        [(&["/no/file"][..], "/no/file: "), (&["--x"], "no option --x"), (&["a", "b"], "one too many")]
    {
        let (good, out, error) = texts(words, b"");
        assert!(!good && out.is_empty() && error.contains(part), "{error}");
    }
}

#[test]
fn the_example_of_the_help_is_true() {
    let (good, help, _) = texts(&["--help"], b"");
    assert!(good);
    let example = help.split("echo \"").nth(1).expect("an example");
    let (line, printed) = example.split_once("\" | thimble-sim texts\n  ").expect("its command");
    assert_eq!(texts(&[], format!("{line}\n").as_bytes()).1, printed);
}
