//! Help texts. One table: the list of verbs and the page of each come from it.

use std::fmt::Write;

use thimble_core::machine::Stop;

use crate::args::VerbName;

struct Page {
    summary: &'static str,
    argument: &'static str,
    text: &'static str,
    examples: &'static [&'static str],
}

const fn page(verb: VerbName) -> Page {
    match verb {
        VerbName::Install => Page {
            summary: "Install an artifact from a file or URL",
            argument: " FILE|URL",
            text: "If the update module can roll back, the update then waits for 'commit' or 'rollback'; if not, it is\n\
                   committed at once. The device is never rebooted: that is left to you, before 'commit'.",
            examples: &[
                "install release-2.mender",
                "install https://updates.example.com/release-2.mender",
                "install --reboot-exit-code release-2.mender; [ $? = 4 ] && reboot",
            ],
        },
        VerbName::Commit => Page {
            summary: "Make the installed update permanent",
            argument: "",
            text: "Exit status 2 means that no update is in progress.",
            examples: &["commit"],
        },
        VerbName::Rollback => Page {
            summary: "Put the device back to what it was before the installed update",
            argument: "",
            text: "Possible until the update is committed. Exit status 2 means that no update is in progress.",
            examples: &["rollback"],
        },
        VerbName::Resume => Page {
            summary: "Go on with an update that was stopped or lost power",
            argument: "",
            text: "Exit status 2 means that no update is in progress.",
            examples: &["resume", "resume --stop-before ArtifactCommit_Leave"],
        },
        VerbName::ShowArtifact => Page {
            summary: "Print the name of the installed artifact",
            argument: "",
            text: "Prints \"unknown\" if nothing was ever installed.",
            examples: &["show-artifact"],
        },
        VerbName::ShowProvides => Page {
            summary: "Print what the installed artifacts provide, one key=value a line",
            argument: "",
            text: "",
            examples: &["show-provides", "--datastore /tmp/device show-provides"],
        },
        VerbName::ShowFlightRecord => Page {
            summary: "Print what the client did last",
            argument: "",
            text: "The client keeps its last events, some 170, in the records that it writes anyway: what ran and how it ended,\n\
                   what the server answered, what was put on record. Of a process that was killed, what it did after its\n\
                   last write is missing. A '!' marks what went wrong. --raw prints what 'thimble-sim replay' reads.",
            examples: &["show-flight-record", "show-flight-record --raw > flight.txt"],
        },
        VerbName::CheckUpdate => Page {
            summary: "Tell the daemon to ask for an update now",
            argument: "",
            text: "The daemon must be running.",
            examples: &["check-update"],
        },
        VerbName::SendInventory => Page {
            summary: "Tell the daemon to send the inventory now",
            argument: "",
            text: "The daemon must be running.",
            examples: &["send-inventory"],
        },
        VerbName::Daemon => Page {
            summary: "Take updates from the server",
            argument: "",
            text: "Stays in the foreground until it is told to end by SIGTERM, SIGINT or SIGQUIT; a deployment in progress\n\
                   goes on at the next start. SIGUSR1 looks for an update, SIGUSR2 sends the inventory.",
            examples: &["daemon"],
        },
        VerbName::Status => Page {
            summary: "Say what the daemon is doing",
            argument: "",
            text: "State, deployment, progress, how the last one ended, and what is wrong with the connection. Of a device with\n\
                   two root file systems also the boot loader and what each slot does, without a daemon too.\n\
                   --json prints the same for programs.",
            examples: &["status", "status --json"],
        },
        VerbName::Control => Page {
            summary: "Hold updates up, let them go on, or fail them",
            argument: " show|pause|continue|fail",
            text: "Updates of the daemon can be held up before they are installed, before the reboot, and before they are\n\
                   committed.\n\n  \
                   show      what waits and why, every update control map, every policy\n  \
                   pause     updates wait, until 'continue' or for the time of --for\n  \
                   continue  takes 'pause' and 'fail' back; an update that waits goes on, whatever holds it up. With\n            \
                   --at, for an update that is not there yet: it passes that point once, unless a map\n            \
                   of the same priority or a higher one objects\n  \
                   fail      the update that waits, or the next, fails, and is rolled back if it was installed\n\n\
                   Without --at: before install, reboot and commit. Orders outlive a reboot. Orders given under one name\n\
                   share one duration.",
            examples: &[
                "control show",
                "control pause --at reboot --for 2h",
                "control continue",
                "control fail --at commit",
            ],
        },
        VerbName::Bootstrap => Page {
            summary: "Make the device's key if there is none, and ask the server to accept it",
            argument: "",
            text: "--forcebootstrap makes a new key: to the server this becomes another device.",
            examples: &["bootstrap"],
        },
    }
}

