//! What the lines of a scenario mean.

use thimble_core::control::{Lifetime, Order};
use thimble_core::deployment::{Call, Point, Status};
use thimble_core::limits::NAME;
use thimble_core::machine::Stop;
use thimble_core::script::{ScriptAction, ScriptState, Transition, parse_name};
use thimble_core::state::Verb;
use thimble_core::time::{Duration, Instant};

use super::complaint::{shown, unknown};
use super::limits;
use super::rules::Rule;
use super::values::{self, MapWords, Words};
use crate::near::nearest;
use crate::sim::{self, Effect, Fate};
use crate::world::Profile;

/// A line that says what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// How the device is before it starts.
    Given(Given),
    /// What will go wrong.
    Rule(Rule),
    /// What a policy of the device says from now on.
    Policy(Vec<Point>, sim::Rule),
    /// Where the next verb stops.
    StopBefore(Stop),
    /// Something changes around the client.
    World(Change),
    /// A verb of the command line.
    Verb(Begin),
    /// Something that concerns the daemon, which runs then.
    Daemon(Say),
}

/// How the device is before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// What kind it is.
    Device(Device),
    /// The transcript has the scripts of Idle and Sync too.
    ShowIdle,
    /// The server has nothing for it.
    NoDeployment,
    /// A download goes on after a restart.
    ResumeDownloads,
    /// The time of day when it starts.
    Clock(Instant),
    /// A state script is there, and only those that are named; or none is.
    Script(Option<(Transition, String)>),
}

/// A kind of device, with the artifact there is for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) profile: Profile,
    /// The artifact is for another type of device.
    pub(super) wrong: bool,
}

/// Something changes around the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The server has one more artifact of this name.
    Deploy(String),
    /// What the server says about holding its deployments back.
    ServerMap(ServerMap),
    /// The record of the control maps is damaged.
    SpoilMaps,
    /// The user reboots the device.
    Reboot,
}

/// What the server says about holding its deployments back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerMap {
    /// This, about all of them.
    Says(MapWords),
    /// This JSON, about the deployment whose id is in it.
    Json(u128, String),
    /// What it sends is no map.
    Unreadable,
    /// The deployments are aborted, and their maps gone.
    Aborted,
}

/// A verb of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Install,
    Continue(Verb),
}

/// Something that concerns the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// It goes on until it is idle or waits before a point.
    Run,
    /// It goes on for so long.
    Wait(Duration),
    /// A program sets its control map, as JSON.
    Map(String),
    /// A person gives an order.
    Order(Order, Vec<Point>, Lifetime),
    /// A person lets the update go on that waits.
    Approve,
}

/// What comes of the words of a line.
pub(super) type Read = Result<Command, String>;

/// The kinds of devices.
const DEVICES: [(&str, Device); 6] = [
    ("slots", Device { profile: Profile::SLOTS, wrong: false }),
    ("files", Device { profile: Profile::FILES, wrong: false }),
    ("custom", Device { profile: Profile::CUSTOM, wrong: false }),
    ("one-way", Device { profile: Profile::ONE_WAY, wrong: false }),
    ("empty", Device { profile: Profile::EMPTY, wrong: false }),
    ("wrong", Device { profile: Profile::SLOTS, wrong: true }),
];

/// The statuses that a client reports.
pub const STATUSES: [Status; 8] = [
    Status::Downloading,
    Status::Installing,
    Status::Rebooting,
    Status::PauseBeforeInstalling,
    Status::PauseBeforeRebooting,
    Status::PauseBeforeCommitting,
    Status::Success,
    Status::Failure,
];

/// The calls of an update module.
pub const CALLS: [Call; 14] = [
    Call::ProvidePayloadFileSizes,
    Call::Download,
    Call::DownloadWithFileSizes,
    Call::ArtifactInstall,
    Call::NeedsArtifactReboot,
    Call::ArtifactReboot,
    Call::ArtifactVerifyReboot,
    Call::ArtifactCommit,
    Call::SupportsRollback,
    Call::ArtifactRollback,
    Call::ArtifactRollbackReboot,
    Call::ArtifactVerifyRollbackReboot,
    Call::ArtifactFailure,
    Call::Cleanup,
];

