//! `daemon`: managed mode, in the foreground and in one process. One poll(2) waits for everything: signals, children,
//! the network, timers, and requests on the sockets and on D-Bus.

use std::hash::{BuildHasher, RandomState};

use thimble_core::client::{Client, Start};
use thimble_core::hal::{Clock, Level};
use thimble_core::machine::{Check, Run, StopSet};
use thimble_core::time::{Instant, earliest};
use thimble_hal_linux::bootloader::close_locks;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::platform::{self, Linux, Memory};
use thimble_hal_linux::rootfs::slot::Machine;
use thimble_hal_linux::wait::PollSet;

use crate::args::Invocation;
use crate::bootstrap;
use crate::control::Controller;
use crate::dbus::Dbus;
use crate::device::Device;
use crate::notify::Notifier;
use crate::output::{Failure, SUCCESS};
use crate::panel::Panel;
use crate::signals::{CheckSignals, Signals};
use crate::status::{Answerer, Watch};

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
    let lock = device.lock(invocation.verb)?;
    close_locks(&Machine::default());
    let storage = device.store()?;
    let storage = bootstrap::ensure(&device, storage, &mut signals)?;
    let mut memory = Memory::default();
    let config = device.conf.core_config();
    let start = Start { config: &config, run: Run::Daemon, stop_before: StopSet::default(), source: None };
    let hal = device.hal(storage, invocation.verb, Some(&lock))?;
    let servers = device.servers();
    let connections = hal.network.connections();
    let mut client = Client::new(hal, device.about(&servers), memory.lend());
    client.start(start).map_err(Failure::new)?;
    device.log(Level::Info, format_args!("thimble {} begins", env!("CARGO_PKG_VERSION")));
    let mut daemon = Daemon {
        signals,
        asked,
        notifier: Notifier::from_environment(),
        answerer: Answerer::new(&device),
        controller: Controller::new(&device),
        panel,
        dbus: Dbus::new(&device, connections),
        watch: Watch::default(),
        started: BootClock.now(),
        hold: None,
    };
    daemon.run(&mut client)?;
    device.log(Level::Info, format_args!("ended by a signal"));
    Ok(SUCCESS)
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
}

impl Daemon {
    /// Runs until a signal ends the daemon. Running children are then ended, and the record of the update stays as it
    /// is.
    fn run(&mut self, client: &mut Client<'_, Linux>) -> Result<(), Failure> {
        self.notifier.ready();
        let mut ending = false;
        loop {
            for check in self.asked.take() {
                client.check(check);
                self.hold = None;
            }
            match self.signals.count() {
                0 => {}
                1 if ending => {}
                1 => {
                    ending = true;
                    self.hold = None;
                    self.notifier.stopping();
                    client.terminate();
                }
                // The second signal: do not wait for children.
                _ => return Ok(()),
            }
            let now = BootClock.now();
            self.controller.turn(client, now);
            if self.dbus.as_mut().is_some_and(|dbus| dbus.serve(client, &self.watch, now)) {
                self.hold = None;
            }
            let until = match self.hold {
                Some(at) if now < at => Some(at),
                Some(_) | None => {
                    let until = client.poll();
                    self.watch.look(client);
                    if client.is_over() {
                        return Ok(());
                    }
                    self.hold = self.put_off(client, now, until);
                    self.hold.or(until)
                }
            };
            self.answerer.answer(&self.watch, client, now);
            self.notifier.status(|| self.watch.sentence(client));
            let until = earliest(until, self.panel.turn(client, now));
            let until = earliest(until, earliest(self.notifier.beat(now), self.controller.deadline()));
            if let Some(dbus) = &mut self.dbus {
                dbus.tell(client, &self.watch, now);
            }
            let until = earliest(until, self.answerer.deadline());
            let until = earliest(until, self.dbus.as_ref().and_then(Dbus::deadline));
            let hal = client.hal();
            let until = platform::deadline(hal, until);
            let mut set = PollSet::new();
            platform::wants(hal, &mut set);
            self.signals.wants(&mut set);
            self.asked.wants(&mut set);
            self.answerer.wants(&mut set);
            self.controller.wants(&mut set);
            if let Some(dbus) = &self.dbus {
                dbus.wants(&mut set);
            }
            set.wait(BootClock.now(), until)
                .map_err(|error| Failure::new(format_args!("cannot wait: {error}")))?;
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
