//! What was explored, for programs and for the page.

use serde_json::{Value, json};
use thimble_core::state::State;
use thimble_hal_sim::story::{Path, Row};
use thimble_hal_sim::survey::{self, End, Good, Way, Wrong};
use thimble_hal_sim::whole::Told;

use super::options::Options;
use super::{Walk, moves};

/// The document of a walk. `with_others`: with everything else that can happen at each step.
pub(super) fn of(walk: &Walk, options: &Options, complaints: &[String], with_others: bool) -> Value {
    let Walk { title, task, survey } = walk;
    let counts = survey.counts;
    let end = |End { ending, count, way: of }: &End| {
        json!({
            "end": ending.kind.name(),
            "meaning": ending.kind.meaning(),
            "server": ending.heard.name(),
            "clean": ending.kind.is_clean(),
            "count": count,
            "way": way(of, options, with_others),
        })
    };
    let wrong = |Wrong { wrong, count, way: of }: &Wrong| json!({ "wrong": wrong, "count": count, "way": way(of, options, with_others) });
    let scripts = survey.scripts.iter();
    let scripts =
        scripts.map(|script| json!({ "name": script.name, "works": script.works, "fails": script.fails }));
    let situations = survey.situations.iter();
    let situations = situations
        .map(|seen| json!({ "name": seen.situation.name(), "count": seen.count, "due": seen.is_due }));
    let moves = moves::all(task.standalone, &survey.moves);
    let states = State::ALL
        .into_iter()
        .filter(|state| moves.iter().any(|((from, to), _)| [from, to].contains(&state)));
    let moves = moves.iter();
    let moves =
        moves.map(|((from, to), count)| json!({ "from": name(*from), "to": name(*to), "count": count }));
    json!({
        "schema": 1,
        "title": title,
        "options": options.words(),
        "part": options.part(),
        "failures": task.budget.failures,
        "losses": task.budget.losses,
        "configurations": counts.configurations,
        "steps": counts.steps,
        "complete": survey.complete,
        "digest": format!("{:032x}", survey.digest),
        "complaints": complaints,
        "undisturbed": way(&survey::way(task, Path::default()), options, with_others),
        "ends": survey.ends.iter().map(end).collect::<Value>(),
        "wrong": survey.wrongs.iter().map(wrong).collect::<Value>(),
        "scripts": scripts.collect::<Value>(),
        "situations": situations.collect::<Value>(),
        "states": states.map(name).collect::<Value>(),
        "moves": moves.collect::<Value>(),
    })
}

/// A state as the documentation has it.
fn name(state: State) -> String {
    format!("{state:?}")
}

/// A way beside the nearest good one.
pub(crate) fn way(
    Way { path, told: of, scenario, good }: &Way,
    options: &Options,
    with_others: bool,
) -> Value {
    let good = good.as_ref().map(|Good { path, told: of, differs_at }| {
        let mut good = told(path, of, false);
        good["differs_at"] = json!(differs_at);
        good
    });
    let mut way = told(path, of, with_others);
    way["scenario"] = json!(scenario);
    // Without a device of the options there is nothing that a command could name.
    way["again"] = json!((!options.subject.is_empty()).then(|| options.again(path)));
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
        "meaning": end.map(|end| end.kind.meaning()),
        "clean": end.is_some_and(|end| end.kind.is_clean()),
        "server": end.map(|end| end.heard.name()),
        "wrong": wrong,
    })
}

fn row(row: &Row, with_others: bool) -> Value {
    let Row { at, lane, state, what, result, fault, effect, is_detail, others, choice } = row;
    let mut document = json!({
        "at": at.as_secs(),
        "lane": lane.name(),
        "state": state.map(name),
        "what": what,
        "result": result,
        "fault": fault,
        "effect": effect,
        "detail": is_detail,
        "choice": choice,
    });
    if with_others {
        let others = others.iter().map(|(choice, what)| json!({ "choice": choice, "what": what }));
        document["others"] = others.collect();
    }
    document
}
