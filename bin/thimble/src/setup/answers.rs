//! What is to be set up: from options where they say it, else asked.
//!
//! The options, and which of them stand for others, are those of Mender's own program: a server by its URL is not the
//! hosted one; an address is that of a demo server; intervals that are given are not those for trying out.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use thimble_core::hal::System;
use thimble_core::json::Value;
use thimble_core::limits;
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::config::NewValue;
use thimble_hal_linux::network::check_url;
use thimble_hal_linux::paths::Paths;
use thimble_hal_linux::system;

use super::login::Account;
use super::questions::Questions;
use crate::args::Invocation;
use crate::output::Failure;

const HOSTED: &str = "https://hosted.mender.io";
const DEMO: &str = "https://docker.mender.io";

/// Where Mender's packages put the certificate of the demo server.
const DEMO_CERTIFICATES: [&str; 2] =
    ["/usr/share/doc/mender-auth/examples/demo.crt", "/usr/share/doc/mender-client/examples/demo.crt"];

const TOKEN_QUESTION: &str = "Tenant token (in the server's user interface: Settings, Organization; Enter at a terminal: log in for it)";

/// Shortest interval in seconds that a person may set; a server has other devices to answer too.
const SHORTEST: u64 = 5;

/// Longest: a year.
const LONGEST: u64 = 31_536_000;

/// How often the server is asked.
struct Intervals {
    /// In the order of [`INTERVALS`].
    seconds: [u64; 3],
    /// For trying out: holds of updates end soon too.
    demo: bool,
}

/// What the configuration file says already. Nothing where it cannot be read: whoever writes it says so.
#[derive(Default)]
pub(super) struct Known {
    server: Option<String>,
    certificate: Option<String>,
    has_token: bool,
    /// In the order of [`INTERVALS`].
    intervals: [Option<u64>; 3],
}

impl Known {
    pub(super) fn of(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        let members = Value::parse(&text).ok().and_then(Value::members);
        let mut known = Self::default();
        for (key, value) in members.into_iter().flatten() {
            let text = value.as_str().map(|text| text.to_string()).filter(|text| !text.is_empty());
            if key.is_ignoring_case("ServerURL") {
                known.server = text;
            } else if key.is_ignoring_case("Servers") {
                let first = value.items().and_then(|mut items| items.next());
                let mut members = first.and_then(Value::members).into_iter().flatten();
                let url = members.find(|(key, _)| key.is_ignoring_case("ServerURL"));
                known.server = url.and_then(|(_, url)| Some(url.as_str()?.to_string()));
            } else if key.is_ignoring_case("ServerCertificate") {
                known.certificate = text;
            } else if key.is_ignoring_case("TenantToken") {
                known.has_token = text.is_some();
            } else if let Some((_, seconds)) =
                INTERVALS.iter().zip(&mut known.intervals).find(|((_, of, ..), _)| key.is_ignoring_case(of))
            {
                *seconds =
                    value.as_integer().and_then(|seconds| u64::try_from(seconds).ok()).filter(|&s| s > 0);
            }
        }
        known
    }
}

/// Option, key, usual value in seconds, question.
const INTERVALS: [(&str, &str, u64, &str); 3] = [
    ("update-poll", "UpdatePollIntervalSeconds", 1800, "Seconds between two questions for an update"),
    (
        "inventory-poll",
        "InventoryPollIntervalSeconds",
        28_800,
        "Seconds between two reports of the inventory",
    ),
    ("retry-poll", "RetryPollIntervalSeconds", 300, "Longest wait in seconds after a failure"),
];

/// What is to be written.
pub(super) struct Answers {
    pub(super) device_type: String,
    /// Where the device type is to be found, when it is not where the configuration says or where it usually is.
    pub(super) device_type_file: Option<PathBuf>,
    pub(super) server: String,
    /// The address of a demo server whose name nobody else knows.
    pub(super) demo_address: Option<String>,
    /// `None`: it stays as it is; empty: there is none.
    certificate: Option<String>,
    /// Likewise.
    pub(super) tenant_token: Option<String>,
    /// Whose tenant token is to be fetched.
    pub(super) account: Option<Account>,
    /// An account was given, and there is nothing to log in to for it.
    pub(super) ignores_account: bool,
    /// The token on record was for another server.
    pub(super) forgets_token: bool,
    intervals: Intervals,
}

