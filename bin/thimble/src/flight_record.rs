//! `show-flight-record`: what the client did last, as it is on record. It takes no lock, so it works beside a running daemon.

use std::fmt::{self, Write as _};

use thimble_core::flight::{Entry, Event, Record};
use thimble_core::hal::{Key, Storage};
use thimble_core::texts;
use thimble_hal_linux::storage::{Access, RECORD_MAX};

use crate::args::Invocation;
use crate::device::Device;
use crate::json::{member, number};
use crate::output::{Failure, print};

/// First line of `--raw`.
const TITLE: &str = "thimble flight record";

/// Bytes on a line of it.
const WIDTH: usize = 32;

pub(crate) fn show(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    let mut buf = vec![0; RECORD_MAX];
    let mut stored = None;
    if !device.was_never_used()? {
        let (mut store, notices) = device.open_store(Access::ReadOnly)?;
        device.log_notices(&notices);
        stored = store.read(Key::Flight, &mut buf).map_err(Failure::new)?;
    }
    let Some(bytes) = stored else {
        return Err(Failure::new("no flight record yet: it is written with the records of the first update"));
    };
    if invocation.raw {
        return print(&raw(bytes));
    }
    let record = Record::decode(bytes)
        .ok_or_else(|| Failure::new("the flight record is damaged, or of another version of the client"))?;
    print(&if invocation.json { json(&record) } else { lines(&record) })
}

/// Hexadecimal digits, so that a serial console or a mail carries it.
fn raw(bytes: &[u8]) -> String {
    let mut out = format!("{TITLE}\n");
    for line in bytes.chunks(WIDTH) {
        for byte in line {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\n');
    }
    out
}

/// Events with what is counted over them: the process they happened in, from 1 on, and the seconds since its start. 0: the
/// process whose start is not on record any more.
fn in_processes<'a>(record: &Record<'a>) -> impl Iterator<Item = (u32, u64, Entry<'a>)> {
    let (mut process, mut time) = (0, 0);
    record.entries().map(move |entry| {
        if let Some(Event::Starts { .. }) = entry.event {
            process += 1;
            time = 0;
        }
        time += u64::from(entry.after);
        (process, time, entry)
    })
}

fn lines(record: &Record<'_>) -> String {
    let mut out = String::new();
    if record.dropped() > 0 {
        let _ = writeln!(out, "{} older events are not on record any more.", record.dropped());
    }
    for (_, time, Entry { event, .. }) in in_processes(record) {
        let text = text(event.as_ref());
        if let Some(Event::Starts { .. }) = event {
            // Time begins anew with each process.
            let _ = writeln!(out, "-- {text}");
            continue;
        }
        let mark = if event.is_some_and(|event| event.is_fault()) { '!' } else { ' ' };
        let _ = writeln!(out, "{mark} {}  {text}", Clock(time));
    }
    out.push_str("What the client did since it last wrote its records is not on record.\n");
    out
}

fn json(record: &Record<'_>) -> String {
    let mut out = format!("{{\"dropped\":{},\"events\":[", record.dropped());
    for (nth, (process, time, Entry { number: count, event, .. })) in in_processes(record).enumerate() {
        let _ = write!(out, "{}\n{{\"number\":{count}", if nth > 0 { "," } else { "" });
        number(&mut out, "process", Some(process.into()));
        number(&mut out, "seconds", Some(time));
        member(&mut out, "kind", event.as_ref().map(Event::kind));
        let _ = write!(out, ",\"fault\":{}", event.is_some_and(|event| event.is_fault()));
        member(&mut out, "text", Some(&text(event.as_ref())));
        out.push('}');
    }
    out.push_str("\n]}\n");
    out
}

fn text(event: Option<&Event<'_>>) -> String {
    let Some(event) = event else { return "an event that only a newer version of the client knows".into() };
    let mut text = String::new();
    // A text takes everything.
    let _ = texts::decode(&event.to_string(), &mut text);
    text
}

/// Seconds, as hours, minutes and seconds.
struct Clock(u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = *self;
        write!(f, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use thimble_core::checkpoint::Tag;
    use thimble_core::deployment::{Call, Verdict};
    use thimble_core::flight::{How, Purpose, Ring, Saved};
    use thimble_core::time::Instant;

    use super::*;

    fn sample() -> Ring {
        let starts = |found| Event::Starts { run: Purpose::Daemon, version: "1", found };
        let first = [
            (0, starts(None)),
            (3700, Event::Call(Call::ArtifactInstall, How::Exited(1))),
            (3701, Event::Saves(Saved::Update(Tag::Rollback, Verdict::RolledBack))),
        ];
        let second = [(5, starts(Some(Tag::Rollback))), (7, Event::Reason("~U1000"))];
        let mut record = Ring::new();
        for process in [&first[..], &second] {
            let mut ring = Ring::new();
            ring.go_on(record.bytes());
            for (at, event) in process {
                ring.note(Instant::from_millis(at * 1000), event);
            }
            record = ring;
        }
        record
    }

    #[test]
    fn people_see_times_since_the_start_of_each_process_and_marks_at_faults() {
        let ring = sample();
        assert_eq!(
            lines(&Record::decode(ring.bytes()).unwrap()),
            "-- the daemon starts (version 1)\n\
             ! 1:01:40  ArtifactInstall: exit status 1\n  \
               1:01:41  on record: the rollback has begun (failed, back to what the device was)\n\
             -- the daemon starts (version 1) and finds an update in progress: the rollback has begun\n\
             ! 0:00:02  the reason of the failure: ~U1000\n\
             What the client did since it last wrote its records is not on record.\n"
        );
    }

    #[test]
    fn programs_see_the_same() {
        let ring = sample();
        let json = json(&Record::decode(ring.bytes()).unwrap());
        let line = "{\"number\":1,\"process\":1,\"seconds\":3700,\"kind\":\"call\",\"fault\":true,\
                    \"text\":\"ArtifactInstall: exit status 1\"},\n";
        assert!(
            json.starts_with("{\"dropped\":0,\"events\":[\n{\"number\":0,") && json.contains(line),
            "{json}"
        );
        assert!(thimble_core::json::Value::parse(json.as_bytes()).is_ok(), "{json}");
    }

    #[test]
    fn raw_bytes_are_lines_of_digits() {
        assert_eq!(raw(&[0, 255]), "thimble flight record\n00ff\n");
        assert!(raw(&[7; 640]).lines().all(|line| line.len() <= 64));
    }
}
