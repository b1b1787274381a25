use super::pool::{Entry, Lifetime, PoolRecord};
use super::{Full, Id, Map, Pool, Rule, Rules, Vote, parse_id};
use crate::deployment::Point;
use crate::digits::decimal;
use crate::json::{self, Out, Overflow, Str, Value};
use crate::limits;
use crate::message::texts;
use crate::text::{Shown, Text, TextExt};
use crate::time::{Duration, Instant};

/// How long an order of a person's counts, in seconds; 0: until it is lifted. Only in saved maps.
const HOLD: &str = "hold_seconds";

/// Why a map was refused. It is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MapError {
    /// More than [`limits::MAP`] bytes.
    TooLong,
    /// Not JSON.
    Json(json::Error),
    /// The value of this key, or the map itself, is of another type.
    Type(&'static str),
    /// A key no map has; its beginning.
    UnknownKey(Text<32>),
    /// This key stands twice in an object, in whatever case.
    RepeatedKey(&'static str),
    /// The id is absent or no UUID.
    Id,
    /// The priority is no integer from −10 to 10.
    Priority,
    /// This key has a value outside its set.
    Action(&'static str),
    /// The id of a map from the server is not that of the deployment.
    OtherDeployment,
}

texts! {
    MAP_ERRORS = 'C': MapError {
        1 TooLong with (limit = limits::MAP) => "update control map refused: longer than {limit} bytes",
        2 Json(error) => "update control map refused: {error}",
        3 Type(key) => "update control map refused: `{key}` has the wrong type",
        4 UnknownKey(key) with (key = Shown(key.as_str().as_bytes())) =>
            "update control map refused: unknown key \"{key}\"",
        5 RepeatedKey(key) => "update control map refused: `{key}` stands there twice",
        6 Id => "update control map refused: `id` must be a UUID of 36 characters",
        7 Priority => "update control map refused: `priority` must be an integer from -10 to 10",
        8 Action(key) => "update control map refused: `{key}` has a value that it cannot have",
        9 OtherDeployment => "update control map refused: `id` is not that of the deployment",
    }

    LOAD_ERRORS = 'C': LoadError {
        11 Json(error) => "saved update control maps are unreadable: {error}",
        12 Shape => "saved update control maps are unreadable: not an object of `active` and `expired`",
        13 Map(error) => "saved update control maps are unreadable: {error}",
        14 Full with (full = Full) => "saved update control maps are unreadable: {full}",
    }
}

impl core::error::Error for MapError {}

/// Why the saved maps could not be read. An update that was paused when they were saved fails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadError {
    /// Not JSON.
    Json(json::Error),
    /// Not an object of the lists `active` and `expired`.
    Shape,
    /// One of the maps.
    Map(MapError),
    /// More of them than there is room for.
    Full,
}

impl core::error::Error for LoadError {}

impl Map {
    /// A map as a program on the device hands it over: one JSON value and nothing behind it. `None` for `null`,
    /// which is the same as no map.
    pub fn parse(text: &[u8]) -> Result<Option<Self>, MapError> {
        if text.len() > limits::MAP {
            return Err(MapError::TooLong);
        }
        Self::read(Value::parse(text).map_err(MapError::Json)?)
    }

    /// The map in an answer of the server, which must be that of the deployment. `None` when there is none (absent
    /// or `null`): then [`Pool::remove`] is called for the deployment. An error fails the deployment. Without feature
    /// `control-maps`, the server was not asked for one, and what it sends all the same is none.
    pub fn from_server(raw: Option<&str>, deployment: &str) -> Result<Option<Self>, MapError> {
        if limits::MAPS == 0 {
            return Ok(None);
        }
        let Some(map) = raw.map(|raw| Self::parse(raw.as_bytes())).transpose()?.flatten() else {
            return Ok(None);
        };
        if parse_id(deployment) != Some(map.id) {
            return Err(MapError::OtherDeployment);
        }
        Ok(Some(map))
    }

    fn read(map: Value<'_>) -> Result<Option<Self>, MapError> {
        if map.is_null() {
            return Ok(None);
        }
        Self::build(keys(map, "map", ["id", "priority", "states"])?).map(Some)
    }

    fn build([id, priority, states]: [Option<Value<'_>>; 3]) -> Result<Self, MapError> {
        let id = id.ok_or(MapError::Id)?.as_str().ok_or(MapError::Type("id"))?;
        // 36 ASCII characters, or no id at all.
        let id = Text::<36>::format(&id).map_err(|_too_long| MapError::Id)?;
        let id = parse_id(id.as_str()).ok_or(MapError::Id)?;

        let priority = match priority {
            Some(priority) => priority.as_integer().ok_or(MapError::Priority)?,
            None => 0,
        };
        let priority = i8::try_from(priority).ok().filter(|p| (-10..=10).contains(p));
        let priority = priority.ok_or(MapError::Priority)?;

        let mut rules = Rules::default();
        if let Some(states) = states {
            let values = keys(states, "states", Point::ALL.map(Point::name))?;
            for (point, value) in Point::ALL.into_iter().zip(values) {
                if let Some(value) = value {
                    *rules.at_mut(point) = rule(value, point.name())?;
                }
            }
        }
        Ok(Self { id, priority, rules })
    }
}

/// A saved map: as it is received, and how long it counts.
fn read_saved(map: Value<'_>) -> Result<(Map, Lifetime), LoadError> {
    let [id, priority, states, hold] =
        keys(map, "map", ["id", "priority", "states", HOLD]).map_err(LoadError::Map)?;
    let map = Map::build([id, priority, states]).map_err(LoadError::Map)?;
    let lifetime = match hold.map(|hold| hold.as_integer().and_then(|hold| u64::try_from(hold).ok())) {
        None => Lifetime::Renewed,
        Some(Some(0)) => Lifetime::Unlimited,
        Some(Some(seconds)) => Lifetime::For(Duration::from_secs(seconds)),
        Some(None) => return Err(LoadError::Map(MapError::Type(HOLD))),
    };
    Ok((map, lifetime))
}

fn rule(value: Value<'_>, name: &'static str) -> Result<Rule, MapError> {
    const KEYS: [&str; 3] = ["action", "on_map_expire", "on_action_executed"];
    let [action, on_map_expire, on_action_executed] = keys(value, name, KEYS)?;
    let on_map_expire = word(on_map_expire, "on_map_expire")?;
    if on_map_expire == Some(Vote::Pause) {
        return Err(MapError::Action("on_map_expire"));
    }
    let action = word(action, "action")?;
    Ok(Rule::new(action, on_map_expire, word(on_action_executed, "on_action_executed")?))
}

/// One of the four words; an empty one is the same as none.
fn word(value: Option<Value<'_>>, key: &'static str) -> Result<Option<Vote>, MapError> {
    let Some(value) = value else { return Ok(None) };
    let text = value.as_str().ok_or(MapError::Type(key))?;
    if text.is_empty() {
        return Ok(None);
    }
    let action = Vote::ALL.into_iter().find(|action| text.is(action.name()));
    action.map(Some).ok_or(MapError::Action(key))
}

/// The values of exactly these keys, in any case; absent and `null` are the same, as in Mender's client.
fn keys<'a, const N: usize>(
    object: Value<'a>,
    name: &'static str,
    known: [&'static str; N],
) -> Result<[Option<Value<'a>>; N], MapError> {
    let mut seen = [false; N];
    let mut values = [None; N];
    for (key, value) in object.members().ok_or(MapError::Type(name))? {
        let of_key = |name: &&str| key.is_ignoring_case(name);
        let index = known.iter().position(of_key).ok_or_else(|| unknown(key))?;
        if let (Some(seen), Some(place)) = (seen.get_mut(index), values.get_mut(index)) {
            if *seen {
                return Err(MapError::RepeatedKey(known.get(index).copied().unwrap_or_default()));
            }
            *seen = true;
            *place = Some(value).filter(|value| !value.is_null());
        }
    }
    Ok(values)
}

fn unknown(key: Str<'_>) -> MapError {
    MapError::UnknownKey(Text::cut(&key))
}

impl PoolRecord<'_> {
    /// The record, or `None` when there is to be none. No times: they begin anew after a restart. Mender's clients read
    /// and write the same form. Fits in [`limits::MAPS_RECORD`] bytes.
    ///
    /// # Errors
    /// `buf` is too short.
    pub fn write(self, buf: &mut [u8]) -> Result<Option<&str>, Overflow> {
        if self.entries().next().is_none() {
            return Ok(None);
        }
        let mut out = Out::new(buf);
        out.raw("{\"active\":");
        write_maps(&mut out, self, false);
        out.raw(",\"expired\":");
        write_maps(&mut out, self, true);
        out.raw("}");
        out.finish().map(Some)
    }
}

impl Pool {
    /// What [`PoolRecord::write`] saved. Every map gets the boot expiration to be renewed; expired ones stay expired.
    pub fn load(text: &[u8], now: Instant, boot_expiration: Duration) -> Result<Self, LoadError> {
        let saved = Value::parse(text).map_err(LoadError::Json)?;
        if saved.members().is_none() {
            return Err(LoadError::Shape);
        }
        let mut pool = Self::new();
        for (name, expired) in [("active", false), ("expired", true)] {
            let list = saved.member(name).map_err(|json::Duplicate| LoadError::Shape)?;
            let Some(list) = list.filter(|list| !list.is_null()) else { continue };
            for map in list.items().ok_or(LoadError::Shape)? {
                let (map, lifetime) = read_saved(map)?;
                let mut entry = Entry::new(map, lifetime, now, boot_expiration);
                if expired {
                    entry.expire();
                }
                pool.place(entry).map_err(|Full| LoadError::Full)?;
            }
        }
        Ok(pool)
    }
}

fn write_maps(out: &mut Out<'_>, record: PoolRecord<'_>, expired: bool) {
    let mut comma = "[";
    for entry in record.entries().filter(|entry| entry.expired == expired) {
        out.raw(comma);
        comma = ",";
        write_map(out, entry);
    }
    out.raw(if comma == "[" { "null" } else { "]" });
}

fn write_map(out: &mut Out<'_>, entry: &Entry) {
    let map = &entry.map;
    out.raw("{\"id\":");
    out.string_of(&Id(map.id));
    out.raw(",\"priority\":");
    if map.priority < 0 {
        out.raw("-");
    }
    // A failure is remembered by `out` itself.
    let _ = decimal(out, map.priority.unsigned_abs().into());
    out.raw(",\"states\":{");
    let mut comma = "";
    for point in Point::ALL {
        let rule = map.rules.at(point);
        if *rule == Rule::default() {
            continue;
        }
        out.raw(comma);
        comma = ",";
        out.string(point.name());
        out.raw(":{\"action\":");
        out.string(rule.action.name());
        out.raw(",\"on_map_expire\":");
        out.string(rule.on_map_expire.name());
        out.raw(",\"on_action_executed\":");
        out.string(rule.on_action_executed.name());
        out.raw("}");
    }
    let seconds = match entry.lifetime {
        Lifetime::Renewed => return out.raw("}}"),
        Lifetime::For(time) => time.as_secs().max(1),
        Lifetime::Unlimited => 0,
    };
    out.raw("},");
    out.string(HOLD);
    out.raw(":");
    let _ = decimal(out, seconds);
    out.raw("}");
}

#[cfg(test)]
#[path = "map_json_tests.rs"]
mod tests;
