//! The command line, read once into a value.
//!
//! Options may stand before or after the verb and its argument, as `--option value`, `--option=value`, `-o value`
//! and, as Mender 3 took them, with one dash before the long name (`-data DIR`). `--` ends options.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use thimble_core::hal::Level;
use thimble_core::machine::{Stop, StopSet};
use thimble_hal_linux::log::level_of;
use thimble_hal_linux::near::nearest_or_part;

use crate::control_request::{self, Act, ControlRequest};
use crate::verbs::{self, VerbName};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Carry out a verb.
    Run(Invocation),
    /// Print the help text, of one verb if it is named.
    Help(Option<VerbName>),
    /// Print the version.
    Version,
}

/// A verb and its options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) verb: VerbName,
    pub(crate) globals: Globals,
    /// The artifact of `install` and `inspect`; empty for the other verbs.
    pub(crate) source: OsString,
    pub(crate) reboot_exit_code: bool,
    pub(crate) stop_before: StopSet,
    /// `--json` of the verbs that have it.
    pub(crate) json: bool,
    /// `show-flight-record --raw`.
    pub(crate) raw: bool,
    /// What `control` asks for.
    pub(crate) control: Option<ControlRequest>,
    /// `bootstrap --forcebootstrap`.
    pub(crate) force: bool,
    /// Options of `setup`, `snapshot` and `status`, by their long names; of switches "true" or "false".
    own: Vec<(&'static str, OsString)>,
}

impl Invocation {
    /// The value of an option that only one verb has.
    pub(crate) fn own(&self, long: &str) -> Option<&OsStr> {
        self.own.iter().rev().find(|(own, _)| *own == long).map(|(_, value)| value.as_os_str())
    }

    /// Whether such a switch is on; `None`: it was not given.
    pub(crate) fn switch(&self, long: &str) -> Option<bool> {
        self.own(long).map(|value| value == "true")
    }
}

/// Options of all verbs; `None`: not given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Globals {
    pub(crate) config: Option<PathBuf>,
    pub(crate) fallback_config: Option<PathBuf>,
    pub(crate) datastore: Option<PathBuf>,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) log_level: Option<Level>,
    pub(crate) trusted_certs: Option<PathBuf>,
    pub(crate) skip_verify: bool,
}

/// The command line makes no sense; text for people, and the verb whose help text may help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) reason: String,
    pub(crate) verb: Option<VerbName>,
}

/// Options, by what they mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opt {
    Config,
    FallbackConfig,
    Datastore,
    LogFile,
    LogLevel,
    TrustedCerts,
    SkipVerify,
    NoSyslog,
    RebootExitCode,
    StopBefore,
    Json,
    Raw,
    At,
    For,
    Id,
    Priority,
    Force,
    /// One of a single verb's, by its long name.
    Own(&'static str),
    Help,
    Version,
}

/// Every name of every option. `data` and `no-syslog` are Mender 3's.
#[rustfmt::skip]
const OPTIONS: [(&str, Option<char>, Opt); 40] = [
    ("config",           Some('c'), Opt::Config),
    ("fallback-config",  Some('b'), Opt::FallbackConfig),
    ("datastore",        Some('d'), Opt::Datastore),
    ("data",             None,      Opt::Datastore),
    ("log-file",         Some('L'), Opt::LogFile),
    ("log-level",        Some('l'), Opt::LogLevel),
    ("trusted-certs",    Some('E'), Opt::TrustedCerts),
    ("skipverify",       None,      Opt::SkipVerify),
    ("no-syslog",        None,      Opt::NoSyslog),
    ("reboot-exit-code", None,      Opt::RebootExitCode),
    ("stop-before",      None,      Opt::StopBefore),
    ("json",             None,      Opt::Json),
    ("raw",              None,      Opt::Raw),
    ("at",               None,      Opt::At),
    ("for",              None,      Opt::For),
    ("id",               None,      Opt::Id),
    ("priority",         None,      Opt::Priority),
    ("forcebootstrap",   Some('F'), Opt::Force),
    ("check",            None,      Opt::Own("check")),
    ("device-type",      None,      Opt::Own("device-type")),
    ("server-url",       None,      Opt::Own("server-url")),
    ("url",              None,      Opt::Own("server-url")),
    ("server-cert",      None,      Opt::Own("server-cert")),
    ("tenant-token",     None,      Opt::Own("tenant-token")),
    ("hosted-mender",    None,      Opt::Own("hosted-mender")),
    ("update-poll",      None,      Opt::Own("update-poll")),
    ("inventory-poll",   None,      Opt::Own("inventory-poll")),
    ("retry-poll",       None,      Opt::Own("retry-poll")),
    ("demo",             None,      Opt::Own("demo")),
    ("demo-server",      None,      Opt::Own("demo-server")),
    ("demo-polling",     None,      Opt::Own("demo-polling")),
    ("server-ip",        None,      Opt::Own("server-ip")),
    ("username",         None,      Opt::Own("username")),
    ("password",         None,      Opt::Own("password")),
    ("quiet",            Some('q'), Opt::Own("quiet")),
    ("watch",            None,      Opt::Own("watch")),
    ("source",           None,      Opt::Own("source")),
    ("compression",      Some('C'), Opt::Own("compression")),
    ("help",             Some('h'), Opt::Help),
    ("version",          Some('v'), Opt::Version),
];

