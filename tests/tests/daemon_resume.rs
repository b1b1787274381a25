//! `ResumeDownloads`: the real daemon is killed in the middle of a download and started again. What was stored is not
//! downloaded twice, whatever was done to it meanwhile, and the module gets the bytes of the artifact or none.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::{Entry, Security, Wire};
use thimble_hal_sim::server::{Endpoint, Fault};
use thimble_tests::lab::{Lab, Package, has};
use thimble_tests::managed::{Daemon, ID, LIMIT, Managed};

const MIB: usize = 1024 * 1024;

/// What a mark is written for.
const MARK: u64 = 4 * MIB as u64;

/// More than two marks, and no multiple of anything.
const SIZE: usize = 10 * MIB + 77;

/// A stream of numbers that nothing compresses.
fn payload() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..SIZE).map(byte).collect()
}

/// A device whose module notes what it installs, and a deployment with a large plain payload.
struct Device {
    managed: Managed,
    payload: Vec<u8>,
    artifact: Arc<[u8]>,
}

impl Device {
    fn new(more: &str) -> Self {
        let managed = Managed::with(Security::Plain);
        managed.configure(more);
        managed.lab.on("ArtifactInstall", "sha256sum < files/payload > \"$lab/installed\"");
        managed.lab.rootfs_script("Download_Enter_00");
        let payload = payload();
        let package = Package::new("release-2").files(&[("payload", &payload)]);
        let artifact: Arc<[u8]> = package.script("ArtifactInstall_Enter_00").bytes(&managed.lab).into();
        managed.deploy_bytes("release-2", artifact.clone());
        Self { managed, payload, artifact }
    }

    fn resuming() -> Self {
        Self::new(r#","ResumeDownloads":true"#)
    }

    fn lab(&self) -> &Lab {
        &self.managed.lab
    }

    /// Where in the artifact the payload's first byte stands.
    fn begins(&self) -> u64 {
        let front = &self.payload[..64];
        self.artifact.windows(front.len()).position(|window| window == front).expect("it is plain") as u64
    }

    /// The next download stops after so many bytes of the payload; ended there with SIGKILL once `mark` is durable.
    fn kill_at(&self, bytes: usize, mark: u64) {
        // The head of the answer is counted too, and has some hundred bytes.
        self.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(bytes));
        self.kill_when(|device| device.mark() == Some(mark));
    }

    fn kill_when(&self, condition: impl Fn(&Self) -> bool) {
        let daemon: Daemon = self.managed.start();
        self.wait_until(condition);
        daemon.signal("KILL");
        daemon.ended();
        self.managed.server.calm();
    }

    fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !condition(self) {
            assert!(Instant::now() < end, "{}", self.managed.story());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How much the mark says is stored.
    fn mark(&self) -> Option<u64> {
        let bytes = fs::read(self.lab().path("store/modules/v3/payloads/0000/mark")).ok()?;
        bytes.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    }

    fn stored(&self) -> std::path::PathBuf {
        self.lab().path("store/modules/v3/payloads/0000/tree/files/payload")
    }

    /// The requests for the artifact: their `Range` and `If-Range`.
    fn ranges(&self) -> Vec<(Option<String>, Option<String>)> {
        let value = |entry: &Entry, name: &str| {
            let header = entry.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            header.map(|(_, value)| value.clone())
        };
        let journal = self.managed.server.journal();
        let downloads = journal.iter().filter(|entry| entry.endpoint == Some(Endpoint::Artifact));
        downloads.map(|entry| (value(entry, "Range"), value(entry, "If-Range"))).collect()
    }

    fn etag(&self) -> String {
        format!("\"release-2-{}\"", self.artifact.len())
    }

    /// A request for what comes behind so many bytes of the payload.
    fn rest(&self, bytes: u64) -> (Option<String>, Option<String>) {
        (Some(format!("bytes={}-", self.begins() + bytes)), Some(self.etag()))
    }

    #[track_caller]
    fn succeeds(&self) {
        assert_eq!(self.managed.finish(), "success", "{}", self.managed.story());
        self.managed.no_violations();
        assert_eq!(self.lab().name(), "release-2");
        self.got_the_bytes();
        self.left_nothing();
    }

    #[track_caller]
    fn fails(&self) {
        assert_eq!(self.managed.finish(), "failure", "{}", self.managed.story());
        self.managed.no_violations();
        assert_eq!(self.lab().name(), "unknown");
        assert!(!self.lab().path("installed").exists());
        self.left_nothing();
    }

    #[track_caller]
    fn got_the_bytes(&self) {
        let path = self.lab().path("expected");
        fs::write(&path, &self.payload).expect("a file of the lab");
        let file = fs::File::open(path).expect("it is there");
        let sum = Command::new("sha256sum").stdin(file).output().expect("sha256sum runs").stdout;
        assert_eq!(fs::read(self.lab().path("installed")).expect("it was installed"), sum);
    }

    #[track_caller]
    fn left_nothing(&self) {
        let left: Vec<String> =
            self.lab().leftovers().into_iter().filter(|name| name.starts_with("modules/")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_download_goes_on_after_a_restart_with_what_is_not_stored() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None), device.rest(2 * MARK)]);
    assert_eq!(
        device.lab().take_journal(),
        "[Download_Enter_00] ProvidePayloadFileSizes Download ProvidePayloadFileSizes Download \
         [ArtifactInstall_Enter_00] ArtifactInstall NeedsArtifactReboot ArtifactCommit Cleanup"
    );
    let mut seen = device.managed.statuses();
    seen.dedup();
    assert_eq!(seen, ["downloading", "installing", "success"]);
}

