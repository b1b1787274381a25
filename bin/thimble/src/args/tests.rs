use super::*;
use crate::verbs::{Argument, GLOBALS, Value, page};

fn parse_line(line: &str) -> Result<Parsed, Usage> {
    parse(None, line.split_whitespace().map(OsString::from))
}

fn run(line: &str) -> Invocation {
    match parse_line(line) {
        Ok(Parsed::Run(invocation)) => invocation,
        other => panic!("{line}: {other:?}"),
    }
}

fn reason(line: &str) -> String {
    match parse_line(line) {
        Err(usage) => usage.reason,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn options_stand_anywhere_and_in_every_spelling() {
    let expected = run("--datastore /d install --reboot-exit-code --stop-before Cleanup a.mender");
    assert_eq!(expected.globals.datastore.as_deref(), Some("/d".as_ref()));
    assert_eq!(expected.source, "a.mender");
    assert!(expected.reboot_exit_code && expected.stop_before.contains(Stop::Cleanup));
    for line in [
        "-d /d install a.mender --reboot-exit-code --stop-before=Cleanup",
        "-d=/d install --stop-before Cleanup a.mender --reboot-exit-code=true",
        "-d/d install --stop-before Cleanup a.mender --reboot-exit-code",
        "--data=/d install --stop-before Cleanup --reboot-exit-code -- a.mender",
        "-data /d install -stop-before=Cleanup -reboot-exit-code a.mender",
        "-data=/d -no-syslog install -stop-before Cleanup -reboot-exit-code a.mender",
        "install a.mender -datastore /d --stop-before Cleanup --reboot-exit-code",
    ] {
        assert_eq!(run(line), expected, "{line}");
    }
}

#[test]
fn a_value_may_look_like_an_option() {
    assert_eq!(run("--config -data show-artifact").globals.config.as_deref(), Some("-data".as_ref()));
    assert_eq!(run("install -- -data").source, "-data");
    assert_eq!(run("install -- --help").source, "--help");
}

#[test]
fn all_global_options() {
    let globals = run("-c 1 -b 2 -d 3 -L 4 -l debug -E 5 --skipverify show-provides").globals;
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(
        globals,
        Globals {
            config: path("1"),
            fallback_config: path("2"),
            datastore: path("3"),
            log_file: path("4"),
            log_level: Some(Level::Debug),
            trusted_certs: path("5"),
            skip_verify: true,
        }
    );
}

#[test]
fn log_levels_have_any_case() {
    for (word, level) in
        [("DEBUG", Level::Debug), ("Warn", Level::Warning), ("panic", Level::Fatal), ("info", Level::Info)]
    {
        assert_eq!(run(&format!("-l {word} commit")).globals.log_level, Some(level), "{word}");
    }
}

#[test]
fn every_verb_parses_and_has_help() {
    for verb in VerbName::ALL {
        let is = |other| verb == other;
        let argument = if is(VerbName::Install) || is(VerbName::Inspect) {
            " x"
        } else if is(VerbName::Control) {
            " show"
        } else if is(VerbName::Snapshot) {
            " dump"
        } else {
            ""
        };
        assert_eq!(run(&format!("{}{argument}", verb.name())).verb, verb);
        for line in [
            format!("{} --help", verb.name()),
            format!("help {}", verb.name()),
            format!("-h {}", verb.name()),
        ] {
            assert_eq!(parse_line(&line), Ok(Parsed::Help(Some(verb))), "{line}");
        }
    }
    for line in ["--help", "-h", "help", "-help", "--help --version"] {
        assert_eq!(parse_line(line), Ok(Parsed::Help(None)), "{line}");
    }
    for line in ["--version", "-v", "-version"] {
        assert_eq!(parse_line(line), Ok(Parsed::Version), "{line}");
    }
}

#[test]
fn stop_before_is_repeatable() {
    let invocation = run("resume --stop-before Cleanup --stop-before ArtifactFailure_Enter");
    for stop in Stop::ALL {
        let expected = matches!(stop, Stop::Cleanup | Stop::ArtifactFailureEnter);
        assert_eq!(invocation.stop_before.contains(stop), expected, "{}", stop.name());
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    for (line, part) in [
        ("", "no verb was given"),
        ("bogus", "no verb \"bogus\""),
        ("instal x", "did you mean install?"),
        ("show-artefact", "did you mean show-artifact?"),
        ("--log-levle info commit", "did you mean --log-level?"),
        ("--rebot install x", "there is no option --rebot; did you mean --reboot-exit-code?"),
        ("install x -rebot", "there is no option -rebot; did you mean --reboot-exit-code?"),
        ("install x --stop-befor=Cleanup", "there is no option --stop-befor; did you mean --stop-before?"),
        ("install x -stop-befor=Cleanup", "there is no option -stop-befor; did you mean --stop-before?"),
        ("commit --stop", "did you mean --stop-before?"),
        ("--skip-verify commit", "did you mean --skipverify?"),
        ("-V", "there is no option -V; did you mean -v?"),
        ("status --jsno", "did you mean --json?"),
        ("show", "did you mean show-artifact?"),
        ("provides", "did you mean show-provides?"),
        ("control pasue", "control cannot \"pasue\"; did you mean pause?"),
        ("control show now", "control show takes no argument: now"),
        ("install --reboot-exitcode x", "did you mean --reboot-exit-code?"),
        ("--log-level LOUD commit", "trace, debug"),
        ("snapshot", "'snapshot dump'"),
        ("snapshot dump dump", "takes one argument"),
        ("setup --source /", "setup takes no --source"),
        ("setup --demo=perhaps", "is a switch"),
        ("--bogus commit", "no option --bogus"),
        ("--passphrase-file x daemon", "passphrase are not supported"),
        ("-x commit", "no option -x"),
        ("install", "needs an artifact"),
        ("install a b", "\"b\""),
        ("commit x", "takes no argument: x"),
        ("show-artifact --stop-before Cleanup", "takes no --stop-before"),
        ("commit --reboot-exit-code", "takes no --reboot-exit-code"),
        ("rollback --reboot-exit-code", "takes no --reboot-exit-code"),
        ("resume --stop-before Cleanups", "ArtifactRollback_Enter"),
        ("install x --stop-before", "needs a value"),
        ("--data", "needs a value"),
        ("-data", "needs a value"),
        ("--data= show-artifact", "is empty"),
        ("--log-level loud commit", "trace, debug"),
        ("--skipverify=maybe commit", "takes no value"),
        ("--version commit", "stands alone"),
        ("--version --version", "stands alone"),
    ] {
        let reason = reason(line);
        assert!(reason.contains(part), "{line}: {reason}");
    }
}

#[test]
fn bytes_that_are_no_text_are_a_path_or_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let parsed = parse(None, ["install".into(), odd.clone()]);
    assert!(matches!(parsed, Ok(Parsed::Run(Invocation { source, .. })) if source == odd));
    assert!(parse(None, [odd.clone()]).is_err());
    assert!(parse(None, ["--log-level".into(), odd.clone(), "commit".into()]).is_err());
    assert!(parse(None, ["resume".into(), "--stop-before".into(), odd]).is_err());
}

#[test]
fn what_is_said_about_options_is_what_is_read() {
    let said = |long: &str| {
        GLOBALS
            .iter()
            .chain(VerbName::ALL.into_iter().flat_map(|verb| page(verb).options))
            .find(|said| said.long == long)
    };
    for (long, short, _) in OPTIONS {
        // Mender 3's other names.
        let Some(said) = said(long).filter(|_| !matches!(long, "data" | "no-syslog" | "url")) else {
            assert!(matches!(long, "data" | "no-syslog" | "url"), "{long} is in no help text");
            continue;
        };
        assert_eq!(said.short, short, "{long}");
        let value = match said.value {
            Value::Nothing => "",
            Value::File | Value::Directory => "x",
            Value::Level | Value::State | Value::Points | Value::Compression => said.value.words()[0],
            Value::Other("TIME") => "1h",
            Value::Other("UUID") => "01234567-89ab-cdef-0123-456789abcdef",
            Value::Other(_) => "1",
        };
        let is_global = GLOBALS.iter().any(|said| said.long == long);
        for verb in VerbName::ALL {
            let argument = match page(verb).argument {
                Argument::Nothing => "",
                Argument::Artifact => "x",
                Argument::Act => "pause",
                Argument::Dump => "dump",
            };
            let line = format!("{} {argument} --{long} {value}", verb.name());
            let is_taken = match parse_line(&line) {
                Ok(_) => true,
                Err(usage) => {
                    let alone = usage.reason == "--version stands alone";
                    assert!(alone || usage.reason.contains(" takes no --"), "{line}: {}", usage.reason);
                    alone
                }
            };
            // Mender 3's daemon takes it as well.
            let silent = long == "forcebootstrap" && verb == VerbName::Daemon;
            assert_eq!(is_taken, is_global || verb.takes(long) || silent, "{line}");
        }
    }
    for said in GLOBALS.iter().chain(VerbName::ALL.into_iter().flat_map(|verb| page(verb).options)) {
        assert!(OPTIONS.iter().any(|(long, _, _)| *long == said.long), "{}", said.long);
    }
}