/// Reads the arguments behind the program's name. `verb` is the one that the name stands for, if any.
///
/// # Errors
/// [`Usage`].
pub(crate) fn parse(
    verb: Option<VerbName>,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Usage> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut found = Found { verb, ..Found::default() };
    let count = args.len();
    match found.read(Parser::from_args(args)) {
        Ok(()) => found.settle(count),
        Err(reason) => Err(Usage { reason, verb: found.verb }),
    }
}

/// What stood on the command line so far.
struct Found {
    verb: Option<VerbName>,
    wants_help: bool,
    wants_version: bool,
    globals: Globals,
    arguments: Vec<OsString>,
    reboot_exit_code: bool,
    stop_before: StopSet,
    has_stop: bool,
    json: bool,
    raw: bool,
    /// `control`: its options, in a request that does not know yet what for, and whether there were any.
    control: ControlRequest,
    controls: bool,
    force: bool,
    own: Vec<(&'static str, OsString)>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            verb: None,
            wants_help: false,
            wants_version: false,
            globals: Globals::default(),
            arguments: Vec::new(),
            reboot_exit_code: false,
            stop_before: StopSet::default(),
            has_stop: false,
            json: false,
            raw: false,
            control: ControlRequest::new(Act::Show),
            controls: false,
            force: false,
            own: Vec::new(),
        }
    }
}

impl Found {
    fn read(&mut self, mut parser: Parser) -> Result<(), String> {
        loop {
            let old_style =
                parser.try_raw_args().and_then(|mut raw| raw.next_if(|arg| one_dash(arg).is_some()));
            if let Some((opt, value)) = old_style.as_deref().and_then(one_dash) {
                let name = format!("-{}", name_of(opt));
                self.option(opt, &name, value, &mut parser)?;
                continue;
            }
            let whole = parser.try_raw_args().and_then(|raw| raw.peek().map(OsStr::to_owned));
            let Some(arg) = parser.next().map_err(|error| error.to_string())? else { return Ok(()) };
            let (name, opt) = match arg {
                Arg::Short(short) => (
                    format!("-{short}"),
                    OPTIONS.iter().find(|(_, of, _)| *of == Some(short)).map(|(_, _, opt)| *opt),
                ),
                Arg::Long(long) => (
                    format!("--{long}"),
                    OPTIONS.iter().find(|(of, _, _)| *of == long).map(|(_, _, opt)| *opt),
                ),
                Arg::Value(word) => {
                    self.word(word)?;
                    continue;
                }
            };
            let opt = opt.ok_or_else(|| no_such_option(&name, whole.as_deref()))?;
            self.option(opt, &name, None, &mut parser)?;
        }
    }

    fn word(&mut self, word: OsString) -> Result<(), String> {
        if self.verb.is_some() {
            self.arguments.push(word);
        } else if let Some(verb) = VerbName::find(&word) {
            self.verb = Some(verb);
        } else if matches!(word.to_str(), Some("help" | "h")) && !self.wants_help {
            self.wants_help = true;
        } else {
            return Err(no_such_verb(&word));
        }
        Ok(())
    }