/// Effects that have no other names.
const OTHERS: [Effect; 3] = [Effect::Reboot, Effect::Mark, Effect::Commit(sim::Batch::Record)];

/// All transitions that have scripts.
pub fn transitions() -> impl Iterator<Item = Transition> {
    let actions = [ScriptAction::Enter, ScriptAction::Leave, ScriptAction::Error];
    let of = move |state| actions.map(|action| Transition { state, action });
    ScriptState::ALL.into_iter().flat_map(of)
}

/// Their names.
fn scripts() -> Vec<String> {
    transitions().map(|transition| transition.to_string()).collect()
}

/// `device KIND`.
pub(super) fn device(words: &mut Words<'_>) -> Read {
    Ok(Command::Given(Given::Device(words.one_of("device", &DEVICES)?)))
}

/// `show idle`.
pub(super) fn show(words: &mut Words<'_>) -> Read {
    words.keyword("idle")?;
    Ok(Command::Given(Given::ShowIdle))
}

/// `no-deployment`.
pub(super) fn no_deployment(_: &mut Words<'_>) -> Read {
    Ok(Command::Given(Given::NoDeployment))
}

/// `resume-downloads`.
pub(super) fn resume_downloads(_: &mut Words<'_>) -> Read {
    Ok(Command::Given(Given::ResumeDownloads))
}

/// `script NAME`, `script none`.
pub(super) fn script(words: &mut Words<'_>) -> Read {
    let name = words.wanted("the name of the script's file")?;
    if name == "none" {
        return Ok(Command::Given(Given::Script(None)));
    }
    let transition = parse_name(name).ok_or_else(|| {
        format!("{} is no name of a state script, as ArtifactInstall_Enter_00_check is", shown(name))
    })?;
    Ok(Command::Given(Given::Script(Some((transition, name.to_owned())))))
}

/// `clock HH:MM`.
pub(super) fn clock(words: &mut Words<'_>) -> Read {
    let minute = values::minute(words.wanted("the time of day")?)?;
    Ok(Command::Given(Given::Clock(Instant::ZERO + Duration::from_secs(u64::from(minute) * 60))))
}

/// `fail WHAT [TIMES]`.
pub(super) fn fail(words: &mut Words<'_>) -> Read {
    let what = words.wanted("what fails")?;
    known(what, &names(), "nothing that happens", EFFECTS)?;
    rule(what, Fate::Fails, words)
}

/// `retry-later SCRIPT [TIMES]`.
pub(super) fn retry_later(words: &mut Words<'_>) -> Read {
    let what = words.wanted("the script")?;
    let kinds = "only a script may ask for a retry, as ArtifactInstall_Enter";
    known(what, &scripts(), "no script", kinds)?;
    rule(what, Fate::Refuses, words)
}

/// `abort at STATUS [TIMES]`.
pub(super) fn abort(words: &mut Words<'_>) -> Read {
    words.keyword("at")?;
    let table = STATUSES.map(|status| (status.name(), status.name()));
    let what = words.one_of("status", &table)?;
    rule(what, Fate::Refuses, words)
}

/// `lose-power before|in|after WHAT [TIMES]`.
pub(super) fn lose_power(words: &mut Words<'_>) -> Read {
    let table = [("before", Fate::LostBefore), ("in", Fate::LostInside), ("after", Fate::LostAfter)];
    let fate = words.one_of("moment", &table)?;
    let what = words.wanted("what happens then")?;
    known(what, &names(), "nothing that happens", EFFECTS)?;
    rule(what, fate, words)
}

/// What may stand where an effect is wanted.
const EFFECTS: &str = "a script (ArtifactInstall_Enter), a call of the update module (ArtifactInstall), a status \
                       (installing), reboot, save or mark is meant";

