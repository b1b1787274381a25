//! `run --artifact`: what the user's own artifact, state scripts and update module do on a throwaway device.

mod changes;
mod device;
mod drive;
mod faults;
mod handed;
mod jail;
mod journal;
mod module;
mod options;
mod program;
mod scripts;
mod shared;
mod timeline;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use thimble_core::hal::Key;
use thimble_core::time::Duration;
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_sim::given;
use thimble_hal_sim::runner;
use thimble_hal_sim::server::{self, Endpoint, Fault};
use thimble_hal_sim::sim::Handle;
use thimble_hal_sim::world::{OLD, Profile, SUFFIX};

use crate::failure::Failure;
use crate::page;
use crate::shell::quoted;
use crate::values;
use changes::Snapshot;
use drive::End;
use faults::Faults;
use jail::Stage;
use journal::Journal;
use options::Options;
pub(crate) use options::is_own;
use shared::Shared;

/// Longest artifact: it is kept in memory.
const LONGEST: u64 = 1024 * 1024 * 1024;

/// What is installed before an artifact that has the name of what is installed otherwise.
const OLDER: &str = "older";

/// Runs the update, in a process of its own that cannot reach this machine.
pub(crate) fn run(out: &mut dyn Write, words: &[&str], help: &str) -> Result<bool, Failure> {
    let mut options = options::read(words, help)?;
    let stage = jail::stage()?;
    match &stage {
        Stage::Outside => {}
        Stage::Between(folder) | Stage::Inside(folder) => handed::use_copies(&mut options, folder),
    }
    let bytes = values::bytes(&options.artifact, LONGEST)?;
    let artifact =
        given::artifact::read(bytes.as_slice(), &mut Decompressor::default()).map_err(|error| {
            Failure::Input(at(&options.artifact, &format!("no device takes this artifact: {error}")))
        })?;
    let status = match &stage {
        Stage::Inside(folder) => return inside(out, &options, folder, &artifact, bytes),
        Stage::Between(folder) => {
            drop(bytes);
            jail::end_with_starter(folder);
            jail::build_and_run(folder, words, &options, artifact.payload_type.as_deref())
        }
        Stage::Outside => match &options.html {
            None => jail::enter(options.json, &options, None),
            Some(path) => as_page(out, &options, path)?,
        },
    };
    match status {
        Ok(0) => Ok(true),
        Ok(1) => Ok(false),
        Ok(_) => Err(Failure::Told),
        Err(why) => Err(Failure::Input(format!("thimble-sim: {why}"))),
    }
}

/// Runs the update, and writes what happened as a page.
fn as_page(out: &mut dyn Write, options: &Options, path: &Path) -> Result<Result<u8, String>, Failure> {
    let mut printed = Vec::new();
    let status = jail::enter(true, options, Some(&mut printed));
    if !matches!(status, Ok(0 | 1)) {
        return Ok(status);
    }
    let mut document: Value = serde_json::from_slice(&printed)
        .map_err(|error| format!("what happened cannot be read from the throwaway device: {error}"))?;
    if options.json {
        writeln!(out, "{document:#}")?;
    } else {
        timeline::print(out, &document)?;
    }
    let words: Vec<String> = options.words.iter().map(|word| quoted(word)).collect();
    document["again"] = json!(format!("thimble-sim run {}", words.join(" ")));
    fs::write(path, page::of_run(&document)).map_err(|error| at(path, &error))?;
    Ok(status)
}