#[test]
fn the_file_at_hand_goes_on_and_the_one_before_it_comes_again() {
    let mut device = Device::resuming();
    let first = vec![7; MIB];
    let package = Package::new("release-2").files(&[("first", &first), ("payload", &device.payload)]);
    device.artifact = package.script("ArtifactInstall_Enter_00").bytes(device.lab()).into();
    device.managed.deploy_bytes("release-2", device.artifact.clone());
    device.lab().on(
        "ArtifactInstall",
        "sha256sum < files/payload > \"$lab/installed\"; [ \"$(wc -c < files/first)\" -eq 1048576 ] || exit 1",
    );
    device.kill_at(10 * MIB, 2 * MARK);
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None), device.rest(2 * MARK)]);
}

#[test]
fn it_goes_on_after_a_second_restart_too() {
    let device = Device::resuming();
    device.kill_at(5 * MIB, MARK);
    // The first of the second process's two requests is given up by itself.
    device.managed.server.disturb(Endpoint::Artifact, 1, 1, Wire::Hang(4 * MIB + 1000));
    device.kill_when(|device| device.mark() == Some(2 * MARK));
    device.succeeds();
    assert_eq!(
        device.ranges(),
        [(None, None), (None, None), device.rest(MARK), (None, None), device.rest(2 * MARK)]
    );
}

#[test]
fn it_survives_a_kill_right_after_the_restart() {
    let device = Device::resuming();
    device.kill_at(5 * MIB, MARK);
    for bytes in [100, 3000, 20_000] {
        device.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(bytes));
        let asked = device.ranges().len();
        device.kill_when(|device| device.ranges().len() > asked);
    }
    device.succeeds();
    assert_eq!(device.ranges().last(), Some(&device.rest(MARK)));
}

#[test]
fn a_restart_in_download_ends_the_deployment_unless_it_is_to_go_on() {
    let device = Device::new("");
    device.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(9 * MIB));
    device.kill_when(|device| fs::metadata(device.stored()).is_ok_and(|file| file.len() > 8 * MIB as u64));
    assert_eq!(device.mark(), None, "nothing is marked");
    device.fails();
    assert_eq!(device.ranges(), [(None, None)]);
    assert_eq!(device.lab().take_journal(), "[Download_Enter_00] ProvidePayloadFileSizes Download Cleanup");
}

#[test]
fn a_download_that_was_begun_without_it_does_not_go_on_with_it() {
    let device = Device::new("");
    device.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(9 * MIB));
    device.kill_when(|device| fs::metadata(device.stored()).is_ok_and(|file| file.len() > 8 * MIB as u64));
    device.managed.configure(r#","ResumeDownloads":true"#);
    device.fails();
}

#[test]
fn a_download_that_was_begun_with_it_does_not_go_on_without() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    device.managed.configure("");
    device.fails();
    assert_eq!(device.ranges(), [(None, None)]);
}

#[test]
fn n11_another_etag_after_the_restart_begins_anew() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    let other = Fault::Header("ETag", "\"other\"".into());
    device.managed.server.with(|server| server.disturb(Endpoint::Artifact, 0, 1, other));
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None)]);
}

