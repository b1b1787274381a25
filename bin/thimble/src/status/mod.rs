//! `status`: how this device stands. The daemon answers on a socket in the datastore, so nothing is written to the flash for it,
//! and no answer is older than the question; what it cannot say, and all of it without a daemon, is read from what is on record.

mod facts;
mod follow;
mod last;
mod page;
mod record;
mod speed;
mod watch;
mod words;

#[cfg(test)]
pub(crate) use facts::Download;
pub(crate) use facts::{Facts, seconds_until};
pub(crate) use last::Last;
pub(crate) use record::artifact_in_progress;
pub(crate) use watch::{Watch, by_hand};

use std::io::Write;
use std::time::Duration;

use thimble_core::client::Client;
use thimble_core::time::Instant;
use thimble_hal_linux::platform::Linux;
use thimble_hal_linux::storage::Notice;
use thimble_hal_linux::wait::PollSet;

use crate::args::Invocation;
use crate::device::Device;
use crate::json::{member, number};
use crate::output::{Failure, SUCCESS, print};
use crate::roots::{self, Roots};
use crate::socket::{self, PATIENCE, Silence, Socket};

use follow::Screen;
use record::Record;

/// The socket's name in the datastore.
const SOCKET: &str = "mender-update.sock";

/// How long a daemon is waited for that looks to be watched: a signal must not have to wait longer.
const WATCHING: Duration = Duration::from_secs(2);

/// Answers those who ask. Nobody can hold the daemon up: an answer fits the socket's buffer or is dropped.
pub(crate) struct Answerer {
    socket: Socket,
}

impl Answerer {
    /// Listens in the datastore. Without that the daemon works all the same.
    pub(crate) fn new(device: &Device) -> Self {
        Self { socket: Socket::new(device, SOCKET, "status") }
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.socket.wants(set);
    }

    /// When to answer next, even if no descriptor became ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.socket.deadline()
    }

    /// Answers all who wait.
    pub(crate) fn answer(&mut self, watch: &Watch, client: &Client<'_, Linux>, now: Instant) {
        while let Some(mut stream) = self.socket.accept(now) {
            let mut out = String::from("{\"running\":true");
            member(&mut out, "version", Some(env!("CARGO_PKG_VERSION")));
            number(&mut out, "pid", Some(std::process::id().into()));
            watch.facts(client, now).members(&mut out, now);
            out.push_str("}\n");
            let _ = stream.write_all(out.as_bytes());
        }
    }
}

/// The verb.
pub(crate) fn show(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    if invocation.switch("watch") == Some(true) {
        let mut earlier = None;
        return Screen::new(invocation.json)?.follow(|| {
            let answer = Answer::of(&device, earlier.take(), WATCHING);
            earlier.insert(answer).json.clone()
        });
    }
    let answer = Answer::of(&device, None, PATIENCE);
    if invocation.json {
        print(&answer.json)?;
    } else {
        let nonsense = || Failure::new("the daemon's answer makes no sense");
        print(&page::page(&answer.json).ok_or_else(nonsense)?)?;
    }
    answer.failure.map_or(Ok(SUCCESS), Err)
}

/// What is said.
pub(crate) struct Answer {
    /// For programs: one line.
    json: String,
    /// The same without what passes with time, and without the root file systems.
    changes: String,
    roots: Option<Roots>,
    /// No daemon answers, and something is to be mended.
    failure: Option<Failure>,
}

impl Answer {
    /// Asks the daemon, and looks at the device. `earlier`: an answer of a moment ago.
    fn of(device: &Device, earlier: Option<Self>, patience: Duration) -> Self {
        let heard = socket::ask(device.paths.datastore(), SOCKET, "", patience);
        // What is no answer is none.
        let heard = heard.and_then(|heard| page::page(&heard).map(|_| heard).ok_or(Silence::NoAnswer));
        let mut record = Record::look(device);
        let first = device.conf.servers.first().map(String::as_str);
        let mut json = match &heard {
            Ok(heard) => {
                let heard = heard.trim_end();
                heard.strip_suffix('}').unwrap_or(heard).to_owned()
            }
            Err(silence) => {
                let running = match silence {
                    Silence::NoDaemon => "false",
                    Silence::NoAnswer => "true",
                    Silence::Forbidden => "null",
                };
                let mut json = format!("{{\"running\":{running}");
                let looked = record.looked;
                record.facts(first).members(&mut json, looked);
                json
            }
        };
        member(&mut json, "artifact", record.artifact.as_deref());
        member(&mut json, "device_type", record.device_type.as_deref());
        member(&mut json, "unfinished", record.unfinished.as_deref());
        // Programs of the boot loader say how it is: they are not run again and again while nothing else changes.
        let changes = follow::without_times(&format!("{json}}}"));
        let roots = match earlier {
            Some(earlier) if earlier.changes == changes => earlier.roots,
            Some(_) | None => Roots::look(device),
        };
        if let Some(trouble) = roots.as_ref().and_then(|roots| roots.trouble.as_ref()) {
            record.mend(trouble);
        }
        let failure = match heard {
            Ok(_) => None,
            Err(silence) => {
                let is_expected =
                    matches!(silence, Silence::NoDaemon) && (first.is_none() || record.waits_for_person);
                if record.is_cut_off && matches!(silence, Silence::NoDaemon) {
                    record.mend(format_args!(
                        "{}; nothing is to be done if the artifact's name here is right, else install an artifact",
                        Notice::CutOff
                    ));
                }
                let failure = silence.failure(device);
                if !is_expected {
                    record.mend(&failure);
                }
                record.to_mend.as_ref().map(Failure::new)
            }
        };
        member(&mut json, "to_mend", record.to_mend.as_deref());
        roots::members(roots.as_ref(), &mut json);
        json.push_str("}\n");
        Self { json, changes, roots, failure }
    }
}
