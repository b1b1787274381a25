//! `docs/fleet.md`: what stands below each command on it is what the command prints. `THIMBLE_GOLDEN=1` writes that into the
//! page.

use std::fs;
use std::path::Path;
use std::process::Command;

use thimble_hal_sim::fleet::{bytes_per_device, limits};

/// The words of a line of a shell; a text between single quotes is one.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn printed(line: &str) -> String {
    let words = words(line);
    assert_eq!(words.first().map(String::as_str), Some("thimble-sim"), "{line}");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .args(&words[1..])
        .current_dir(folder.path())
        .output()
        .expect("it can be run");
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("its output is UTF-8")
}

#[test]
fn the_page_shows_what_its_commands_print() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
    let old = fs::read_to_string(&path).expect("the page");
    let (mut new, mut lines, mut command, mut count) = (String::new(), old.lines(), None, 0);
    while let Some(line) = lines.next() {
        new += &format!("{line}\n");
        match line.strip_prefix("```") {
            Some("sh") => {
                let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                new += &format!("{}\n```\n", block.join("\n"));
                assert_eq!(block.len(), 1, "{block:?}");
                command = Some(block[0]);
            }
            Some("text") => {
                let _: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                let command = command.take().expect("a command stands before what it prints");
                new += &format!("{}```\n", printed(command));
                count += 1;
            }
            Some(_) | None => {}
        }
    }
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        fs::write(&path, &new).expect("the page can be written");
    }
    assert!(old == new, "the page is not what happens; with THIMBLE_GOLDEN=1 this test has written it");
    assert!(count >= 5, "{count}");
}

#[test]
fn the_page_states_the_memory_and_the_limits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
    let text = fs::read_to_string(path).expect("the page").replace('\n', " ");
    let hundreds = (bytes_per_device() + 50) / 100;
    for stated in [
        format!("A device takes about {}.{} kB", hundreds / 10, hundreds % 10),
        format!("at most {} devices", limits::DEVICES),
        format!("{} days", limits::TIME.as_secs() / 86_400),
    ] {
        assert!(text.contains(&stated), "{stated}");
    }
}
