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

#[test]
fn an_assertion_wants_whole_devices() {
    let nine_of_ten = ["fleet", "--devices", "10", "--fail", "10%", "--assert"];
    for (wanted, status) in [("done 90% within 24h", 0), ("done 94% within 24h", 1), ("done 4% within 0s", 1)]
    {
        let words = [&nine_of_ten[..], &[wanted]].concat();
        assert_eq!(thimble_sim(&words).0, Some(status), "{wanted}");
    }
}

#[test]
fn an_option_that_is_one_is_not_taken_twice() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("mender.conf");
    std::fs::write(&file, "{}").expect("a file can be written");
    let file = file.to_str().expect("a path in UTF-8");
    for (words, option) in [
        (&["fleet", "--seed", "1", "--devices", "2", "--seed", "2"][..], "--seed"),
        (&["fleet", "--hold", "commit@1h", "--hold", "install@1h"], "--hold"),
        (&["fleet", "--config", file, "--config", file], "--config"),
        (&["fleet", "together", "--hold", file, "--hold", file], "--hold"),
        (&["serve", "--port", "1", "--port", "2"], "--port"),
        (&["run", "--artifact", "/a", "--clock", "1970", "--clock", "1971"], "--clock"),
        (&["run", "--artifact", "/a", "--artifact", "/b"], "--artifact"),
    ] {
        let (status, out, error) = thimble_sim(words);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{words:?}: {error}");
        assert!(
            error.contains(&format!("{option} stands there twice, and once is all that is possible")),
            "{words:?}: {error}"
        );
    }
}

#[test]
fn what_is_read_has_a_limit_and_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let large = folder.path().join("large");
    // It takes no room on the disk.
    let file = std::fs::File::create(&large).expect("a file can be made");
    file.set_len((1 << 20) + 1).expect("it can grow");
    let large = large.to_str().expect("a path in UTF-8");
    let (length, is_none) = ("it has 1048577 bytes, and at most 1048576 are taken", "it is no file");
    for (words, path, told) in [
        (&["fleet", "together", "--hold"][..], large, length),
        (&["fleet", "together", "--go"], "/dev/null", is_none),
        (&["serve", "--control-map"], large, length),
        (&["serve", "--control-map"], "/dev/null", is_none),
        (&["serve"], "/dev/null", is_none),
        (&["run", "--artifact"], "/dev/null", is_none),
        (&["texts"], large, "line 1 has more than 1048576 bytes: that is no log"),
    ] {
        let words = [words, &[path]].concat();
        let (status, out, error) = thimble_sim(&words);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{words:?}: {error}");
        assert!(error.contains(&format!("{path}: {told}")), "{words:?}: {error}");
    }
}
