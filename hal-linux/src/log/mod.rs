//! The log: lines in logfmt on standard error or in a file, and a second log of the running deployment.

mod date;
mod deployment;
mod entry;
mod outlet;
mod shorten;
mod upload;

pub use date::rfc3339;
pub use deployment::{kept, read};
pub use outlet::Outlet;
pub use upload::{BODY_MAX, upload_body};

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use deployment::DeploymentLog;
use thimble_core::hal::{Level, Log};
use thimble_core::text::{MARK, floor_char_boundary};

/// Longest message in bytes, before escaping. A longer one is cut, and a mark shows that. A line of script output is
/// much shorter.
pub const MESSAGE_MAX: usize = 4096;

/// The log of the process. Logging never fails. If the reader of standard error does not read, the client waits a
/// moment and then drops lines; as soon as there is room again, a line says how many were dropped.
#[derive(Debug)]
pub struct Logger {
    level: Level,
    outlet: Outlet,
    dropped: u64,
    deployment_logs: PathBuf,
    deployment: Option<DeploymentLog>,
    now: fn() -> SystemTime,
}

impl Logger {
    /// Logs messages of at least `level` to standard error. Logs of deployments go to the directory `deployment_logs`.
    #[must_use]
    pub fn new(level: Level, deployment_logs: &Path) -> Self {
        let deployment_logs = deployment_logs.to_owned();
        Self {
            level,
            outlet: Outlet::stderr(),
            dropped: 0,
            deployment_logs,
            deployment: None,
            now: SystemTime::now,
        }
    }

    /// Logs to the file `path` instead of standard error. The file is truncated.
    pub fn to_file(&mut self, path: &Path) -> io::Result<()> {
        self.outlet = Outlet::create(path)?;
        Ok(())
    }

    /// Changes the level.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Changes the directory for the logs of deployments.
    pub fn set_deployment_logs(&mut self, directory: &Path) {
        directory.clone_into(&mut self.deployment_logs);
    }

    fn write_line(&mut self, level: Level, time: &str, message: &str) {
        if self.dropped > 0 {
            let dropped = self.dropped;
            let notice =
                format!("lines of the log that could not be written in time and are lost: {dropped}");
            if self.outlet.write(line(Level::Warning, time, &notice).as_bytes()).is_ok() {
                self.dropped = 0;
            }
        }
        // Each line is one write, so that the lines of several processes do not mix. A failure cannot be reported
        // anywhere.
        if self.dropped > 0 || self.outlet.write(line(level, time, message).as_bytes()).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

fn line(level: Level, time: &str, message: &str) -> String {
    let mut line = format!("time=\"{time}\" level={} msg=\"", level.name());
    escape(message, &mut line);
    line.push_str("\"\n");
    line
}

impl Log for Logger {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        if level < self.level {
            return;
        }
        let message = bounded(message);
        let time = rfc3339((self.now)());
        self.write_line(level, &time, &message);
        if let Some(deployment) = &mut self.deployment {
            deployment.write(&time, level, &message);
        }
    }

    fn open_deployment(&mut self, id: &str) {
        match DeploymentLog::open(&self.deployment_logs, id) {
            Ok(log) => self.deployment = Some(log),
            Err(error) => {
                self.deployment = None;
                let directory = self.deployment_logs.display().to_string();
                self.log(
                    Level::Error,
                    format_args!("cannot open the deployment log in {directory}: {error}"),
                );
            }
        }
    }

    fn close_deployment(&mut self) {
        self.deployment = None;
    }
}

/// The level with this name, as `--log-level` and `DaemonLogLevel` spell it.
#[must_use]
pub fn level_of(name: &str) -> Option<Level> {
    // The other names are those of Mender's client in Go.
    let name = match name.to_ascii_lowercase().as_str() {
        "warn" => "warning".to_owned(),
        "panic" => "fatal".to_owned(),
        _ => name.to_ascii_lowercase(),
    };
    Level::ALL.into_iter().find(|level| level.name() == name)
}

/// `message`, cut to at most [`MESSAGE_MAX`] bytes between two characters; a mark shows the cut.
fn bounded(message: fmt::Arguments<'_>) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = MESSAGE_MAX - self.0.len();
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(&text[..floor_char_boundary(text, room)]);
            Err(fmt::Error)
        }
    }
    let mut text = Bounded(String::new());
    let cut = text.write_fmt(message).is_err();
    let Bounded(mut text) = text;
    if cut {
        text.truncate(floor_char_boundary(&text, MESSAGE_MAX - MARK.len()));
        text.push_str(MARK);
    }
    text
}

