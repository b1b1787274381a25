//! The memory that a platform lends: what a buffer that is too small may cost, and what it must never cost.

use thimble_core::artifact::ManifestEntry;
use thimble_core::client::Buffers;
use thimble_core::config::Config;
use thimble_core::deployment::Call;
use thimble_core::hal::{Key, Level};
use thimble_core::limits;
use thimble_core::machine::{Run, StopSet};
use thimble_core::time::Duration;
use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_hal_sim::runner::{self, End, Memory, Process, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::sim::{DEVICE_TYPE, Down, Effect, Fate, Handle, Plan, Smooth};
use thimble_hal_sim::world::{NEW, Profile};

/// A control map that says as much as a map can, and holds nothing up.
fn long_map(id: &str) -> String {
    let rule = r#"{"action":"continue","on_map_expire":"force_continue","on_action_executed":"continue"}"#;
    format!(
        r#"{{"id":"{id}","states":{{"ArtifactInstall_Enter":{rule},"ArtifactReboot_Enter":{rule},"ArtifactCommit_Enter":{rule}}}}}"#
    )
}

#[test]
fn control_maps_that_are_longer_than_the_buffer_for_requests_outlive_a_deployment() {
    let artifact = sample::fitting(true);
    let mut memory = Memory { out: vec![0; 2048], ..Memory::default() };
    let mut durable = runner::durable(Profile::SLOTS, &artifact);
    // The server's map goes when its deployment is over, the others stay: the record is written anew.
    durable.server.v2 = true;
    let deployment = durable.server.deployments.get_mut(runner::DEPLOYMENT).expect("the deployment");
    deployment.control_map = Some(long_map(runner::DEPLOYMENT));
    let bench = Handle::new(durable, artifact, Box::new(Smooth));
    let others: Vec<String> = (1..8).map(|n| format!("{n}1111111-1111-1111-1111-111111111111")).collect();
    let mut set = false;
    loop {
        let end =
            runner::process_in(&mut memory, &bench, Run::Daemon, StopSet::default(), &mut |_, client| {
                if std::mem::replace(&mut set, true) {
                    return Then::GoOn;
                }
                for id in &others {
                    client.set_control_map(long_map(id).as_bytes()).expect("room for a map");
                }
                Then::Again
            });
        match end {
            End::Down(Down::Reboot) => runner::boot(&bench),
            End::Idle => break,
            end @ (End::Down(Down::PowerLost)
            | End::Exit(_)
            | End::NotStarted(_)
            | End::Pruned
            | End::Stuck(_)) => {
                panic!("{end:?}")
            }
        }
    }
    let bench = bench.0.borrow();
    assert_eq!(bench.durable.server.deployments[runner::DEPLOYMENT].status(), "success");
    let errors: Vec<_> = bench.log.iter().filter(|(level, _)| *level >= Level::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let record = bench.durable.records.get(&Key::ControlMaps).expect("the maps are on record");
    let record = String::from_utf8_lossy(record);
    assert!(record.len() > 2048, "{} bytes would fit", record.len());
    for id in &others {
        assert!(record.contains(id), "{id}: {record}");
    }
    assert!(!record.contains(runner::DEPLOYMENT), "{record}");
}

/// The least memory that a client starts with.
fn least() -> Memory {
    Memory {
        chunk: vec![0; Buffers::LEAST_CHUNK],
        record: vec![0; Buffers::LEAST_RECORD],
        out: vec![0; Buffers::LEAST_OUT],
        token: vec![0; Buffers::LEAST_TOKEN],
        link: vec![0; Buffers::LEAST_LINK],
        maps: vec![0; Buffers::LEAST_MAPS],
        name: vec![0; Buffers::LEAST_NAME],
        header_info: vec![0; Buffers::LEAST_HEADER_INFO],
        type_info: vec![0; Buffers::LEAST_TYPE_INFO],
        meta_data: Vec::new(),
        files: vec![ManifestEntry::default(); Buffers::LEAST_FILES],
        window: vec![0; Buffers::LEAST_WINDOW],
    }
}

/// How the deployment ends for a daemon with this memory and configuration, or why the daemon does not start.
fn run(mut memory: Memory, config: &Config) -> Result<String, String> {
    let artifact = sample::fitting(true);
    let durable = runner::durable(Profile::FILES, &artifact);
    let bench = Handle::new(durable, artifact, Box::new(Smooth));
    bench.0.borrow_mut().config = config.clone();
    match runner::process_in(&mut memory, &bench, Run::Daemon, StopSet::default(), &mut |_, _| Then::GoOn) {
        End::NotStarted(why) => Err(why),
        end @ (End::Exit(_) | End::Down(_) | End::Pruned | End::Stuck(_)) => panic!("{end:?}"),
        End::Idle => {
            let bench = bench.0.borrow();
            Ok(bench.durable.server.deployments[runner::DEPLOYMENT].status().to_owned())
        }
    }
}

#[test]
fn an_update_works_in_the_least_memory() {
    assert_eq!(run(least(), &Config::default()), Ok("success".into()));
}

#[test]
fn a_buffer_that_is_too_short_is_named_at_the_start() {
    type Bytes = fn(&mut Memory) -> &mut Vec<u8>;
    let buffers: [(&str, Bytes); 10] = [
        ("chunk", |memory| &mut memory.chunk),
        ("record", |memory| &mut memory.record),
        ("out", |memory| &mut memory.out),
        ("token", |memory| &mut memory.token),
        ("link", |memory| &mut memory.link),
        ("maps", |memory| &mut memory.maps),
        ("name", |memory| &mut memory.name),
        ("header_info", |memory| &mut memory.header_info),
        ("type_info", |memory| &mut memory.type_info),
        ("window", |memory| &mut memory.window),
    ];
    for (buffer, of) in buffers {
        let mut memory = least();
        let least = of(&mut memory).len();
        of(&mut memory).pop();
        let length = least - 1;
        let expected =
            format!("the lent buffer `{buffer}` has a length of {length} and needs at least {least}");
        assert_eq!(run(memory, &Config::default()), Err(expected));
    }
    let files = Memory { files: Vec::new(), ..least() };
    let expected = "the lent buffer `files` has a length of 0 and needs at least 1";
    assert_eq!(run(files, &Config::default()), Err(expected.into()));
    let window = Memory { window: vec![0; 3 * Buffers::LEAST_WINDOW], ..least() };
    assert!(run(window, &Config::default()).unwrap_err().ends_with("needs a power of two"));
    // New provides are written in the one and read back in the other.
    let out = Memory { out: vec![0; 2 * Buffers::LEAST_RECORD], ..least() };
    let expected = format!("needs at least {}", 2 * Buffers::LEAST_RECORD);
    assert!(run(out, &Config::default()).unwrap_err().ends_with(&expected));
}

#[test]
fn an_interval_or_limit_of_nothing_is_named_at_the_start() {
    type Field = fn(&mut Config) -> &mut Duration;
    let fields: [(&str, Field); 9] = [
        ("update_poll_interval", |config| &mut config.update_poll_interval),
        ("inventory_poll_interval", |config| &mut config.inventory_poll_interval),
        ("retry_poll_interval", |config| &mut config.retry_poll_interval),
        ("state_script_timeout", |config| &mut config.state_script_timeout),
        ("state_script_retry_interval", |config| &mut config.state_script_retry_interval),
        ("state_script_retry_timeout", |config| &mut config.state_script_retry_timeout),
        ("module_timeout", |config| &mut config.module_timeout),
        ("update_control_map_expiration", |config| &mut config.update_control_map_expiration),
        ("update_control_map_boot_expiration", |config| &mut config.update_control_map_boot_expiration),
    ];
    for (field, of) in fields {
        let with = |time| {
            let mut config = Config::default();
            *of(&mut config) = time;
            run(Memory::default(), &config)
        };
        for short in [Duration::ZERO, Duration::from_millis(999)] {
            let why = with(short).unwrap_err();
            assert!(why.contains(&format!("`{field}` is shorter than 1 s")), "{why}");
        }
        assert_eq!(with(Duration::from_secs(1)), Ok("success".into()), "{field}");
    }
}

/// Power is lost once, inside the download.
struct LostInDownload(bool);

impl Plan for LostInDownload {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let lost = *effect == Effect::Module(Call::Download) && !std::mem::replace(&mut self.0, true);
        if lost { Fate::LostInside } else { Fate::Works }
    }
}

#[test]
fn an_offer_that_the_store_cannot_give_back_is_logged_and_its_download_does_not_go_on() {
    let artifact = sample::fitting(true);
    let plan = Box::new(LostInDownload(false));
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, plan);
    bench.0.borrow_mut().config.resume_downloads = true;
    let end = runner::process(&bench, Run::Daemon, StopSet::default(), &mut |_, _| Then::GoOn);
    assert!(matches!(end, End::Down(Down::PowerLost)), "{end:?}");
    runner::boot(&bench);
    bench.0.borrow_mut().log.clear();
    // Longer than any buffer: reading it is an error.
    let offer = bench.0.borrow_mut().durable.records.insert(Key::Offer, vec![0; 1 << 20]);
    assert!(offer.is_some(), "the offer was on record");
    let end = runner::process(&bench, Run::Daemon, StopSet::default(), &mut |_, _| Then::GoOn);
    assert!(matches!(end, End::Idle), "{end:?}");
    let bench = bench.0.borrow();
    let line = (Level::Error, "the saved offer: the record is longer than the buffer".to_owned());
    assert!(bench.log.contains(&line), "{:?}", bench.log);
    assert_eq!(bench.durable.server.deployments[runner::DEPLOYMENT].status(), "failure");
}

/// However long the chunk: a main loop has other things to do (`limits::POLL`).
#[test]
fn one_poll_moves_a_bounded_part_of_an_artifact() {
    const CHUNK: usize = 128 * 1024;
    let bytes = vec![7; 8 * limits::POLL];
    let artifact = ArtifactWriter::new(NEW, "simulated", &[DEVICE_TYPE]).file("file", &bytes).build().into();
    let mut memory = Memory { chunk: vec![0; CHUNK], ..Memory::default() };
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    let mut process =
        Process::start(&bench, Run::Install, StopSet::default(), &mut memory).expect("it starts");
    let (mut received, mut most) = (0, 0);
    for _ in 0..1000 {
        let end = process.poll();
        let now = process.client.progress().received;
        most = most.max(now - received);
        received = now;
        if let Some(end) = end {
            assert!(matches!(end, End::Exit(_)), "{end:?}");
            break;
        }
        process.pass_time();
    }
    assert!(received > bytes.len() as u64, "{received} bytes came");
    // Each byte is received, parsed and written.
    assert!(most <= (limits::POLL / 3 + CHUNK) as u64, "{most} bytes came in one call");
}
