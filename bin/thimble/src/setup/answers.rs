//! What is to be set up: from options where they say it, else asked.
//!
//! The options, and which of them stand for others, are those of Mender's own program: a server by its URL is not the
//! hosted one; an address is that of a demo server; intervals that are given are not those for trying out.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use thimble_core::json::Value;
use thimble_core::limits;
use thimble_hal_linux::config::NewValue;
use thimble_hal_linux::network::check_url;
use thimble_hal_linux::paths::Paths;

use super::questions::Questions;
use crate::args::Invocation;
use crate::output::Failure;

const HOSTED: &str = "https://hosted.mender.io";
const DEMO: &str = "https://docker.mender.io";

/// Where Mender's packages put the certificate of the demo server.
const DEMO_CERTIFICATES: [&str; 2] =
    ["/usr/share/doc/mender-auth/examples/demo.crt", "/usr/share/doc/mender-client/examples/demo.crt"];

/// Shortest interval in seconds that a person may set; a server has other devices to answer too.
const SHORTEST: u64 = 5;

/// Longest: a year.
const LONGEST: u64 = 31_536_000;

/// How often the server is asked, in seconds.
struct Intervals {
    update: u64,
    inventory: u64,
    retry: u64,
    /// For trying out: holds of updates end soon too.
    demo: bool,
}

/// What is to be written.
pub(super) struct Answers {
    pub(super) device_type: String,
    /// Where the device type is to be found, when it is not where the configuration says or where it usually is.
    pub(super) device_type_file: Option<PathBuf>,
    pub(super) server: String,
    /// The address of a demo server whose name nobody else knows.
    pub(super) demo_address: Option<String>,
    certificate: Option<String>,
    tenant_token: Option<String>,
    intervals: Intervals,
}

impl Answers {
    pub(super) fn collect(
        given: &Invocation,
        paths: &Paths,
        questions: &mut Questions,
    ) -> Result<Self, Failure> {
        for option in ["username", "password"] {
            if given.own(option).is_some() {
                return Err(Failure::new(format_args!(
                    "--{option} is not supported: take the tenant token from the server's user interface (Settings, \
                     Organization) and give it by --tenant-token"
                )));
            }
        }
        if given.own("server-url").is_some() && given.own("server-ip").is_some() {
            return Err(Failure::new(
                "--server-url and --server-ip do not go together: the second is for Mender's demo server",
            ));
        }
        let device_type = match text(given, "device-type")? {
            Some(word) => device_type(word).map_err(Failure::new)?,
            None => {
                let default = known_device_type(paths);
                questions.ask(
                    "Device type (artifacts are made for one, such as raspberrypi4)",
                    &default,
                    "--device-type",
                    device_type,
                )?
            }
        };
        let (server, is_demo, is_hosted) = server(given, questions)?;
        let tenant_token = match text(given, "tenant-token")? {
            Some(token) => Some(token.to_owned()),
            None if is_hosted => Some(questions.ask(
                "Tenant token (in the server's user interface: Settings, Organization)",
                "",
                "--tenant-token",
                |answer| {
                    if answer.is_empty() {
                        Err("The server takes no device without it".into())
                    } else {
                        Ok(answer.into())
                    }
                },
            )?),
            None => None,
        };
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
            Some(path) => certificate_file(&path).map_err(Failure::new)?,
            None if is_hosted => None,
            None if is_demo => {
                DEMO_CERTIFICATES.into_iter().find(|path| Path::new(path).exists()).map(Into::into)
            }
            None => questions.ask(
                "File of certificates to trust beside the system's (empty: none)",
                "",
                "--server-cert",
                certificate_file,
            )?,
        };
        Ok(Self {
            device_type,
            device_type_file: given.globals.datastore.as_ref().map(|_| paths.device_type()),
            server,
            demo_address,
            certificate: certificate.filter(|path| !path.is_empty()),
            tenant_token: tenant_token.filter(|token| !token.is_empty()),
            intervals: intervals(given, questions)?,
        })
    }

    /// The keys of the configuration. `fallback` is the file that is read before: where that one lists servers, a single URL
    /// beside it would be a contradiction.
    pub(super) fn changes(&self, fallback: &Path) -> Vec<(&'static str, NewValue)> {
        let text = |text: &Option<String>| text.clone().map_or(NewValue::Nothing, NewValue::Text);
        let server = if lists_servers(fallback) {
            [("Servers", NewValue::Server(self.server.clone())), ("ServerURL", NewValue::Nothing)]
        } else {
            [("ServerURL", NewValue::Text(self.server.clone())), ("Servers", NewValue::Nothing)]
        };
        let Intervals { update, inventory, retry, demo } = self.intervals;
        let mut changes = Vec::from(server);
        changes.extend([
            ("ServerCertificate", text(&self.certificate)),
            ("TenantToken", text(&self.tenant_token)),
            ("UpdatePollIntervalSeconds", NewValue::Number(update)),
            ("InventoryPollIntervalSeconds", NewValue::Number(inventory)),
            ("RetryPollIntervalSeconds", NewValue::Number(retry)),
        ]);
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

fn intervals(given: &Invocation, questions: &mut Questions) -> Result<Intervals, Failure> {
    let options = ["update-poll", "inventory-poll", "retry-poll"];
    let defaults = [1800, 28_800, 300];
    let mut values = [None; 3];
    for (option, value) in options.into_iter().zip(&mut values) {
        let word = text(given, option)?;
        *value = word
            .map(seconds)
            .transpose()
            .map_err(|reason| Failure::new(format_args!("--{option}: {reason}")))?;
    }
    let is_given = values.iter().any(Option::is_some);
    let demo = given.switch("demo-polling").or(given.switch("demo"));
    let demo = match (is_given, demo) {
        (true, _) => false,
        (false, Some(demo)) => demo,
        (false, None) => questions.yes(
            "Ask every 5 seconds, for trying out?",
            false,
            "--demo-polling, --demo-polling=false or --update-poll",
        )?,
    };
    if demo {
        return Ok(Intervals { update: 5, inventory: 5, retry: 30, demo });
    }
    // Who gives one of them, or says that these are not those for trying out on the command line, is content with the
    // usual ones; who was asked that is asked these too.
    let is_asked = !is_given && given.switch("demo-polling").or(given.switch("demo")).is_none();
    let texts = [
        "Seconds between two questions for an update",
        "Seconds between two reports of the inventory",
        "Longest wait in seconds after a failure",
    ];
    for ((value, default), (option, question)) in
        values.iter_mut().zip(defaults).zip(options.into_iter().zip(texts))
    {
        if value.is_none() && is_asked {
            let option = format!("--{option}");
            *value = Some(questions.ask(question, &default.to_string(), &option, seconds)?);
        }
        value.get_or_insert(default);
    }
    let [update, inventory, retry] = values.map(Option::unwrap_or_default);
    Ok(Intervals { update, inventory, retry, demo })
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
fn known_device_type(paths: &Paths) -> String {
    let line = fs::read_to_string(paths.device_type()).unwrap_or_default();
    let known = line.lines().find_map(|line| line.trim().strip_prefix("device_type=")).unwrap_or_default();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    [known, name.trim()]
        .into_iter()
        .find_map(|word| device_type(word).ok())
        .unwrap_or_else(|| "unknown".into())
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

/// Nothing for an empty name.
fn certificate_file(word: &str) -> Result<Option<String>, String> {
    if word.is_empty() || fs::metadata(word).is_ok_and(|found| found.is_file()) {
        return Ok(Some(word.to_owned()));
    }
    Err(format!("there is no file {word}"))
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
