use super::*;
use crate::runner::DEPLOYMENT;

fn read(text: &str) -> Scenario {
    Scenario::read(text.as_bytes()).unwrap_or_else(|complaints| panic!("{text}\n{complaints}"))
}

/// What is wrong with it, without the name of the file.
fn wrong(text: impl AsRef<[u8]>) -> Vec<String> {
    let complaints = Scenario::read(text.as_ref()).expect_err("it makes no sense");
    complaints.0.iter().map(|Complaint { line, text }| format!("{line}: {text}")).collect()
}

/// The timelines, one below the other.
fn happens(text: &str) -> String {
    let happened = read(text).run();
    assert!(happened.unused.is_empty() && happened.stopped.is_none(), "{happened:?}");
    happened.scenario.timelines().map(|timeline| timeline.join("\n")).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn the_example_of_every_word_has_it_and_runs() {
    for word in words::all() {
        let uses = |line: &str| line.split_whitespace().next() == Some(word.name);
        assert!(word.example.lines().any(uses), "{}", word.name);
        assert!(!happens(word.example).is_empty(), "{}", word.name);
        assert!(word.form.lines().all(|form| form.starts_with(word.name)), "{}", word.form);
        assert_eq!(words::all().filter(|other| other.name == word.name).count(), 1, "{}", word.name);
    }
}

#[test]
fn each_line_that_makes_no_sense_is_told_with_what_is_meant() {
    for (line, told) in [
        ("rnu", "`rnu` is no word of a scenario; is run meant?"),
        ("---", "`---` is no word of a scenario; is ---- meant?"),
        ("lose power in save", "`lose` is no word of a scenario; is lose-power meant?"),
        ("map pause ArtifactReboot_Enter", "map: `before` is missing in front of `ArtifactReboot_Enter`"),
        ("order pause ArtifactReboot_Enter", "order: `before` is missing in front of `ArtifactReboot_Enter`"),
        ("wait 10 minutes", "wait: `minutes` is no unit of time; is min meant?"),
        ("frobnicate", "`frobnicate` is no word of a scenario; `thimble-sim words` prints them"),
        ("device sluts", "device: `sluts` is no device; is slots meant?"),
        (
            "device",
            "device: a device is missing at the end of the line: slots, files, custom, one-way, empty and wrong",
        ),
        ("device slots files", "device: nothing may follow here: `files` is one word too many"),
        ("fail", "fail: what fails is missing at the end of the line"),
        ("fail ArtifactInstal", "fail: `ArtifactInstal` is nothing that happens; is ArtifactInstall meant?"),
        (
            "fail everything",
            "fail: `everything` is nothing that happens: a script (ArtifactInstall_Enter), a call of the update module \
             (ArtifactInstall), a status (installing), reboot, save or mark is meant",
        ),
        (
            "fail reboot 0",
            "fail: `0` is no number from 1 to 10000: the second time is 2, the second to fourth 2-4, each time always",
        ),
        (
            "fail reboot twice",
            "fail: `twice` is no number from 1 to 10000: the second time is 2, the second to fourth 2-4, each time always",
        ),
        ("fail reboot 5-2", "fail: `5-2` ends before it begins"),
        (
            "retry-later reboot",
            "retry-later: `reboot` is no script: only a script may ask for a retry, as ArtifactInstall_Enter",
        ),
        ("abort at reboot", "abort: `reboot` is no status; is rebooting meant?"),
        ("abort installing", "abort: `installing` stands where `at` is wanted"),
        ("lose-power during save", "lose-power: `during` is no moment; known are before, in and after"),
        ("wait", "wait: a time, as in 30 s, 10 min or 2 h, is missing at the end of the line"),
        (
            "wait 99999999999999999999 h",
            "wait: `99999999999999999999` is out of range: a time is from 1 s to 8784 h",
        ),
        ("wait 8785 h", "wait: `8785` is out of range: a time is from 1 s to 8784 h"),
        ("wait 0 s", "wait: `0` is out of range: a time is from 1 s to 8784 h"),
        ("wait 10 m", "wait: `m` is no unit of time; known are s, min and h"),
        ("wait -1 h", "wait: `-1` is no number: a time is a number and a unit, as in 30 s, 10 min or 2 h"),
        ("clock 25:99", "clock: `25:99` is no time of day: 00:00 to 23:59 are"),
        ("clock +1:00", "clock: `+1:00` is no time of day: 00:00 to 23:59 are"),
        ("window 02:00 before ArtifactReboot_Enter", "window: `02:00` is no window: 02:00-04:00 is one"),
        (
            "window 02:00-02:00 before ArtifactReboot_Enter",
            "window: a window has to end at another time than it begins",
        ),
        ("free before ArtifactReboot", "free: `ArtifactReboot` is no point; is ArtifactReboot_Enter meant?"),
        (
            "busy before ArtifactReboot_Enter at work",
            "busy: a colon and the reason are missing behind `ArtifactReboot_Enter`",
        ),
        ("busy before ArtifactReboot_Enter:", "busy: the reason is missing behind the colon"),
        ("map", "map: what the map says is missing at the end of the line"),
        (
            "map null",
            "map: `null` is no action of a map; known are none, continue, force_continue, pause and fail",
        ),
        ("map pause", "map: `before` and the point are missing"),
        (
            "map none before ArtifactReboot_Enter",
            "map: `before` is no word of a map; known are priority and by",
        ),
        ("map none priority 11", "map: `11` is no number from -10 to 10"),
        (
            "map none by 340282366920938463463374607431768211456",
            "map: `340282366920938463463374607431768211456` is no number from 1 to 999999",
        ),
        ("map none by 1 by 2", "map: `by` stands there twice"),
        (
            "map pause before ArtifactReboot_Enter,ArtifactReboot_Enter",
            "map: ArtifactReboot_Enter stands there twice",
        ),
        (
            "map pause before ArtifactReboot_Enter expired pause",
            "map: update control map refused: `on_map_expire` has a value that it cannot have",
        ),
        ("map {\"id\":\"x\"}", "map: update control map refused: `id` must be a UUID of 36 characters"),
        ("server-map none by 1", "server-map: `by` is no word of a map; known are priority"),
        ("order lift for 1 h", "order: `for` is no word of an order; known are before"),
        ("order wait", "order: `wait` is no order; known are pause, pass, fail and lift"),
        ("deploy", "deploy: the name of the artifact is missing at the end of the line"),
        (
            "stop-before ArtifactReboot_Enter",
            "stop-before: `ArtifactReboot_Enter` is no point; is ArtifactCommit_Enter meant?",
        ),
        ("run \u{1b}[31m", "run: nothing may follow here: `\\u{1b}[31m` is one word too many"),
    ] {
        // It is told before anything is done, whatever stands behind it.
        assert_eq!(wrong(format!("# What is tried\n{line}\nrun\n")), [format!("2: {told}")], "{line}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "fail ArtifactInstall\nrun\ndevice files\nlose-power in ArtifactInstall always\nstop-before Cleanup\nrnu\n\
                ----\nx\n----\n\nno-deployment\n\n# Nothing follows.\n";
    let expected = [
        "3: `device` says how the device is before anything happens, and stands before `run` in line 2",
        "4: line 1 says already what happens to ArtifactInstall (time 1)",
        "5: stop-before: no install, commit, rollback or resume follows in this part",
        "6: `rnu` is no word of a scenario; is run meant?",
        "9: a second `----`: a blank line ends a part, and the next begins behind it",
        "11: `no-deployment` says how the device is before anything happens, and stands before `run` in line 2",
        "11: nothing happens in this part: `run` or another word that does something is missing",
    ];
    assert_eq!(wrong(text), expected);
    let told = Scenario::read("x\n".repeat(23).as_bytes()).unwrap_err().told("x.txt");
    assert_eq!(told.lines().count(), limits::COMPLAINTS + 1);
    assert!(told.starts_with("x.txt:1: `x` is no word") && told.ends_with("\nx.txt: and 3 more"), "{told}");
}

#[test]
fn what_belongs_together_is_compared() {
    for (text, told) in [
        ("device files\ndevice slots\nrun\n", "2: `device` stands in line 1 already"),
        (
            "fail save 2-3\nlose-power in save 3\nrun\n",
            "2: line 1 says already what happens to save (time 3)",
        ),
        (
            "no-deployment\nserver-map aborted\n",
            "2: server-map: the server has no deployment here; `deploy` comes first",
        ),
        (
            "server-map {\"id\":\"01234567-89ab-cdef-0123-456789abcdef\"}\nrun\n",
            "1: server-map: the id is that of no deployment here; the last has 5100ed00-0000-4000-8000-000000000001",
        ),
        (
            "fail save\n",
            "1: nothing happens in this part: `run` or another word that does something is missing",
        ),
        ("----\nx\n", "1: nothing is done before this `----`"),
        ("run\n----\nx\n\n# y\n", "5: a comment belongs to the lines behind it, and none follow"),
        ("", "1: nothing is in this file; the shortest scenario is the line `run`"),
        ("\n \n", "1: nothing is in this file; the shortest scenario is the line `run`"),
    ] {
        assert_eq!(wrong(text), [told], "{text}");
    }
}

#[test]
fn what_is_no_scenario_at_all_ends_in_one_line() {
    let commands = format!("more than {} lines: no scenario has so many", limits::COMMANDS);
    let parts = format!("more than {} parts: no scenario has so many", limits::PARTS);
    let binary = [&[0xff; 100][..], b"\n"].concat();
    for (bytes, told) in [
        (vec![b'x'; 1_000_000], "1: longer than 262144 bytes: no scenario is".to_owned()),
        (vec![b'x'; 100_000], "1: longer than 8192 bytes: no line of a scenario is".into()),
        (binary, "1: this is not text in UTF-8".into()),
        (b"run\nrun \xff\n".to_vec(), "2: this is not text in UTF-8".into()),
        (vec![0; 9000], "1: longer than 8192 bytes: no line of a scenario is".into()),
        (
            b"\xef\xbb\xbfrun\n".to_vec(),
            "1: the file begins with a byte order mark: save it as UTF-8 without one".into(),
        ),
        ("run\n".repeat(5000).into_bytes(), format!("{}: {commands}", limits::COMMANDS + 1)),
        ("run\n----\nx\n\n".repeat(900).into_bytes(), format!("{}: {parts}", limits::PARTS * 4 + 1)),
        (
            format!("map {}", "{\"a\":".repeat(1600)).into_bytes(),
            "1: map: update control map refused: longer than 4096 bytes".into(),
        ),
    ] {
        assert_eq!(wrong(&bytes), [told]);
    }
    let deep = wrong(format!("map {}", "[".repeat(4000)));
    assert!(deep.len() == 1 && deep[0].starts_with("1: map: update control map refused: "), "{deep:?}");
}

#[test]
fn a_scenario_that_does_not_end_is_stopped() {
    let happened = read("lose-power in save always\nrun\n").run();
    let stopped = happened.stopped.expect("it does not end by itself");
    assert_eq!(stopped.line, 2);
    assert_eq!(stopped.text, "the scenario does not end: the daemon has done something 300000 times");
    let timeline = happened.scenario.timelines().next().map(<[String]>::len);
    assert_eq!(timeline, Some(limits::STOPPED));
}

#[test]
fn what_was_to_go_wrong_and_never_did_is_told_with_what_happened() {
    for (text, told) in [
        ("fail ArtifactReboot\nrun\n", "1: never used: ArtifactReboot never happened"),
        (
            "fail ArtifactInstall 3\nrun\n",
            "1: never used: ArtifactInstall happened once, the line is for the third time",
        ),
        (
            "fail installing 5-9\nrun\n",
            "1: never used: installing happened twice, the line is for times 5 to 9",
        ),
        ("fail save 111\nrun\n", "1: never used: save happened 12 times, the line is for the 111th time"),
        ("no-deployment\nlose-power in Download always\nrun\n", "2: never used: Download never happened"),
        (
            "run\n----\nx\n\nfail ArtifactInstall\nrun\n",
            "5: never used: ArtifactInstall happened once before this line, which is for the first time; times are \
             counted from the beginning of the scenario",
        ),
        (
            "busy before ArtifactReboot_Enter,ArtifactInstall_Enter: at work\nfree before \
             ArtifactInstall_Enter,ArtifactReboot_Enter\nrun\n",
            "1: never used: no update came to ArtifactReboot_Enter or ArtifactInstall_Enter while this line counted",
        ),
        (
            "device files\nnever before ArtifactReboot_Enter: at work\nrun\n",
            "2: never used: no update came to ArtifactReboot_Enter while this line counted",
        ),
    ] {
        let happened = read(text).run();
        assert_eq!(happened.stopped, None, "{text}");
        let unused: Vec<String> =
            happened.unused.iter().map(|Complaint { line, text }| format!("{line}: {text}")).collect();
        assert_eq!(unused, [told], "{text}");
    }
    // One of the points of a line is enough, and so is one of the times.
    happens("device files\nwindow 00:00-04:00 before ArtifactReboot_Enter,ArtifactCommit_Enter\nrun\n");
    happens("fail installing 2-9\nrun\n");
}

#[test]
fn a_line_that_cannot_be_done_stops_the_scenario_there() {
    for (text, told) in [
        ("run\napprove\n", "2: approve: no update waits here"),
        (
            "order pause\nrun\ncommit\n",
            "3: the daemon runs, and a verb of the command line would be refused: `reboot` ends it here",
        ),
    ] {
        let Complaint { line, text } = read(text).run().stopped.expect("it stops");
        assert_eq!(format!("{line}: {text}"), told);
    }
}

#[test]
fn refusals_stand_in_the_timeline_in_words() {
    assert!(happens("commit\n").starts_with("refused: no update in progress\n"));
    let timeline = happens("device files\ninstall\ninstall\n");
    assert!(
        timeline.contains(
            "\nrefused: an update is in progress already: finish it first with 'resume' or 'commit' or 'rollback'\n"
        ),
        "{timeline}"
    );
    let maps: String = (1..=9).map(|by| format!("map pause before ArtifactCommit_Enter by {by}\n")).collect();
    let timeline = happens(&format!("no-deployment\n{maps}"));
    assert!(
        timeline.starts_with("refused: there are already 8 update control maps; delete one first\n"),
        "{timeline}"
    );
}

#[test]
fn reasons_and_long_waits_stand_where_they_belong() {
    let timeline =
        happens("device files\nretry-later ArtifactInstall_Enter 1-2\nfail ArtifactInstall\nrun\n");
    assert!(
        timeline.contains(
            "-- installing\n\
             ArtifactInstall_Enter (3 times in 120 s)\n\
             ArtifactInstall\n\
             !! the update module ended ArtifactInstall with exit status 1\n\
             ArtifactInstall_Error\n"
        ),
        "{timeline}"
    );
    let timeline = happens("order pause before ArtifactInstall_Enter for 20 min\nrun\nwait 25 min\n");
    assert!(
        timeline.contains("-- pause_before_installing\n.. 20 minutes later\n-- installing\n"),
        "{timeline}"
    );
}

#[test]
fn no_failure_goes_without_a_reason() {
    let mut failures = 0;
    for what in commands::names() {
        for device in ["slots", "files", "custom", "one-way", "empty"] {
            for wrong in ["fail", "lose-power in", "lose-power after"] {
                for verbs in ["run", "install\nreboot\ncommit\nreboot\nresume"] {
                    let text = format!("device {device}\n{wrong} {what}\n{verbs}\n");
                    let happened = read(&text).run();
                    assert_eq!(happened.stopped, None, "{text}");
                    let timeline = happened.scenario.timelines().next().unwrap_or_default();
                    let failure = timeline.iter().position(|line| line == "-- failure" || line == "exit: 1");
                    failures += usize::from(failure.is_some());
                    let before = timeline.get(..failure.unwrap_or(0)).unwrap_or_default();
                    // A verb that finds an interrupted update logs nothing of it: what the user sees is the program's.
                    let is_interrupted = verbs != "run" && before.iter().any(|line| line == "** power lost");
                    let is_told = is_interrupted || before.iter().any(|line| line.starts_with("!! "));
                    assert!(failure.is_none() || is_told, "{text}{}", timeline.join("\n"));
                }
            }
        }
    }
    assert!(failures > 100, "{failures}");
}

#[test]
fn each_deployment_has_its_id_and_a_map_of_the_server_is_for_it() {
    assert_eq!(deployment_id(1), DEPLOYMENT);
    let timeline =
        happens("device files\nrun\ndeploy next\nserver-map pause before ArtifactInstall_Enter\nrun\n");
    assert!(
        timeline.contains(
            "waits before ArtifactInstall_Enter: update control map 5100ed00-0000-4000-8000-000000000002"
        ),
        "{timeline}"
    );
    let json = "{\"id\":\"5100ed00-0000-4000-8000-000000000001\",\"states\":{\"ArtifactInstall_Enter\":{\"action\":\"fail\"}}}";
    let timeline = happens(&format!("device files\nserver-map {json}\nrun\n"));
    assert!(timeline.contains("said fail"), "{timeline}");
    let timeline = happens("device files\nserver-map unreadable\nrun\n");
    assert!(timeline.contains("!! ") && timeline.contains("-- failure"), "{timeline}");
}

#[test]
fn a_scenario_is_written_as_it_was_read() {
    let text = "\n# One.\n\ndevice files\n  run\n----\n-- x\n\n\nwait 1 h\n";
    assert_eq!(read(text).to_string(), text);
    assert_eq!(read("run\r\n----\r\nx").to_string(), "run\n----\nx\n");
}
