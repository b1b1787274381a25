//! `daemon`: managed mode, in the foreground and in one process. One poll(2) waits for everything: signals, children,
//! the network, timers, and requests on the sockets and on D-Bus.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

use thimble_core::checkpoint::Newer;
use thimble_core::client::{Client, Start, saved_checkpoint};
use thimble_core::deployment::Mode;
use thimble_core::hal::{Clock, Hal, Key, Level, Storage};
use thimble_core::machine::{Check, Run, StopSet};
use thimble_core::time::{Instant, earliest};
use thimble_hal_linux::bootloader::close_locks;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::lock::Lock;
use thimble_hal_linux::platform::{self, Linux, Memory};
use thimble_hal_linux::rootfs::slot::Machine;
use thimble_hal_linux::storage::RECORD_MAX;
use thimble_hal_linux::wait::PollSet;

use crate::args::Invocation;
use crate::aside::Aside;
use crate::bootstrap;
use crate::control::Controller;
use crate::dbus::Dbus;
use crate::device::Device;
use crate::holds;
use crate::notify::Notifier;
use crate::output::{Failure, SUCCESS};
use crate::panel::Panel;
use crate::signals::{CheckSignals, Signals};
use crate::status::{self, Answerer, Last, Watch};
use crate::takeover::{self, Next};
use crate::verbs::VerbName;

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    // First of all: a signal before this would end the process.
    let mut signals = Signals::new().map_err(Failure::new)?;
    let asked = CheckSignals::new().map_err(Failure::new)?;
    let device = Device::open(invocation)?;
    device.check_servers()?;
    if device.conf.servers.is_empty() {
        return Err(Failure::new(format_args!(
            "no server is configured: set ServerURL in {}",
            invocation.globals.config.clone().unwrap_or_else(|| device.paths.config()).display()
        )));
    }
    let panel = Panel::new(&device)?;
    let mut lock = device.lock(invocation.verb)?;
    close_locks(&Machine::default());
    let (mut hal, mut found) = open(&device, &lock, &mut signals)?;
    let mut memory = Memory::default();
    let config = device.conf.core_config();
    let servers = device.servers();
    let connections = hal.network.connections();
    let mut daemon = Daemon {
        signals,
        asked,
        notifier: Notifier::from_environment(),
        answerer: Answerer::new(&device),
        controller: Controller::new(&device),
        panel,
        dbus: Dbus::new(&device, connections),
        watch: Watch::new(holds::policies(&device), servers.first().copied().unwrap_or_default()),
        started: BootClock.now(),
        hold: None,
        aside: Aside::default(),
        due: None,
        provides: found.provides,
    };
    let mut words = format!("thimble {} begins", env!("CARGO_PKG_VERSION"));
    loop {
        let mut client = Client::new(hal, device.about(&servers), memory.lend());
        let run = found.run;
        let start = Start { config: &config, run, stop_before: StopSet::default(), source: None };
        client.start(start).map_err(Failure::new)?;
        daemon.begins(&mut client, &found);
        device.log(Level::Info, format_args!("{words}"));
        match daemon.run(&device, &mut client, lock)? {
            None => break,
            Some(again) => lock = again,
        }
        drop(client);
        words =
            "no verb has the datastore any more: the daemon goes on with what is on record now".to_owned();
        (hal, found) = open(&device, &lock, &mut daemon.signals)?;
    }
    device.log(Level::Info, format_args!("ended by a signal"));
    Ok(SUCCESS)
}

/// What is on record when a client begins.
struct OnRecord {
    /// What it begins as.
    run: Run,
    /// The words for an update of a user's that is not at its end.
    by_hand: Option<String>,
    /// How the last update ended.
    last: Option<Last>,
    /// Tells names and provides of installed software apart.
    provides: u64,
}

/// The platform with what is on record now.
fn open(device: &Device, lock: &Lock, signals: &mut Signals) -> Result<(Hal<Linux>, OnRecord), Failure> {
    let mut storage = device.store()?;
    let run = match takeover::decide(device, &mut storage, VerbName::Daemon)? {
        Next::Waits => Run::NoUpdates(Newer::Foreign),
        Next::GoOn | Next::NothingToTakeBack => Run::Daemon,
    };
    let mut storage = bootstrap::ensure(device, storage, signals)?;
    let mut memory = vec![0; RECORD_MAX];
    let saved = saved_checkpoint(&mut storage, &mut memory);
    let by_hand = saved
        .ok()
        .flatten()
        .filter(|record| record.mode == Mode::Standalone)
        .map(|record| status::by_hand(&record, status::artifact_in_progress(&mut storage).as_deref()));
    let last = storage.read(Key::Flight, &mut memory).ok().flatten();
    let last = last.and_then(|flight| Last::on_record(device, flight));
    let mut provides = DefaultHasher::new();
    storage.read(Key::Provides, &mut memory).ok().hash(&mut provides);
    let found = OnRecord { run, by_hand, last, provides: provides.finish() };
    Ok((device.hal(storage, VerbName::Daemon, Some(lock))?, found))
}

struct Daemon {
    signals: Signals,
    asked: CheckSignals,
    notifier: Notifier,
    answerer: Answerer,
    controller: Controller,
    panel: Panel,
    dbus: Option<Dbus>,
    watch: Watch,
    started: Instant,
    /// The next poll is put off until then, so that many devices do not poll together.
    hold: Option<Instant>,
    aside: Aside,
    /// When the client that stood aside would have asked for a deployment, and sent the inventory.
    due: Option<(Option<Instant>, Option<Instant>)>,
    /// [`OnRecord::provides`] of the client.
    provides: u64,
}