/// The names of all effects.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names = scripts();
    names.extend(CALLS.map(|call| call.name().to_owned()));
    names.extend(STATUSES.map(|status| status.name().to_owned()));
    names.extend(OTHERS.iter().map(Effect::to_string));
    names
}

fn known(word: &str, names: &[String], wrong: &str, kinds: &str) -> Result<(), String> {
    if names.iter().any(|name| name == word) {
        return Ok(());
    }
    let meant = nearest(word, names.iter().map(String::as_str));
    Err(meant.map_or_else(
        || format!("{} is {wrong}: {kinds}", shown(word)),
        |meant| format!("{} is {wrong}; is {meant} meant?", shown(word)),
    ))
}

fn rule(what: &str, fate: Fate, words: &mut Words<'_>) -> Read {
    let most = i64::from(limits::TIMES);
    let (from, to) = match words.next() {
        None => (1, 1),
        Some("always") => (1, u32::MAX),
        Some(times) => {
            let which = |text: &str| {
                values::number(text, 1, most).map_err(|error| {
                    format!("{error}: the second time is 2, the second to fourth 2-4, each time always")
                })
            };
            let (from, to) = times.split_once('-').unwrap_or((times, times));
            let (from, to) = (which(from)?, which(to)?);
            if from > to {
                return Err(format!("{} ends before it begins", shown(times)));
            }
            (from, to)
        }
    };
    Ok(Command::Rule(Rule { what: what.to_owned(), from, to, fate }))
}

/// `stop-before POINT`.
pub(super) fn stop_before(words: &mut Words<'_>) -> Read {
    Ok(Command::StopBefore(words.one_of("point", &Stop::ALL.map(|stop| (stop.name(), stop)))?))
}

/// `deploy NAME`.
pub(super) fn deploy(words: &mut Words<'_>) -> Read {
    let name = words.wanted("the name of the artifact")?;
    if name.len() > NAME || name.chars().any(char::is_control) {
        return Err(format!("{} is no name of an artifact: at most {NAME} bytes of text are", shown(name)));
    }
    Ok(Command::World(Change::Deploy(name.to_owned())))
}

/// `map ...`: a program on the device.
pub(super) fn map(words: &mut Words<'_>) -> Read {
    let json = match json(words)? {
        Some((_, json)) => json,
        None => MapWords::read(words, true)?.local(),
    };
    Ok(Command::Daemon(Say::Map(json)))
}

/// `server-map ...`.
pub(super) fn server_map(words: &mut Words<'_>) -> Read {
    let map = match json(words)? {
        Some((id, json)) => ServerMap::Json(id, json),
        None if words.takes("aborted") => ServerMap::Aborted,
        None if words.takes("unreadable") => ServerMap::Unreadable,
        None => ServerMap::Says(MapWords::read(words, false)?),
    };
    Ok(Command::World(Change::ServerMap(map)))
}

/// A map as JSON, with its id, if the line has one.
fn json(words: &mut Words<'_>) -> Result<Option<(u128, String)>, String> {
    if !words.peek().is_some_and(|word| word.starts_with(['{', '[', '"'])) {
        return Ok(None);
    }
    let json = words.all().join(" ");
    let map = values::checked(&json)?;
    Ok(Some((map.id, json)))
}

/// `order WHAT [before POINTS] [for TIME]`.
pub(super) fn order(words: &mut Words<'_>) -> Read {
    let table =
        [("pause", Order::Pause), ("pass", Order::Pass), ("fail", Order::Fail), ("lift", Order::Lift)];
    let order = words.one_of("order", &table)?;
    let (mut before, mut lifetime) = (None, None);
    while let Some(key) = words.next() {
        let again = match key {
            "before" => before.replace(values::points(words.wanted("the point")?)?).is_some(),
            "for" if order != Order::Lift => {
                lifetime.replace(Lifetime::For(values::duration(words)?)).is_some()
            }
            other if before.is_none() && values::points(other).is_ok() => {
                return Err(values::before_is_missing(other));
            }
            other => {
                let known: &[&str] = if order == Order::Lift { &["before"] } else { &["before", "for"] };
                return Err(unknown(other, "word of an order", known));
            }
        };
        if again {
            return Err(format!("`{key}` stands there twice"));
        }
    }
    let points = before.unwrap_or_else(|| Point::ALL.to_vec());
    Ok(Command::Daemon(Say::Order(order, points, lifetime.unwrap_or(Lifetime::Unlimited))))
}

