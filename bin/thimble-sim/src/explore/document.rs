//! What was explored, for programs and for the page.

use serde_json::{Value, json};
use thimble_hal_sim::story::{Path, Row};
use thimble_hal_sim::survey::{End, Good, Way, Wrong};
use thimble_hal_sim::whole::Told;

use super::Walk;
use super::options::Options;

/// The document of a walk.
pub(super) fn of(walk: &Walk, options: &Options, complaints: &[String]) -> Value {
    let Walk { title, task, survey } = walk;
    let counts = survey.counts;
    let end = |End { ending, count, way: of }: &End| {
        json!({
            "end": ending.kind.name(),
            "meaning": ending.kind.meaning(),
            "server": ending.heard.name(),
            "clean": ending.kind.is_clean(),
            "count": count,
            "way": way(of, options),
        })
    };
    let wrong = |Wrong { wrong, count, way: of }: &Wrong| json!({ "wrong": wrong, "count": count, "way": way(of, options) });
    let scripts = survey.scripts.iter();
    let scripts =
        scripts.map(|script| json!({ "name": script.name, "works": script.works, "fails": script.fails }));
    let situations = survey.situations.iter();
    let situations = situations
        .map(|seen| json!({ "name": seen.situation.name(), "count": seen.count, "due": seen.is_due }));
    let moves = survey.moves.iter();
    let moves = moves.map(
        |((from, to), count)| json!({ "from": format!("{from:?}"), "to": format!("{to:?}"), "count": count }),
    );
    json!({
        "schema": 1,
        "title": title,
        "failures": task.budget.failures,
        "losses": task.budget.losses,
        "configurations": counts.configurations,
        "steps": counts.steps,
        "complete": survey.complete,
        "digest": format!("{:032x}", survey.digest),
        "complaints": complaints,
        "ends": survey.ends.iter().map(end).collect::<Value>(),
        "wrong": survey.wrongs.iter().map(wrong).collect::<Value>(),
        "scripts": scripts.collect::<Value>(),
        "situations": situations.collect::<Value>(),
        "moves": moves.collect::<Value>(),
    })
}

fn way(Way { path, told: of, good }: &Way, options: &Options) -> Value {
    let good = good.as_ref().map(|Good { path, told: of, differs_at }| {
        let mut good = told(path, of, false);
        good["differs_at"] = json!(differs_at);
        good
    });
    let mut way = told(path, of, false);
    way["again"] = json!(options.again(path));
    way["good"] = json!(good);
    way
}

/// A way that was told; with everything else that can happen at each step, or without.
pub(crate) fn told(path: &Path, told: &Told, with_others: bool) -> Value {
    let (end, wrong) = match &told.end {
        Ok(end) => (Some(end), None),
        Err(wrong) => (None, Some(wrong)),
    };
    json!({
        "path": path.to_string(),
        "rows": told.rows.iter().map(|of| row(of, with_others)).collect::<Value>(),
        "end": end.map(|end| end.kind.name()),
        "server": end.map(|end| end.heard.name()),
        "wrong": wrong,
    })
}

fn row(row: &Row, with_others: bool) -> Value {
    let Row { at, lane, state, what, result, fault, is_detail, others, choice } = row;
    let mut document = json!({
        "at": at.as_secs(),
        "lane": lane.name(),
        "state": state.map(|state| format!("{state:?}")),
        "what": what,
        "result": result,
        "fault": fault,
        "detail": is_detail,
        "choice": choice,
    });
    if with_others {
        let others = others.iter().map(|(choice, what)| json!({ "choice": choice, "what": what }));
        document["others"] = others.collect();
    }
    document
}
