//! The verbs, and what is said about them and their options: one table, from which help texts, the manual page and the shells'
//! completions are made, and by which the command line is read.

use std::ffi::OsStr;

use thimble_core::deployment::Point;
use thimble_core::hal::Level;
use thimble_core::machine::Stop;
use thimble_hal_linux::snapshot::Compression;

use crate::control_request::Act;

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerbName {
    Install,
    Inspect,
    Doctor,
    Resume,
    Commit,
    Rollback,
    ShowArtifact,
    ShowProvides,
    ShowFlightRecord,
    CheckUpdate,
    SendInventory,
    Daemon,
    Bootstrap,
    Status,
    Control,
    Setup,
    Snapshot,
    ExportMender,
}

impl VerbName {
    /// All verbs, in the order of the help text.
    pub(crate) const ALL: [Self; 18] = [
        Self::Install,
        Self::Inspect,
        Self::Doctor,
        Self::Commit,
        Self::Rollback,
        Self::Resume,
        Self::ShowArtifact,
        Self::ShowProvides,
        Self::ShowFlightRecord,
        Self::CheckUpdate,
        Self::SendInventory,
        Self::Daemon,
        Self::Status,
        Self::Control,
        Self::Bootstrap,
        Self::Setup,
        Self::Snapshot,
        Self::ExportMender,
    ];

    /// The word on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Inspect => "inspect",
            Self::Doctor => "doctor",
            Self::Resume => "resume",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::ShowArtifact => "show-artifact",
            Self::ShowProvides => "show-provides",
            Self::ShowFlightRecord => "show-flight-record",
            Self::CheckUpdate => "check-update",
            Self::SendInventory => "send-inventory",
            Self::Daemon => "daemon",
            Self::Bootstrap => "bootstrap",
            Self::Status => "status",
            Self::Control => "control",
            Self::Setup => "setup",
            Self::Snapshot => "snapshot",
            Self::ExportMender => "export-mender",
        }
    }

    /// Whether it has the option with this long name, beside those of all verbs.
    pub(crate) fn takes(self, option: &str) -> bool {
        page(self).options.iter().any(|switch| switch.long == option)
    }

    /// The verb that a name of the program stands for: Mender has programs of their own for some.
    pub(crate) fn of_program(name: &str) -> Option<Self> {
        match name {
            "mender-setup" => Some(Self::Setup),
            "mender-snapshot" => Some(Self::Snapshot),
            _ => None,
        }
    }

    pub(crate) fn find(word: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| word == verb.name())
    }
}

/// Whether an option that only one verb has takes no value.
pub(crate) fn is_switch(long: &str) -> bool {
    let mut all = VerbName::ALL.into_iter().flat_map(|verb| page(verb).options);
    all.any(|switch| switch.long == long && switch.value == Value::Nothing)
}

/// What is said about a verb.
pub(crate) struct Page {
    /// One line, without a full stop.
    pub(crate) summary: &'static str,
    pub(crate) argument: Argument,
    /// Paragraphs with an empty line between them, in lines for a terminal; a line that begins with a blank is kept as
    /// it is, everywhere. May be empty.
    pub(crate) text: &'static str,
    /// Beside those of all verbs.
    pub(crate) options: &'static [Switch],
    /// What may stand behind the program's name.
    pub(crate) examples: &'static [&'static str],
}

/// What stands behind a verb.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    Nothing,
    /// An artifact's file, or its URL.
    Artifact,
    /// What `control` is to do.
    Act,
    /// What `snapshot` is to do: one word, so that Mender's name of it works.
    Dump,
}

impl Argument {
    /// As usage shows it.
    pub(crate) fn placeholder(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Artifact => "FILE|URL".to_owned(),
            Self::Act | Self::Dump => self.words().join("|"),
        }
    }

    /// The words that can stand there, if there are only so many.
    pub(crate) fn words(self) -> Vec<&'static str> {
        match self {
            Self::Nothing | Self::Artifact => Vec::new(),
            Self::Act => Act::ALL.map(Act::word).to_vec(),
            Self::Dump => vec!["dump"],
        }
    }
}