/// `approve`.
pub(super) fn approve(_: &mut Words<'_>) -> Read {
    Ok(Command::Daemon(Say::Approve))
}

/// `spoil maps`.
pub(super) fn spoil(words: &mut Words<'_>) -> Read {
    words.keyword("maps")?;
    Ok(Command::World(Change::SpoilMaps))
}

/// `window HH:MM-HH:MM before POINTS`.
pub(super) fn window(words: &mut Words<'_>) -> Read {
    let times = words.wanted("the window, as 02:00-04:00,")?;
    let Some((from, to)) = times.split_once('-') else {
        return Err(format!("{} is no window: 02:00-04:00 is one", shown(times)));
    };
    let (from, to) = (values::minute(from)?, values::minute(to)?);
    if from == to {
        return Err("a window has to end at another time than it begins".into());
    }
    words.keyword("before")?;
    let points = values::points(words.wanted("the point")?)?;
    Ok(Command::Policy(points, sim::Rule::Window(from, to)))
}

/// `busy before POINTS: WHY`.
pub(super) fn busy(words: &mut Words<'_>) -> Read {
    let (points, why) = why(words)?;
    Ok(Command::Policy(points, sim::Rule::Busy(why)))
}

/// `never before POINTS: WHY`.
pub(super) fn never(words: &mut Words<'_>) -> Read {
    let (points, why) = why(words)?;
    Ok(Command::Policy(points, sim::Rule::Never(why)))
}

/// `free before POINTS`.
pub(super) fn free(words: &mut Words<'_>) -> Read {
    words.keyword("before")?;
    let points = values::points(words.wanted("the point")?)?;
    Ok(Command::Policy(points, sim::Rule::None))
}

fn why(words: &mut Words<'_>) -> Result<(Vec<Point>, String), String> {
    words.keyword("before")?;
    let names = words.wanted("the point")?;
    let Some(names) = names.strip_suffix(':') else {
        return Err(format!("a colon and the reason are missing behind {}", shown(names)));
    };
    let (points, why) = (values::points(names)?, words.all().join(" "));
    if why.is_empty() || why.chars().any(char::is_control) {
        return Err("the reason is missing behind the colon".into());
    }
    Ok((points, why))
}

/// `wait TIME`.
pub(super) fn wait(words: &mut Words<'_>) -> Read {
    Ok(Command::Daemon(Say::Wait(values::duration(words)?)))
}

/// `run`.
pub(super) fn run(_: &mut Words<'_>) -> Read {
    Ok(Command::Daemon(Say::Run))
}

/// `reboot`.
pub(super) fn reboot(_: &mut Words<'_>) -> Read {
    Ok(Command::World(Change::Reboot))
}

/// `install`.
pub(super) fn install(_: &mut Words<'_>) -> Read {
    Ok(Command::Verb(Begin::Install))
}

/// `commit`.
pub(super) fn commit(_: &mut Words<'_>) -> Read {
    Ok(Command::Verb(Begin::Continue(Verb::Commit)))
}

/// `rollback`.
pub(super) fn rollback(_: &mut Words<'_>) -> Read {
    Ok(Command::Verb(Begin::Continue(Verb::Rollback)))
}

/// `resume`.
pub(super) fn resume(_: &mut Words<'_>) -> Read {
    Ok(Command::Verb(Begin::Continue(Verb::Resume)))
}