/// Escapes everything in `text` that would end the line or the quotes, or control a terminal.
fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // Unicode does not class these line separators and direction marks as control characters, but they act as
            // such.
            c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                // Writing into a `String` cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn logger(home: &Path) -> Logger {
        let mut logger = Logger::new(Level::Info, home);
        logger.to_file(&home.join("log")).unwrap();
        logger.now = || UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        logger
    }

    fn lines(home: &Path) -> String {
        std::fs::read_to_string(home.join("log")).unwrap()
    }

    #[test]
    fn lines_are_logfmt_in_utc_and_filtered_by_level() {
        let home = tempfile::tempdir().unwrap();
        let mut logger = logger(home.path());
        logger.log(Level::Debug, format_args!("not this"));
        logger.log(Level::Warning, format_args!("a \"quoted\" {}", "word"));
        logger.set_level(Level::Fatal);
        logger.log(Level::Error, format_args!("nor this"));
        let expected = "time=\"2023-11-14T22:13:20Z\" level=warning msg=\"a \\\"quoted\\\" word\"\n";
        assert_eq!(lines(home.path()), expected);
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let mut logger = logger(home.path());
        let long = "x".repeat(MESSAGE_MAX);
        for _ in 0..100 {
            logger.log(Level::Info, format_args!("{long}"));
        }
        let reader = std::fs::OpenOptions::new().read(true).open(&path).unwrap();
        let mut taken = vec![0; 1024 * 1024];
        let length = rustix::io::read(&reader, &mut taken).unwrap();
        logger.log(Level::Info, format_args!("there again"));
        let complete = taken[..length].iter().filter(|&&byte| byte == b'\n').count();
        assert!((1..100).contains(&complete), "{complete}");
        let length = rustix::io::read(&reader, &mut taken).unwrap();
        let text = str::from_utf8(&taken[..length]).unwrap();
        let count = format!("are lost: {}\"\n", 100 - complete);
        assert!(text.contains("level=warning") && text.contains(&count), "{text}");
        assert!(text.ends_with("msg=\"there again\"\n"), "{text}");
    }

    #[test]
    fn the_log_file_is_truncated_at_the_start() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("log"), "old").unwrap();
        logger(home.path());
        assert_eq!(lines(home.path()), "");
    }

    #[test]
    fn l7_no_control_character_survives() {
        let home = tempfile::tempdir().unwrap();
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| c.is_control()).collect();
        let mut logger = logger(home.path());
        logger.log(Level::Info, format_args!("{all}\u{2028}\u{202e}é\u{1b}[2J"));
        let text = lines(home.path());
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{2028}' && c != '\u{202e}'));
        assert!(text.contains("\\u001b[2J") && text.contains('é') && text.contains("\\u007f\\u0080"));
    }

    #[test]
    fn l7_a_long_message_is_cut_between_characters_with_a_mark() {
        for pad in 0..4 {
            let long = "x".repeat(pad) + &"é€".repeat(MESSAGE_MAX);
            let cut = bounded(format_args!("{}{long}", "y"));
            assert!(
                cut.len() <= MESSAGE_MAX && cut.len() > MESSAGE_MAX - 8 && cut.ends_with("..."),
                "{}",
                cut.len()
            );
        }
        let exact = "z".repeat(MESSAGE_MAX);
        assert_eq!(bounded(format_args!("{exact}")), exact);
    }

    #[test]
    fn level_names() {
        assert_eq!(level_of("trace"), Some(Level::Trace));
        assert_eq!(level_of("fatal"), Some(Level::Fatal));
        assert_eq!(
            (level_of("INFO"), level_of("panic"), level_of("Warn")),
            (Some(Level::Info), Some(Level::Fatal), Some(Level::Warning))
        );
    }

    #[test]
    fn a_deployment_log_that_cannot_be_opened_is_logged_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let mut logger = logger(home.path());
        logger.set_deployment_logs(&home.path().join("missing"));
        logger.open_deployment("id-1");
        logger.log(Level::Info, format_args!("on"));
        let text = lines(home.path());
        assert!(text.contains("level=error msg=\"cannot open the deployment log"), "{text}");
        assert!(text.ends_with("msg=\"on\"\n"));
    }

    #[test]
    fn while_a_deployment_is_open_its_log_gets_the_same_messages() {
        let home = tempfile::tempdir().unwrap();
        let mut logger = logger(home.path());
        logger.log(Level::Info, format_args!("before"));
        logger.open_deployment("id-1");
        logger.log(Level::Debug, format_args!("filtered"));
        logger.log(Level::Error, format_args!("a \"bad\"\nthing"));
        logger.close_deployment();
        logger.log(Level::Info, format_args!("after"));
        let log = std::fs::read_to_string(home.path().join("deployments.0000.id-1.log")).unwrap();
        let expected = r#"{"timestamp":"2023-11-14T22:13:20Z","level":"error","message":"a \"bad\"\nthing"}"#
            .to_owned()
            + "\n";
        assert_eq!(log, expected);
    }
}
