//! `doctor`: what this device can and cannot before its first update, and what to mend first. Nothing is changed, no lock is taken,
//! and no server hears who asks.

mod boot;
mod outside;
mod programs;
mod records;
mod settings;
mod trusted;

use std::fmt::{Display, Write as _};
use std::io::ErrorKind;
use std::path::Path;

use rustix::process::geteuid;
use thimble_hal_linux::config::ConfigError;

use crate::args::Invocation;
use crate::device::Device;
use crate::json::{list, quoted};
use crate::output::{Failure, SUCCESS, one_line, print};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// No update gets through.
    Stops,
    /// Some updates do not, or not as was meant.
    Doubtful,
    /// Nobody could see it.
    Unseen,
    Good,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Stops => "stops",
            Self::Doubtful => "doubtful",
            Self::Unseen => "unseen",
            Self::Good => "good",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    /// A few words: what was looked at.
    name: &'static str,
    text: String,
    /// What to do; nothing where all is well, or the text says it.
    mend: String,
    /// Whether updates could be stopped here. Of what was not seen.
    may_stop: bool,
}

/// What was found so far, in the order in which it is to be mended: what stands below may be wrong because of what stands above.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, name: &'static str, text: impl Display, mend: impl Display) {
        let (text, mend) = (text.to_string(), mend.to_string());
        self.0.push(Finding { severity, name, text, mend, may_stop: severity <= Severity::Unseen });
    }

    fn stops(&mut self, name: &'static str, text: impl Display, mend: impl Display) {
        self.add(Severity::Stops, name, text, mend);
    }

    fn doubtful(&mut self, name: &'static str, text: impl Display, mend: impl Display) {
        self.add(Severity::Doubtful, name, text, mend);
    }

    fn unseen(&mut self, name: &'static str, text: impl Display) {
        self.add(Severity::Unseen, name, text, "run this as root");
    }

    /// What is set is not known where the configuration could not be read.
    fn unset(&mut self, trouble: &ConfigError, name: &'static str, what: &str) {
        let text = format!("{what} set is not known: the configuration cannot be used");
        let mend = if is_hidden(&trouble.path) { "run this as root" } else { "mend the configuration first" };
        self.add(Severity::Unseen, name, text, mend);
    }

    /// So many findings of a kind are left out.
    fn left_out(&mut self, name: &'static str, count: usize) {
        if count > 0 {
            self.doubtful(
                name,
                format_args!("{count} more are not shown"),
                "mend those that are shown first",
            );
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Stops)
    }

    /// Whether updates can get through; `None`: that was not seen.
    fn can_update(&self) -> Option<bool> {
        let is_unseen = |finding: &Finding| finding.severity == Severity::Unseen && finding.may_stop;
        if self.is_stopped() {
            return Some(false);
        }
        (!self.0.iter().any(is_unseen)).then_some(true)
    }

    fn good(&mut self, name: &'static str, text: impl Display) {
        self.add(Severity::Good, name, text, "");
    }
}

/// Whether this user may not read a file, or what is on the way to it. Nothing is known of such a file.
fn is_hidden(path: &Path) -> bool {
    let opened =
        if path.is_dir() { std::fs::read_dir(path).map(drop) } else { std::fs::metadata(path).map(drop) };
    let read =
        opened.and_then(|()| rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(Into::into));
    read.is_err_and(|error: std::io::Error| error.kind() == ErrorKind::PermissionDenied)
}

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    let mut found = Findings::default();
    if !geteuid().is_root() {
        found.unseen("user", "the client runs as root, and this is another user: what root would refuse, or may read, can differ");
    }
    records::look(&device, &mut found);
    settings::look(&device, &mut found);
    records::device_type(&device, &mut found);
    outside::clock(&device, &mut found);
    trusted::look(&device, &mut found);
    outside::servers(&device, &mut found);
    programs::look(&device, &mut found);
    boot::look(&device, &mut found);
    // Stable: within one severity the order stays.
    found.0.sort_by_key(|finding| finding.severity);
    print(&if invocation.json { json(&found) } else { lines(&found) })?;
    match found.0.first().filter(|first| first.severity == Severity::Stops) {
        None => Ok(SUCCESS),
        Some(Finding { name, text, mend, .. }) if mend.is_empty() => {
            Err(Failure::new(format_args!("mend this first: {name}: {text}")))
        }
        Some(Finding { name, text, mend, .. }) => {
            Err(Failure::new(format_args!("mend this first: {name}: {text}: {mend}")))
        }
    }
}

fn lines(found: &Findings) -> String {
    let mut out = String::new();
    for Finding { severity, name, text, mend, .. } in &found.0 {
        let _ = writeln!(out, "{:10}{name}: {}", severity.word(), one_line(text));
        if !mend.is_empty() {
            let _ = writeln!(out, "{:10}    mend: {}", "", one_line(mend));
        }
    }
    let count = |severity| found.0.iter().filter(|finding| finding.severity == severity).count();
    let (stops, doubtful, unseen) =
        (count(Severity::Stops), count(Severity::Doubtful), count(Severity::Unseen));
    let verdict = match found.can_update() {
        Some(true) => "Nothing stops updates".to_owned(),
        Some(false) => format!("Updates are stopped by {stops}"),
        None => "Nothing that was seen stops updates".to_owned(),
    };
    let _ = writeln!(out, "\n{verdict}; {doubtful} doubtful, {unseen} unseen.");
    out
}

fn json(found: &Findings) -> String {
    let finding = |finding: &Finding| {
        let Finding { severity, name, text, mend, .. } = finding;
        let [severity, name, text, mend] = [severity.word(), name, text, mend].map(quoted);
        format!("{{\"severity\":{severity},\"name\":{name},\"text\":{text},\"mend\":{mend}}}")
    };
    let can_update = found.can_update().map_or("null", |can| if can { "true" } else { "false" });
    format!("{{\"can_update\":{can_update},\"findings\":{}}}\n", list(found.0.iter().map(finding)))
}