/// What is said about an option.
pub(crate) struct Switch {
    pub(crate) short: Option<char>,
    pub(crate) long: &'static str,
    pub(crate) value: Value,
    pub(crate) text: &'static str,
}

/// What stands behind an option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    File,
    Directory,
    Level,
    State,
    /// Points at which updates can wait; several with commas between them.
    Points,
    /// How a snapshot is compressed.
    Compression,
    /// Anything, called so.
    Other(&'static str),
}

impl Value {
    /// As help texts call it.
    pub(crate) const fn placeholder(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::File => "FILE",
            Self::Directory => "DIR",
            Self::Level => "LEVEL",
            Self::State => "STATE",
            Self::Points => "POINT",
            Self::Compression => "KIND",
            Self::Other(name) => name,
        }
    }

    /// Whether a text that lists the options lists the words too: those of the others are few, and their text has them.
    pub(crate) fn lists_words(self) -> bool {
        self == Self::State
    }

    /// The words that can stand there, if there are only so many.
    pub(crate) fn words(self) -> Vec<&'static str> {
        match self {
            Self::Nothing | Self::File | Self::Directory | Self::Other(_) => Vec::new(),
            Self::Level => Level::ALL.map(Level::name).to_vec(),
            Self::State => Stop::ALL.map(Stop::name).to_vec(),
            Self::Points => Point::ALL.map(Point::word).to_vec(),
            Self::Compression => Compression::ALL.map(Compression::name).to_vec(),
        }
    }
}

/// What the program is for.
pub(crate) const ABOUT: &str =
    "Updates this device: installs Mender artifacts, from files or over the network.";

/// The statuses it ends with.
pub(crate) const EXIT_STATUS: &str = "0 done, 1 failed (the reason is the last line on standard error), 2 no update in progress,\n\
                                      4 done and a reboot is needed (only with --reboot-exit-code).";

/// What of the environment it heeds.
pub(crate) const ENVIRONMENT: &str =
    "The directories can also be set by MENDER_CONF_DIR, MENDER_DATA_DIR and MENDER_DATASTORE_DIR.";

const fn switch(short: Option<char>, long: &'static str, value: Value, text: &'static str) -> Switch {
    Switch { short, long, value, text }
}

/// Options of all verbs.
#[rustfmt::skip]
pub(crate) const GLOBALS: [Switch; 9] = [
    switch(Some('c'), "config", Value::File, "configuration [/etc/mender/mender.conf]"),
    switch(Some('b'), "fallback-config", Value::File, "configuration read before it [mender.conf in the datastore]"),
    switch(Some('d'), "datastore", Value::Directory, "records, keys, work files [/var/lib/mender]; also --data"),
    switch(Some('l'), "log-level", Value::Level, "trace, debug, info, warning, error or fatal [info]"),
    switch(Some('L'), "log-file", Value::File, "log to FILE instead of standard error"),
    switch(Some('E'), "trusted-certs", Value::File, "trust the certificates in FILE as well"),
    switch(None, "skipverify", Value::Nothing, "do not verify the server's certificate: for tests only"),
    switch(Some('h'), "help", Value::Nothing, "print help, also after a verb"),
    switch(Some('v'), "version", Value::Nothing, "print the version"),
];

const REBOOT_EXIT_CODE: Switch = switch(
    None,
    "reboot-exit-code",
    Value::Nothing,
    "exit with 4 when the update needs a reboot to take effect",
);
const STOP_BEFORE: Switch =
    switch(None, "stop-before", Value::State, "stop before that state; 'resume' goes on; repeatable");
const JSON: Switch = switch(None, "json", Value::Nothing, "for programs");
const WATCH: Switch =
    switch(None, "watch", Value::Nothing, "go on: draw it anew every second, or a line for each change");
