//! Times, points and control maps, out of the words of a line.

use thimble_core::control::Id;
use thimble_core::deployment::Point;
use thimble_core::time::Duration;

pub(super) fn duration(words: &[&str]) -> Result<Duration, String> {
    let [number, unit] = words else { return Err(format!("how long? {}", words.join(" "))) };
    let number: u64 = number.parse().map_err(|_| format!("not a number: {number}"))?;
    let seconds = match *unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        other => return Err(format!("not a unit: {other}")),
    };
    Ok(Duration::from_secs(number * seconds))
}

/// Minutes since midnight.
pub(super) fn minute(time: &str) -> Result<u16, String> {
    let parts = time.split_once(':').and_then(|(h, m)| Some((h.parse().ok()?, m.parse().ok()?)));
    let (hour, minute): (u16, u16) = parts.ok_or_else(|| format!("not a time of day: {time}"))?;
    Ok(hour * 60 + minute)
}

pub(super) fn points(names: &str) -> Result<Vec<Point>, String> {
    let point = |name: &str| {
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        point.ok_or_else(|| format!("no such point: {name}"))
    };
    names.split(',').map(point).collect()
}

/// A map as JSON, from the words of a line.
pub(super) fn map(words: &[&str], id: Option<&str>) -> Result<String, String> {
    if words.first().is_some_and(|word| word.starts_with('{')) {
        return Ok(words.join(" "));
    }
    let value = |key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).copied()
    };
    let by: u128 = value("by").unwrap_or("1").parse().map_err(|_| "by whom?".to_owned())?;
    let id = id.map_or_else(|| Id(by).to_string(), str::to_owned);
    let priority = value("priority").unwrap_or("0");
    let Some(action) = words.first().filter(|word| **word != "none") else {
        return Ok(format!(r#"{{"id":"{id}","priority":{priority}}}"#));
    };
    let more = |key: &str, name: &str| value(key).map_or(String::new(), |v| format!(r#","{name}":"{v}""#));
    let rule = format!(
        r#"{{"action":"{action}"{}{}}}"#,
        more("then", "on_action_executed"),
        more("expired", "on_map_expire")
    );
    let points = points(value("before").ok_or("before what?")?)?;
    let states: Vec<String> = points.iter().map(|point| format!(r#""{}":{rule}"#, point.name())).collect();
    Ok(format!(r#"{{"id":"{id}","priority":{priority},"states":{{{}}}}}"#, states.join(",")))
}