#[test]
fn n11_an_artifact_that_changes_behind_the_first_answer_fails() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    // Its own `If-Range` does not fit any more: the server sends all of the other one.
    let other = Fault::Header("ETag", "\"other\"".into());
    device.managed.server.with(|server| server.disturb(Endpoint::Artifact, 1, 1, other));
    device.fails();
}

#[test]
fn another_artifact_of_the_same_name_begins_anew() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    let mut device = device;
    device.payload.iter_mut().for_each(|byte| *byte ^= 0x55);
    let package = Package::new("release-2").files(&[("payload", &device.payload)]);
    device.artifact = package.script("ArtifactInstall_Enter_00").bytes(device.lab()).into();
    // The same length, and so the same ETag.
    device.managed.server.with(|server| {
        for deployment in server.deployments.values_mut() {
            deployment.artifact.bytes = device.artifact.clone();
        }
    });
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None)]);
}

#[test]
fn d7_a_stored_part_with_a_wrong_byte_comes_anew() {
    for at in [0, 3 * MIB, 8 * MIB - 1] {
        let device = Device::resuming();
        device.kill_at(9 * MIB, 2 * MARK);
        let mut stored = fs::read(device.stored()).expect("it is stored");
        stored[at] ^= 1;
        fs::write(device.stored(), stored).expect("it can be written");
        device.succeeds();
        assert_eq!(device.ranges(), [(None, None), (None, None), device.rest(0)], "{at}");
    }
}

#[test]
fn d7_a_stored_part_that_is_cut_off_or_gone_comes_anew() {
    for length in [None, Some(0), Some(8 * MIB - 1)] {
        let device = Device::resuming();
        device.kill_at(9 * MIB, 2 * MARK);
        match length {
            None => fs::remove_file(device.stored()).expect("it is stored"),
            Some(length) => {
                let file = fs::File::options().write(true).open(device.stored()).expect("it is stored");
                file.set_len(length as u64).expect("it can be cut");
            }
        }
        device.succeeds();
        assert_eq!(device.ranges(), [(None, None), (None, None)], "{length:?}");
    }
}

#[test]
fn d6_d7_a_mark_that_is_damaged_or_planted_counts_for_nothing() {
    let mark = "store/modules/v3/payloads/0000/mark";
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    let mut bytes = fs::read(device.lab().path(mark)).expect("it is marked");
    bytes[2] ^= 1;
    fs::write(device.lab().path(mark), bytes).expect("it can be written");
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None)]);

    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    let victim = device.lab().path("victim");
    fs::copy(device.stored(), &victim).expect("a copy");
    fs::remove_file(device.stored()).expect("it is stored");
    std::os::unix::fs::symlink(&victim, device.stored()).expect("a link");
    let before = fs::metadata(&victim).expect("it is there").len();
    assert_eq!(device.managed.finish(), "failure", "{}", device.managed.story());
    assert_eq!(fs::metadata(&victim).expect("it is there").len(), before, "not followed");
}

#[test]
fn a_module_that_takes_the_streams_gets_the_same_bytes_from_the_start() {
    let device = Device::resuming();
    let lab = device.lab();
    lab.on(
        "Download",
        "name=$(cat stream-next); cat \"$name\" > \"$lab/streamed\"; cat stream-next; mkdir -p files\n\
         mv \"$lab/streamed\" files/payload",
    );
    device.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(9 * MIB));
    device.kill_when(|device| {
        fs::metadata(device.lab().path("streamed")).is_ok_and(|file| file.len() > 8 * MIB as u64)
    });
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None)]);
}

#[test]
fn a_compressed_payload_comes_from_the_start() {
    if !has("mender-artifact") {
        return eprintln!("left out: mender-artifact, which compresses, is not installed");
    }
    let device = Device::resuming();
    let package = Package::new("release-2").files(&[("payload", &device.payload)]);
    device.managed.deploy(&package.script("ArtifactInstall_Enter_00"));
    device.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(9 * MIB));
    device.kill_when(|device| fs::metadata(device.stored()).is_ok_and(|file| file.len() > 8 * MIB as u64));
    assert_eq!(device.mark(), None);
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None)]);
}