impl Answers {
    pub(super) fn collect(
        given: &Invocation,
        paths: &Paths,
        log: &SharedLog,
        known: &Known,
        questions: &mut Questions,
    ) -> Result<Self, Failure> {
        if given.own("server-url").is_some() && given.own("server-ip").is_some() {
            return Err(Failure::new(
                "--server-url and --server-ip do not go together: the second is for Mender's demo server",
            ));
        }
        let device_type = match text(given, "device-type")? {
            Some(word) => device_type(word).map_err(Failure::new)?,
            None => {
                let default = known_device_type(paths, log);
                questions.ask(
                    "Device type (artifacts are made for one, such as raspberrypi4)",
                    &default,
                    "--device-type",
                    device_type,
                )?
            }
        };
        let (server, is_demo, is_hosted) = server(given, questions)?;
        let logs_in = ["username", "password"].iter().any(|option| given.own(option).is_some());
        let tenant_token = match text(given, "tenant-token")? {
            Some(token) => Some(token.to_owned()),
            None if !is_hosted || logs_in || (known.has_token && known.server.as_deref() == Some(HOSTED)) => {
                None
            }
            None => Some(questions.ask(TOKEN_QUESTION, "", "--tenant-token", |answer| {
                // Whoever is at a terminal can log in instead.
                if answer.is_empty() && !Questions::has_terminal() {
                    Err("The server takes no device without it".into())
                } else {
                    Ok(answer.into())
                }
            })?),
        };
        let asks_account = is_hosted && tenant_token.as_ref().map_or(logs_in, String::is_empty);
        // By an option, an empty token takes one out.
        let asks_account = asks_account && given.own("tenant-token").is_none();
        let account = if asks_account { Some(Account::collect(given, questions)?) } else { None };
        let ignores_account = logs_in && account.is_none();
        let is_same = known.server.as_deref().is_none_or(|known| known.trim_end_matches('/') == server);
        let forgets_token = tenant_token.is_none() && account.is_none() && known.has_token && !is_same;
        let tenant_token = tenant_token.or_else(|| forgets_token.then(String::new));
        let demo_address = match text(given, "server-ip")? {
            Some(word) => Some(address(word).map_err(Failure::new)?),
            None if is_demo => {
                Some(questions.ask("IP address of the demo server", "127.0.0.1", "--server-ip", address)?)
            }
            None => None,
        };
        let certificate = match &given.globals.trusted_certs {
            Some(path) => Some(path.to_string_lossy().into_owned()),
            None => text(given, "server-cert")?.map(str::to_owned),
        };
        let certificate = match certificate {
            Some(path) => Some(certificate_file(&path).map_err(Failure::new)?),
            None if is_hosted || given.own("server-url").is_some() => None,
            None if is_demo => {
                DEMO_CERTIFICATES.into_iter().find(|path| Path::new(path).exists()).map(Into::into)
            }
            None => Some(questions.ask(
                "File of certificates to trust beside the system's (\"none\": none)",
                known.certificate.as_deref().unwrap_or("none"),
                "--server-cert",
                certificate_file,
            )?),
        };
        Ok(Self {
            device_type,
            device_type_file: given.globals.datastore.as_ref().map(|_| paths.device_type()),
            server,
            demo_address,
            certificate,
            tenant_token,
            account,
            ignores_account,
            forgets_token,
            intervals: intervals(given, known, questions)?,
        })
    }

    /// The keys of the configuration. `fallback` is the file that is read before: where that one lists servers, a single URL
    /// beside it would be a contradiction.
    pub(super) fn changes(&self, fallback: &Path) -> Vec<(&'static str, NewValue)> {
        let server = if lists_servers(fallback) {
            [("Servers", NewValue::Server(self.server.clone())), ("ServerURL", NewValue::Nothing)]
        } else {
            [("ServerURL", NewValue::Text(self.server.clone())), ("Servers", NewValue::Nothing)]
        };
        let Intervals { seconds, demo } = self.intervals;
        let mut changes = Vec::from(server);
        for (key, answer) in [("ServerCertificate", &self.certificate), ("TenantToken", &self.tenant_token)] {
            changes.extend(answer.as_ref().map(|answer| match answer.as_str() {
                "" => (key, NewValue::Nothing),
                text => (key, NewValue::Text(text.to_owned())),
            }));
        }
        changes.extend(INTERVALS.iter().zip(seconds).map(|((_, key, ..), n)| (*key, NewValue::Number(n))));
        if demo {
            changes.extend([
                ("UpdateControlMapExpirationTimeSeconds", NewValue::Number(90)),
                ("UpdateControlMapBootExpirationTimeSeconds", NewValue::Number(45)),
            ]);
        }
        if let Some(path) = &self.device_type_file {
            changes.push(("DeviceTypeFile", NewValue::Text(path.to_string_lossy().into_owned())));
        }
        changes
    }
}

fn text<'a>(given: &'a Invocation, option: &str) -> Result<Option<&'a str>, Failure> {
    let value = given.own(option);
    let no_text = |value: &OsStr| Failure::new(format_args!("--{option} \"{}\" is no text", value.display()));
    value.map(|value| value.to_str().ok_or_else(|| no_text(value))).transpose()
}