    fn option(
        &mut self,
        opt: Opt,
        name: &str,
        value: Option<OsString>,
        parser: &mut Parser,
    ) -> Result<(), String> {
        let is_flag = match opt {
            Opt::SkipVerify
            | Opt::NoSyslog
            | Opt::RebootExitCode
            | Opt::Json
            | Opt::Raw
            | Opt::Force
            | Opt::Help
            | Opt::Version => true,
            Opt::Config
            | Opt::FallbackConfig
            | Opt::Datastore
            | Opt::LogFile
            | Opt::LogLevel
            | Opt::TrustedCerts
            | Opt::StopBefore
            | Opt::At
            | Opt::For
            | Opt::Id
            | Opt::Priority => false,
            Opt::Own(long) => verbs::is_switch(long),
        };
        // To say that there is none, so that nobody is asked.
        let may_be_empty = matches!(opt, Opt::Own("server-cert" | "tenant-token"));
        let value = match (value, is_flag) {
            (Some(value), _) => value,
            (None, true) => parser.optional_value().unwrap_or_else(|| "true".into()),
            (None, false) => parser.value().map_err(|_| format!("{name} needs a value"))?,
        };
        let on = match (is_flag, value.to_str()) {
            (true, Some("true")) => true,
            (true, Some("false")) => false,
            (true, _) => return Err(format!("{name} is a switch and takes no value")),
            (false, _) if value.is_empty() && !may_be_empty => {
                return Err(format!("the value of {name} is empty"));
            }
            (false, _) => true,
        };
        let path = || Some(PathBuf::from(&value));
        match opt {
            Opt::Config => self.globals.config = path(),
            Opt::FallbackConfig => self.globals.fallback_config = path(),
            Opt::Datastore => self.globals.datastore = path(),
            Opt::LogFile => self.globals.log_file = path(),
            Opt::TrustedCerts => self.globals.trusted_certs = path(),
            Opt::LogLevel => self.globals.log_level = Some(level(&value)?),
            Opt::StopBefore => {
                self.stop_before = self.stop_before.with(stop(&value)?);
                self.has_stop = true;
            }
            Opt::At => self.control().add_point(text(&value)?)?,
            Opt::For => self.control().time = Some(control_request::duration(text(&value)?)?),
            Opt::Id => self.control().name.id = control_request::id(text(&value)?)?,
            Opt::Priority => self.control().name.priority = control_request::priority(text(&value)?)?,
            Opt::SkipVerify => self.globals.skip_verify = on,
            Opt::RebootExitCode => self.reboot_exit_code = on,
            Opt::Json => self.json = on,
            Opt::Raw => self.raw = on,
            Opt::Force => self.force = on,
            Opt::Own(long) => self.own.push((long, value)),
            Opt::Help => self.wants_help |= on,
            Opt::Version => self.wants_version |= on,
            // There is no syslog to turn off.
            Opt::NoSyslog => {}
        }
        Ok(())
    }

    /// An option of `control` was given.
    const fn control(&mut self) -> &mut ControlRequest {
        self.controls = true;
        &mut self.control
    }

    fn settle(self, count: usize) -> Result<Parsed, Usage> {
        let verb = self.verb;
        let usage = |reason: String| Err(Usage { reason, verb });
        if self.wants_help {
            return Ok(Parsed::Help(verb));
        }
        if self.wants_version {
            return if count == 1 { Ok(Parsed::Version) } else { usage("--version stands alone".into()) };
        }
        let Some(verb) = verb else { return usage("no verb was given".into()) };
        let name = verb.name();
        if self.has_stop && !verb.takes("stop-before") {
            return usage(format!("{name} takes no --stop-before"));
        }
        if self.reboot_exit_code && !verb.takes("reboot-exit-code") {
            return usage(format!("{name} takes no --reboot-exit-code"));
        }
        if self.controls && !verb.takes("at") {
            return usage(format!("{name} takes no --at, --for, --id or --priority"));
        }
        if self.json && !verb.takes("json") {
            return usage(format!("{name} takes no --json"));
        }
        let checks =
            self.own.iter().rev().find(|(long, _)| *long == "check").is_some_and(|(_, on)| on == "true");
        if checks && (self.has_stop || self.reboot_exit_code) {
            return usage("--check does not go with --stop-before or --reboot-exit-code".into());
        }
        if self.raw && !verb.takes("raw") {
            return usage(format!("{name} takes no --raw"));
        }
        if self.raw && self.json {
            return usage("--raw and --json do not go together".into());
        }
        // Mender 3 takes the other before the verb as well.
        if self.force && !verb.takes("forcebootstrap") && verb != VerbName::Daemon {
            return usage(format!("{name} takes no --forcebootstrap"));
        }
        if let Some((long, _)) = self.own.iter().find(|(long, _)| !verb.takes(long)) {
            return usage(format!("{name} takes no --{long}"));
        }
        let mut arguments = self.arguments.into_iter();
        let mut control = None;
        let source = match (verb, arguments.next()) {
            (VerbName::Control, word) => {
                let word = word.unwrap_or_default().to_string_lossy().into_owned();
                let Some(act) = Act::parse(&word) else { return usage(control_request::no_act(&word)) };
                if let Some(extra) = arguments.next() {
                    return usage(format!("control {word} takes no argument: {}", extra.display()));
                }
                if act == Act::Show && self.controls {
                    return usage("control show takes no --at, --for, --id or --priority".into());
                }
                control = Some(ControlRequest { act, ..self.control });
                OsString::new()
            }
            (VerbName::Install | VerbName::Inspect, Some(source)) if !source.is_empty() => source,
            (VerbName::Install | VerbName::Inspect, _) => {
                return usage(format!("{name} needs an artifact: a file or a URL"));
            }
            (VerbName::Snapshot, Some(word)) if word == "dump" => OsString::new(),
            (VerbName::Snapshot, _) => return usage("say what to do: 'snapshot dump'".into()),
            (_, None) => OsString::new(),
            (_, Some(extra)) => return usage(format!("{name} takes no argument: {}", extra.display())),
        };
        if let Some(extra) = arguments.next() {
            return usage(format!("{name} takes one argument; there is one more: \"{}\"", extra.display()));
        }
        Ok(Parsed::Run(Invocation {
            verb,
            globals: self.globals,
            source,
            reboot_exit_code: self.reboot_exit_code,
            stop_before: self.stop_before,
            json: self.json,
            raw: self.raw,
            control,
            force: self.force,
            own: self.own,
        }))
    }
}

