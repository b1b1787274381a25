//! A way that was found, as a scenario that anyone can run and keep.

use std::collections::BTreeMap;
use std::fmt::Write;

use thimble_core::deployment::Status;

use super::Task;
use crate::scenario::{STATUSES, Scenario};
use crate::story::Row;
use crate::whole::{Heard, Kind, Names, Told};
use crate::world::{Content, NEW, OLD, Profile, SUFFIX};

/// The scenario in which the same goes wrong as in this way, if the same comes of it there.
pub(super) fn of(task: &Task, names: &Names, told: &Told) -> Option<String> {
    let text = write(task, names, &told.rows)?;
    let happened = Scenario::read(text.as_bytes()).ok()?.run();
    if happened.stopped.is_some() || !happened.unused.is_empty() {
        return None;
    }
    let end = told.end.as_ref().ok()?;
    let shown = happened.scenario.to_string();
    let of = |word: &str| shown.lines().rev().find_map(|line| line.strip_prefix(word).map(str::to_owned));
    let name = of("name: ")?;
    let name = name.split(' ').next().unwrap_or_default();
    let is_like = match end.kind {
        Kind::Brick => happened.runs == Content::Broken,
        Kind::Inconsistent => name.ends_with(SUFFIX) && happened.runs != Content::Broken,
        Kind::Failed => name == OLD,
        Kind::Misreported | Kind::Updated => name == NEW,
    };
    let last = of("status: ").and_then(|statuses| statuses.split(' ').next_back().map(str::to_owned));
    let is_heard = match end.heard {
        Heard::Failure => last.as_deref() == Some(Status::Failure.name()),
        Heard::Success => last.as_deref() == Some(Status::Success.name()),
        Heard::Aborted | Heard::Nothing => ![Status::Success, Status::Failure]
            .map(Status::name)
            .contains(&last.as_deref().unwrap_or_default()),
        Heard::Nobody => last.is_none(),
    };
    (is_like && is_heard).then_some(shown)
}

/// What is to be done, without what happens.
fn write(task: &Task, names: &Names, rows: &[Row]) -> Option<String> {
    let kind = match task.profile {
        profile if !profile.payload => "empty",
        profile => Profile::NAMED.iter().find(|(_, named)| *named == profile)?.0,
    };
    let mut given = format!("device {kind}\n");
    if task.config.resume_downloads && !task.standalone {
        given.push_str("resume-downloads\n");
    }
    if names.is_empty() {
        given.push_str("script none\n");
    }
    for name in names.iter().flat_map(|(_, names)| names) {
        let _ = writeln!(given, "script {name}");
    }
    // How often each effect has happened; what goes wrong is said before all, as it counts from the beginning.
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut verbs = if task.standalone { "install\n".to_owned() } else { "run\n".to_owned() };
    for row in rows {
        let nth = row.effect.as_deref().map(|effect| {
            let nth = seen.entry(effect).or_insert(0);
            *nth += 1;
            *nth
        });
        if let Some(verb) = row.what.strip_prefix("$ ") {
            let _ = writeln!(verbs, "{verb}");
        } else if let Some(fault) = &row.fault {
            given.push_str(&line(fault, row.effect.as_deref()?, nth?)?);
        }
    }
    Some(given + &verbs)
}

/// What goes wrong with this effect, the n-th time.
fn line(fault: &str, effect: &str, nth: u32) -> Option<String> {
    let is_status = STATUSES.iter().any(|status| status.name() == effect);
    Some(match fault {
        "fails"
        | "fails in the middle"
        | "fails after its work"
        | "cannot be written"
        | "does not happen" => {
            format!("fail {effect} {nth}\n")
        }
        // The client ends it, and it has failed.
        "does not end" => format!("# It never ends, and the client ends it.\nfail {effect} {nth}\n"),
        "asks for later" => format!("retry-later {effect} {nth}\n"),
        "asks for later, for ever" => format!("retry-later {effect} {nth}-10000\n"),
        "power lost before" => format!("lose-power before {effect} {nth}\n"),
        "power lost inside" => format!("lose-power in {effect} {nth}\n"),
        "power lost after" => format!("lose-power after {effect} {nth}\n"),
        "is answered 409" => format!("abort at {effect} {nth}\n"),
        _ if is_status
            && ["does not arrive", "is not sent", "is not answered", "is answered 500"].contains(&fault) =>
        {
            format!("fail {effect} {nth}\n")
        }
        _ => return None,
    })
}