/// URL; whether it is a demo server; whether it is the hosted one.
fn server(given: &Invocation, questions: &mut Questions) -> Result<(String, bool, bool), Failure> {
    let demo = given.switch("demo-server").or(given.switch("demo"));
    if let Some(url) = text(given, "server-url")? {
        let url = server_url(url).map_err(Failure::new)?;
        let is_demo = url == DEMO && demo == Some(true);
        return Ok((url, is_demo, false));
    }
    if given.own("server-ip").is_some() {
        return Ok((DEMO.to_owned(), true, false));
    }
    let hosted = match (given.switch("hosted-mender"), demo) {
        (Some(hosted), _) => hosted,
        // It cannot be both.
        (None, Some(true)) => false,
        (None, _) => questions.yes(
            "Is the server hosted.mender.io?",
            true,
            "--hosted-mender, --hosted-mender=false or --server-url",
        )?,
    };
    if hosted {
        return Ok((HOSTED.to_owned(), false, true));
    }
    let is_demo = match demo {
        Some(demo) => demo,
        None => questions.yes(
            "Is it Mender's demo server, docker.mender.io, with an entry in /etc/hosts?",
            false,
            "--demo-server, --demo-server=false or --server-url",
        )?,
    };
    if is_demo {
        return Ok((DEMO.to_owned(), true, false));
    }
    let url = questions.ask("URL of the server", "", "--server-url", server_url)?;
    Ok((url, false, false))
}

fn intervals(given: &Invocation, known: &Known, questions: &mut Questions) -> Result<Intervals, Failure> {
    let mut values = [None; 3];
    for ((option, ..), value) in INTERVALS.iter().zip(&mut values) {
        let word = text(given, option)?;
        *value = word
            .map(seconds)
            .transpose()
            .map_err(|reason| Failure::new(format_args!("--{option}: {reason}")))?;
    }
    let is_given = values.iter().any(Option::is_some);
    let by_option = given.switch("demo-polling").or(given.switch("demo"));
    let demo = match (is_given, by_option) {
        (true, _) => false,
        (false, Some(demo)) => demo,
        (false, None) => questions.yes(
            "Ask every 5 seconds, for trying out?",
            false,
            "--demo-polling, --demo-polling=false or --update-poll",
        )?,
    };
    if demo {
        return Ok(Intervals { seconds: [5, 5, 30], demo });
    }
    // Whoever gives one of them, or says by an option that these are not those for trying out, is content with those on
    // record, or the usual ones; whoever was asked that is asked these too.
    let is_asked = !is_given && by_option.is_none();
    let mut all = [0; 3];
    for (((value, known), (option, _, usual, question)), seconds_of) in
        values.into_iter().zip(known.intervals).zip(INTERVALS).zip(&mut all)
    {
        let default = known.unwrap_or(usual);
        *seconds_of = match value {
            Some(value) => value,
            None if is_asked => {
                questions.ask(question, &default.to_string(), &format!("--{option}"), seconds)?
            }
            None => default,
        };
    }
    Ok(Intervals { seconds: all, demo })
}

fn device_type(word: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if word.is_empty() || !word.chars().all(is_good) || word.len() > limits::DEVICE_TYPE {
        return Err(format!(
            "\"{word}\" is no device type: letters, digits, - and _, at most {} of them",
            limits::DEVICE_TYPE
        ));
    }
    Ok(word.to_owned())
}

/// What the device says it is, or the name of the machine.
fn known_device_type(paths: &Paths, log: &SharedLog) -> String {
    let mut buf = [0; limits::DEVICE_TYPE];
    let known =
        system::Device::new(&paths.device_type(), log.clone()).device_type(&mut buf).map(str::to_owned);
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let words = [known.unwrap_or_default(), name.trim().to_owned()];
    words.into_iter().find_map(|word| device_type(&word).ok()).unwrap_or_else(|| "unknown".into())
}

fn server_url(word: &str) -> Result<String, String> {
    let word = word.trim_end_matches('/');
    if word.len() > limits::SERVER_URL {
        return Err(format!("a server's URL has at most {} bytes", limits::SERVER_URL));
    }
    match check_url(word) {
        Ok(()) => Ok(word.to_owned()),
        Err(fault) => Err(format!("\"{word}\" is no URL of a server: {fault}")),
    }
}

fn address(word: &str) -> Result<String, String> {
    match word.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(word.to_owned()),
        Err(_) => Err(format!("\"{word}\" is no IP address")),
    }
}

/// The whole path; nothing for none.
fn certificate_file(word: &str) -> Result<String, String> {
    if word.is_empty() || word == "none" {
        return Ok(String::new());
    }
    match std::path::absolute(word) {
        Ok(path) if path.is_file() => Ok(path.to_string_lossy().into_owned()),
        Ok(path) => Err(format!("there is no file {}", path.display())),
        Err(error) => Err(format!("{word}: {error}")),
    }
}

fn seconds(word: &str) -> Result<u64, String> {
    let value = word.parse().ok().filter(|value| (SHORTEST..=LONGEST).contains(value));
    value.ok_or_else(|| format!("\"{word}\" is no number of seconds from {SHORTEST} to {LONGEST}"))
}

/// Whether a configuration file has the key `Servers`.
fn lists_servers(path: &Path) -> bool {
    let text = fs::read(path).unwrap_or_default();
    let members = Value::parse(&text).ok().and_then(Value::members);
    members.into_iter().flatten().any(|(key, value)| key.is_ignoring_case("Servers") && !value.is_null())
}