const RAW: Switch = switch(None, "raw", Value::Nothing, "the record itself, in hexadecimal digits");
const CHECK: Switch =
    switch(None, "check", Value::Nothing, "only say whether it would be installed; changes nothing");
const JSON_OF_CHECK: Switch = switch(None, "json", Value::Nothing, "for programs; with --check");
const FORCE: Switch = switch(
    Some('F'),
    "forcebootstrap",
    Value::Nothing,
    "make a new key: to the server this becomes another device",
);

#[rustfmt::skip]
const OF_CONTROL: [Switch; 5] = [
    switch(None, "at", Value::Points, "install, reboot or commit; several with commas between them"),
    switch(None, "for", Value::Other("TIME"), "such as 90s, 15m, 1h30m or 7d; 'pause' then lets updates go on"),
    switch(None, "id", Value::Other("UUID"), "in another name, so that several may hold updates up [the operator's]"),
    switch(None, "priority", Value::Other("N"), "-10 to 10; higher ones are asked first [10]"),
    JSON,
];

const QUIET: Switch = switch(Some('q'), "quiet", Value::Nothing, "say nothing but errors");

#[rustfmt::skip]
const OF_SETUP: [Switch; 15] = [
    switch(None, "device-type", Value::Other("TYPE"), "letters, digits, - and _ [what is set, or the name of the machine]"),
    switch(None, "server-url", Value::Other("URL"), "of the server; also --url"),
    switch(None, "server-cert", Value::File, "certificates that the server's may be signed by, beside the system's"),
    switch(None, "tenant-token", Value::Other("TOKEN"), "which organization of a server this device belongs to"),
    switch(None, "hosted-mender", Value::Nothing, "the server is https://hosted.mender.io"),
    switch(None, "update-poll", Value::Other("SECONDS"), "how often to ask for an update [1800]"),
    switch(None, "inventory-poll", Value::Other("SECONDS"), "how often to send the inventory [28800]"),
    switch(None, "retry-poll", Value::Other("SECONDS"), "longest wait after a failure [300]"),
    switch(None, "demo", Value::Nothing, "--demo-server and --demo-polling"),
    switch(None, "demo-server", Value::Nothing, "the server is docker.mender.io at --server-ip, for trying out"),
    switch(None, "demo-polling", Value::Nothing, "ask every 5 seconds, for trying out"),
    switch(None, "server-ip", Value::Other("ADDRESS"), "of the demo server, for /etc/hosts [127.0.0.1]"),
    switch(None, "username", Value::Other("E-MAIL"), "of an account at hosted.mender.io, to fetch the tenant token with"),
    switch(None, "password", Value::Other("PASSWORD"), "of that account; better not given: it is asked at the terminal, and not shown"),
    QUIET,
];

#[rustfmt::skip]
const OF_SNAPSHOT: [Switch; 3] = [
    switch(None, "source", Value::File, "a directory in the file system, or its block device [/]"),
    switch(Some('C'), "compression", Value::Compression, "none, or gzip or zstd by the programs of these names [none]"),
    QUIET,
];

