//! The command line, as people call it: help behind every word, exit statuses, hints.

use std::process::Command;

/// Its exit status, standard output and standard error.
fn thimble_sim(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_thimble-sim")).args(words).output().expect("it can be run");
    let text = |bytes| String::from_utf8(bytes).expect("its output is UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The commands that the usage lists.
fn commands() -> Vec<String> {
    let (status, usage, _) = thimble_sim(&["--help"]);
    assert_eq!(status, Some(0));
    let lines = usage.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| Some(line.split_whitespace().next()?.into()))
        .collect()
}

#[test]
fn help_works_behind_every_command() {
    let commands = commands();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in &commands {
        let (status, page, error) = thimble_sim(&[command, "--help"]);
        assert!(status == Some(0) && error.is_empty(), "{command}: {error}");
        assert!(page.contains(&format!("Usage: thimble-sim {command}")), "{page}");
        assert_eq!(thimble_sim(&["help", command]).1, page);
        assert_eq!(thimble_sim(&[command, "--what", "-h"]).1, page);
    }
}

#[test]
fn what_makes_no_sense_is_status_2_and_says_where_help_is() {
    for (words, told) in [
        (&[][..], "thimble-sim: a command is missing; see thimble-sim --help\n"),
        (
            &["exlore"],
            "thimble-sim: there is no command \"exlore\"; is explore meant?; see thimble-sim --help\n",
        ),
        (&["run"], "thimble-sim: run needs a scenario; see thimble-sim run --help\n"),
        (
            &["fleet", "--device", "3"],
            "thimble-sim: fleet has no option --device; is --devices meant?; see thimble-sim fleet --help\n",
        ),
        (&["texts", "--x"], "thimble-sim: texts has no option --x; see thimble-sim texts --help\n"),
        (
            &["serve", "--prot", "1"],
            "thimble-sim: serve has no option --prot; is --port meant?; see thimble-sim serve --help\n",
        ),
        (
            &["words", "lose-pwr"],
            "thimble-sim: \"lose-pwr\" is no word of a scenario; is lose-power meant?; see thimble-sim words --help\n",
        ),
        (&["run", "/no/such/file"], "/no/such/file: No such file or directory (os error 2)\n"),
    ] {
        let (status, out, error) = thimble_sim(words);
        assert_eq!((status, out.as_str(), error.as_str()), (Some(2), "", told), "{words:?}");
    }
    let (status, word, _) = thimble_sim(&["words", "approve"]);
    assert!(
        status == Some(0) && word.starts_with("  approve\n") && word.contains("\nExample:\n\n  order pause"),
        "{word}"
    );
    let (status, version, _) = thimble_sim(&["--version"]);
    assert_eq!((status, version.trim()), (Some(0), env!("CARGO_PKG_VERSION")));
}