impl Daemon {
    /// There is a client that has not run yet.
    fn begins(&mut self, client: &mut Client<'_, Linux>, found: &OnRecord) {
        // The server hears at once what is installed now. Where that is the same as before, it is asked no sooner: a
        // deployment would take the place of an update that waits for its commit.
        if let Some((update, inventory)) = self.due.take().filter(|_| found.provides == self.provides) {
            client.schedule(update, inventory);
        }
        self.hold = None;
        self.watch.begins(found.by_hand.clone(), found.last.clone());
        self.provides = found.provides;
        if let Some(dbus) = &mut self.dbus {
            dbus.begins(client);
        }
    }

    /// Runs until a signal ends the daemon: `None`. Running children are then ended, and the record of the update stays as
    /// it is. Or until a verb is done for which the daemon stood aside: the lock that it has again. What is on record may
    /// be another thing then.
    fn run(
        &mut self,
        device: &Device,
        client: &mut Client<'_, Linux>,
        lock: Lock,
    ) -> Result<Option<Lock>, Failure> {
        self.notifier.ready();
        let mut lock = Some(lock);
        let mut ending = false;
        loop {
            let is_away = self.aside.verb().is_some();
            // Away, they stay where they are until the daemon is back.
            if !is_away {
                for check in self.asked.take() {
                    client.check(check);
                    self.hold = None;
                }
            }
            match self.signals.count() {
                0 => {}
                1 if ending => {}
                1 if is_away => return Ok(None),
                1 => {
                    ending = true;
                    self.hold = None;
                    self.notifier.stopping();
                    client.terminate();
                }
                // The second signal: do not wait for children.
                _ => return Ok(None),
            }
            let now = BootClock.now();
            if let Some(lock) = self.aside.returns(device, now)? {
                return Ok(Some(lock));
            }
            self.controller.turn(client, self.aside.verb(), now);
            while let Some((stream, verb)) = self.controller.aside() {
                self.aside.ask(stream, verb, now);
            }
            let aside = self.aside.verb();
            if self.dbus.as_mut().is_some_and(|dbus| dbus.serve(client, &self.watch, aside, now)) {
                self.hold = None;
            }
            let until = if ending { self.poll(client, now) } else { self.turn(client, &mut lock, now) };
            if client.is_over() {
                return Ok(None);
            }
            self.answerer.answer(&self.watch, client, now);
            self.notifier.status(|| self.watch.sentence(client));
            let until = match self.aside.verb() {
                None => earliest(until, self.panel.turn(client, now)),
                Some(_) => until,
            };
            let until = earliest(until, self.aside.deadline());
            let until = earliest(until, earliest(self.notifier.beat(now), self.controller.deadline()));
            if let Some(dbus) = &mut self.dbus {
                dbus.tell(client, &self.watch, now);
            }
            let until = earliest(until, self.answerer.deadline());
            let until = earliest(until, self.dbus.as_ref().and_then(Dbus::deadline));
            let hal = client.hal();
            let mut set = PollSet::new();
            let mut until = until;
            if self.aside.verb().is_none() {
                until = platform::deadline(hal, until);
                platform::wants(hal, &mut set);
                self.asked.wants(&mut set);
            }
            self.signals.wants(&mut set);
            self.aside.wants(&mut set);
            self.answerer.wants(&mut set);
            self.controller.wants(&mut set);
            if let Some(dbus) = &self.dbus {
                dbus.wants(&mut set);
            }
            set.wait(BootClock.now(), until)
                .map_err(|error| Failure::new(format_args!("cannot wait: {error}")))?;
        }
    }

    /// Polls the client, unless a verb has the datastore, or gets it now.
    fn turn(
        &mut self,
        client: &mut Client<'_, Linux>,
        lock: &mut Option<Lock>,
        now: Instant,
    ) -> Option<Instant> {
        if self.aside.verb().is_some() {
            return None;
        }
        // Before the next poll begins, and when one has ended.
        if self.stands_aside(client, lock, now) {
            return None;
        }
        let until = self.poll(client, now);
        if self.stands_aside(client, lock, now) { None } else { until }
    }

    fn stands_aside(&mut self, client: &Client<'_, Linux>, lock: &mut Option<Lock>, now: Instant) -> bool {
        if !self.aside.turn(client, &self.watch, lock, now) {
            return false;
        }
        self.due = Some((client.machine().next_update(), client.machine().next_inventory()));
        self.watch.stands_aside(self.aside.verb().unwrap_or_default());
        if let Some(dbus) = &mut self.dbus {
            dbus.keep(client);
        }
        true
    }

    fn poll(&mut self, client: &mut Client<'_, Linux>, now: Instant) -> Option<Instant> {
        match self.hold {
            Some(at) if now < at => Some(at),
            Some(_) | None => {
                let until = client.poll();
                self.watch.look(client, now);
                self.hold = self.put_off(client, now, until);
                self.hold.or(until)
            }
        }
    }

    /// When an idle client is polled again: up to a tenth later than it asked for.
    fn put_off(&self, client: &Client<'_, Linux>, now: Instant, until: Option<Instant>) -> Option<Instant> {
        // The number must differ between devices; it need not be unpredictable.
        let random = RandomState::new().hash_one(now.since(Instant::ZERO).as_millis());
        #[expect(clippy::cast_possible_truncation, reason = "sixteen bits of chance are enough")]
        let random = random as u16;
        client.flow().put_off(self.started, now, until?, random)
    }
}

impl CheckSignals {
    /// What was asked for since the last time.
    fn take(&mut self) -> impl Iterator<Item = Check> + use<> {
        let (update, inventory) = (self.update(), self.inventory());
        [update.then_some(Check::Update), inventory.then_some(Check::Inventory)].into_iter().flatten()
    }
}
