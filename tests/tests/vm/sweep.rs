//! The long form: machines that lose their power at moments that chance picks, with a seed that is printed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::disk::Fate;
use crate::image::{Images, Loader};
use crate::power::{Area, Counts, Event};
use crate::random::Random;
use crate::slot::Kind;
use crate::trial::{Cut, End, Trial};

/// More often what is more often decisive: the boot loader's environment is written in a few moments only.
const EVENTS: [Event; 13] = [
    Event::Write(Area::Boot),
    Event::Write(Area::Boot),
    Event::Write(Area::Boot),
    Event::Write(Area::Data),
    Event::Write(Area::Data),
    Event::Write(Area::B),
    Event::Flush,
    Event::Flushed,
    Event::Request,
    Event::Answered,
    Event::Read,
    Event::Read,
    Event::Line,
];

const KINDS: [Kind; 10] = [
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::SickHealth,
    Kind::SickHealth,
    Kind::SickHealth,
    Kind::NoKernel,
    Kind::DyingInit,
];

const LOADERS: [Loader; 4] = [Loader::Grub, Loader::Grub, Loader::Grub, Loader::Uboot];

/// The most cuts of one update.
const CUTS: u64 = 4;

const FATES: [Fate; 6] = [Fate::Lost, Fate::Kept, Fate::Mixed, Fate::Mixed, Fate::Torn, Fate::Torn];

/// What a sweep came to.
#[derive(Default)]
struct Total {
    machines: u64,
    made: u64,
    cached: u64,
    starts: usize,
    ends: BTreeMap<(Loader, Kind, String), u64>,
    events: BTreeMap<Event, u64>,
    failed: Vec<String>,
}

/// What a good update counts when nothing disturbs it, by boot loader.
type Undisturbed = BTreeMap<Loader, Counts>;

/// So many cuts, and before them a good update without. Prints one line for each machine.
///
/// # Panics
/// When one did not end well, behind the last.
pub(crate) fn run(images: &Images, cuts: u64, seed: u64) {
    eprintln!("sweep: {cuts} cuts, seed {seed}");
    let total = Mutex::new(Total::default());
    let undisturbed: Mutex<Undisturbed> = Mutex::default();
    in_parallel(|number| {
        let loader = match number {
            0 => Loader::Grub,
            1 => Loader::Uboot,
            _ => return false,
        };
        if let Some(end) = one(images, &total, &Trial { loader, ..Trial::new(Kind::Good) }) {
            undisturbed.lock().expect("nobody panics").insert(loader, end.counts);
        }
        true
    });
    let undisturbed = undisturbed.into_inner().expect("nobody panics");
    in_parallel(|number| {
        if total.lock().expect("nobody panics").made >= cuts {
            return false;
        }
        one(images, &total, &chosen(seed.wrapping_add(number), &undisturbed));
        true
    });
    let total = total.into_inner().expect("nobody panics");
    eprintln!(
        "sweep: {} machines, {} cuts ({} with something in the disk's cache), {} starts of a system",
        total.machines, total.made, total.cached, total.starts
    );
    for ((loader, kind, end), count) in &total.ends {
        eprintln!("  {count:4} {loader:?} {kind:?}: {end}");
    }
    for (event, count) in &total.events {
        eprintln!("  {count:4} cuts at {event}");
    }
    assert!(total.failed.is_empty(), "{} machines did not end well: {:?}", total.failed.len(), total.failed);
}

/// The trial of a seed.
fn chosen(seed: u64, undisturbed: &Undisturbed) -> Trial {
    let mut random = Random::new(seed);
    let loader = random.pick(&LOADERS);
    let kind = random.pick(&KINDS);
    let mut cuts = Vec::new();
    for number in 0..=random.below(CUTS) {
        let event = random.pick(&EVENTS);
        let all = undisturbed.get(&loader).and_then(|counts| counts.get(&event)).copied().unwrap_or(1);
        // What is left of an update is shorter.
        let all = if number == 0 { all } else { all.div_ceil(2) };
        cuts.push(Cut { event, number: 1 + random.below(all), fate: random.pick(&FATES) });
    }
    Trial { loader, cuts, seed, ..Trial::new(kind) }
}

/// Runs one and writes down how it ended.
fn one(images: &Images, total: &Mutex<Total>, trial: &Trial) -> Option<End> {
    let began = Instant::now();
    let result = trial.run(images);
    let mut total = total.lock().expect("nobody panics");
    total.machines += 1;
    let cuts: Vec<String> = trial
        .cuts
        .iter()
        .enumerate()
        .map(|(number, cut)| {
            let made = result.as_ref().map_or("?".to_owned(), |end| match end.made.get(number) {
                Some((kept, all)) => format!("{kept} of {all} sectors kept"),
                None => "not reached".to_owned(),
            });
            format!("{} {}, {:?}: {made}", cut.event, cut.number, cut.fate)
        })
        .collect();
    let cuts = if cuts.is_empty() { "no cut".to_owned() } else { cuts.join("; ") };
    let end = match &result {
        Ok(end) => format!("{}, {} starts", end.status, end.starts.len()),
        Err(_) => "WRONG".to_owned(),
    };
    eprintln!(
        "{:4} seed {} {:?} {:?}: {cuts} -> {end}, {} s",
        total.machines,
        trial.seed,
        trial.loader,
        trial.kind,
        began.elapsed().as_secs()
    );
    match result {
        Ok(end) => {
            total.made += end.made.len() as u64;
            total.cached += end.made.iter().filter(|(_, all)| *all > 0).count() as u64;
            total.starts += end.starts.len();
            *total.ends.entry((trial.loader, trial.kind, end.status.clone())).or_insert(0) += 1;
            for (cut, _) in trial.cuts.iter().zip(&end.made) {
                *total.events.entry(cut.event).or_insert(0) += 1;
            }
            Some(end)
        }
        Err(story) => {
            eprintln!("{story}");
            total.failed.push(format!("seed {}", trial.seed));
            None
        }
    }
}

/// Calls `f` with 0, 1, ... until it says false, as many at once as there are processors.
fn in_parallel(f: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| while f(next.fetch_add(1, Ordering::Relaxed)) {});
        }
    });
}
