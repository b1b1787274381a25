//! Prepares the log of a failed deployment for the server: always valid JSON, always within the server's limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};
use thimble_core::json::Value;

use super::date;
use super::deployment::find;
use super::entry::entry;
use super::shorten::shortened;

/// Most bytes of entries, their commas included: Mender's clients leave 256 bytes of the server's million for the
/// rest of the request.
pub const BODY_MAX: usize = 1_000_000 - 256;

const HEAD: &str = "{\"messages\":[";
const TAIL: &str = "]}";

/// Longest `level` and `message` that are sent. Longer ones were not written by this client.
const LEVEL_MAX: usize = 32;

const DROPPED: &str = "the deployment log is too long for the server: its oldest lines are missing";
const DAMAGED: &str = "a line of the deployment log is damaged and left out";
const HAS_DAMAGE: &str = "the deployment log has damaged lines, perhaps from a loss of power";
const NOTHING: &str = "there is no deployment log";

/// The body of the request, `{"messages":[...]}`, from the log of deployment `id` in `directory`. There is
/// always a body: if the log is missing, damaged or too long, an entry in it says so.
#[must_use]
pub fn upload_body(directory: &Path, id: &str) -> Vec<u8> {
    let now = date::rfc3339(SystemTime::now());
    match read_end(directory, id) {
        Ok((log, cut)) => {
            let log = shortened(&log, &now).unwrap_or(log);
            body(&log, cut, &now)
        }
        Err(error) => {
            let entry = entry(&now, "error", &format!("the deployment log cannot be read: {error}"));
            [HEAD, &entry, TAIL].concat().into_bytes()
        }
    }
}

