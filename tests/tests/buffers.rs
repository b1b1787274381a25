//! The memory that a platform lends: what a buffer that is too small may cost, and what it must never cost.

use thimble_core::hal::{Key, Level};
use thimble_core::machine::{Run, StopSet};
use thimble_hal_sim::runner::{self, End, Memory, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::sim::{Down, Handle, Smooth};
use thimble_hal_sim::world::Profile;

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
