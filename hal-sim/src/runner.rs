//! Runs the real client on the simulated platform: verb by verb, restart by restart, with a clock that jumps to the
//! next deadline.

use std::sync::Arc;

use thimble_core::artifact::ManifestEntry;
use thimble_core::client::{Buffers, Client, Start};
use thimble_core::hal::Key;
use thimble_core::http::Target;
use thimble_core::machine::{Report, Run, StopSet};
use thimble_core::state::{Phase, State};
use thimble_core::time::Instant;

use crate::check::Trouble;
use crate::server::{Artifact, Deployment, Server};
use crate::sim::{CLIENT, DEVICE_TYPE, Down, Durable, Handle, Rule, SERVER, Sim};
use crate::world::{Content, Device, NEW, OLD, Profile, SUFFIX, World, provides};

/// The id of the deployment.
pub use crate::sayings::DEPLOYMENT;

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
    /// The observer ended the run.
    Pruned,
    /// The client waits without a deadline.
    Stuck(String),
}

/// What happens after whoever watches has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Time goes on.
    GoOn,
    /// The observer called the client: poll it again before the clock moves.
    Again,
    /// End the run.
    Stop,
}

/// Sees a client between its steps, and may say something to it.
pub type Watch<'w> = &'w mut dyn FnMut(&Handle, &mut Client<'_, Sim>) -> Then;

/// Memory of one client, by the names of [`Buffers`]. Whoever runs the client may make a part of it longer or shorter.
#[expect(missing_docs, reason = "the names of the buffers")]
pub struct Memory {
    pub chunk: Vec<u8>,
    pub record: Vec<u8>,
    pub out: Vec<u8>,
    pub token: Vec<u8>,
    pub link: Vec<u8>,
    pub maps: Vec<u8>,
    pub name: Vec<u8>,
    pub header_info: Vec<u8>,
    pub type_info: Vec<u8>,
    pub meta_data: Vec<u8>,
    pub files: Vec<ManifestEntry>,
    pub window: Vec<u8>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            chunk: vec![0; 4096],
            record: vec![0; 4096],
            out: vec![0; 4096],
            token: vec![0; 512],
            link: vec![0; 512],
            maps: vec![0; 4096],
            name: vec![0; 512],
            header_info: vec![0; 2048],
            type_info: vec![0; 2048],
            meta_data: vec![0; 512],
            files: vec![ManifestEntry::default(); 4],
            window: vec![0; 4096],
        }
    }
}

impl Memory {
    /// What a client borrows.
    pub fn lend(&mut self) -> Buffers<'_> {
        let Self {
            chunk,
            record,
            out,
            token,
            link,
            maps,
            name,
            header_info,
            type_info,
            meta_data,
            files,
            window,
        } = self;
        Buffers {
            chunk,
            record,
            out,
            token,
            link,
            maps,
            name,
            header_info,
            type_info,
            meta_data,
            files,
            window,
        }
    }
}

/// A process of the client on the bench.
pub struct Process<'b> {
    /// The client.
    pub client: Client<'b, Sim>,
    bench: Handle,
    wake: Option<Instant>,
    idle: u32,
}

impl<'b> Process<'b> {
    /// Starts it.
    ///
    /// # Errors
    /// [`End::NotStarted`].
    pub fn start(
        bench: &Handle,
        run: Run,
        stop_before: StopSet,
        memory: &'b mut Memory,
    ) -> Result<Self, End> {
        let mut config = bench.0.borrow().config.clone();
        config.policies = bench.0.borrow().policies.iter().any(|rule| *rule != Rule::None);
        let source = (run == Run::Install).then_some(Target::File("new.mender"));
        let start = Start { config: &config, run, stop_before, source };
        let mut client = Client::new(bench.hal(), CLIENT, memory.lend());
        match client.start(start) {
            Ok(()) => Ok(Self { client, bench: bench.clone(), wake: None, idle: 0 }),
            Err(error) => Err(End::NotStarted(error.to_string())),
        }
    }

    /// Lets it do what it can do now; how it ended, if it has.
    pub fn poll(&mut self) -> Option<End> {
        self.wake = self.client.poll();
        if let Some(down) = self.bench.0.borrow().down {
            return Some(End::Down(down));
        }
        self.client.report().copied().map(End::Exit)
    }

    /// When it wants to go on.
    #[must_use]
    pub const fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// It has nothing more to do: no deployment is open, or it has asked in vain.
    pub fn is_idle(&mut self) -> bool {
        let at = self.wake.unwrap_or(Instant::ZERO);
        if at <= self.bench.0.borrow().now || self.client.machine().place() != (State::Idle, Phase::Main) {
            return false;
        }
        self.idle += 1;
        self.idle > 3 || self.bench.0.borrow().durable.server.deployments.values().all(Deployment::is_over)
    }

    /// The clock goes to where it wants to go on; false: it waits for ever.
    pub fn pass_time(&mut self) -> bool {
        let mut bench = self.bench.0.borrow_mut();
        match self.wake {
            Some(at) => bench.now = bench.now.max(at),
            None => return false,
        }
        true
    }
}

/// Runs one process until it ends. `watch` sees the client between steps.
pub fn process(bench: &Handle, run: Run, stop_before: StopSet, watch: Watch<'_>) -> End {
    process_in(&mut Memory::default(), bench, run, stop_before, watch)
}

