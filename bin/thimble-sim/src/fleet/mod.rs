//! `fleet`: thousands of devices and one server in virtual time; and devices that commit together.

mod assertion;
mod options;
mod plot;
mod report;
mod together;
mod values;

use std::fs;
use std::io::{IsTerminal, Write};

use thimble_core::time::Duration;
use thimble_hal_sim::fleet::{self, Figures, Plan};

use crate::failure::Failure;
use options::Options;

pub(crate) const HELP: &str = "\
Shows what thousands of devices do to a server, and when all of them have an update, in virtual time.

Each device decides as the client does, with its intervals, retries, jitter, windows and control maps; the same seed
gives the same figures. Nothing is sent anywhere. docs/fleet.md says what is simplified.

Usage: thimble-sim fleet [OPTION]...
       thimble-sim fleet together [OPTION]...

  --devices N           so many devices [1000]
  --for TIME            look at so much time [24h]
  --config FILE         mender.conf of the devices: intervals, retries, update windows [the client's own]
  --start HOW           spread: each is switched on at some moment of its first poll interval; all-at-once: all within
                        ten seconds, as after a power cut [spread]
  --seed N              another fleet of the same kind [1]
The update:
  --deploy TIME         all devices are offered it from then on; never: there is none [0h]
  --phase SHARE@TIME    in place of --deploy: so many of all devices from then on, as 10%@0h; repeatable, and growing
  --size BYTES          of the artifact [100MB]
  --install TIME        what ArtifactInstall takes [30s]
  --reboot TIME         what the reboot takes; none: there is none [60s]
  --fail SHARE          on so many devices ArtifactInstall fails [0%]
  --hold POINT@TIME     the server's control map pauses before install, reboot or commit until then
  --window FROM-TO[@POINT]
                        update window of the devices in local time, before install [install]; repeatable
  --zones HOURS,...     time zones that the devices are dealt out to, as -8,0,+1,+5:30; the run begins on a Monday at
                        00:00 UTC [0]
Network and server:
  --capacity N/s        requests in a second that the server answers [all]
  --overload ANSWER     to the others: 429, 429:SECONDS with Retry-After, or 503 [429]
  --latency TIME        from a request to its answer, on average [200ms]
  --link RATE           at which a device downloads, as 8Mbit/s or 1MB/s [8Mbit/s]
  --offline SHARE       of the devices have no connection at any moment, each for an hour on average [0%]
Output:
  --assert TEXT         exit status 1 unless it holds; repeatable. One of: done 95% within 2h (from the beginning of
                        the deployment); failed < 1%; refused < 100; peak < 50/s
  --svg FILE            plots: requests, devices by what they do, devices that are done
  --json                for programs

`together` updates up to 99 devices with a program of quality assurance that holds each back before its commit until all
run what is new: then all commit, or all roll back. Exit status 1 unless they did so together.

  --devices N           1 to 99 of them [20]
  --broken N            device N turns out broken: nobody commits
  --dies                the program dies while all wait: its maps expire, and nobody commits
  --hold FILE           the map that holds the commit back [support/update-control/hold-commit.json, built in]
  --go FILE             the map that lets all go on [commit-all.json]
  --fail FILE           the map that has all roll back [fail-all.json]
  --json                for programs

Examples:
  thimble-sim fleet --devices 10000 --start all-at-once --capacity 200/s --overload 429:60
  thimble-sim fleet --devices 10000 --phase 10%@0h --phase 100%@4h --svg fleet.svg --assert 'done 99% within 8h'
  thimble-sim fleet together --devices 20 --broken 7
";

/// Runs a fleet and prints its figures, or its story. `Ok(false)`: an assertion does not hold, or the devices did not end
/// alike.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    if let Some((&"together", words)) = words.split_first() {
        return together::run(out, words);
    }
    let Options { plan, windows, asserts, svg, json } = options::read(words)?;
    let policy = |point, minute, waited| options::permit(&windows, point, minute, waited);
    let policy: Option<fleet::Policy<'_>> = if windows.is_empty() { None } else { Some(&policy) };
    let plan = Plan { policy, ..plan };
    let figures = watch(&plan)?;
    let checked: Vec<_> = asserts.iter().map(|assert| (assert, assert.check(&plan, &figures))).collect();
    if let Some(path) = svg {
        fs::write(&path, plot::svg(&plan, &figures)).map_err(|error| format!("{path}: {error}"))?;
    }
    if json {
        report::json(out, &plan, &figures, &checked)?;
    } else {
        report::text(out, &plan, &figures, &checked)?;
    }
    Ok(checked.iter().all(|(_, found)| found.is_ok()))
}

/// Runs it; on a terminal, says how far it is.
fn watch(plan: &Plan<'_>) -> Result<Figures, String> {
    let is_watched = std::io::stderr().is_terminal();
    let (mut percent, all) = (0, plan.time.as_millis().max(1));
    let mut progress = |passed: Duration| {
        let now = passed.as_millis() * 100 / all;
        if is_watched && now > percent {
            percent = now;
            eprint!("\r{percent}% of the time");
        }
    };
    let figures = fleet::run(plan, &mut progress);
    if is_watched && percent > 0 {
        eprint!("\r                   \r");
    }
    figures.map_err(|fault| fault.to_string())
}
