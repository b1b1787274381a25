//! `serve --devices N`: many devices in place of a server. Each is the real client with real requests and a real key; what an
//! update does to the device is simulated.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use thimble_core::artifact::ManifestEntry;
use thimble_core::client::{self, Client, Start};
use thimble_core::config::{Config, Tier};
use thimble_core::hal::{self, Clock, ErrorType, Fixed, Hal, Level, Platform, Poll, TooLongIdentity};
use thimble_core::limits;
use thimble_core::machine::{Run, StopSet};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_linux::network::{HttpNetwork, NetworkConfig, Proxies};
use thimble_hal_linux::platform::AuthKey;
use thimble_hal_linux::wait::PollSet;
use thimble_hal_sim::runner::{self, Memory};
use thimble_hal_sim::sim::{Doorkeeper, Down, Handle, Module, OneLine, Scripts, Smooth, Sys};
use thimble_hal_sim::world::Profile;

use super::LOOK;
use super::board::plain;
use crate::failure::Failure;

/// Most devices: each has a thread, and a connection at a time.
pub(super) const MOST: u32 = 500;

/// What a client prints here at most that nobody has read yet.
const WAITING: usize = 1000;

/// One device begins so many milliseconds after the one before: no server is to be frightened.
const APART: u32 = 50;

/// A client and what it calls fit into this stack.
const STACK: usize = 2 * 1024 * 1024;

/// Who the devices are, and whom they ask.
pub(super) struct Fleet {
    pub(super) count: u32,
    /// `mender.conf` of all.
    pub(super) config: Option<String>,
    /// In place of its servers.
    pub(super) server: Option<String>,
    pub(super) device_type: String,
    pub(super) until_over: bool,
}

/// What is the same for all devices.
struct Shared {
    servers: Vec<String>,
    tenant_token: String,
    tier: Option<Tier>,
    config: Config,
    certificate: Option<PathBuf>,
    skip_verify: bool,
    device_type: String,
    keys: PathBuf,
    ends: Arc<AtomicBool>,
}

/// A device says something.
enum News {
    Said(u32, Level, String),
    /// An update ended on it: whether it is good.
    Over(u32, bool),
    /// It cannot go on.
    Broken(u32, String),
}

/// Runs the devices until they are told to end, or all have had an update. `Ok(false)`: not every update was a success.
pub(super) fn run(
    out: &mut dyn Write,
    fleet: Fleet,
    folder: &Path,
    ends: &Arc<AtomicBool>,
) -> Result<bool, Failure> {
    let shared = Arc::new(fleet.shared(folder, ends.clone())?);
    writeln!(out, "{} devices ask {}", fleet.count, shared.servers.join(", "))?;
    out.flush()?;
    let (sender, news) = sync_channel(WAITING);
    let mut threads = Vec::new();
    for number in 1..=fleet.count {
        let (shared, sender) = (shared.clone(), sender.clone());
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || device(number, &shared, &sender));
        threads.push(thread.map_err(|error| format!("device {number}: a thread: {error}"))?);
    }
    drop(sender);
    let result = follow(out, &fleet, &news, ends);
    ends.store(true, Ordering::Relaxed);
    // Whoever waits to say something hears that nobody listens any more.
    drop(news);
    for thread in threads {
        let _ = thread.join();
    }
    Ok(result?)
}

