//! `run`: does what scenarios say, or what the user's own things do.

use std::io::Write;

use thimble_hal_sim::scenario::{Complaints, Happened, Scenario, load};

use crate::failure::Failure;
use crate::own;

pub(crate) const HELP: &str = "\
Does what scenarios say, or what your own artifact, scripts and update module do, and prints the timeline.

SCENARIO is a file; - is standard input. `thimble-sim words` prints the words of a scenario. All files are read before
anything is done: where one makes no sense, everything wrong in them is told, and nothing is done (exit status 2). Exit
status 1 if a timeline is not the one that stands in the file (a part without a timeline expects none), or if something
that was to go wrong never happened.

With --artifact, your programs really run, on a throwaway device: they see a copy of a root file system, or this
machine's programs read-only, have no network, and cannot touch this machine. Stand-ins take the place of reboot,
systemctl, fw_printenv and fw_setenv. A program that is told to fail or to hang is not run. Exit status 1 means that the
update did not end well: something was wrong that was not told to be, what was told to be wrong never happened, or a
failed update has left the device changed.

Usage: thimble-sim run SCENARIO...
       thimble-sim run --artifact FILE [OPTION]...

  --scripts DIR         state scripts of the device; those of Artifact states run as if they were in the artifact
  --module FILE         the update module for the payload; without it, one is described
  --root DIR            the device's root file system; it is copied [this machine's programs]
  --config FILE         the device's mender.conf
  --device KIND         of the described module: slots, files, custom or one-way, as in scenarios
                        [files; slots for rootfs-image]
  --device-type TYPE    the device's type [the first that the artifact names]
  --disk SIZE           what may be written on the device: 64M, 2G [512M]
  --standalone          install and commit by the command line, in place of the daemon
  --limit TIME          how long one program may really take, before it counts as hanging [30s]
  --takes WHAT=TIME     how long a program takes on the device [what it took, from 2 s on]
  --fail WHAT[:N]       it ends with exit status 1, the N-th time [1]
  --exit STATUS[xTIMES] WHAT[:N]
                        it ends with this status, so many times
  --hang WHAT[:N]       it never ends by itself
  --power-cut before|inside|after WHAT[:N]
                        power is lost; inside a program: at its first line of output, or at its end
  --drop-connection-at BYTES
                        the download breaks once there; repeatable
  --clock YEAR          what `date` shows the programs when the device is switched on: 1970, as where no clock was set,
                        or @SECONDS since then [this machine's clock]
  --link SPEED          bytes that the link carries in a second: 1200, 20K, 2M [all at once]
  --abort-at STATUS     the server says that the deployment is aborted
  --keep DIR            leave the device there, to look at
  --json                one JSON document
  --html FILE           write a page into FILE as well: the timeline, step by step, with what programs print

  WHAT: a script (ArtifactInstall_Enter_01), all scripts of a state's part (ArtifactInstall_Enter), a call of the module
  (ArtifactInstall), a status (installing), save, mark, reboot. TIME: 60s, 5min, 2h.

Examples:
  thimble-sim run tests/scenarios/daemon-26-power-loss-in-install.txt
  printf 'lose-power in ArtifactCommit\\nrun\\n' | thimble-sim run -
  thimble-sim run --artifact release-2.mender --module app --scripts state-scripts
  thimble-sim run --artifact release-2.mender --module app --power-cut inside ArtifactInstall
  thimble-sim run --artifact release-2.mender --module app --fail ArtifactInstall --html run.html
";

/// Prints each scenario's timeline; `Ok(false)`: one was not as it was written.
pub(crate) fn run(out: &mut dyn Write, files: &[&str]) -> Result<bool, Failure> {
    if files.is_empty() {
        return Err(Failure::Usage("run needs a scenario".into()));
    }
    if own::is_own(files) {
        return own::run(out, files, HELP);
    }
    let mut scenarios = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        let name = if *file == "-" { "standard input" } else { file };
        match load(file.as_ref()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(bytes) => match Scenario::read(&bytes) {
                Ok(scenario) => scenarios.push((name, scenario)),
                Err(complaints) => wrong.push(complaints.told(name)),
            },
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Input(wrong.join("\n")));
    }
    let mut good = true;
    for (name, scenario) in scenarios {
        let Happened { scenario: happened, unused, stopped, runs: _ } = scenario.run();
        write!(out, "{happened}")?;
        let complaints = Complaints(unused.into_iter().chain(stopped).collect());
        if !complaints.0.is_empty() {
            eprintln!("{}", complaints.told(name));
            good = false;
        }
        let mut pairs = scenario.timelines().zip(happened.timelines());
        if pairs.any(|(expected, happened)| !expected.is_empty() && expected != happened) {
            eprintln!("{name}: this is not the timeline that stands in the file");
            good = false;
        }
    }
    Ok(good)
}
