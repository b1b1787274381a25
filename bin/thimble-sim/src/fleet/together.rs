//! `fleet together`: many devices that commit together, or not at all.

use std::io::{self, Write};

use thimble_hal_sim::fleet::together::{self, Plan, Story};

use super::HELP;
use crate::failure::{Failure, no_option};
use crate::values::{Once, text};

const HOLD: &str = include_str!("../../../../support/update-control/hold-commit.json");
const GO: &str = include_str!("../../../../support/update-control/commit-all.json");
const FAIL: &str = include_str!("../../../../support/update-control/fail-all.json");

/// Runs a fleet and prints its story; `Ok(false)`: the devices did not end alike.
pub(super) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let (plan, json) = read(words)?;
    let story = together::run(&plan)?;
    if json {
        print_json(out, &story)?
    } else {
        print(out, &story)?
    }
    Ok(story.agrees())
}

fn print(out: &mut dyn Write, story: &Story) -> io::Result<()> {
    write!(out, "{story}")?;
    for violation in &story.violations {
        writeln!(out, "violation: {violation}")?;
    }
    let ending = if story.agrees() { "all alike" } else { "NOT all alike" };
    writeln!(out, "\n{} devices: {ending}", story.rows.len())
}

/// Everything in it is made of letters, digits and punctuation that JSON takes as it is.
fn print_json(out: &mut dyn Write, story: &Story) -> io::Result<()> {
    writeln!(out, "{{\"schema\":1,\"agrees\":{},\n \"events\":[", story.agrees())?;
    let comma = |index: usize, length: usize| if index + 1 < length { "," } else { "" };
    for (index, event) in story.events.iter().enumerate() {
        let device = event.device.map_or("null".to_owned(), |device| device.to_string());
        let comma = comma(index, story.events.len());
        let (at, what) = (event.at.as_secs(), &event.what);
        writeln!(out, "  {{\"at_seconds\":{at},\"device\":{device},\"what\":\"{what}\"}}{comma}")?;
    }
    writeln!(out, " ],\n \"devices\":[")?;
    for (index, row) in story.rows.iter().enumerate() {
        let time = |at: Option<thimble_core::time::Duration>| {
            at.map_or("null".into(), |at| at.as_secs().to_string())
        };
        let (waited, over): (String, String) = (time(row.waited), time(row.over));
        let comma = comma(index, story.rows.len());
        writeln!(
            out,
            "  {{\"device\":{},\"waited_at_seconds\":{waited},\"over_at_seconds\":{over},\"status\":\"{}\",\
             \"name\":\"{}\",\"slot\":\"{}\"}}{comma}",
            row.device, row.status, row.name, row.slot
        )?;
    }
    writeln!(out, " ]}}")
}

fn read(words: &[&str]) -> Result<(Plan, bool), String> {
    let mut plan =
        Plan { devices: 20, broken: None, dies: false, hold: HOLD.into(), go: GO.into(), fail: FAIL.into() };
    let mut json = false;
    let (mut words, mut once) = (words.iter(), Once::but(&[]));
    while let Some(word) = words.next() {
        once.read(word)?;
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| {
            let number = text.parse().ok().filter(|number| (1..=99).contains(number));
            number.ok_or_else(|| format!("{word} {text}: a number from 1 to 99 is wanted"))
        };
        match *word {
            "--devices" => plan.devices = number(value()?)?,
            "--broken" => plan.broken = Some(number(value()?)?),
            "--dies" => plan.dies = true,
            "--hold" => plan.hold = text(value()?)?,
            "--go" => plan.go = text(value()?)?,
            "--fail" => plan.fail = text(value()?)?,
            "--json" => json = true,
            other => return Err(no_option("fleet together", other, HELP)),
        }
    }
    if plan.broken.is_some_and(|broken| broken > plan.devices) {
        return Err(format!("--broken: there are only {} devices", plan.devices));
    }
    Ok((plan, json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use thimble_core::json::Value;

    fn story(words: &[&str]) -> (bool, String) {
        let mut out = Vec::new();
        let good = run(&mut out, words).unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_story_is_told_to_people_and_to_programs() {
        let (good, text) = story(&["--devices", "3", "--broken", "2"]);
        assert!(good && text.contains("quality assurance  device 02 is broken: nobody commits"), "{text}");
        assert!(text.ends_with("3 devices: all alike\n"), "{text}");
        let (good, json) = story(&["--devices", "3", "--json"]);
        let value = Value::parse(json.as_bytes()).unwrap();
        let devices = value.member("devices").unwrap().and_then(|devices| devices.items()).unwrap();
        assert!(good && devices.count() == 3, "{json}");
        assert!(json.starts_with("{\"schema\":1,\"agrees\":true"), "{json}");
    }

    #[test]
    fn options_are_read() {
        for words in
            [&["--devices", "0"][..], &["--devices"], &["--broken", "21"], &["--hold", "/no/file"], &["x"]]
        {
            assert!(read(words).is_err(), "{words:?}");
        }
        // A map that a device refuses ends the run with what it said.
        let dir = std::env::temp_dir().join(format!("thimble-fleet-{}", std::process::id()));
        fs::write(&dir, "{}").unwrap();
        let ended = run(&mut Vec::new(), &["--hold", dir.to_str().unwrap()]);
        fs::remove_file(&dir).unwrap();
        assert!(matches!(&ended, Err(Failure::Usage(why)) if why.contains("must be a UUID")), "{ended:?}");
    }
}
