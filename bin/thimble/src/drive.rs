//! The main loop: poll the client, then wait for whatever it waits for.

use std::task::Poll;

use thimble_core::client::Client;
use thimble_core::hal::Clock;
use thimble_core::time::Instant;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::platform::{self, Linux};
use thimble_hal_linux::wait::PollSet;

use crate::output::Failure;
use crate::signals::Signals;

/// Drives `client` to the end of its run and shows it to `watch` in each turn.
///
/// The first signal ends the run at any point, like a power loss, but children get SIGTERM and time to end. A second
/// signal ends the run without waiting for them.
pub(crate) fn drive(
    client: &mut Client<'_, Linux>,
    signals: &mut Signals,
    mut watch: impl FnMut(&Client<'_, Linux>),
) -> Result<(), Failure> {
    let mut ending = false;
    loop {
        let until = client.poll();
        watch(client);
        match signals.count() {
            0 => {}
            1 if ending => {}
            1 => {
                ending = true;
                client.terminate();
                continue;
            }
            _ => return Err(interrupted()),
        }
        if client.is_over() {
            return if client.report().is_some() { Ok(()) } else { Err(interrupted()) };
        }
        let now = BootClock.now();
        let hal = client.hal();
        let until = platform::deadline(hal, until);
        let mut set = PollSet::new();
        platform::wants(hal, &mut set);
        signals.wants(&mut set);
        set.wait(now, until).map_err(|error| Failure::new(format_args!("cannot wait: {error}")))?;
    }
}

/// Polls one part of the platform until it is ready. Ends if that has time limits of its own.
pub(crate) fn until_ready<S, T>(
    part: &mut S,
    mut poll: impl FnMut(&mut S, Instant) -> Poll<T>,
    deadline: impl Fn(&S) -> Option<Instant>,
    wants: impl for<'fd> Fn(&'fd S, &mut PollSet<'fd>),
) -> Result<T, Failure> {
    loop {
        let now = BootClock.now();
        if let Poll::Ready(value) = poll(part, now) {
            return Ok(value);
        }
        let until = deadline(part);
        let mut set = PollSet::new();
        wants(part, &mut set);
        set.wait(now, until).map_err(|error| Failure::new(format_args!("cannot wait: {error}")))?;
    }
}

fn interrupted() -> Failure {
    Failure::new("ended by a signal; if an update is in progress, 'resume' goes on with it")
}