#[test]
fn a_restart_of_the_service_is_a_restart() {
    let device = Device::resuming();
    device.managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Hang(9 * MIB));
    let daemon = device.managed.start();
    device.wait_until(|device| device.mark() == Some(2 * MARK));
    daemon.stop();
    device.managed.server.calm();
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None), device.rest(2 * MARK)]);
}

/// The server's control map says this about the install.
fn say(device: &Device, action: &str) {
    let map = format!(
        r#"{{"id":"{ID}","priority":0,"states":{{"ArtifactInstall_Enter":{{"action":"{action}"}}}}}}"#
    );
    device.managed.server.with(|server| {
        server.v2 = true;
        for deployment in server.deployments.values_mut() {
            deployment.control_map = Some(map.clone());
        }
    });
}

/// The server's pause came with the offer, which is not asked for again.
#[test]
fn the_servers_pause_is_not_forgotten_by_a_restart_in_download() {
    let device = Device::resuming();
    say(&device, "pause");
    device.kill_at(9 * MIB, 2 * MARK);
    let mut daemon = device.managed.start();
    device.managed.wait(&mut daemon, |server, _| {
        server.deployments[ID].statuses.iter().any(|(status, _)| status == "pause_before_installing")
    });
    say(&device, "continue");
    assert_eq!(device.managed.finish_with(daemon), "success", "{}", device.managed.story());
}

/// All of the payload is there and a control map holds the install back: the record still says Download.
#[test]
fn a_restart_in_the_pause_before_the_install_goes_on() {
    let device = Device::resuming();
    say(&device, "pause");
    device.kill_when(|device| {
        device.managed.statuses().iter().any(|status| status == "pause_before_installing")
    });
    say(&device, "continue");
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None), device.rest(2 * MARK)]);
    let mut seen = device.managed.statuses();
    seen.dedup();
    assert_eq!(seen, ["downloading", "pause_before_installing", "installing", "success"]);
}

#[test]
fn a_server_that_gives_no_parts_is_paid_twice() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    device.managed.server.with(|server| server.ranges = false);
    device.succeeds();
    assert_eq!(device.ranges(), [(None, None), (None, None), device.rest(2 * MARK)]);
}

#[test]
fn an_expired_link_is_replaced_after_the_restart() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    device.managed.server.with(|server| {
        server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
        // The fresh one expires as well.
        server.disturb(Endpoint::Artifact, 1, 1, Fault::Status(403));
    });
    let polls = device.managed.server.with(|server| server.count(Endpoint::NextV1));
    device.succeeds();
    assert_eq!(
        device.ranges(),
        [(None, None), (None, None), (None, None), device.rest(2 * MARK), device.rest(2 * MARK)]
    );
    let asked = device.managed.server.with(|server| server.count(Endpoint::NextV1)) - polls;
    assert!(asked >= 2, "{}", device.managed.story());
}

#[test]
fn a_deployment_that_is_not_offered_any_more_fails() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    let link = format!("{}/other", device.managed.server.url());
    let other = format!(
        r#"{{"id":"other","artifact":{{"artifact_name":"release-3","device_types_compatible":["lab"],"source":{{"uri":"{link}"}}}}}}"#
    );
    device.managed.server.with(|server| {
        server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
        server.disturb(Endpoint::NextV1, 0, 1, Fault::Body(other.into_bytes()));
    });
    device.fails();
    assert_eq!(device.ranges(), [(None, None), (None, None)]);
}

#[test]
fn a_fresh_link_that_is_refused_fails() {
    let device = Device::resuming();
    device.kill_at(9 * MIB, 2 * MARK);
    device.managed.server.with(|server| server.disturb(Endpoint::Artifact, 0, 2, Fault::Status(403)));
    device.fails();
    assert_eq!(device.ranges(), [(None, None), (None, None), (None, None)]);
}

#[test]
fn r6_a_link_that_is_refused_at_first_is_not_replaced() {
    let device = Device::resuming();
    device.managed.server.with(|server| server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403)));
    device.fails();
    assert_eq!(device.ranges(), [(None, None)]);
}

#[test]
fn i8_a_download_that_always_dies_is_given_up() {
    let device = Device::resuming();
    device.lab().on("Download", "kill -KILL $PPID");
    device.fails();
    let journal = device.lab().journal();
    assert_eq!(journal.iter().filter(|line| *line == "Download").count(), 13);
    assert_eq!(journal.last().map(String::as_str), Some("Cleanup"));
}