/// `-name` or `-name=value` with the name of a long option. Anything else, a bundle of short options too, is left to
/// the parser.
fn one_dash(arg: &OsStr) -> Option<(Opt, Option<OsString>)> {
    let text = arg.to_str()?.strip_prefix('-')?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.into())),
        None => (text, None),
    };
    OPTIONS.iter().find(|(long, _, _)| *long == name).map(|(_, _, opt)| (*opt, value))
}

fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| format!("\"{}\" is no text", value.display()))
}

fn name_of(opt: Opt) -> &'static str {
    OPTIONS.iter().find(|(_, _, of)| *of == opt).map_or("", |(name, _, _)| name)
}

/// `whole` is the argument that begins with this option.
fn no_such_option(name: &str, whole: Option<&OsStr>) -> String {
    if name == "--passphrase-file" {
        return format!(
            "there is no option {name}: keys with a passphrase are not supported; the error at such a key says how to \
             remove it"
        );
    }
    let names = OPTIONS.map(|(name, _, _)| name);
    // Perhaps it was meant as Mender 3 writes long names.
    let whole = whole.and_then(OsStr::to_str).map(|whole| whole.split('=').next().unwrap_or(whole));
    for name in whole.into_iter().filter(|whole| whole.starts_with(name)).chain([name]) {
        if let Some(known) = nearest_or_part(name.trim_start_matches('-'), names) {
            return format!("there is no option {name}; did you mean --{known}?");
        }
    }
    let other_case = |short: &char| {
        name.strip_prefix('-').is_some_and(|name| name.eq_ignore_ascii_case(&short.to_string()))
    };
    let known = OPTIONS.into_iter().filter_map(|(_, short, _)| short).find(other_case);
    let hint = known.map_or(String::new(), |known| format!("; did you mean -{known}?"));
    format!("there is no option {name}{hint}")
}

fn no_such_verb(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let hint = nearest_or_part(&text, VerbName::ALL.map(VerbName::name))
        .map_or(String::new(), |known| format!("; did you mean {known}?"));
    format!("there is no verb \"{text}\"{hint}")
}

/// The levels of Mender 5, and the other names Mender 3 knew; in any case.
fn level(value: &OsStr) -> Result<Level, String> {
    value.to_str().and_then(level_of).ok_or_else(|| {
        format!("there is no log level \"{}\": trace, debug, info, warning, error or fatal", value.display())
    })
}

fn stop(value: &OsStr) -> Result<Stop, String> {
    let found = value.to_str().and_then(|value| Stop::ALL.into_iter().find(|stop| stop.name() == value));
    found.ok_or_else(|| {
        let names: Vec<&str> = Stop::ALL.iter().map(|stop| stop.name()).collect();
        format!("cannot stop before \"{}\": {}", value.display(), names.join(", "))
    })
}

#[cfg(test)]
mod tests;
