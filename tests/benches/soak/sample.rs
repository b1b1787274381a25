//! What the daemon uses, every second, and whether it grows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What may become of a kind of sample.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    /// The median of the last minute exceeds that of the first by no more.
    Growth(u64),
    /// No sample exceeds it.
    Ceiling(u64),
}

use Allowed::{Ceiling, Growth};

/// What is sampled.
///
/// - Memory: pages of the program that a rare path touches for the first time stay resident; a leak of one buffer or
///   of some KiB a deployment is above it.
/// - Descriptors, processes: none at all. Medians, since a deployment needs some while it runs.
/// - The store is a journal, which grows up to 256 KiB and is rewritten before the commit behind that; one commit of
///   this bench and the new file beside the old one fit in 64 KiB. Two minutes differ by where they fall in this.
const KINDS: [(&str, Allowed); 4] = [
    ("resident, KiB", Growth(512)),
    ("descriptors", Growth(0)),
    ("processes", Growth(0)),
    ("store, bytes", Ceiling((256 + 64) * 1024)),
];

type Values = [u64; KINDS.len()];

/// Samples that were taken in the background.
pub(crate) struct Sampler {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Values)>>,
}

impl Sampler {
    /// Begins. `mark` is in the environment of the daemon and of all that it starts.
    pub(crate) fn start(pid: u32, mark: String, store: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let flag = over.clone();
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                if let Some(values) = sample(pid, &mark, &store) {
                    samples.push((Instant::now(), values));
                }
                thread::sleep(Duration::from_secs(1));
            }
            samples
        });
        Self { over, thread }
    }

    /// Ends; prints first, last and largest of each kind. What has grown too much.
    pub(crate) fn finish(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        let samples = self.thread.join().expect("the sampler does not fail");
        let (Some((begin, _)), Some((end, _))) = (samples.first(), samples.last()) else {
            return vec!["there are no samples".into()];
        };
        let minute = Duration::from_secs(60);
        println!(
            "{:16} {:>14} {:>14} {:>14} {:>10}",
            "", "first minute", "last minute", "maximum", "allowed"
        );
        let mut grown = Vec::new();
        for (kind, (name, allowed)) in KINDS.into_iter().enumerate() {
            let of = |is_in: &dyn Fn(&Instant) -> bool| -> Vec<u64> {
                samples.iter().filter(|(at, _)| is_in(at)).map(|(_, values)| values[kind]).collect()
            };
            let first = median(of(&|at| *at < *begin + minute));
            let last = median(of(&|at| *at + minute > *end));
            let maximum = of(&|_| true).into_iter().max().unwrap_or(0);
            let (rule, grew) = match allowed {
                Growth(more) => (format!("+{more}"), last > first + more),
                Ceiling(most) => (most.to_string(), maximum > most),
            };
            println!("{name:16} {first:14} {last:14} {maximum:14} {rule:>10}");
            if grew {
                grown.push(format!(
                    "{name}: {first} in the first minute, {last} in the last, at most {maximum}"
                ));
            }
        }
        grown
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// `None` when the daemon has ended.
fn sample(pid: u32, mark: &str, store: &Path) -> Option<Values> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident = line.trim().trim_end_matches(" kB").parse().ok()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some([resident, descriptors as u64, descendants(pid, mark) as u64, store_size(store)])
}

/// Processes that the daemon or its children started and that are still there, not waited for ones included.
pub(crate) fn descendants(daemon: u32, mark: &str) -> usize {
    let is_one = |pid: u32| {
        if pid == daemon {
            return false;
        }
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.windows(mark.len()).any(|part| part == mark.as_bytes()) {
            return true;
        }
        // A process that nobody has waited for has no environment any more.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent.is_some_and(|parent| parent.trim() == daemon.to_string())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| is_one(*pid)).count()
}

/// All files of the store itself, not what is staged beside it.
fn store_size(store: &Path) -> u64 {
    let files = fs::read_dir(store).into_iter().flatten().flatten();
    let is_store = |name: &str| name.contains("-store");
    files
        .filter(|file| file.file_name().to_str().is_some_and(is_store))
        .filter_map(|file| file.metadata().ok())
        .map(|data| data.len())
        .sum()
}
