//! The longest call of `Client::poll` with the worst that an artifact's header and the provides on record may be, on the
//! simulated platform with the memory of Linux. The floor is the SHA-256 of the same bytes, computed in the same run.
//!
//! `cargo bench -p thimble-tests --bench poll`

use std::sync::Arc;
use std::time::{Duration, Instant};

use thimble_core::artifact::ManifestEntry;
use thimble_core::hal::Key;
use thimble_core::machine::{Run, StopSet};
use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_hal_sim::runner::{self, Memory, Process};
use thimble_hal_sim::sim::{DEVICE_TYPE, Handle, Smooth};
use thimble_hal_sim::world::Profile;

const KIB: usize = 1024;
const RUNS: usize = 5;

fn main() {
    println!("{:44} {:>6} {:>10} {:>10} {:>7}", "", "polls", "worst ms", "floor ms", "ratio");
    let artifact = || ArtifactWriter::new("new", "simulated", &[DEVICE_TYPE]).file("file", b"payload");
    row("nothing much", artifact(), 0);
    row("meta-data of 980 KiB, 64 levels, 30,000 keys", artifact().meta_data(nested().as_bytes()), 0);
    let again =
        (0..900).fold(artifact().clears(&[]), |artifact, i| artifact.provides(&key(i), "value of it"));
    row("900 provides that are on record already", again, 900);
    let depends = (0..900).fold(artifact(), |artifact, i| artifact.depends(&key(i), &["value of it"]));
    row("900 depends on what is on record", depends, 900);
    let patterns: Vec<_> = (0..150).map(|i| format!("*k*{i}*-*no")).collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    row("150 patterns for 900 keys on record", artifact().clears(&patterns), 900);
    let patterns: Vec<_> = (0..1000).map(|i| format!("*k*e*y*-{}*a*b*c*d", i)).collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    row("1000 patterns for 900 keys, refused", artifact().clears(&patterns), 900);
}

fn key(number: usize) -> String {
    format!("a-key-of-some-length-{number:06}")
}

/// As many keys as are allowed, at every level.
fn nested() -> String {
    let mut text = String::from("0");
    for level in 0..60 {
        let keys: Vec<_> = (0..500).map(|i| format!("\"the-key-{level}-{i}-of-some-length\":0")).collect();
        text = format!("{{{},\"v\":{text}}}", keys.join(","));
    }
    let rest = (980 * KIB).saturating_sub(text.len() + 20);
    format!("{{\"v\":{text},\"w\":\"{}\"}}", "w".repeat(rest))
}

fn row(what: &str, artifact: ArtifactWriter<'_>, on_record: usize) {
    let artifact: Arc<[u8]> = artifact.build().into();
    let (mut polls, mut worst, mut floor) = (0, Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let started = Instant::now();
        std::hint::black_box(ring::digest::digest(&ring::digest::SHA256, &artifact));
        floor = floor.min(started.elapsed());
        let (count, longest) = install(&artifact, on_record);
        polls = count;
        worst = worst.min(longest);
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{what:44} {polls:6} {:10.2} {:10.2} {:7.1}", ms(worst), ms(floor), ms(worst) / ms(floor));
}

/// Installs the artifact and commits it: how many calls it took, and the longest of them.
fn install(artifact: &Arc<[u8]>, on_record: usize) -> (usize, Duration) {
    let mut durable = runner::durable(Profile::FILES, artifact);
    let members = (0..on_record).map(|i| format!(",\"{}\":\"value of it\"", key(i))).collect::<String>();
    durable.records.insert(Key::Provides, format!("{{\"artifact_name\":\"old\"{members}}}").into_bytes());
    let bench = Handle::new(durable, Arc::clone(artifact), Box::new(Smooth));
    let mut memory = Memory {
        chunk: vec![0; 128 * KIB],
        record: vec![0; 64 * KIB],
        out: vec![0; 64 * KIB],
        token: vec![0; 8 * KIB],
        link: vec![0; 8 * KIB],
        maps: vec![0; 4 * KIB],
        name: vec![0; 4 * KIB],
        header_info: vec![0; 64 * KIB],
        type_info: vec![0; 64 * KIB],
        meta_data: vec![0; KIB * KIB],
        files: vec![ManifestEntry::default(); 1024],
        window: vec![0; 128 * KIB],
    };
    let (mut polls, mut longest) = (0, Duration::ZERO);
    let mut run = |memory: &mut Memory, run: Run| {
        let started = Instant::now();
        let Ok(mut process) = Process::start(&bench, run, StopSet::default(), memory) else { return };
        longest = longest.max(started.elapsed());
        loop {
            let started = Instant::now();
            let end = process.poll();
            longest = longest.max(started.elapsed());
            polls += 1;
            if end.is_some() || !process.pass_time() {
                return;
            }
        }
    };
    run(&mut memory, Run::Install);
    run(&mut memory, Run::Continue(thimble_core::state::Verb::Commit));
    (polls, longest)
}