/// The same with this memory.
pub fn process_in(
    memory: &mut Memory,
    bench: &Handle,
    run: Run,
    stop_before: StopSet,
    watch: Watch<'_>,
) -> End {
    let mut process = match Process::start(bench, run, stop_before, memory) {
        Ok(process) => process,
        Err(end) => return end,
    };
    for _ in 0..WAITS {
        if let Some(end) = process.poll() {
            return end;
        }
        match watch(bench, &mut process.client) {
            Then::GoOn => {}
            Then::Again => continue,
            Then::Stop => return End::Pruned,
        }
        if process.is_idle() {
            return End::Idle;
        }
        if !process.pass_time() {
            return End::Stuck(format!("waits for ever at {:?}", process.client.machine().place()));
        }
    }
    End::Stuck(format!("not over after {WAITS} waits, at {:?}", process.client.machine().place()))
}

/// The device starts again.
pub fn boot(bench: &Handle) {
    let mut bench = bench.0.borrow_mut();
    bench.durable.device.boot();
    bench.booted = bench.booted + bench.now.since(Instant::ZERO);
    bench.now = Instant::ZERO;
    bench.down = None;
}

/// The daemon, restarted whenever the device is.
pub fn daemon(bench: &Handle, watch: Watch<'_>) -> End {
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
pub fn check(durable: &Durable, trouble: Trouble) -> Result<(), String> {
    let device = &durable.device;
    let name = name(durable);
    // The restart finds an older record and does better than what was reported.
    let excusable = |violation: &&String| trouble.told && violation.contains("is open again");
    if let Some(violation) = durable.server.violations().iter().find(|violation| !excusable(violation)) {
        return Err(format!("the server was asked wrongly: {violation}"));
    }
    let status = durable.server.deployments.values().next().map_or("", |deployment| deployment.status());
    if durable.records.contains_key(&Key::Checkpoint) && !trouble.clear {
        return Err("the update is over and its record is still there".into());
    }
    if durable.records.contains_key(&Key::Offer) && !trouble.clear {
        return Err("the update is over and the server's offer is still on record".into());
    }
    // Power lost while the command line builds the tree, before there is a record, leaves one; the next artifact wipes
    // it.
    if device.tree && name != OLD {
        return Err("the update is over and its work tree is still there".into());
    }
    let stays_old = trouble.provides && name == OLD;
    if !name.ends_with(SUFFIX) && !stays_old {
        let named = if name == NEW { Content::New } else { Content::Old };
        if device.profile.payload && (device.content() != named || !device.is_settled()) {
            return Err(format!("the name on record is {name:?}, what runs is {:?}", device.content()));
        }
    }
    match status {
        "success" if name != NEW && !stays_old => {
            Err(format!("the server was told success, the name on record is {name:?}"))
        }
        "failure" if name == NEW && !trouble.cleanup => {
            Err("the server was told failure, and the new name is on record".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::sim::{Effect, Fate, Plan, Smooth};
    use thimble_core::begun::{self, Begun};
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
        let end = process(&bench, Run::Daemon, StopSet::default(), &mut |_, _| Then::GoOn);
        assert!(matches!(end, End::Down(Down::PowerLost)), "{end:?}");
        change(bench.0.borrow_mut().durable.records.get_mut(&Key::Offer).unwrap());
        boot(&bench);
        let end = daemon(&bench, &mut |_, _| Then::GoOn);
        assert!(matches!(end, End::Idle), "{end:?}");
        let durable = &bench.0.borrow().durable;
        check(durable, Trouble::default()).unwrap();
        durable.server.deployments[DEPLOYMENT].status().to_owned()
    }

    #[test]
    fn i10_an_offer_of_another_deployment_is_none() {
        assert_eq!(status(|_| {}), "success");
        let other = |offer: &mut Vec<u8>| {
            let body = offer.len() - 4;
            let at =
                offer.windows(DEPLOYMENT.len()).position(|window| window == DEPLOYMENT.as_bytes()).unwrap();
            offer[at + 2] = b'f';
            let crc = crc32fast::hash(&offer[..body]).to_le_bytes();
            offer[body..].copy_from_slice(&crc);
        };
        assert_eq!(status(other), "failure");
    }

    #[test]
    fn r48_a_damaged_record_of_what_began_keeps_no_update_away() {
        let mut buf = [0; begun::MAX_LEN];
        let record = begun::Record { begun: Begun::nothing(), server: Some(5) };
        let record = record.encode(&mut buf).unwrap();
        for damaged in [&record[1..], &record[..1], &[2; 9], &[], record] {
            let artifact = sample::fitting(true);
            let bench = Handle::new(durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
            bench.0.borrow_mut().durable.records.insert(Key::Begun, damaged.to_vec());
            let end = daemon(&bench, &mut |_, _| Then::GoOn);
            assert!(matches!(end, End::Idle), "{end:?}");
            let bench = bench.0.borrow();
            assert_eq!(bench.durable.server.deployments[DEPLOYMENT].status(), "success");
            let told =
                bench.log.iter().any(|(_, line)| line.contains("deployments that began here is damaged"));
            assert_eq!(told, damaged != record, "{:?}", bench.log);
            // The deployment of now is on record.
            let record = begun::Record::decode(&bench.durable.records[&Key::Begun]);
            assert!(record.is_some_and(|record| record.begun.is_last(DEPLOYMENT)));
        }
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