/// What is said about a verb.
pub(crate) const fn page(verb: VerbName) -> Page {
    match verb {
        VerbName::Install => Page {
            summary: "Install an artifact from a file or URL",
            argument: Argument::Artifact,
            text: "If the update module can roll back, the update then waits for 'commit' or 'rollback'; if not, it is\n\
                   committed at once. The device is never rebooted: that is left to you, before 'commit'.\n\n\
                   With --check nothing is changed: what 'inspect' prints is printed, and the exit status is 0 if nothing that\n\
                   can be known before stands against the installation, else 1.",
            options: &[REBOOT_EXIT_CODE, STOP_BEFORE, CHECK, JSON_OF_CHECK],
            examples: &[
                "install release-2.mender",
                "install --check release-2.mender",
                "install https://updates.example.com/release-2.mender",
                "install --reboot-exit-code release-2.mender; [ $? = 4 ] && reboot",
            ],
        },
        VerbName::Inspect => Page {
            summary: "Say what an artifact is, and whether this device would take it",
            argument: Argument::Artifact,
            text: "Reads it to its end, compares every checksum, and its signature if ArtifactVerifyKeys are set. Changes\n\
                   nothing. Of this device it says whether type, what is installed, update module and space fit: good,\n\
                   doubtful, unknown or refused. Works on any machine. Exit status 1 means that the artifact is not good, or\n\
                   cannot be read; whether it fits, 'install --check' says by its status.",
            options: &[JSON],
            examples: &[
                "inspect release-2.mender",
                "inspect --json https://updates.example.com/release-2.mender",
            ],
        },
        VerbName::Doctor => Page {
            summary: "Say what stops updates on this device, and what to mend first",
            argument: Argument::Nothing,
            text: "For before the first update. Looks at datastore, configuration, device type, clock, keys, certificates,\n\
                   servers, state scripts, update modules, boot loader and slots; changes nothing, and no server hears who\n\
                   asks. What stops updates comes first, in the order in which to mend it. Exit status 1 means that something\n\
                   does. Needs no root for what anybody may see, and says what it could not see.",
            options: &[JSON],
            examples: &["doctor", "doctor --json"],
        },
        VerbName::Commit => Page {
            summary: "Make the installed update permanent",
            argument: Argument::Nothing,
            text: "Exit status 2 means that no update is in progress.",
            options: &[STOP_BEFORE],
            examples: &["commit"],
        },
        VerbName::Rollback => Page {
            summary: "Put the device back to what it was before the installed update",
            argument: Argument::Nothing,
            text: "Possible until the update is committed. Exit status 2 means that no update is in progress.",
            options: &[STOP_BEFORE],
            examples: &["rollback"],
        },
        VerbName::Resume => Page {
            summary: "Go on with an update that was stopped or lost power",
            argument: Argument::Nothing,
            text: "Exit status 2 means that no update is in progress.",
            options: &[REBOOT_EXIT_CODE, STOP_BEFORE],
            examples: &["resume", "resume --stop-before ArtifactCommit_Leave"],
        },
        VerbName::ShowArtifact => Page {
            summary: "Print the name of the installed artifact",
            argument: Argument::Nothing,
            text: "Prints \"unknown\" if nothing was ever installed.",
            options: &[],
            examples: &["show-artifact"],
        },
        VerbName::ShowProvides => Page {
            summary: "Print what the installed artifacts provide, one key=value a line",
            argument: Argument::Nothing,
            text: "",
            options: &[],
            examples: &["show-provides", "--datastore /tmp/device show-provides"],
        },
        VerbName::ShowFlightRecord => Page {
            summary: "Print what the client did last",
            argument: Argument::Nothing,
            text: "The client keeps its last events, some 170, in the records that it writes anyway: what ran and how it ended,\n\
                   what the server answered, what was put on record. Of a process that was killed, what it did after its\n\
                   last write is missing. A '!' marks what went wrong. --raw prints what 'thimble-sim replay' reads.",
            options: &[JSON, RAW],
            examples: &["show-flight-record", "show-flight-record --raw > flight.txt"],
        },
        VerbName::CheckUpdate => Page {
            summary: "Tell the daemon to ask for an update now",
            argument: Argument::Nothing,
            text: "The daemon must be running.",
            options: &[],
            examples: &["check-update"],
        },
        VerbName::SendInventory => Page {
            summary: "Tell the daemon to send the inventory now",
            argument: Argument::Nothing,
            text: "The daemon must be running.",
            options: &[],
            examples: &["send-inventory"],
        },
        VerbName::Daemon => Page {
            summary: "Take updates from the server",
            argument: Argument::Nothing,
            text: "Stays in the foreground until it is told to end by SIGTERM, SIGINT or SIGQUIT; a deployment in progress\n\
                   goes on at the next start. SIGUSR1 looks for an update, SIGUSR2 sends the inventory.",
            options: &[],
            examples: &["daemon"],
        },
        VerbName::Status => Page {
            summary: "Say how this device stands",
            argument: Argument::Nothing,
            text: "What is installed, what the daemon does and with which server; the update in progress, how fast it comes,\n\
                   what it waits for and until when; what may hold updates up; how the last one ended. Of a device with two\n\
                   root file systems also the boot loader and what each slot does. Without a daemon, as far as it is on\n\
                   record. Nothing is written for it. --json prints the same for programs: docs/status.md.\n\n\
                   Exit status 0: the daemon has answered; or there is none, and nothing is to be mended: no server is\n\
                   configured, or an update by hand waits for a person. Else 1, and the last line on standard error is what\n\
                   to mend first. With --watch 0, when a signal ends it.",
            options: &[JSON, WATCH],
            examples: &["status", "status --json", "status --watch"],
        },
        VerbName::Control => Page {
            summary: "Hold updates up, let them go on, or fail them",
            argument: Argument::Act,
            text: "Updates of the daemon can be held up before they are installed, before the reboot, and before they are\n\
                   committed.\n\n  \
                   show      what waits and why, every update control map, every policy\n  \
                   pause     updates wait, until 'continue' or for the time of --for\n  \
                   continue  takes 'pause' and 'fail' back; an update that waits goes on, whatever holds it up. With\n            \
                   --at, for an update that is not there yet: it passes that point once, unless a map\n            \
                   of the same priority or a higher one objects\n  \
                   fail      the update that waits, or the next, fails, and is rolled back if it was installed\n\n\
                   Without --at: before install, reboot and commit. Orders outlive a reboot. Orders given under one name\n\
                   share one duration. Without a daemon an order goes on record, and counts from its next start on.",
            options: &OF_CONTROL,
            examples: &[
                "control show",
                "control pause --at reboot --for 1h30m",
                "control continue",
                "control fail --at commit",
            ],
        },
        VerbName::Bootstrap => Page {
            summary: "Make the device's key if there is none, and ask the server to accept it",
            argument: Argument::Nothing,
            text: "",
            options: &[FORCE],
            examples: &["bootstrap"],
        },
        VerbName::Setup => Page {
            summary: "Write mender.conf and device_type",
            argument: Argument::Nothing,
            text: "Asks for what is not given; with --device-type, a server, and one of the intervals or --demo-polling it asks\n\
                   nothing. Other keys of mender.conf stay as they are. Then the server is asked whether it is there.\n\n\
                   hosted.mender.io takes a device with the tenant token of an organization: --tenant-token, or the e-mail\n\
                   address and password of an account there, which are used once and kept nowhere. Without --password it is\n\
                   asked at the terminal; others on the device can read what a command line says.",
            options: &OF_SETUP,
            examples: &[
                "setup",
                "setup --device-type gateway --server-url https://updates.example.com --update-poll 1800",
                "setup --device-type gateway --hosted-mender --tenant-token TOKEN --demo-polling=false",
                "setup --device-type gateway --hosted-mender --username me@example.com --demo-polling=false",
            ],
        },
        VerbName::Snapshot => Page {
            summary: "Write an image of a file system that is in use to standard output",
            argument: Argument::Dump,
            text: "The file system is frozen meanwhile: whoever writes to it waits. It is thawed at the end, whatever becomes of\n\
                   this program, and when nobody reads for 30 seconds. What cannot be frozen is refused.",
            options: &OF_SNAPSHOT,
            examples: &[
                "snapshot dump > /data/image.ext4",
                "snapshot dump -C zstd --source /dev/mmcblk0p2 | ssh host 'cat > image.zst'",
            ],
        },
        VerbName::ExportMender => Page {
            summary: "Write the database of Mender's own client, to go back to it",
            argument: Argument::Nothing,
            text: "Mender's client then goes on with name, group and provides as they are here, and with no old update and no\n\
                   old control map. The daemon must not be running, nor must that client; no update may be in progress. When\n\
                   that client was used and this one is started again, it takes over what was installed meanwhile.",
            options: &[],
            examples: &["export-mender"],
        },
    }
}
