//! The group `UpdateControl` of `mender.conf`: when updates may go on, and who decides. The group is
//! thimble's own. Unlike in other groups an unknown key is an error here, since a misspelt one would let an update
//! through.

use std::path::{Path, PathBuf};

use thimble_core::deployment::Point;
use thimble_core::json::Value;
use thimble_core::time::Duration;

use super::ConfigFault;
use super::setting::Setting;
use crate::policy::{AtDeadline, DAYS, DEADLINE, Inhibitor, MOST, Minute, Points, Sign, Window};

/// A line of a GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The character device of the chip.
    pub chip: PathBuf,
    /// The number of the line on it.
    pub line: u32,
    /// Whether a low voltage means on.
    pub active_low: bool,
}

/// A button that lets a waiting update go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// The line that the button is on.
    pub line: Line,
    /// How long the button must be held.
    pub hold: Duration,
}

/// The longest `DeadlineSeconds`: a year.
const YEAR: u64 = 365 * 24 * 3600;

pub(super) fn windows(setting: Setting<'_>) -> Result<Vec<Window>, ConfigFault> {
    list(setting, "a list of at most 16 windows", |item| {
        let [at, from, to, days, deadline, then] =
            item.members(["At", "From", "To", "Days", "DeadlineSeconds", "AtDeadline"])?;
        let minute = |value: Option<Value<'_>>, key| {
            let text = value.and_then(Value::as_str).map(|text| text.to_string());
            let minute = text.and_then(|text| Minute::parse(&text));
            minute.ok_or(ConfigFault::Value { key, expected: "a time of day as HH:MM, from 00:00 to 24:00" })
        };
        Ok(Window {
            points: points(at, "UpdateControl.Windows[].At")?,
            from: minute(from, "UpdateControl.Windows[].From")?,
            to: minute(to, "UpdateControl.Windows[].To")?,
            days: week_days(days)?,
            deadline: seconds(deadline, "UpdateControl.Windows[].DeadlineSeconds")?,
            then: at_deadline(then, "UpdateControl.Windows[].AtDeadline")?,
        })
    })
}

pub(super) fn inhibitors(setting: Setting<'_>) -> Result<Vec<Inhibitor>, ConfigFault> {
    list(setting, "a list of at most 16 inhibitors", |item| {
        let [at, file, program, deadline, then] =
            item.members(["At", "File", "Program", "DeadlineSeconds", "AtDeadline"])?;
        let path = |value: Value<'_>, key| absolute(value, key);
        let sign = match (file, program) {
            (Some(file), None) => Sign::File(path(file, "UpdateControl.Inhibitors[].File")?),
            (None, Some(program)) => Sign::Program(path(program, "UpdateControl.Inhibitors[].Program")?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(setting.wrong("a list of objects with either File or Program"));
            }
        };
        Ok(Inhibitor {
            points: points(at, "UpdateControl.Inhibitors[].At")?,
            sign,
            deadline: seconds(deadline, "UpdateControl.Inhibitors[].DeadlineSeconds")?,
            then: at_deadline(then, "UpdateControl.Inhibitors[].AtDeadline")?,
        })
    })
}

pub(super) fn button(setting: Setting<'_>) -> Result<Button, ConfigFault> {
    let [chip, number, active_low, hold] =
        setting.members(["Chip", "Line", "ActiveLow", "HoldMilliseconds"])?;
    let expected = "a number of milliseconds from 50 to 60000";
    let hold = match hold {
        None => Some(1000),
        Some(hold) => hold.as_integer().and_then(|hold| u64::try_from(hold).ok()),
    };
    let hold = hold.filter(|hold| (50..=60_000).contains(hold));
    let hold = hold.ok_or(ConfigFault::Value { key: "UpdateControl.Button.HoldMilliseconds", expected })?;
    Ok(Button { line: line(setting, chip, number, active_low)?, hold: Duration::from_millis(hold) })
}

pub(super) fn light(setting: Setting<'_>) -> Result<Line, ConfigFault> {
    let [chip, number, active_low] = setting.members(["Chip", "Line", "ActiveLow"])?;
    line(setting, chip, number, active_low)
}

