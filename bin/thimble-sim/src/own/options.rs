//! What `run --artifact` was told: the user's own things, and what goes wrong.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time;

use thimble_core::deployment::Status;
use thimble_core::script;
use thimble_core::time::Duration;
use thimble_hal_sim::near::meant;
use thimble_hal_sim::scenario::{STATUSES, effects};
use thimble_hal_sim::world::Profile;

use super::faults::{Fault, What};
use crate::failure::{Failure, no_option};
use crate::values::{self, Once};

/// Options that may stand there more than once.
const REPEATABLE: [&str; 8] = [
    "--scripts",
    "--fail",
    "--hang",
    "--exit",
    "--power-cut",
    "--abort-at",
    "--drop-connection-at",
    "--takes",
];

/// The user's own things, and what goes wrong.
pub(super) struct Options {
    pub(super) artifact: PathBuf,
    pub(super) scripts: Vec<PathBuf>,
    pub(super) module: Option<PathBuf>,
    pub(super) root: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) device: Option<Profile>,
    pub(super) device_type: Option<String>,
    pub(super) standalone: bool,
    pub(super) faults: Vec<Fault>,
    /// Bytes of the artifact after which the connection breaks.
    pub(super) breaks: Vec<usize>,
    /// How long a program takes on the simulated device.
    pub(super) takes: Vec<(String, Duration)>,
    /// How long one program may really take.
    pub(super) limit: time::Duration,
    pub(super) keep: Option<PathBuf>,
    /// Bytes that the update may write on the device.
    pub(super) disk: u64,
    /// Seconds since 1970 by the device's clock when it is switched on; `None`: programs see this machine's clock.
    pub(super) clock: Option<u64>,
    /// Bytes that come in a second; `None`: all at once.
    pub(super) link: Option<NonZeroU32>,
    pub(super) json: bool,
    /// Where the page is written.
    pub(super) html: Option<PathBuf>,
    /// All words but those two.
    pub(super) words: Vec<String>,
}

/// Whether these words are about the user's own things, and not about scenarios.
pub(crate) fn is_own(words: &[&str]) -> bool {
    words.iter().any(|word| word.starts_with("--"))
}

/// Reads the words of the command line; `help` names all options.
pub(super) fn read(words: &[&str], help: &str) -> Result<Options, Failure> {
    let mut artifact = None;
    let mut options = Options {
        artifact: PathBuf::new(),
        scripts: Vec::new(),
        module: None,
        root: None,
        config: None,
        device: None,
        device_type: None,
        standalone: false,
        faults: Vec::new(),
        breaks: Vec::new(),
        takes: Vec::new(),
        limit: time::Duration::from_secs(30),
        keep: None,
        disk: 512 * 1024 * 1024,
        clock: None,
        link: None,
        json: false,
        html: None,
        words: Vec::new(),
    };
    let (mut words, mut once) = (words.iter(), Once::but(&REPEATABLE));
    while let Some(word) = words.next() {
        once.read(word)?;
        options.words.push((*word).to_owned());
        let mut value = || {
            let value = words.next().ok_or_else(|| Failure::Usage(format!("{word} needs a value")))?;
            options.words.push((*value).to_owned());
            Ok::<&str, Failure>(value)
        };
        match *word {
            "--artifact" => artifact = Some(value()?.into()),
            "--scripts" => options.scripts.push(value()?.into()),
            "--module" => options.module = Some(value()?.into()),
            "--root" => options.root = Some(value()?.into()),
            "--config" => options.config = Some(value()?.into()),
            "--keep" => options.keep = Some(value()?.into()),
            "--device" => {
                options.device = Some(Profile::named(value()?).map_err(|why| format!("--device {why}"))?)
            }
            "--device-type" => {
                let text = value()?;
                if text.is_empty() || text.contains(|c: char| c.is_control()) {
                    return Err("--device-type: the device's type is one word, such as raspberrypi4"
                        .to_owned()
                        .into());
                }
                options.device_type = Some(text.to_owned());
            }
            "--standalone" => options.standalone = true,
            "--json" => {
                options.json = true;
                options.words.truncate(options.words.len() - 1);
            }
            "--html" => {
                options.html = Some(value()?.into());
                options.words.truncate(options.words.len() - 2);
            }
            "--fail" => options.faults.push(fault(value()?, |_| What::Exit(1))?),
            "--hang" => {
                let text = value()?;
                check_program(word, text.split(':').next().unwrap_or_default())?;
                options.faults.push(fault(text, |_| What::Hang)?);
            }
            "--exit" => {
                let (times, name) = (value()?, value()?);
                check_program(word, name.split(':').next().unwrap_or_default())?;
                let (status, times) = exit(times)?;
                let mut fault = fault(name, |_| What::Exit(status))?;
                fault.to = fault.from.saturating_add(times - 1);
                options.faults.push(fault);
            }
            "--power-cut" => {
                let when = value()?;
                let what = match when {
                    "before" => What::CutBefore,
                    "inside" => What::CutInside,
                    "after" => What::CutAfter,
                    other => {
                        let hint = meant(other, ["before", "inside", "after"]);
                        return Err(
                            format!("--power-cut {other}: before, inside or after is wanted{hint}").into()
                        );
                    }
                };
                options.faults.push(fault(value()?, |_| what)?);
            }
            "--abort-at" => {
                let status = value()?;
                let known = STATUSES.map(Status::name);
                if !known.contains(&status) {
                    return Err(
                        format!("--abort-at: there is no status {status:?}{}", meant(status, known)).into()
                    );
                }
                options.faults.push(Fault::new(status, 1, What::Abort));
            }
            "--drop-connection-at" => options.breaks.push(number(word, value()?)?),
            "--disk" => options.disk = size(value()?)?,
            "--clock" => options.clock = Some(clock(value()?)?),
            "--link" => options.link = Some(speed(value()?)?),
            "--takes" => {
                let text = value()?;
                let (name, time) =
                    text.split_once('=').ok_or_else(|| format!("--takes {text}: SCRIPT=60s is wanted"))?;
                check_effect(name)?;
                check_program(word, name)?;
                options.takes.push((name.to_owned(), values::time(time)?));
            }
            "--limit" => {
                let limit = values::time(value()?)?.as_millis();
                if limit < 1000 {
                    return Err("--limit: at least 1s is wanted".to_owned().into());
                }
                options.limit = time::Duration::from_millis(limit);
            }
            option if option.starts_with('-') => return Err(Failure::Usage(no_option("run", option, help))),
            other => {
                return Err(format!(
                    "{other:?} stands beside options: scenarios are run alone, an artifact with --artifact"
                )
                .into());
            }
        }
    }
    if options.standalone {
        for (option, is_there) in
            [("--drop-connection-at", !options.breaks.is_empty()), ("--link", options.link.is_some())]
        {
            if is_there {
                return Err(format!("{option}: the command line installs a file, over no connection").into());
            }
        }
    }
    options.artifact = artifact.ok_or("--artifact FILE is missing: what is to be installed?".to_owned())?;
    Ok(options)
}

