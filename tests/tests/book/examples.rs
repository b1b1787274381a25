//! The examples in the help of both programs: each is run, at a desk of the book, and ends as it should.

use std::process::Command;

use thimble_tests::lab::thimble;

use super::desk::Desk;

/// Those that end with another status than 0 on a desk without a daemon, an update that waits, or a network.
const ENDS: [(&str, u8); 17] = [
    ("thimble install https://updates.example.com/release-2.mender", 1),
    ("thimble inspect --json https://updates.example.com/release-2.mender", 1),
    // It is for another type of device.
    ("thimble install release-2.mender", 1),
    ("thimble install --check release-2.mender", 1),
    ("thimble install --reboot-exit-code release-2.mender; [ $? = 4 ] && reboot", 1),
    ("thimble commit", 2),
    ("thimble rollback", 2),
    ("thimble resume", 2),
    ("thimble resume --stop-before ArtifactCommit_Leave", 2),
    ("thimble check-update", 1),
    ("thimble send-inventory", 1),
    ("thimble bootstrap", 1),
    // It asks, and nobody is there to answer.
    ("thimble setup", 1),
    ("thimble setup --device-type gateway --hosted-mender --username me@example.com --demo-polling=false", 1),
    (
        "thimble-sim explore --artifact release-2.mender --scripts state-scripts --forbid brick,inconsistent",
        1,
    ),
    ("thimble-sim explain --artifact release-2.mender --why-not device.txt", 1),
    // The timeline is not in it yet.
    ("thimble-sim test --junit report.xml scenarios", 1),
];

/// Those that are not run here, and why.
const NOT_RUN: [(&str, &str); 11] = [
    ("thimble status --watch", "it does not end: tests/tests/status.rs"),
    ("thimble daemon", "it does not end: tests/tests/daemon.rs"),
    ("thimble snapshot dump > /data/image.ext4", "it freezes the root file system: tests/tests/snapshot.rs"),
    ("thimble snapshot dump -C zstd --source /dev/mmcblk0p2 | ssh host 'cat > image.zst'", "likewise"),
    (
        "thimble-sim explore --device slots --failures 2 --losses 2",
        "minutes: tests/tests/exhaustive.rs walks it",
    ),
    (
        "thimble-sim ui --artifact release-2.mender --scripts state-scripts",
        "it does not end: bin/thimble-sim/tests/explore_page.rs",
    ),
    ("thimble-sim ui --device slots --port 8080", "likewise"),
    ("thimble-sim serve", "it does not end: bin/thimble-sim/tests/serve.rs"),
    ("thimble-sim serve release-2.mender", "likewise"),
    (
        "thimble-sim serve --fault artifact:close=5000 --fault status:status=500@1 release-2.mender",
        "likewise",
    ),
    ("thimble-sim serve --devices 50 --config mender.conf --device-type raspberrypi4", "likewise"),
];

/// What stands below `Examples:` in the help of each verb.
fn examples(program: &str) -> Vec<String> {
    let help = |words: &[&str]| {
        let output = Command::new(thimble().with_file_name(program)).args(words).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let usage = help(&["--help"]);
    let (_, list) = usage.split_once("erbs:\n").or_else(|| usage.split_once("ommands:\n")).expect("a list");
    let verbs =
        list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let mut examples = Vec::new();
    for verb in verbs {
        let text = help(&[verb, "--help"]);
        let (_, lines) = text.split_once("\nExample").unwrap_or_else(|| panic!("{verb} has no example"));
        let lines = lines.lines().skip(1).take_while(|line| !line.is_empty());
        let lines = lines.map(|line| line.trim().trim_start_matches("$ ").to_owned());
        // What an example prints may stand below it.
        examples.extend(lines.filter(|line| line.contains("thimble")));
    }
    examples
}

fn run(program: &str) {
    let examples = examples(program);
    assert!(examples.len() > 15, "{examples:?}");
    let listed = ENDS.iter().map(|(line, _)| line).chain(NOT_RUN.iter().map(|(line, _)| line));
    for line in listed.filter(|line| line.starts_with(&format!("{program} "))) {
        assert!(examples.iter().any(|example| example == line), "{line} is in no help text any more");
    }
    let mut script = String::new();
    for example in examples.iter().filter(|line| !NOT_RUN.iter().any(|(not_run, _)| line == not_run)) {
        let status = ENDS.iter().find(|(line, _)| line == example).map_or(0, |(_, status)| *status);
        script += &format!(
            "at '{}'\nended=0; {{ {example}\n}} < /dev/null || ended=$?; is $ended {status}\n",
            example.replace('\'', "'\\''")
        );
    }
    Desk::for_examples().run("the examples", &script);
}

#[test]
fn the_examples_of_the_client_do_what_they_say() {
    run("thimble");
}

#[test]
fn the_examples_of_the_simulator_do_what_they_say() {
    run("thimble-sim");
}
