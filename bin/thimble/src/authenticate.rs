//! `bootstrap`: makes the device's key if there is none, asks the server for a token, and ends.

use std::fs;
use std::io;
use std::task::Poll;

use thimble_core::api::auth::{self, AuthRequest};
use thimble_core::api::{Endpoint, Reply, error_text};
use thimble_core::hal::{Clock, DeviceKey, Hal, Identity, Level, Network};
use thimble_core::http::{Request, Target};
use thimble_core::limits;
use thimble_core::time::{Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::hints::with_hint;
use thimble_hal_linux::platform::{self, Linux};
use thimble_hal_linux::wait::PollSet;

use crate::args::Invocation;
use crate::device::Device;
use crate::drive::until_ready;
use crate::exchange::exchange;
use crate::notify::Notifier;
use crate::output::{Failure, SUCCESS, tell};
use crate::signals::Signals;

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    device.check_servers()?;
    let lock = device.lock(invocation.verb)?;
    if invocation.force {
        let path = device.paths.agent_key();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::new(format_args!("{}: {error}", path.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let storage = device.store()?;
    let mut hal = device.hal(storage, invocation.verb, Some(&lock))?;
    let body = body(&device, &mut hal)?;
    let mut last = Failure::new("no server is configured: set ServerURL");
    for server in device.servers() {
        match ask(&mut hal, server, &body) {
            Ok(()) => {
                tell("The server accepts this device.");
                return Ok(SUCCESS);
            }
            Err(failure) => {
                device.log(Level::Warning, format_args!("{server}: {failure}"));
                last = failure;
            }
        }
    }
    Err(last)
}

/// `mender-auth daemon`, as a unit of Mender's starts it: there is nothing to do, and ending would only have it started again.
pub(crate) fn stand_by() -> Result<u8, Failure> {
    let mut signals = Signals::new().map_err(Failure::new)?;
    tell(
        "thimble's own daemon does this work too (mender-updated.service); this one waits until it is ended.",
    );
    Notifier::from_environment().ready();
    while signals.count() == 0 {
        let mut set = PollSet::new();
        signals.wants(&mut set);
        set.wait(BootClock.now(), None).map_err(Failure::new)?;
    }
    Ok(SUCCESS)
}

/// The body of the request: who this device is.
fn body(device: &Device, hal: &mut Hal<Linux>) -> Result<String, Failure> {
    // The key first: whatever else is wrong, it is made.
    let pubkey = wait(hal, |hal, now| hal.device_key.poll_public_key(now).map_ok(str::to_owned))?;
    let pubkey = pubkey.map_err(Failure::new)?;
    let mut identity = vec![0; limits::IDENTITY];
    hal.identity.start(BootClock.now()).map_err(Failure::new)?;
    let length = wait(hal, |hal, now| hal.identity.poll(now, &mut identity))?.map_err(Failure::new)?;
    let identity = auth::Identity::parse(identity.get(..length).unwrap_or_default())
        .map_err(|error| Failure::new(with_hint(&error)))?;
    let mut buf = vec![0; 64 * 1024];
    let servers = device.servers();
    let about = device.about(&servers);
    let request = AuthRequest::begin(&mut buf, identity, about.tenant_token, about.tier);
    request.finish(&pubkey).map(str::to_owned).map_err(Failure::new)
}

fn ask(hal: &mut Hal<Linux>, server: &str, body: &str) -> Result<(), Failure> {
    let (mut url, mut signature) = (vec![0; limits::URL], vec![0; limits::SIGNATURE]);
    let url = Endpoint::Auth.url(server, &mut url).map_err(Failure::new)?;
    let length = wait(hal, |hal, now| {
        hal.device_key.poll_sign(now, body.as_bytes(), &mut signature).map_ok(str::len)
    })?;
    let signature = signature.get(..length.map_err(Failure::new)?).unwrap_or_default();
    let signature = str::from_utf8(signature).map_err(Failure::new)?;
    let request = Request {
        method: Endpoint::Auth.method(),
        target: Target::Url(url),
        authorization: None,
        signature: Some(signature),
        body: Some(body.len()),
        offset: 0,
        etag: None,
    };
    let (head, answer) = exchange(&mut hal.network, &request, body.as_bytes(), limits::TOKEN + 1)?;
    let reply = Endpoint::Auth.reply(head.status, head.retry_after);
    match reply {
        Reply::Done => auth::token(&answer).map(|_| ()).map_err(Failure::new),
        Reply::Nothing
        | Reply::Unauthorized
        | Reply::NotFound
        | Reply::SubstateRefused
        | Reply::Aborted
        | Reply::TooLarge
        | Reply::Later(_)
        | Reply::Failed(_) => {
            let text = error_text(&answer).unwrap_or_default();
            Err(Failure::new(format_args!("the server does not accept this device (yet): {reply} {text}")))
        }
    }
}

/// Polls until ready. Ends: identity and network have time limits of their own.
fn wait<T>(
    hal: &mut Hal<Linux>,
    poll: impl FnMut(&mut Hal<Linux>, Instant) -> Poll<T>,
) -> Result<T, Failure> {
    let deadline = |hal: &Hal<Linux>| earliest(hal.identity.deadline(), hal.network.deadline());
    until_ready(hal, poll, deadline, platform::wants)
}