/// `WHAT` or `WHAT:N`.
fn fault(text: &str, what: impl Fn(&str) -> What) -> Result<Fault, Failure> {
    let (name, nth) = match text.rsplit_once(':') {
        Some((name, nth)) => (name, number("the number behind the colon", nth)?),
        None => (text, 1),
    };
    check_effect(name)?;
    let nth = u32::try_from(nth)
        .ok()
        .filter(|nth| *nth > 0)
        .ok_or_else(|| format!("{text}: a number from 1 on is wanted"))?;
    Ok(Fault::new(name, nth, what(name)))
}

/// Whether something of this name can happen.
fn check_effect(name: &str) -> Result<(), Failure> {
    let known = effects();
    if script::parse_name(name).is_some() || known.iter().any(|known| known == name) {
        return Ok(());
    }
    let hint = meant(name, known.iter().map(String::as_str));
    Err(format!(
        "{name:?} is neither a script, nor a call of a module, nor a status, nor save, mark or reboot{hint}"
    )
    .into())
}

/// Whether something of this name is run, and not only done.
fn check_program(option: &str, name: &str) -> Result<(), Failure> {
    check_effect(name)?;
    if STATUSES.map(Status::name).contains(&name) || ["save", "mark", "reboot"].contains(&name) {
        return Err(format!(
            "{option} {name}: it is no program; {option} is for scripts and calls of the module"
        )
        .into());
    }
    Ok(())
}

/// `21` or `21x3`: a status, and how often.
fn exit(text: &str) -> Result<(u8, u32), Failure> {
    let (status, times) = text.split_once('x').unwrap_or((text, "1"));
    match (status.parse(), times.parse()) {
        (Ok(status), Ok(times)) if times > 0 => Ok((status, times)),
        _ => Err(format!("--exit {text}: a status from 0 to 255 is wanted, or 21x3 for three times").into()),
    }
}

fn number(what: &str, text: &str) -> Result<usize, Failure> {
    text.parse().map_err(|_| format!("{what}: {text:?} is no number").into())
}

/// `5000000`, `64M`, `2G`.
fn size(text: &str) -> Result<u64, Failure> {
    let (number, factor) = match (text.strip_suffix('M'), text.strip_suffix('G')) {
        (Some(number), _) => (number, 1 << 20),
        (_, Some(number)) => (number, 1 << 30),
        (None, None) => (text, 1),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    let bytes = bytes.filter(|bytes| (1 << 20..=1 << 36).contains(bytes));
    bytes.ok_or_else(|| format!("--disk {text}: a size from 1M to 64G is wanted").into())
}

/// `1970`, `2031`, `@1900000000`: seconds since 1970.
fn clock(text: &str) -> Result<u64, Failure> {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let begins =
        |year: u64| (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<u64>() * 86400;
    let seconds = match text.strip_prefix('@') {
        Some(seconds) => seconds.parse().ok().filter(|seconds| *seconds <= begins(2200)),
        None => text.parse().ok().filter(|year| (1970..=2200).contains(year)).map(begins),
    };
    seconds.ok_or_else(|| {
        format!("--clock {text}: a year from 1970 to 2200 is wanted, or @ and seconds since 1970").into()
    })
}

/// `1200`, `20K`, `2M`: bytes a second.
fn speed(text: &str) -> Result<NonZeroU32, Failure> {
    let (number, factor) = match (text.strip_suffix('K'), text.strip_suffix('M')) {
        (Some(number), _) => (number, 1000),
        (_, Some(number)) => (number, 1_000_000),
        (None, None) => (text, 1),
    };
    let bytes = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    let bytes = bytes.filter(|bytes| *bytes >= 10).and_then(NonZeroU32::new);
    bytes.ok_or_else(|| format!("--link {text}: bytes a second are wanted, from 10 on: 1200, 20K, 2M").into())
}
