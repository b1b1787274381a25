//! `docs/explore.md`: it shows what `explore` prints, and has every option. `THIMBLE_GOLDEN=1` writes what is printed into it.

use std::fs;
use std::path::Path;
use std::process::Command;

const KIND: &str = "```explored\n";
const COMMAND: &str = "$ thimble-sim explore --device files --scripts state-scripts\n";

/// The state scripts of the examples.
const SCRIPTS: [&str; 4] = [
    "ArtifactInstall_Enter_00_stop",
    "ArtifactInstall_Enter_01_backup",
    "ArtifactCommit_Enter_00_health",
    "ArtifactRollback_Leave_00_start",
];

/// What the command of the examples prints.
fn printed() -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state-scripts")).unwrap();
    for name in SCRIPTS {
        fs::write(folder.path().join("state-scripts").join(name), "#!/bin/sh\n").unwrap();
    }
    let words = COMMAND.trim().split(' ').skip(2);
    let mut explore = Command::new(env!("CARGO_BIN_EXE_thimble-sim"));
    let output = explore.current_dir(folder.path()).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The part of it that begins with this line, or with these words.
fn part(printed: &str, begin: &str) -> String {
    let rest =
        &printed[printed.find(&format!("\n{begin}")).unwrap_or_else(|| panic!("{begin}: {printed}")) + 1..];
    let end = match rest.find("\n  again: ") {
        Some(_) if begin.starts_with("How") => rest.find("\n\n").unwrap() + 1,
        Some(at) => at + 1 + rest[at + 1..].find('\n').unwrap() + 1,
        None => panic!("{rest}"),
    };
    rest[..end].to_owned()
}

/// Numbers change with every change of the client; what is said does not.
fn without_numbers(text: &str) -> String {
    let masked = text.replace(|c: char| c.is_ascii_digit(), "0");
    let words: Vec<String> =
        masked.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mut masked = words.join("\n");
    while masked.contains("00") {
        masked = masked.replace("00", "0");
    }
    masked
}

#[test]
fn the_page_shows_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/explore.md");
    let old = fs::read_to_string(&path).unwrap();
    let printed = printed();
    let mut new = String::new();
    let mut rest = old.as_str();
    while let Some((before, block)) = rest.split_once(KIND) {
        let (shown, after) = block.split_once("```\n").unwrap();
        let begin = shown.strip_prefix(COMMAND).unwrap().split([' ', '\n']).next().unwrap();
        new += &format!("{before}{KIND}{COMMAND}{}```\n", part(&printed, begin));
        rest = after;
    }
    new += rest;
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        fs::write(&path, &new).unwrap();
    }
    assert!(
        without_numbers(&old) == without_numbers(&new),
        "the page is not what is printed; with THIMBLE_GOLDEN=1 this test has written it"
    );
}

#[test]
fn the_page_has_every_option_and_every_end() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/explore.md")).unwrap();
    for verb in ["explore", "ui"] {
        let help = Command::new(env!("CARGO_BIN_EXE_thimble-sim")).args([verb, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let options = help.lines().filter_map(|line| line.strip_prefix("  --")?.split(' ').next());
        let options: Vec<&str> = options.collect();
        assert!(options.len() > 10, "{help}");
        for option in options {
            assert!(page.contains(&format!("`--{option}")), "docs/explore.md does not name --{option}");
        }
    }
    for kind in thimble_hal_sim::whole::Kind::ALL {
        assert!(page.contains(&format!("\n| `{}` | ", kind.name())), "{}", kind.name());
    }
}
