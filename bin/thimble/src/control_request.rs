//! What `control` asks of the daemon, on the command line and on the socket.

use std::fmt::Write as _;

use thimble_core::client::OPERATOR;
use thimble_core::control::{Holder, Id, parse_id};
use thimble_core::deployment::Point;
use thimble_core::json::Value;
use thimble_core::time::Duration;
use thimble_hal_linux::near::nearest;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Show,
    Pause,
    Continue,
    Fail,
}

impl Act {
    pub(crate) const ALL: [Self; 4] = [Self::Show, Self::Pause, Self::Continue, Self::Fail];

    /// The word on the command line and on the socket.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Fail => "fail",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.word() == word)
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlRequest {
    pub(crate) act: Act,
    /// The points it is about; empty: none was named.
    pub(crate) at: Vec<Point>,
    /// How long it counts; until it is lifted, if absent.
    pub(crate) time: Option<Duration>,
    /// In whose name.
    pub(crate) name: Holder,
}

impl ControlRequest {
    pub(crate) const fn new(act: Act) -> Self {
        Self { act, at: Vec::new(), time: None, name: OPERATOR }
    }

    /// The line on the socket, without its end.
    pub(crate) fn json(&self) -> String {
        let mut out = format!("{{\"do\":\"{}\",\"at\":[", self.act.word());
        for (index, point) in self.at.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(out, "{comma}\"{}\"", point.word());
        }
        let Holder { id, priority } = self.name;
        let _ = write!(out, "],\"id\":\"{}\",\"priority\":{priority}", Id(id));
        if let Some(time) = self.time {
            let _ = write!(out, ",\"for\":{}", time.as_secs());
        }
        out.push('}');
        out
    }

    /// Reads a line of the socket.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let value = Value::parse(line).map_err(|error| error.to_string())?;
        let members = value.members().ok_or("a request is a JSON object")?;
        let mut request = Self::new(Act::Show);
        let mut is_complete = false;
        for (name, value) in members {
            let text =
                || value.as_str().map(|text| text.to_string()).ok_or(format!("\"{name}\" must be a string"));
            if name.is("do") {
                let word = text()?;
                request.act = Act::parse(&word).ok_or_else(|| no_act(&word))?;
                is_complete = true;
            } else if name.is("at") {
                for item in value.items().ok_or("\"at\" must be a list")? {
                    let word = item.as_str().ok_or("\"at\" must be a list of strings")?.to_string();
                    request.add_point(&word)?;
                }
            } else if name.is("for") {
                request.time = Some(duration(value.raw())?);
            } else if name.is("id") {
                request.name.id = id(&text()?)?;
            } else if name.is("priority") {
                request.name.priority = priority(value.raw())?;
            } else {
                return Err(format!("there is no member \"{name}\": do, at, for, id, priority"));
            }
        }
        if is_complete { Ok(request) } else { Err("\"do\" is missing: show, pause, continue or fail".into()) }
    }

    /// `install`, `reboot`, `commit`, or several with commas between them.
    pub(crate) fn add_point(&mut self, words: &str) -> Result<(), String> {
        for word in words.split(',') {
            let point = Point::ALL.into_iter().find(|point| point.word() == word);
            let point =
                point.ok_or_else(|| format!("there is no point \"{word}\": install, reboot, commit"))?;
            if !self.at.contains(&point) {
                self.at.push(point);
            }
        }
        Ok(())
    }
}

pub(crate) fn no_act(word: &str) -> String {
    if word.is_empty() {
        return "control what? show, pause, continue or fail".into();
    }
    let hint = nearest(word, Act::ALL.map(Act::word)).map_or_else(
        || ": show, pause, continue or fail".to_owned(),
        |known| format!("; did you mean {known}?"),
    );
    format!("control cannot \"{word}\"{hint}")
}

/// A UUID.
pub(crate) fn id(text: &str) -> Result<u128, String> {
    parse_id(text).ok_or_else(|| format!("\"{text}\" is no UUID such as {}", Id(OPERATOR.id)))
}

/// The priority of a map.
pub(crate) fn priority(text: &str) -> Result<i8, String> {
    let number = text.parse::<i8>().ok().filter(|number| (-10..=10).contains(number));
    number.ok_or_else(|| format!("\"{text}\" is no priority: an integer from -10 to 10"))
}

/// `90`, `90s`, `15m`, `1h30m`, `7d`: a second to a year. Larger units stand first.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: u64 = 365 * 24 * 3600;
    seconds(text)
        .filter(|seconds| (1..=YEAR).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("\"{text}\" is no time such as 90s, 15m, 1h30m or 7d, of a second to a year"))
}

fn seconds(text: &str) -> Option<u64> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse::<u64>().ok() } else { None }
    };
    if let Some(seconds) = number(text) {
        return Some(seconds);
    }
    let (mut total, mut rest, mut larger) = (0_u64, text, u64::MAX);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, behind) = rest.split_at(end);
        let unit = match behind.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return None,
        };
        if unit >= larger {
            return None;
        }
        total = total.checked_add(number(digits)?.checked_mul(unit)?)?;
        (rest, larger) = (&behind[1..], unit);
    }
    (larger < u64::MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was_sent() {
        for act in Act::ALL {
            let mut request = ControlRequest::new(act);
            assert_eq!(ControlRequest::parse(request.json().as_bytes()), Ok(request.clone()));
            request.add_point("commit,install,commit").unwrap();
            request.time = Some(Duration::from_secs(7200));
            request.name = Holder { id: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, priority: -10 };
            assert_eq!(ControlRequest::parse(request.json().as_bytes()), Ok(request.clone()));
            assert_eq!(request.at, [Point::Commit, Point::Install]);
        }
    }

    #[test]
    fn a_request_that_makes_no_sense_is_explained() {
        for (line, says) in [
            ("", "JSON"),
            ("[]", "object"),
            ("{}", "\"do\" is missing"),
            (r#"{"do":"stop"}"#, "cannot \"stop\""),
            (r#"{"do":1}"#, "must be a string"),
            (r#"{"do":"pause","at":"install"}"#, "must be a list"),
            (r#"{"do":"pause","at":["Install"]}"#, "no point"),
            (r#"{"do":"pause","for":-1}"#, "no time"),
            (r#"{"do":"pause","for":0}"#, "no time"),
            (r#"{"do":"pause","priority":11}"#, "no priority"),
            (r#"{"do":"pause","id":"x"}"#, "no UUID"),
            (r#"{"do":"pause","force":true}"#, "no member"),
        ] {
            let error = ControlRequest::parse(line.as_bytes()).unwrap_err();
            assert!(error.to_lowercase().contains(&says.to_lowercase()), "{line}: {error}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("1h30m", 5400),
            ("1d2h3m4s", 93_784),
            ("7d", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in [
            "30m1h",
            "1h1h",
            "1h30",
            "h1",
            "1h-5m",
            "364d9999999999999999h",
            "",
            "h",
            "0",
            "-1s",
            "+5",
            "1.5h",
            "2 h",
            "366d",
            "99999999999999999999d",
            "2w",
            "2ü",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
