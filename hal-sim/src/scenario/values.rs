//! The words of one line, and the times, points and control maps among them.

use thimble_core::control::Map;
use thimble_core::deployment::Point;
use thimble_core::time::Duration;

use super::complaint::{list, shown, unknown};
use super::limits;
use crate::runner;

/// The words of a line behind its first, taken one by one.
pub(super) struct Words<'a> {
    /// The first word.
    name: &'a str,
    rest: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        Self { name: words.next().unwrap_or_default(), rest: words.collect(), at: 0 }
    }

    /// The first word of the line.
    pub(super) const fn name(&self) -> &'a str {
        self.name
    }

    /// The next word, taken.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.at += usize::from(word.is_some());
        word
    }

    /// The next word, not taken.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.rest.get(self.at).copied()
    }

    /// Whether the next word is this one, which is taken then.
    pub(super) fn takes(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.at += usize::from(is_it);
        is_it
    }

    /// The next word, taken; there has to be one.
    pub(super) fn wanted(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("{what} is missing at the end of the line"))
    }

    /// The next word, taken, is this one.
    pub(super) fn keyword(&mut self, keyword: &str) -> Result<(), String> {
        match self.next() {
            Some(word) if word == keyword => Ok(()),
            Some(word) => Err(format!("{} stands where `{keyword}` is wanted", shown(word))),
            None => Err(format!("`{keyword}` is missing at the end of the line")),
        }
    }

    /// The next word, taken, is one of the table.
    pub(super) fn one_of<T: Clone>(&mut self, kind: &str, table: &[(&str, T)]) -> Result<T, String> {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        let Some(word) = self.next() else {
            return Err(format!("a {kind} is missing at the end of the line: {}", list(&names)));
        };
        let found = table.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| value.clone()).ok_or_else(|| unknown(word, kind, &names))
    }

    /// All that follows, taken.
    pub(super) fn all(&mut self) -> Vec<&'a str> {
        let rest = self.rest.split_off(self.at.min(self.rest.len()));
        self.at = self.rest.len();
        rest
    }

    /// Nothing follows.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(format!("nothing may follow here: {} is one word too many", shown(word))),
        }
    }
}

/// A whole number within limits.
pub(super) fn number<T: TryFrom<i64>>(word: &str, least: i64, most: i64) -> Result<T, String> {
    let is_number = word.strip_prefix('-').unwrap_or(word).bytes().all(|b| b.is_ascii_digit());
    let number = word.parse::<i64>().ok().filter(|number| is_number && (least..=most).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{} is no number from {least} to {most}", shown(word)))
}

/// `30 s`, `10 min`, `2 h`.
pub(super) fn duration(words: &mut Words<'_>) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];
    let word = words.wanted("a time, as in 30 s, 10 min or 2 h,")?;
    if !word.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "{} is no number: a time is a number and a unit, as in 30 s, 10 min or 2 h",
            shown(word)
        ));
    }
    let number: u64 = word.parse().unwrap_or(u64::MAX);
    let time = Duration::from_secs(number.saturating_mul(words.one_of("unit of time", &UNITS)?));
    if time == Duration::ZERO || time > limits::TIME {
        return Err(format!(
            "{} is out of range: a time is from 1 s to {} h",
            shown(word),
            limits::TIME.as_secs() / 3600
        ));
    }
    Ok(time)
}

/// Minutes since midnight, of `HH:MM`.
pub(super) fn minute(time: &str) -> Result<u16, String> {
    let number = |text: &str, end: u16| {
        let number = text.parse().ok().filter(|number: &u16| *number < end);
        number.filter(|_| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts = time.split_once(':').and_then(|(h, m)| Some(number(h, 24)? * 60 + number(m, 60)?));
    parts.ok_or_else(|| format!("{} is no time of day: 00:00 to 23:59 are", shown(time)))
}

/// Points, separated by commas.
pub(super) fn points(names: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    for name in names.split(',') {
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        let point = point.ok_or_else(|| unknown(name, "point", &Point::ALL.map(Point::name)))?;
        if points.contains(&point) {
            return Err(format!("{name} stands there twice"));
        }
        points.push(point);
    }
    Ok(points)
}

/// What a control map says, without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapWords {
    states: String,
    priority: i8,
    by: Option<u64>,
}

impl MapWords {
    /// The words behind `map` and `server-map`; the server's says nothing of who it is by.
    pub(super) fn read(words: &mut Words<'_>, is_local: bool) -> Result<Self, String> {
        const ACTIONS: [&str; 4] = ["continue", "force_continue", "pause", "fail"];
        let action = words.wanted("what the map says")?;
        if action != "none" && !ACTIONS.contains(&action) {
            let known = ["none", "continue", "force_continue", "pause", "fail"];
            return Err(unknown(action, "action of a map", &known));
        }
        let (mut before, mut priority, mut by) = (None, None, None);
        let mut rule = Vec::new();
        while let Some(key) = words.next() {
            let again = match key {
                "before" if action != "none" => before.replace(points(words.wanted("the point")?)?).is_some(),
                "then" | "expired" if action != "none" => {
                    let name = if key == "then" { "on_action_executed" } else { "on_map_expire" };
                    let word = words.one_of("action of a map", &ACTIONS.map(|action| (action, action)))?;
                    let again = rule.iter().any(|(before, _)| *before == name);
                    rule.push((name, word));
                    again
                }
                "priority" => priority.replace(number(words.wanted("the priority")?, -10, 10)?).is_some(),
                "by" if is_local => {
                    by.replace(number(words.wanted("the number of the program")?, 1, 999_999)?).is_some()
                }
                other if action != "none" && before.is_none() && points(other).is_ok() => {
                    return Err(before_is_missing(other));
                }
                other => {
                    let mut known = vec!["priority"];
                    known.extend(is_local.then_some("by"));
                    known.extend(["before", "then", "expired"].iter().filter(|_| action != "none"));
                    return Err(unknown(other, "word of a map", &known));
                }
            };
            if again {
                return Err(format!("`{key}` stands there twice"));
            }
        }
        let mut states = String::new();
        if action != "none" {
            let more: String = rule.iter().map(|(name, word)| format!(r#","{name}":"{word}""#)).collect();
            let points = before.ok_or("`before` and the point are missing")?;
            let states_of =
                points.iter().map(|point| format!(r#""{}":{{"action":"{action}"{more}}}"#, point.name()));
            states = format!(r#","states":{{{}}}"#, states_of.collect::<Vec<_>>().join(","));
        }
        let map = Self { states, priority: priority.unwrap_or(0), by };
        checked(&map.json(runner::DEPLOYMENT))?;
        Ok(map)
    }

    /// As JSON, under this id.
    pub(super) fn json(&self, id: &str) -> String {
        format!(r#"{{"id":"{id}","priority":{}{}}}"#, self.priority, self.states)
    }

    /// As JSON, under the id of the program that sets it.
    pub(super) fn local(&self) -> String {
        self.json(&program(self.by.unwrap_or(1)))
    }
}

/// The complaint about points without the word in front of them.
pub(super) fn before_is_missing(points: &str) -> String {
    format!("`before` is missing in front of {}", shown(points))
}

/// The id of the maps of a program on the device: its number stands at the end.
fn program(number: u64) -> String {
    format!("5100ed01-0000-4000-8000-{number:012}")
}

/// The map, if this is JSON that a client takes for one.
pub(super) fn checked(json: &str) -> Result<Map, String> {
    let map = Map::parse(json.as_bytes()).map_err(|error| error.to_string())?;
    map.ok_or_else(|| "null is no map; `none` deletes one".to_owned())
}