fn at(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

/// The same, where nothing of this machine can be reached.
fn inside(
    out: &mut dyn Write,
    options: &Options,
    folder: &Path,
    artifact: &given::Artifact,
    bytes: Vec<u8>,
) -> Result<bool, Failure> {
    jail::become_root(folder)?;

    let main = Source { path: Path::new(device::CONFIG), required: options.config.is_some() };
    let config = match MenderConf::load(main, main) {
        Ok((conf, _)) => conf.core_config(),
        Err(error) => {
            let from =
                options.config.as_ref().map_or_else(String::new, |path| format!("{} as ", path.display()));
            return Err(Failure::Input(format!("{from}{error}")));
        }
    };

    let data = Path::new(if options.module.is_none() && options.root.is_some() {
        "/usr/share/mender"
    } else {
        "/sim/mender"
    });
    let payload_type = artifact.payload_type.clone();
    let is_rootfs = payload_type.as_deref() == Some("rootfs-image");
    let profile = match (&options.device, &payload_type) {
        (_, None) => Profile::EMPTY,
        (Some(profile), _) => *profile,
        (None, Some(_)) if is_rootfs => Profile::SLOTS,
        (None, Some(_)) => Profile::FILES,
    };
    let is_own_module = payload_type.as_ref().is_some_and(|name| data.join("modules/v3").join(name).exists());
    let device_type =
        options.device_type.clone().or_else(|| artifact.device_types.first().cloned()).unwrap_or_default();

    let bytes: Arc<[u8]> = bytes.into();
    let mut durable = runner::durable(profile, &bytes);
    let before = if artifact.name == OLD { OLDER } else { OLD };
    durable.records.insert(Key::Provides, artifact.fitting_provides(before));
    // What the artifact depends on may name it, too.
    let name_before = runner::name(&durable);
    let size = bytes.len();
    for deployment in durable.server.deployments.values_mut() {
        deployment.artifact = server::Artifact {
            name: artifact.name.clone(),
            device_types: vec![device_type.clone()],
            bytes: Arc::clone(&bytes),
        };
    }
    for at in options.breaks.iter().rev() {
        if *at >= size {
            return Err(format!("--drop-connection-at {at}: the artifact has {size} bytes").into());
        }
        durable.server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(*at));
    }
    let faults = Faults::new(options.faults.clone());
    let bench = Handle::new(durable, bytes, Box::new(faults.clone()));
    {
        let mut bench = bench.0.borrow_mut();
        bench.config = config;
        bench.device_type.clone_from(&device_type);
        bench.payload = None;
        bench.bytes_per_second = options.link;
    }
    let shared = Shared {
        journal: Journal::new(bench.clone()),
        bench,
        faults: faults.clone(),
        takes: options.takes.iter().cloned().collect(),
        limit: Duration::from_secs(options.limit.as_secs()),
        clock: options.clock,
        data,
    };
    let before = Snapshot::take();
    let ended = if options.standalone { drive::command_line(&shared) } else { drive::daemon(&shared) };
    jail::end_all(Path::new("/proc"));

    let verdict = Verdict::of(&shared, &ended, artifact, &faults, &name_before, &before, options);
    let module = match (&payload_type, is_own_module) {
        (None, _) => "no payload".to_owned(),
        (Some(name), true) => format!("{name}, handled by the module that was handed over"),
        (Some(name), false) => format!("{name}, handled by a described module"),
    };
    let events = shared.journal.take();
    let document = json!({
        "schema": 1,
        "title": format!("{} for {device_type}: {module}", artifact.name),
        "artifact": artifact.name,
        "device_type": device_type,
        "events": crate::timeline::json(&events),
        "end": verdict.end,
        "reason": verdict.reason,
        "installed": verdict.installed,
        "changes": verdict.changes,
        "wrong": verdict.wrong,
    });
    if options.json {
        writeln!(out, "{document:#}")?;
    } else {
        timeline::print(out, &document)?;
    }
    Ok(verdict.wrong.is_empty())
}

/// What there is to say at the end.
struct Verdict {
    /// `success`, `failure` or `not over`.
    end: &'static str,
    reason: String,
    /// The name on record.
    installed: String,
    changes: Vec<String>,
    /// What makes the run one that failed.
    wrong: Vec<String>,
}

impl Verdict {
    fn of(
        shared: &Shared,
        ended: &drive::Ended,
        artifact: &given::Artifact,
        faults: &Faults,
        name_before: &str,
        before: &Snapshot,
        options: &Options,
    ) -> Self {
        let durable = &shared.bench.0.borrow().durable;
        let installed = runner::name(durable);
        let status = durable.server.deployments.values().next().map_or("", server::Deployment::status);
        let good = match &ended.end {
            End::Idle if !options.standalone => status == "success",
            End::Idle => installed == artifact.name,
            End::Exit(report) => report.is_success(),
            End::Stuck(_) => false,
        };
        let changes = before.changes();
        let mut wrong = faults.unused();
        if let End::Stuck(why) = &ended.end {
            wrong.push(format!("the update does not end: {why}"));
        }
        // A name that ends so already gets no second ending: what it means, the end of the update says.
        let is_named_so = installed == artifact.name && installed.ends_with(SUFFIX);
        let is_inconsistent = installed.strip_suffix(SUFFIX) == Some(&artifact.name);
        if is_inconsistent || is_named_so && !good {
            wrong.push(format!("the device ends as {installed}: what is installed is not known any more"));
        }
        // A broken link and a report that is lost fail no update.
        let excused = options.faults.iter().any(faults::Fault::may_fail_an_update);
        if !good && !excused && !matches!(ended.end, End::Stuck(_)) {
            wrong.push(if options.faults.is_empty() && options.breaks.is_empty() {
                "nothing was to go wrong, and the update failed".to_owned()
            } else {
                "the update failed, and nothing that was to go wrong is the reason".to_owned()
            });
        }
        if !good && installed == name_before && !changes.is_empty() {
            wrong.push("the update failed, and the device is not as it was before".to_owned());
        }
        wrong.extend(
            durable
                .server
                .violations()
                .iter()
                .map(|violation| format!("the server was asked wrongly: {violation}")),
        );
        let end = match (&ended.end, good) {
            (End::Stuck(_), _) => "not over",
            (End::Idle | End::Exit(_), true) => "success",
            (End::Idle | End::Exit(_), false) => "failure",
        };
        Self {
            end,
            reason: if good { String::new() } else { ended.reason.clone() },
            installed,
            changes,
            wrong,
        }
    }
}