/// The end of the log, as much as can be sent, and whether older lines were left out.
fn read_end(directory: &Path, id: &str) -> io::Result<(Vec<u8>, bool)> {
    let Some(path) = find(directory, id)? else { return Ok((Vec::new(), false)) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let start = file.metadata()?.len().saturating_sub(BODY_MAX as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut log = Vec::new();
    file.take(BODY_MAX as u64).read_to_end(&mut log)?;
    if start > 0 {
        let first_whole = log.iter().position(|&b| b == b'\n').map_or(log.len(), |at| at + 1);
        log.drain(..first_whole);
    }
    Ok((log, start > 0))
}

/// Turns the lines of `log` into valid entries. `cut` says that older lines were left out already.
fn body(log: &[u8], cut: bool, now: &str) -> Vec<u8> {
    let lines = || log.split(|&b| b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    // A damaged line gets the time of the line before it; those before the first good line get the time of that one.
    let mut time = lines().find_map(good_entry).map_or_else(|| now.to_owned(), |(_, time)| time);
    let mut entries = Newest::new(cut);
    let first_time = time.clone();
    let mut damaged = false;
    for line in lines() {
        match good_entry(line) {
            Some((entry, its_time)) => {
                entries.push(entry);
                time = its_time;
            }
            None => {
                entries.push(entry(&time, "error", DAMAGED));
                damaged = true;
            }
        }
    }
    if damaged {
        entries.front.push(entry(&first_time, "error", HAS_DAMAGE));
    }
    if entries.dropped {
        entries.front.insert(0, entry(&first_time, "warning", DROPPED));
    }
    if entries.newest.is_empty() && entries.front.is_empty() {
        entries.front.push(entry(now, "warning", NOTHING));
    }
    entries.into_body()
}

/// The entry and its time, if `line` is one that the server accepts. The entry is always written anew from its parts.
fn good_entry(line: &[u8]) -> Option<(String, String)> {
    let value = Value::parse(line).ok()?;
    let text = |name| Some(value.member(name).ok()??.as_str()?.to_string());
    let (time, level, message) = (text("timestamp")?, text("level")?, text("message")?);
    let good = date::is_rfc3339(&time) && (1..=LEVEL_MAX).contains(&level.len());
    good.then(|| (entry(&time, &level, &message), time))
}

/// As many of the newest entries as fit together with the entries that may be put before them.
struct Newest {
    front: Vec<String>,
    newest: VecDeque<String>,
    /// The length of `newest` in bytes, with a comma after each entry.
    length: usize,
    dropped: bool,
}

impl Newest {
    /// Room for the two entries that may be put in front, with their commas.
    const RESERVE: usize = 512;

    fn new(dropped: bool) -> Self {
        Self { front: Vec::new(), newest: VecDeque::new(), length: 0, dropped }
    }

    fn push(&mut self, entry: String) {
        self.length += entry.len() + 1;
        self.newest.push_back(entry);
        while self.length > BODY_MAX - Self::RESERVE {
            let Some(oldest) = self.newest.pop_front() else { break };
            self.length -= oldest.len() + 1;
            self.dropped = true;
        }
    }

    fn into_body(self) -> Vec<u8> {
        let mut body = String::with_capacity(self.length + Self::RESERVE + HEAD.len() + TAIL.len());
        body.push_str(HEAD);
        for (number, entry) in self.front.iter().chain(&self.newest).enumerate() {
            let separator = if number > 0 { "," } else { "" };
            body.push_str(separator);
            body.push_str(entry);
        }
        body.push_str(TAIL);
        body.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const NOW: &str = "2026-05-05T05:05:05Z";

    /// (timestamp, level, message) of each entry; panics where the server would answer 400 or 413.
    fn accepted(body: &[u8]) -> Vec<(String, String, String)> {
        assert!(body.len() <= BODY_MAX + HEAD.len() + TAIL.len());
        let messages = Value::parse(body).unwrap().member("messages").unwrap().unwrap();
        let entries: Vec<_> = messages
            .items()
            .unwrap()
            .map(|item| {
                let text = |name| item.member(name).unwrap().unwrap().as_str().unwrap().to_string();
                (text("timestamp"), text("level"), text("message"))
            })
            .collect();
        assert!(!entries.is_empty());
        for (time, level, message) in &entries {
            assert!(
                date::is_rfc3339(time) && !level.is_empty() && !message.is_empty(),
                "{time} {level} {message}"
            );
        }
        entries
    }

    fn log_of(count: usize) -> String {
        let mut log = String::new();
        for n in 0..count {
            let time = format!("2026-01-01T00:00:{:02}Z", n % 60);
            writeln!(log, "{}", entry(&time, "info", &format!("line {n} \"é\"\u{1}"))).unwrap();
        }
        log
    }

    #[test]
    fn l4_a_log_cut_at_any_byte_is_accepted() {
        let log = log_of(4);
        for length in 0..=log.len() {
            let entries = accepted(&body(&log.as_bytes()[..length], false, NOW));
            let whole = log.as_bytes()[..length].iter().filter(|&&b| b == b'\n').count();
            let good = entries.iter().filter(|(_, _, message)| message.starts_with("line ")).count();
            assert!(good >= whole, "{length}: {entries:?}");
        }
    }

    #[test]
    fn l4_a_damaged_line_is_replaced_with_the_time_before_it_and_announced() {
        let mut log = log_of(3).into_bytes();
        log.splice(0..0, *b"\xff\xfe\n");
        log.extend_from_slice(b"{\"timestamp\":\"2026-01-01T00:00:0\n\n  \n");
        let entries = accepted(&body(&log, false, NOW));
        assert_eq!(entries.len(), 6);
        assert_eq!(entries[0].2, HAS_DAMAGE);
        let replaced = |time: &str| (time.to_owned(), "error".to_owned(), DAMAGED.to_owned());
        assert_eq!(entries[1], replaced("2026-01-01T00:00:00Z"));
        assert_eq!(entries[5], replaced("2026-01-01T00:00:02Z"));
    }

    #[test]
    fn l5_entries_are_written_anew_whatever_their_fields_hold() {
        let odd = [
            r#"{"timestamp":"2026-01-01T00:00:00.123456+02:00","level":"INFO","message":"\u0022,\"x\":\u005c","more":1}"#,
            r#"{"timestamp":"2026-01-01T00:00:00Z","level":"info","message":""}"#,
            r#"{"timestamp":"2026-1-1T0:0:0Z","level":"info","message":"m"}"#,
            r#"{"timestamp":"2026-01-01T00:00:00Z","level":"","message":"m"}"#,
            r#"{"timestamp":"2026-01-01T00:00:00Z","level":"info","message":5}"#,
            r#"{"timestamp":"2026-01-01T00:00:00Z","level":"info","message":"a","message":"b"}"#,
            r#"["timestamp"]"#,
            "null",
        ];
        let entries = accepted(&body(odd.join("\n").as_bytes(), false, NOW));
        assert_eq!(entries[1].2, "\",\"x\":\\");
        assert_eq!(entries[2].2, "(empty)");
        assert!(entries[3..].iter().all(|(_, _, message)| message == DAMAGED));
        assert_eq!(entries.len(), 1 + odd.len());
    }

    #[test]
    fn the_oldest_entries_of_a_long_log_are_dropped_with_a_warning() {
        let log = log_of(30_000);
        assert!(log.len() > 2 * BODY_MAX);
        let sent = body(log.as_bytes(), false, NOW);
        assert!(sent.len() > BODY_MAX - 1000);
        let entries = accepted(&sent);
        assert_eq!((entries[0].1.as_str(), entries[0].2.as_str()), ("warning", DROPPED));
        assert_eq!(entries.last().unwrap().2, "line 29999 \"é\"\u{1}");
        let numbers: Vec<usize> =
            entries[1..].iter().map(|(_, _, m)| m.split(' ').nth(1).unwrap().parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }

    #[test]
    fn short_broken_lines_cannot_outgrow_the_limit() {
        let entries = accepted(&body(&b"x\n".repeat(400_000), false, NOW));
        assert_eq!((entries[0].2.as_str(), entries[1].2.as_str()), (DROPPED, HAS_DAMAGE));
    }

    #[test]
    fn r30_a_long_log_is_sent_without_its_middle() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("deployments.0000.a.log"), log_of(10_000)).unwrap();
        let entries = accepted(&upload_body(home.path(), "a"));
        assert!(entries[0].2.starts_with("line 0 "), "{:?}", entries[0]);
        assert!(entries.last().unwrap().2.starts_with("line 9999 "));
        let between = entries
            .iter()
            .filter(|(_, level, message)| level == "warning" && message.ends_with("left out here"));
        assert_eq!(between.count(), 1);
        assert!(entries.iter().all(|(_, _, message)| message != DAMAGED && message != DROPPED));
    }

    #[test]
    fn a_log_of_another_client_that_cannot_be_sent_whole_is_sent_from_its_end() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("deployments.0000.a.log"), log_of(30_000)).unwrap();
        let entries = accepted(&upload_body(home.path(), "a"));
        assert_eq!(entries[0].2, DROPPED);
        assert!(entries.iter().all(|(_, _, message)| message != DAMAGED));
        assert!(entries.last().unwrap().2.starts_with("line 29999"));
    }

    #[test]
    fn a_missing_or_empty_log_still_gives_a_message() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("deployments.0000.empty.log"), "\n \n").unwrap();
        for id in ["missing", "empty"] {
            assert_eq!(accepted(&upload_body(home.path(), id))[0].2, NOTHING);
        }
        assert!(accepted(&upload_body(&home.path().join("nowhere"), "x"))[0].2.contains("cannot be read"));
    }
}