/// Prints what devices say.
fn follow(out: &mut dyn Write, fleet: &Fleet, news: &Receiver<News>, ends: &AtomicBool) -> io::Result<bool> {
    let (mut good, mut failed, mut broken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let summary = |out: &mut dyn Write, good: usize, failed: usize, broken: usize| {
        let rest = if broken > 0 { format!(", {broken} have ended with an error") } else { String::new() };
        writeln!(out, "{good} of {} devices have the update, on {failed} it failed{rest}", fleet.count)
    };
    while !ends.load(Ordering::Relaxed) {
        match news.recv_timeout(LOOK) {
            Ok(News::Said(number, level, text)) => {
                let mark = if level >= Level::Warning { "!! " } else { "" };
                writeln!(out, "device {number:03}  {mark}{}", plain(&text))?;
            }
            Ok(News::Over(number, is_good)) => {
                let (to, from) = if is_good { (&mut good, &mut failed) } else { (&mut failed, &mut good) };
                to.insert(number);
                from.remove(&number);
            }
            Ok(News::Broken(number, why)) => {
                broken.insert(number);
                writeln!(out, "device {number:03}  !! {}", plain(&why))?;
            }
            Err(RecvTimeoutError::Timeout) => out.flush()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let over = good.len() + failed.len() + broken.len() >= fleet.count as usize;
        if (fleet.until_over && over) || broken.len() == fleet.count as usize {
            break;
        }
    }
    summary(out, good.len(), failed.len(), broken.len())?;
    out.flush()?;
    let all_good = good.len() == fleet.count as usize;
    Ok(all_good || (!fleet.until_over && failed.is_empty() && broken.is_empty()))
}

impl Fleet {
    fn shared(&self, folder: &Path, ends: Arc<AtomicBool>) -> Result<Shared, String> {
        let conf = match &self.config {
            Some(path) => {
                let main = Source { path: Path::new(path), required: true };
                Some(MenderConf::load(main, main).map_err(|error| error.to_string())?.0)
            }
            None => None,
        };
        let servers = match (&self.server, &conf) {
            (Some(server), _) => vec![server.clone()],
            (None, Some(conf)) => conf.servers.clone(),
            (None, None) => Vec::new(),
        };
        if servers.is_empty() {
            return Err("--devices wants a server: --server URL, or --config FILE with a ServerURL".into());
        }
        let keys = folder.join("keys");
        std::fs::create_dir_all(&keys).map_err(|error| format!("{}: {error}", keys.display()))?;
        let conf = conf.as_ref();
        Ok(Shared {
            servers,
            tenant_token: conf
                .and_then(|conf| conf.tenant_token.as_ref())
                .map_or_else(String::new, |token| token.expose().to_owned()),
            tier: conf.and_then(|conf| conf.device_tier),
            config: Config { policies: false, ..conf.map(MenderConf::core_config).unwrap_or_default() },
            certificate: conf.and_then(|conf| conf.server_certificate.clone()),
            skip_verify: conf.is_some_and(|conf| conf.skip_verify),
            device_type: self.device_type.clone(),
            keys,
            ends,
        })
    }
}

/// The platform of one device.
struct Real;

impl Platform for Real {
    type Storage = Handle;
    type Scripts = Scripts;
    type Module = Module;
    type Network = HttpNetwork;
    type System = Sys;
    type Identity = Identity;
    type DeviceKey = AuthKey;
    type Inventory = ();
    type DeploymentLog = OneLine;
    type Policy = Doorkeeper;
    type Clock = BootClock;
    type Log = Handle;
    type Verifier = ();
    type Decompress = Decompressor;
}

/// Who a device is.
struct Identity(String);

impl ErrorType for Identity {
    type Error = TooLongIdentity;
}

impl hal::Identity for Identity {
    fn poll(&mut self, now: Instant, out: &mut [u8]) -> Poll<Result<usize, TooLongIdentity>> {
        Fixed(&self.0).poll(now, out)
    }
}

/// Memory of one client: as that of a device that runs Linux, but for artifacts with few files.
fn memory() -> Memory {
    const KIB: usize = 1024;
    Memory {
        chunk: vec![0; 32 * KIB],
        record: vec![0; 64 * KIB],
        out: vec![0; 64 * KIB],
        token: vec![0; limits::TOKEN],
        link: vec![0; limits::URL],
        maps: vec![0; limits::MAPS_RECORD],
        name: vec![0; 4 * KIB],
        header_info: vec![0; 64 * KIB],
        type_info: vec![0; 64 * KIB],
        meta_data: vec![0; 256 * KIB],
        files: vec![ManifestEntry::default(); 64],
        window: vec![0; 128 * KIB],
    }
}

/// The life of one device.
fn device(number: u32, shared: &Shared, news: &SyncSender<News>) {
    let Some(wait) = (number - 1).checked_mul(APART) else { return };
    let begins = BootClock.now() + Duration::from_millis(wait.into());
    while BootClock.now() < begins {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(LOOK.min(std::time::Duration::from_millis(begins.since(BootClock.now()).as_millis())));
    }
    if let Err(why) = live(number, shared, news) {
        let _ = news.send(News::Broken(number, why));
    }
}

/// One client after the other, as the device reboots, until it is told to end.
fn live(number: u32, shared: &Shared, news: &SyncSender<News>) -> Result<(), String> {
    let bench = Handle::new(runner::durable(Profile::SLOTS, &Arc::from([])), Arc::from([]), Box::new(Smooth));
    {
        let mut bench = bench.0.borrow_mut();
        bench.device_type.clone_from(&shared.device_type);
        // Any artifact is right, and there are no state scripts.
        bench.payload = None;
        bench.scripts = Some(Vec::new());
    }
    let servers: Vec<&str> = shared.servers.iter().map(String::as_str).collect();
    let about = client::Device {
        servers: &servers,
        tenant_token: &shared.tenant_token,
        tier: shared.tier,
        version: env!("CARGO_PKG_VERSION"),
    };
    let (mut memory, mut update) = (memory(), None);
    while !shared.ends.load(Ordering::Relaxed) {
        let mut client = Client::new(platform(number, shared, &bench)?, about, memory.lend());
        let start =
            Start { config: &shared.config, run: Run::Daemon, stop_before: StopSet::default(), source: None };
        client.start(start).map_err(|error| error.to_string())?;
        process(number, shared, &bench, &mut client, &mut update, news)?;
        if bench.0.borrow().down == Some(Down::Reboot) {
            runner::boot(&bench);
        }
    }
    Ok(())
}

fn platform(number: u32, shared: &Shared, bench: &Handle) -> Result<Hal<Real>, String> {
    let log: SharedLog = Rc::new(RefCell::new(bench.clone()));
    let network = NetworkConfig {
        server_certificate: shared.certificate.clone(),
        skip_verify: shared.skip_verify,
        proxies: Proxies::from_env(|name| std::env::var_os(name)),
        ..NetworkConfig::default()
    };
    let network = HttpNetwork::new(network, log.clone()).map_err(|error| error.to_string())?;
    // A key is made when it is first needed, and kept in the folder.
    let key = AuthKey::new(shared.keys.join(format!("{number:03}.pem")), true, log);
    let Hal { storage, scripts, module, system, inventory, deployment_log, policy, log, verifier, .. } =
        bench.hal();
    Ok(Hal {
        storage,
        scripts,
        module,
        network,
        system,
        identity: Identity(format!("thimble-sim={number:03}\n")),
        device_key: key,
        inventory,
        deployment_log,
        policy,
        clock: BootClock,
        log,
        verifier,
        decompress: Decompressor::default(),
    })
}

/// One process of the client: until the device reboots, or it is told to end.
fn process(
    number: u32,
    shared: &Shared,
    bench: &Handle,
    client: &mut Client<'_, Real>,
    update: &mut Option<bool>,
    news: &SyncSender<News>,
) -> Result<(), String> {
    let (started, mut hold) = (BootClock.now(), None::<Instant>);
    while !shared.ends.load(Ordering::Relaxed) {
        let now = BootClock.now();
        let until = match hold {
            Some(at) if now < at => Some(at),
            Some(_) | None => {
                let until = client.poll();
                let random = u16::try_from(now.as_millis().wrapping_mul(u64::from(number) * 7919) % 65_536);
                let flow = client.flow();
                hold = until.and_then(|at| flow.put_off(started, now, at, random.unwrap_or_default()));
                hold.or(until)
            }
        };
        say(number, bench, news);
        let machine = client.machine();
        if !machine.deployment().is_empty() {
            *update = Some(machine.verdict().is_good());
        } else if machine.unheard().is_none()
            && let Some(good) = update.take()
        {
            let _ = news.send(News::Over(number, good));
        }
        if bench.0.borrow().down.is_some() {
            return Ok(());
        }
        let look = BootClock.now() + Duration::from_millis(u64::try_from(LOOK.as_millis()).unwrap_or(1));
        let mut set = PollSet::new();
        client.hal().network.wants(&mut set);
        set.wait(BootClock.now(), earliest(until, Some(look)))
            .map_err(|error| format!("waiting: {error}"))?;
    }
    Ok(())
}

/// What the client has logged.
fn say(number: u32, bench: &Handle, news: &SyncSender<News>) {
    let mut bench = bench.0.borrow_mut();
    bench.lines.clear();
    for (level, text) in bench.log.drain(..) {
        let _ = news.send(News::Said(number, level, text));
    }
}
