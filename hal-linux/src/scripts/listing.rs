//! Lists the scripts of a directory that belong to a transition.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use thimble_core::hal::Level;
use thimble_core::limits;
use thimble_core::script::{ScriptAction, ScriptState, Transition, parse_name};

use super::{ScriptError, io_error};
use crate::SharedLog;
use crate::fsat::open_regular;
use crate::near::nearest;
use crate::trust::{Fault, Untrusted, check_program, fault_of_program};

/// Name of the file that says which version of the script interface the directory is for.
pub(super) const VERSION: &str = "version";

/// Longest version file that is read, in bytes; it needs only one digit, and blanks are allowed.
const VERSION_LEN: u64 = 64;

/// Names of the scripts of `transition`, in the order they run (bytewise). A missing directory means no
/// scripts. A file that cannot run is skipped with a warning. A file that others can change is an error.
pub(super) fn read(dir: &Path, transition: Transition, log: &SharedLog) -> Result<Vec<String>, ScriptError> {
    check_version(dir)?;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("read", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("read", dir))?.file_name();
        let Some(name) = name.to_str().filter(|name| parse_name(name) == Some(transition)) else { continue };
        if can_run(&dir.join(name), log)? {
            names.push(name.to_owned());
        }
        if names.len() > usize::from(limits::SCRIPTS) {
            return Err(ScriptError::TooMany(dir.to_owned()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// For each file in `dir` that looks like a state script and never runs as one, what is wrong with its name. `artifact`:
/// the directory is that of an artifact's scripts.
pub(super) fn near_misses(dir: &Path, artifact: bool) -> Vec<String> {
    // A directory that cannot be read is told at the first transition.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(MOST_LOOKED_AT);
    let mut found: Vec<String> =
        entries.filter_map(|entry| near_miss(&entry.file_name(), artifact)).collect();
    found.sort_unstable();
    found.iter_mut().for_each(|what| what.insert_str(0, &format!("{}/", dir.display())));
    found
}

/// What is wrong with a directory of state scripts.
#[derive(Debug)]
pub struct ScriptFault {
    /// No update gets past it. Else something does not run, and the client goes on.
    pub stops: bool,
    /// What, and what to do.
    pub fault: Fault,
}

/// What is wrong with the scripts of the root file system in `dir`, as the client finds out when it comes to them: scripts that it
/// passes over or refuses, a version that it does not know, and names that never run. A directory that is not there is no fault.
/// What stops updates comes first.
#[must_use]
pub fn faults(dir: &Path) -> Vec<ScriptFault> {
    let mut found = Vec::new();
    if let Err(error) = check_version(dir) {
        let mend = "put the scripts of this client there, or delete the file if these are";
        found.push(ScriptFault { stops: true, fault: Fault { text: error.to_string(), mend } });
    }
    let mut names: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .take(MOST_LOOKED_AT)
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    let transition_of = |name: &OsStr| {
        let found = name.to_str().and_then(parse_name);
        found.filter(|transition| !transition.state.is_artifact())
    };
    found.extend(names.iter().filter_map(|name| match transition_of(name) {
        Some(transition) => fault_of_script(&dir.join(name), transition),
        None => fault_of_name(dir, name),
    }));
    found.sort_by_key(|fault| !fault.stops);
    found
}

fn fault_of_name(dir: &Path, name: &OsStr) -> Option<ScriptFault> {
    let text = format!("{}/{}", dir.display(), near_miss(name, false)?);
    let is_of_artifact = name.to_str().and_then(parse_name).is_some();
    let mend = if is_of_artifact { "put it into the artifact" } else { "" };
    Some(ScriptFault { stops: false, fault: Fault { text, mend } })
}

fn fault_of_script(path: &Path, transition: Transition) -> Option<ScriptFault> {
    if transition == (Transition { state: ScriptState::Idle, action: ScriptAction::Error }) {
        let text = format!("{} never runs: Idle has no Error scripts", path.display());
        return Some(ScriptFault { stops: false, fault: Fault { text, mend: "move it elsewhere" } });
    }
    // SCRIPT-30, SCRIPT-34: the client goes on after an error.
    let goes_on = transition.state == ScriptState::Idle || transition.action == ScriptAction::Error;
    let untrusted = check_program(path).err();
    let is_passed_over = untrusted.as_ref().is_some_and(|untrusted| !is_refused(untrusted));
    let fault = fault_of_program(path)?;
    let fault = if is_passed_over {
        fault
    } else if !goes_on {
        fault.so_that(format_args!("no update gets past {transition}"))
    } else if untrusted.is_some() {
        fault.so_that(format_args!("no script of {transition} runs, and the client goes on without them"))
    } else {
        fault.so_that("it does not run, and the client goes on without it")
    };
    Some(ScriptFault { stops: !is_passed_over && !goes_on, fault })
}

/// Whether the client does not go on without such a script: others could have changed it.
const fn is_refused(fault: &Untrusted) -> bool {
    match fault {
        Untrusted::Owner(..) | Untrusted::Writable(..) => true,
        Untrusted::NotRegular(_) | Untrusted::NotExecutable(_) | Untrusted::Io(..) => false,
    }
}

/// Files of a directory of scripts that are looked at for [`near_misses`].
const MOST_LOOKED_AT: usize = 4096;

fn near_miss(name: &OsStr, artifact: bool) -> Option<String> {
    let text = name.to_string_lossy();
    let shown = text.escape_debug();
    if let Some(transition) = name.to_str().and_then(parse_name) {
        let state = transition.state;
        let why = if artifact {
            "scripts of Idle, Sync and Download are those in the configuration directory"
        } else {
            "scripts of Artifact states come with the artifact"
        };
        return (state.is_artifact() != artifact).then(|| format!("{shown} never runs: {why}"));
    }
    let mut parts = text.split(['_', '-', '.', ' ']);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let states = ScriptState::ALL.map(ScriptState::name);
    let begins = states
        .iter()
        .any(|state| text.get(..state.len()).is_some_and(|front| front.eq_ignore_ascii_case(state)));
    let resembles = second.is_some() && nearest(first, states).is_some();
    let acts = second.is_some_and(|second| nearest(second, ["Enter", "Leave", "Error"]).is_some());
    (begins || resembles || acts).then(|| {
        format!(
            "{shown} is no state script and never runs: name it like Download_Enter_00 or Download_Enter_00_text"
        )
    })
}

fn can_run(path: &Path, log: &SharedLog) -> Result<bool, ScriptError> {
    match check_program(path) {
        Ok(()) => Ok(true),
        Err(unsafe_to_run) if is_refused(&unsafe_to_run) => Err(unsafe_to_run.into()),
        Err(skipped) => {
            log.borrow_mut().log(Level::Warning, format_args!("state script skipped: {skipped}"));
            Ok(false)
        }
    }
}

/// Checks the file `version`: it may be missing, or hold `2` or `3` with blanks around it.
pub(super) fn check_version(dir: &Path) -> Result<(), ScriptError> {
    let path = dir.join(VERSION);
    let file = match open_regular(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error("open", &path))?,
    };
    let mut text = Vec::new();
    file.take(VERSION_LEN + 1).read_to_end(&mut text).map_err(io_error("read", &path))?;
    match text.trim_ascii() {
        b"2" | b"3" if text.len() as u64 <= VERSION_LEN => Ok(()),
        other => Err(ScriptError::Version {
            path,
            found: String::from_utf8_lossy(other).escape_debug().to_string(),
        }),
    }
}
