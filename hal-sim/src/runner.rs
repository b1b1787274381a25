//! Runs the real client on the simulated platform: verb by verb, restart by restart, with a clock that jumps to the
//! next deadline.

use std::sync::Arc;

use thimble_core::artifact::ManifestEntry;
use thimble_core::client::{Buffers, Client, Start, StartError};
use thimble_core::hal::{Key, Target};
use thimble_core::machine::{Machine, Report, Run, StopSet};
use thimble_core::state::{Phase, State};
use thimble_core::time::Instant;

use crate::server::{Artifact, Deployment, Server};
use crate::sim::{DEVICE_TYPE, Down, Durable, Handle, SERVER, Sim};
use crate::world::{Content, Device, NEW, OLD, Profile, SUFFIX, World, provides};

/// The id of the deployment.
pub const DEPLOYMENT: &str = "d-1";

/// More waits than any deployment takes: one that takes more does not end.
const WAITS: usize = 5000;

/// A device that runs the old artifact, and a server that has the new one for it.
#[must_use]
pub fn durable(profile: Profile, artifact: &Arc<[u8]>) -> Durable {
    let mut server = Server::new(SERVER);
    let artifact =
        Artifact { name: NEW.into(), device_types: vec![DEVICE_TYPE.into()], bytes: Arc::clone(artifact) };
    server.deployments.insert(DEPLOYMENT.into(), Deployment::new(artifact));
    Durable {
        records: [(Key::Provides, provides(OLD))].into(),
        device: Device::new(profile),
        scripts: false,
        server,
    }
}

/// How a process ended.
#[derive(Debug)]
pub enum End {
    /// By itself: a verb of the command line.
    Exit(Report),
    /// The daemon has nothing more to do.
    Idle,
    /// From outside.
    Down(Down),
    /// It was not started.
    NotStarted(String),
    /// Whoever watched had seen enough.
    Pruned,
    /// It waits for ever.
    Stuck(String),
}

/// Runs one process until it ends. `watch` sees the machine between steps; false ends the run.
pub fn process(
    bench: &Handle,
    run: Run,
    stop_before: StopSet,
    watch: &mut dyn FnMut(&Handle, &Machine) -> bool,
) -> End {
    let (mut chunk, mut record, mut out, mut name) =
        (vec![0; 4096], vec![0; 4096], vec![0; 4096], vec![0; 512]);
    let (mut header_info, mut type_info, mut meta_data) = (vec![0; 2048], vec![0; 2048], vec![0; 512]);
    let (mut files, mut window) = (vec![ManifestEntry::default(); 4], vec![0; 4096]);
    let buffers = Buffers {
        chunk: &mut chunk,
        record: &mut record,
        out: &mut out,
        name: &mut name,
        header_info: &mut header_info,
        type_info: &mut type_info,
        meta_data: &mut meta_data,
        files: &mut files,
        window: &mut window,
    };
    let config = bench.0.borrow().config.clone();
    let source = (run == Run::Install).then_some(Target::File("new.mender"));
    let start = Start { config: &config, run, stop_before, source };
    let mut client: Client<'_, Sim> = match Client::start(bench.hal(), buffers, start) {
        Ok(client) => client,
        Err(StartError::Refused(refusal)) => return End::NotStarted(format!("{refusal:?}")),
        Err(error) => return End::NotStarted(error.to_string()),
    };
    let mut idle = 0;
    for _ in 0..WAITS {
        let wake = client.poll();
        if let Some(down) = bench.0.borrow().down {
            return End::Down(down);
        }
        if let Some(report) = client.report() {
            return End::Exit(*report);
        }
        if !watch(bench, client.machine()) {
            return End::Pruned;
        }
        let at = wake.unwrap_or(Instant::ZERO);
        if at > bench.0.borrow().now && client.machine().place() == (State::Idle, Phase::Main) {
            idle += 1;
            let over = bench.0.borrow().durable.server.deployments.values().all(Deployment::is_over);
            if over || idle > 3 {
                return End::Idle;
            }
        }
        let mut bench = bench.0.borrow_mut();
        match wake {
            Some(at) => bench.now = bench.now.max(at),
            None => return End::Stuck(format!("waits for ever at {:?}", client.machine().place())),
        }
    }
    End::Stuck(format!("not over after {WAITS} waits, at {:?}", client.machine().place()))
}

/// The device starts again.
pub fn boot(bench: &Handle) {
    let mut bench = bench.0.borrow_mut();
    bench.durable.device.boot();
    bench.now = Instant::ZERO;
    bench.down = None;
}