/// The long name, in the width of its column, and what it does.
const GLOBALS: [(&str, &str); 9] = [
    ("-c, --config FILE", "configuration [/etc/mender/mender.conf]"),
    ("-b, --fallback-config FILE", "configuration read before it [mender.conf in the datastore]"),
    ("-d, --datastore DIR", "records, keys, work files [/var/lib/mender]; also --data"),
    ("-l, --log-level LEVEL", "trace, debug, info, warning, error or fatal [info]"),
    ("-L, --log-file FILE", "log to FILE instead of standard error"),
    ("-E, --trusted-certs FILE", "trust the certificates in FILE as well"),
    ("    --skipverify", "do not verify the server's certificate: for tests only"),
    ("-h, --help", "print help, also after a verb"),
    ("-v, --version", "print the version"),
];

/// The help text: of `verb`, or the overview. `program` is the name the client was called by.
pub(crate) fn text(program: &str, verb: Option<VerbName>) -> String {
    verb.map_or_else(|| overview(program), |verb| verb_page(program, verb))
}

fn overview(program: &str) -> String {
    let mut out = format!(
        "{program} {}\nUpdates this device: installs Mender artifacts, from files or over the network.\n\n\
         Usage: {program} [OPTIONS] VERB [ARGUMENT]\n\nVerbs:\n",
        env!("CARGO_PKG_VERSION")
    );
    for verb in VerbName::ALL {
        line(&mut out, verb.name(), page(verb).summary, 20);
    }
    options(&mut out, &[]);
    out.push_str(
        "\nExit status: 0 done, 1 failed (the reason is the last line on standard error), 2 no update in progress,\n\
         4 done and a reboot is needed (only with --reboot-exit-code).\n\n\
         The directories can also be set by MENDER_CONF_DIR, MENDER_DATA_DIR and MENDER_DATASTORE_DIR.\n",
    );
    let _ = writeln!(out, "'{program} VERB --help' says more of a verb.");
    out
}

fn verb_page(program: &str, verb: VerbName) -> String {
    let page = page(verb);
    let mut out =
        format!("{}.\n\nUsage: {program} [OPTIONS] {}{}\n", page.summary, verb.name(), page.argument);
    if !page.text.is_empty() {
        let _ = write!(out, "\n{}\n", page.text);
    }
    let stops = format!(
        "stop before that state; 'resume' goes on; repeatable:\n{:32}{}",
        "",
        Stop::ALL.map(Stop::name).join(&format!(",\n{:32}", ""))
    );
    let mut own = Vec::new();
    if verb.can_ask_for_reboot() {
        own.push(("    --reboot-exit-code", "exit with 4 when the update needs a reboot to take effect"));
    }
    if verb.can_stop() {
        own.push(("    --stop-before STATE", stops.as_str()));
    }
    if verb == VerbName::Control {
        own.extend([
            ("    --at POINT", "install, reboot or commit; several with commas between them"),
            ("    --for TIME", "such as 90s, 15m, 2h or 7d; 'pause' then lets updates go on"),
            ("    --id UUID", "in another name, so that several may hold updates up [the operator's]"),
            ("    --priority N", "-10 to 10; higher ones are asked first [10]"),
        ]);
    }
    if matches!(verb, VerbName::Control | VerbName::Status | VerbName::ShowFlightRecord) {
        own.push(("    --json", "for programs"));
    }
    if verb == VerbName::ShowFlightRecord {
        own.push(("    --raw", "the record itself, in hexadecimal digits"));
    }
    options(&mut out, &own);
    out.push_str("\nExamples:\n");
    for example in page.examples {
        let _ = writeln!(out, "  {program} {example}");
    }
    out
}

fn options(out: &mut String, own: &[(&str, &str)]) {
    out.push_str("\nOptions:\n");
    for (name, text) in own.iter().chain(&GLOBALS) {
        line(out, name, text, 30);
    }
}

fn line(out: &mut String, name: &str, text: &str, width: usize) {
    let _ = writeln!(out, "  {name:width$}{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_fits_a_terminal_and_names_its_verb() {
        for verb in [None].into_iter().chain(VerbName::ALL.map(Some)) {
            let text = text("mender", verb);
            assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 110), "{text}");
            assert!(text.contains("Usage: mender [OPTIONS]") && text.contains("--datastore"), "{text}");
            if let Some(verb) = verb {
                assert!(
                    text.contains(&format!("\n  mender {}", verb.name())) || verb == VerbName::ShowProvides,
                    "{text}"
                );
                assert_eq!(
                    text.contains("ArtifactCommit_Leave\n") || text.contains("Cleanup"),
                    verb.can_stop(),
                    "{text}"
                );
            }
        }
    }
}