fn line(
    setting: Setting<'_>,
    chip: Option<Value<'_>>,
    number: Option<Value<'_>>,
    active_low: Option<Value<'_>>,
) -> Result<Line, ConfigFault> {
    let expected = "an object with Chip, an absolute path such as /dev/gpiochip0, and Line, a number";
    let chip = chip.ok_or(setting.wrong(expected))?;
    let number = number.and_then(Value::as_integer).and_then(|line| u32::try_from(line).ok());
    Ok(Line {
        chip: absolute(chip, setting.key)?,
        line: number.ok_or(setting.wrong(expected))?,
        active_low: active_low.map_or(Ok(false), |value| Setting { value, ..setting }.boolean())?,
    })
}

fn list<T>(
    setting: Setting<'_>,
    expected: &'static str,
    read: impl Fn(Setting<'_>) -> Result<T, ConfigFault>,
) -> Result<Vec<T>, ConfigFault> {
    let items = setting.value.items().ok_or(setting.wrong(expected))?;
    let mut list = Vec::new();
    for value in items {
        if list.len() == MOST {
            return Err(setting.wrong(expected));
        }
        list.push(read(Setting { value, ..setting })?);
    }
    Ok(list)
}

/// The points of a policy. At least one is required: an empty list is certainly a mistake.
fn points(value: Option<Value<'_>>, key: &'static str) -> Result<Points, ConfigFault> {
    let wrong = ConfigFault::Value { key, expected: "a list of \"install\", \"reboot\" and \"commit\"" };
    let Some(items) = value.and_then(Value::items) else { return Err(wrong) };
    let mut points = Points::default();
    for item in items {
        let named = |point: &Point| item.as_str().is_some_and(|word| word.is(point.word()));
        match Point::ALL.into_iter().find(named) {
            Some(point) => points = points.with(point),
            None => return Err(wrong),
        }
    }
    if points == Points::default() { Err(wrong) } else { Ok(points) }
}

fn week_days(value: Option<Value<'_>>) -> Result<u8, ConfigFault> {
    let Some(value) = value else { return Ok(0x7f) };
    let wrong = ConfigFault::Value {
        key: "UpdateControl.Windows[].Days",
        expected: "a list of \"Mon\", \"Tue\", \"Wed\", \"Thu\", \"Fri\", \"Sat\" and \"Sun\", or absent for every day",
    };
    let Some(items) = value.items() else { return Err(wrong) };
    let mut days = 0;
    for item in items {
        let named = |name: &&str| item.as_str().is_some_and(|word| word.is_ignoring_case(name));
        match DAYS.iter().position(named) {
            Some(day) => days |= 1 << day,
            None => return Err(wrong),
        }
    }
    if days == 0 { Err(wrong) } else { Ok(days) }
}

fn seconds(value: Option<Value<'_>>, key: &'static str) -> Result<Duration, ConfigFault> {
    let Some(value) = value else { return Ok(DEADLINE) };
    let seconds = value.as_integer().and_then(|seconds| u64::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| (1..=YEAR).contains(seconds));
    let expected = "a number of seconds from 1 to 31536000 (a year)";
    seconds.map(Duration::from_secs).ok_or(ConfigFault::Value { key, expected })
}

fn at_deadline(value: Option<Value<'_>>, key: &'static str) -> Result<AtDeadline, ConfigFault> {
    match value.map(Value::as_str) {
        None => Ok(AtDeadline::Continue),
        Some(Some(word)) if word.is("continue") => Ok(AtDeadline::Continue),
        Some(Some(word)) if word.is("fail") => Ok(AtDeadline::Fail),
        Some(_) => Err(ConfigFault::Value { key, expected: "\"continue\" or \"fail\"" }),
    }
}

fn absolute(value: Value<'_>, key: &'static str) -> Result<PathBuf, ConfigFault> {
    let text = value.as_str().map(|text| text.to_string());
    let path = text.filter(|path| Path::new(path).is_absolute() && !path.contains('\0'));
    path.map(PathBuf::from).ok_or(ConfigFault::Value { key, expected: "an absolute path" })
}