/// The daemon, restarted whenever the device is.
pub fn daemon(bench: &Handle, watch: &mut dyn FnMut(&Handle, &Machine) -> bool) -> End {
    for _ in 0..100 {
        match process(bench, Run::Daemon, StopSet::default(), watch) {
            End::Down(_) => boot(bench),
            end @ (End::Exit(_) | End::Idle | End::NotStarted(_) | End::Pruned | End::Stuck(_)) => {
                return end;
            }
        }
    }
    End::Stuck("the device is restarted for ever".into())
}

/// The name on record.
#[must_use]
pub fn name(durable: &Durable) -> String {
    let world = World {
        records: durable.records.clone(),
        device: durable.device.clone(),
        server: crate::world::Server::default(),
    };
    world.name()
}

/// What must hold when an update is over, whatever happened; see [`crate::check`] for the machine alone.
///
/// # Errors
/// What is wrong.
pub fn check(durable: &Durable, excused: bool) -> Result<(), String> {
    let device = &durable.device;
    let name = name(durable);
    // Two records that could not be written: the restart finds an older one and does better than what was reported.
    let excusable = |violation: &&String| excused && violation.contains("is open again");
    if let Some(violation) = durable.server.violations().iter().find(|violation| !excusable(violation)) {
        return Err(format!("the server was asked wrongly: {violation}"));
    }
    if excused {
        return Ok(());
    }
    let status = durable.server.deployments.values().next().map_or("", |deployment| deployment.status());
    if durable.records.contains_key(&Key::Checkpoint) {
        return Err("the update is over and its record is still there".into());
    }
    if durable.records.contains_key(&Key::Offer) {
        return Err("the update is over and the server's offer is still on record".into());
    }
    // Power lost while the command line builds the tree, before there is a record, leaves one; the next artifact wipes it.
    if device.tree && name != OLD {
        return Err("the update is over and its work tree is still there".into());
    }
    if !name.ends_with(SUFFIX) {
        let named = if name == NEW { Content::New } else { Content::Old };
        if device.profile.payload && (device.content() != named || !device.is_settled()) {
            return Err(format!("the name on record is {name:?}, what runs is {:?}", device.content()));
        }
    }
    match status {
        "success" if name != NEW => {
            Err(format!("the server was told success, the name on record is {name:?}"))
        }
        "failure" if name == NEW => Err("the server was told failure, and the new name is on record".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::sim::{Effect, Fate, Plan};
    use thimble_core::deployment::Call;

    /// Power is lost in the first `Download`.
    struct Once(bool);

    impl Plan for Once {
        fn fate(&mut self, effect: &Effect) -> Fate {
            if *effect == Effect::Module(Call::Download) && !std::mem::replace(&mut self.0, true) {
                return Fate::LostInside;
            }
            Fate::Works
        }
    }

    /// What becomes of a deployment whose offer on record is changed while the power is off.
    fn status(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let artifact = sample::fitting(true);
        let bench = Handle::new(durable(Profile::SLOTS, &artifact), artifact, Box::new(Once(false)));
        bench.0.borrow_mut().config.resume_downloads = true;
        let end = process(&bench, Run::Daemon, StopSet::default(), &mut |_, _| true);
        assert!(matches!(end, End::Down(Down::PowerLost)), "{end:?}");
        change(bench.0.borrow_mut().durable.records.get_mut(&Key::Offer).unwrap());
        boot(&bench);
        let end = daemon(&bench, &mut |_, _| true);
        assert!(matches!(end, End::Idle), "{end:?}");
        let durable = &bench.0.borrow().durable;
        check(durable, false).unwrap();
        durable.server.deployments[DEPLOYMENT].status().to_owned()
    }

    #[test]
    fn i10_an_offer_of_another_deployment_is_none() {
        assert_eq!(status(|_| {}), "success");
        let other = |offer: &mut Vec<u8>| {
            let body = offer.len() - 4;
            let at = offer.windows(3).position(|window| window == DEPLOYMENT.as_bytes()).unwrap();
            offer[at + 2] = b'2';
            let crc = crc32fast::hash(&offer[..body]).to_le_bytes();
            offer[body..].copy_from_slice(&crc);
        };
        assert_eq!(status(other), "failure");
    }

    #[test]
    fn d7_a_damaged_offer_is_none() {
        for bit in [0, 9, 100, 333] {
            assert_eq!(status(|offer| offer[bit / 8] ^= 1 << (bit % 8)), "failure", "{bit}");
        }
        for length in [0, 1, 20] {
            assert_eq!(status(|offer| offer.truncate(length)), "failure", "{length}");
        }
    }
}
