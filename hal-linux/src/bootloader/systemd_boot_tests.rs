use std::collections::BTreeMap;
use std::process::Command;

use super::*;
use crate::rootfs::slot::fake::Fake;

/// Firmware and a partition in memory. Power is lost when the fuel (in steps that are durable) is out.
#[derive(Clone)]
struct Sim {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    images: Vec<String>,
    config: Option<String>,
    fuel: Option<usize>,
    steps: usize,
    /// Which slots start a system that lives; the others hang until the watchdog resets.
    lives: [bool; 2],
}

fn entry(slot: Slot) -> String {
    let device = if slot == Slot::A { "vda2" } else { "vda3" };
    format!("title {slot}\nlinux /{slot}/linux\noptions root=/dev/{device} ro\n")
}

impl Sim {
    fn new() -> Self {
        let files = [("slot-a.conf", Slot::A), ("slot-b.conf", Slot::B)];
        let mut files: BTreeMap<_, _> =
            files.into_iter().map(|(file, slot)| (file.to_owned(), entry(slot))).collect();
        files.insert("rescue.conf".into(), "linux /rescue\noptions root=/dev/vda1\n".into());
        let config = Some("timeout 0\ndefault slot-a*\n".into());
        let images = vec!["tool+3.efi".into()];
        Self { variables: BTreeMap::new(), files, images, config, fuel: None, steps: 0, lives: [true; 2] }
    }

    fn step(&mut self) -> io::Result<()> {
        match &mut self.fuel {
            Some(0) => return Err(io::Error::other("power lost")),
            Some(fuel) => *fuel -= 1,
            None => {}
        }
        self.steps += 1;
        Ok(())
    }

    /// A reset, until a system lives. A model of the loader that shares nothing with the code under test.
    fn boot(&mut self) -> Slot {
        self.fuel = None;
        for _ in 0..5 {
            self.variables.remove(COUNTED);
            let one_shot = self.variables.remove(ONE_SHOT);
            let left = |file: &str| {
                let counter = file.strip_suffix(".conf")?.rsplit_once('+')?.1;
                counter.split('-').next()?.parse::<u32>().ok()
            };
            // What is used up comes last; else later names first.
            let mut files: Vec<String> =
                self.files.keys().filter(|file| file.ends_with(".conf")).cloned().collect();
            files.sort_by(|a, b| (left(a) == Some(0)).cmp(&(left(b) == Some(0))).then(b.cmp(a)));
            let configured = self.config.as_ref().and_then(|text| text.split("default ").nth(1));
            let configured = configured.map(|pattern| pattern.trim().to_owned());
            let chosen = [one_shot, self.variables.get(DEFAULT).cloned(), configured]
                .into_iter()
                .flatten()
                .find_map(|pattern| files.iter().find(|file| glob(&pattern, file)).cloned());
            let file = chosen.or_else(|| files.first().cloned()).expect("there is an entry");
            let text = self.files[&file].clone();
            if let Some(left) = left(&file) {
                let (id, counter) = file.rsplit_once('+').unwrap();
                let done =
                    counter.trim_end_matches(".conf").split_once('-').map_or(0, |(_, n)| n.parse().unwrap());
                let new = format!("{id}+{}-{}.conf", left.saturating_sub(1), done + 1);
                self.files.remove(&file);
                self.files.insert(new.clone(), text.clone());
                self.variables.insert(COUNTED.into(), format!("\\loader\\entries\\{new}"));
            }
            let slot = match () {
                () if text.contains("vda2") => Slot::A,
                () if text.contains("vda3") => Slot::B,
                () => panic!("something else is started: {file}"),
            };
            if self.lives[usize::from(slot == Slot::B)] {
                return slot;
            }
        }
        panic!("no system lives: {:?} {:?}", self.variables, self.files.keys());
    }
}

/// The loader's own matching, for the patterns of these tests.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    match (pattern.next(), text.next()) {
        (None, None) => true,
        (Some('*'), None) => glob(pattern.as_str(), ""),
        (Some('*'), Some(first)) => {
            let here = format!("{first}{}", text.as_str());
            glob(pattern.as_str(), &here) || glob(&format!("*{}", pattern.as_str()), text.as_str())
        }
        (Some('['), Some(first)) => {
            let (set, rest) = pattern.as_str().split_once(']').expect("a closed set");
            set.contains(first) && glob(rest, text.as_str())
        }
        (Some(plain), Some(first)) => plain == first && glob(pattern.as_str(), text.as_str()),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Records for Sim {
    fn get(&mut self, variable: &str) -> io::Result<Option<String>> {
        Ok(self.variables.get(variable).cloned())
    }

    fn set(&mut self, variable: &str, value: Option<&str>) -> io::Result<()> {
        self.step()?;
        match value {
            Some(value) => drop(self.variables.insert(variable.into(), value.into())),
            None => drop(self.variables.remove(variable)),
        }
        Ok(())
    }

    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let entries = self.files.iter();
        Ok(entries.filter_map(|(file, text)| Entry::parse(0, file.clone(), text.clone().into())).collect())
    }

    fn images(&mut self) -> io::Result<Vec<String>> {
        Ok(self.images.clone())
    }

    fn configured_default(&mut self) -> io::Result<Option<String>> {
        Ok(self.config.as_deref().and_then(configured_default))
    }

    fn create(&mut self, _dir: usize, file: &str, text: &[u8]) -> io::Result<()> {
        self.step()?;
        self.files.insert(format!("{file}.new"), "torn".into());
        self.step()?;
        self.files.remove(&format!("{file}.new"));
        self.files.insert(file.into(), String::from_utf8(text.to_vec()).unwrap());
        Ok(())
    }

    fn remove(&mut self, _dir: usize, file: &str) -> io::Result<()> {
        self.step()?;
        self.files.remove(file);
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Lab {
    fake: Fake,
    running: Slot,
    loader: SystemdBoot<Sim>,
}

type Standing = (Slot, Slot, bool);

impl Lab {
    fn new() -> Option<Self> {
        let fake = Fake::new()?;
        let loader = SystemdBoot { records: Sim::new(), machine: fake.machine() };
        Some(Self { fake, running: Slot::A, loader })
    }

    fn roots(&self) -> Roots {
        self.fake.mount(if self.running == Slot::A { "254:2" } else { "254:3" });
        self.fake.roots("/dev/vda2", "/dev/vda3").unwrap()
    }

    fn standing(&mut self) -> Standing {
        let roots = self.roots();
        let BootStatus { running, selected, trial } = self.loader.status(&roots).unwrap();
        (running, selected, trial)
    }

    fn set_trial(&mut self, slot: Slot) -> Result<(), BootError> {
        let roots = self.roots();
        self.loader.set_trial(&roots, slot)
    }

    fn set_permanent(&mut self, slot: Slot) -> Result<(), BootError> {
        let roots = self.roots();
        self.loader.set_permanent(&roots, slot)
    }

    fn check(&mut self) -> Result<BootStatus, BootError> {
        let roots = self.roots();
        self.loader.check(&roots)
    }

    fn reset(&mut self) {
        self.running = self.loader.records.boot();
    }

    fn files(&self) -> Vec<&str> {
        self.loader.records.files.keys().map(String::as_str).filter(|file| *file != "rescue.conf").collect()
    }
}

#[test]
fn a_trial_is_armed_counted_and_committed() {
    let Some(mut lab) = Lab::new() else { return };
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false), "by loader.conf");
    lab.set_trial(Slot::B).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::B, true));
    assert_eq!(lab.files(), ["slot-a.conf", "slot-b+1.conf"]);
    let steps = lab.loader.records.steps;
    lab.set_trial(Slot::B).unwrap();
    assert_eq!(lab.loader.records.steps, steps, "nothing is written when nothing changes");
    lab.reset();
    assert_eq!(lab.standing(), (Slot::B, Slot::B, true));
    assert_eq!(lab.files(), ["slot-a.conf", "slot-b+0-1.conf"]);
    lab.check().unwrap();
    assert_eq!(lab.files(), ["slot-a.conf", "slot-b+0-1.conf"], "a check does not call it good");
    lab.set_permanent(Slot::B).unwrap();
    assert_eq!(lab.standing(), (Slot::B, Slot::B, false));
    assert_eq!(lab.files(), ["slot-a.conf", "slot-b.conf"]);
    for _ in 0..3 {
        lab.reset();
        assert_eq!(lab.standing(), (Slot::B, Slot::B, false));
    }
}

#[test]
fn a_trial_that_hangs_or_is_reset_goes_back_and_is_not_started_again() {
    let Some(mut lab) = Lab::new() else { return };
    lab.loader.records.lives = [true, false];
    lab.set_trial(Slot::B).unwrap();
    lab.reset();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    // Neither when the firmware forgets everything, its variables and the configuration with them.
    lab.loader.records.variables.clear();
    lab.loader.records.config = None;
    lab.loader.records.files.remove("rescue.conf");
    lab.reset();
    assert_eq!(lab.running, Slot::A, "what is used up comes last");
}

#[test]
fn the_service_that_calls_boots_good_does_not_commit() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set_trial(Slot::B).unwrap();
    lab.reset();
    // systemd-bless-boot, which should be masked.
    let text = lab.loader.records.files.remove("slot-b+0-1.conf").unwrap();
    lab.loader.records.files.insert("slot-b.conf".into(), text);
    assert_eq!(lab.standing(), (Slot::B, Slot::B, true));
    lab.reset();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
}

#[test]
fn a_slot_chosen_by_hand_is_no_trial() {
    let Some(mut lab) = Lab::new() else { return };
    lab.running = Slot::B;
    assert_eq!(lab.standing(), (Slot::B, Slot::A, false));
    // What bootctl sets: a name, in whatever case.
    lab.loader.records.variables.insert(DEFAULT.into(), "Slot-B.conf".into());
    assert_eq!(lab.standing(), (Slot::B, Slot::B, false));
}

/// Every step of every write is the last one before the power is lost. What the loader starts next, and after that,
/// is what it was before or what was asked for; the status says the same; and the write can be repeated.
#[test]
fn b1_power_lost_at_every_step_leaves_the_selection_of_before_or_of_after() {
    type Prepare = fn(&mut Lab);
    type Write = fn(&mut Lab) -> Result<(), BootError>;
    let in_trial: Prepare = |lab| {
        lab.set_trial(Slot::B).unwrap();
        lab.reset();
        assert_eq!(lab.running, Slot::B);
    };
    let failed: Prepare = |lab| {
        lab.set_trial(Slot::B).unwrap();
        lab.loader.records.lives = [true, false];
        lab.reset();
        lab.loader.records.lives = [true; 2];
    };
    let committed: Prepare = |lab| {
        lab.set_trial(Slot::B).unwrap();
        lab.reset();
        lab.set_permanent(Slot::B).unwrap();
    };
    let cases: [(&str, Prepare, Write); 7] = [
        ("the first trial", |_| {}, |lab| lab.set_trial(Slot::B)),
        ("a trial after one that failed", failed, |lab| lab.set_trial(Slot::B)),
        ("a trial back", committed, |lab| lab.set_trial(Slot::A)),
        ("commit", in_trial, |lab| lab.set_permanent(Slot::B)),
        ("rollback in the trial", in_trial, |lab| lab.set_permanent(Slot::A)),
        (
            "taken back before the reboot",
            |lab| lab.set_trial(Slot::B).unwrap(),
            |lab| lab.set_permanent(Slot::A),
        ),
        ("rollback after the commit", committed, |lab| lab.set_permanent(Slot::A)),
    ];
    for (what, prepare, write) in cases {
        let mut outcomes = [0, 0];
        for fuel in 0.. {
            let Some(mut lab) = Lab::new() else { return };
            prepare(&mut lab);
            let future = |lab: &Lab| {
                let mut records = lab.loader.records.clone();
                (records.boot(), records.boot())
            };
            let (before, was) = (future(&lab), lab.standing());
            let mut done = Lab::new().unwrap();
            prepare(&mut done);
            write(&mut done).unwrap();
            let (after, is) = (future(&done), done.standing());
            lab.loader.records.fuel = Some(fuel);
            let result = write(&mut lab);
            lab.loader.records.fuel = None;
            let (now, standing) = (future(&lab), lab.standing());
            assert!(now == before || now == after, "{what}, {fuel}: {now:?}");
            // Where only this process died and not the power, what was committed may look like a trial once more.
            let between =
                fuel > 0 && was == (Slot::B, Slot::B, false) && standing == (Slot::B, Slot::B, true);
            assert!(standing == was || standing == is || between, "{what}, {fuel}: {standing:?}");
            // A rollback in the trial changes nothing of what is started: the trial was used up by its boot.
            let agree = before == after || (standing == is || between) == (now == after);
            assert!(agree, "{what}, {fuel}: {standing:?} {now:?}");
            outcomes[usize::from(standing == is)] += 1;
            // Found by a process that starts now, or by one after the reboot.
            write(&mut lab).unwrap();
            assert_eq!((future(&lab), lab.standing()), (after, is), "{what}, {fuel}: repeated");
            if result.is_ok() {
                break;
            }
        }
        assert!(outcomes.iter().all(|&count| count > 0), "{what}: {outcomes:?}");
    }
}

#[test]
fn b2_names_that_a_power_loss_left_are_put_right_by_the_check() {
    let Some(mut lab) = Lab::new() else { return };
    for (file, slot) in [("slot-a+0-1.conf", Slot::A), ("slot-a+1.conf", Slot::A)] {
        lab.loader.records.files.insert(file.into(), entry(slot));
    }
    lab.loader.records.files.insert("slot-a.conf.new".into(), "torn".into());
    assert_eq!(lab.check().unwrap().selected, Slot::A);
    assert_eq!(lab.files(), ["slot-a.conf", "slot-a.conf.new", "slot-b.conf"]);
}

#[test]
fn b11_what_does_not_say_which_slot_is_started_is_refused() {
    type Change = fn(&mut Sim);
    let cases: [(Change, &str); 15] = [
        (|sim| sim.config = None, "no slot is the default"),
        (|sim| sim.config = Some("default nothing*".into()), "no slot is the default"),
        (|sim| sim.config = Some("default rescue*".into()), "\"rescue*\", which is not one slot"),
        (|sim| sim.config = Some("default slot*".into()), "\"slot*\", which is not one slot"),
        (|sim| drop(sim.variables.insert(DEFAULT.into(), "@saved".into())), "@saved"),
        (|sim| drop(sim.variables.insert(DEFAULT.into(), "*".into())), "not one slot"),
        (|sim| drop(sim.variables.insert(ONE_SHOT.into(), "rescue.conf".into())), "LoaderEntryOneShot"),
        (|sim| drop(sim.variables.insert(DEFAULT.into(), "TOOL*".into())), "not one slot"),
        (|sim| drop(sim.variables.insert(ONE_SHOT.into(), "tool+3.efi".into())), "LoaderEntryOneShot"),
        (|sim| drop(sim.variables.insert(DEFAULT.into(), "auto-windows".into())), "not one slot"),
        (|sim| sim.images.push("slot-a.efi".into()), "\"slot-a*\", which is not one slot"),
        (|sim| drop(sim.variables.insert(PREFERRED.into(), "slot-a*".into())), PREFERRED),
        (|sim| drop(sim.files.remove("slot-b.conf")), "no entry has root= of slot B"),
        (
            |sim| drop(sim.files.insert("debug.conf".into(), entry(Slot::A))),
            "two entries have root= of slot A",
        ),
        (
            |sim| {
                let text = sim.files.remove("slot-b.conf").unwrap();
                sim.files.insert("slot*b.conf".into(), text);
            },
            "other characters",
        ),
    ];
    for (change, expected) in cases {
        let Some(mut lab) = Lab::new() else { return };
        change(&mut lab.loader.records);
        let error = lab.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(lab.loader.records.steps, 0, "{error}");
    }
}

#[test]
fn firmware_that_does_not_keep_a_variable_is_noticed() {
    struct Forgets(Sim);
    impl Records for Forgets {
        fn get(&mut self, variable: &str) -> io::Result<Option<String>> {
            self.0.get(variable)
        }
        fn set(&mut self, _variable: &str, _value: Option<&str>) -> io::Result<()> {
            Ok(())
        }
        fn entries(&mut self) -> io::Result<Vec<Entry>> {
            self.0.entries()
        }
        fn images(&mut self) -> io::Result<Vec<String>> {
            self.0.images()
        }
        fn configured_default(&mut self) -> io::Result<Option<String>> {
            self.0.configured_default()
        }
        fn create(&mut self, dir: usize, file: &str, text: &[u8]) -> io::Result<()> {
            self.0.create(dir, file, text)
        }
        fn remove(&mut self, dir: usize, file: &str) -> io::Result<()> {
            self.0.remove(dir, file)
        }
        fn check(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let Some(lab) = Lab::new() else { return };
    let mut loader = SystemdBoot { records: Forgets(Sim::new()), machine: lab.fake.machine() };
    assert!(matches!(loader.set_trial(&lab.roots(), Slot::B), Err(BootError::ReadBack)));
}

/// A device as `find` sees it.
fn device(fake: &Fake) {
    fake.write("efi/loader/loader.conf", "default slot-a*\n");
    fake.write("efi/loader/entries/slot-a.conf", &entry(Slot::A));
    fake.write("efi/loader/entries/slot-b.conf", &entry(Slot::B));
    fs::create_dir_all(fake.path(&EFIVARS[1..])).unwrap();
    LoaderVariables::at(fake.path(&EFIVARS[1..])).set(INFO, Some("systemd-boot 257")).unwrap();
}

#[test]
fn files_of_a_real_device_are_renamed_and_read_again() {
    let Some(fake) = Fake::new() else { return };
    assert!(SystemdBoot::find(&fake.machine()).is_none());
    device(&fake);
    std::os::unix::fs::symlink(fake.path("efi"), fake.path("boot")).unwrap();
    fake.mount("254:2");
    let roots = fake.roots("/dev/vda2", "/dev/vda3").unwrap();
    let mut loader = SystemdBoot::find(&fake.machine()).expect("it is found");
    assert!(loader.describe().contains("efi/loader/entries"));
    loader.check(&roots).unwrap();
    loader.set_trial(&roots, Slot::B).unwrap();
    let status = SystemdBoot::find(&fake.machine()).unwrap().status(&roots).unwrap();
    assert_eq!((status.selected, status.trial), (Slot::B, true));
    let mut names: Vec<_> = fs::read_dir(fake.path("efi/loader/entries"))
        .unwrap()
        .map(|found| found.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["slot-a.conf", "slot-b+1.conf"]);
    assert_eq!(fs::read_to_string(fake.path("efi/loader/entries/slot-b+1.conf")).unwrap(), entry(Slot::B));
    LoaderVariables::at(fake.path(&EFIVARS[1..])).set(INFO, Some("rEFInd")).unwrap();
    assert!(SystemdBoot::find(&fake.machine()).is_none(), "another loader has started this system");
}

#[test]
fn b11_what_the_loader_reads_on_another_partition_than_the_entries_counts_too() {
    let Some(fake) = Fake::new() else { return };
    device(&fake);
    fake.mount("254:2");
    let roots = fake.roots("/dev/vda2", "/dev/vda3").unwrap();
    let check = || SystemdBoot::find(&fake.machine()).unwrap().check(&roots);
    // Entries have a partition of their own.
    fs::create_dir_all(fake.path("boot/loader")).unwrap();
    fs::rename(fake.path("efi/loader/entries"), fake.path("boot/loader/entries")).unwrap();
    assert_eq!(check().unwrap().selected, Slot::A, "loader.conf is read");
    fake.write("boot/loader/loader.conf", "default rescue\n");
    assert_eq!(check().unwrap().selected, Slot::A, "the loader's own partition comes first");
    fake.write("efi/EFI/Linux/slot-a-2.EFI", "an image");
    assert!(check().unwrap_err().to_string().contains("not one slot"));
}

#[test]
fn b11_records_that_are_mounted_read_only_are_noticed_before() {
    for dir in [EFIVARS, "/efi/loader/entries"] {
        let Some(fake) = Fake::new() else { return };
        device(&fake);
        fake.mount("254:2");
        let roots = fake.roots("/dev/vda2", "/dev/vda3").unwrap();
        let mut loader = SystemdBoot::find(&fake.machine()).unwrap();
        let at = fake.path(&dir[1..]);
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "ro", "none"]).arg(&at).status();
        if !mounted.is_ok_and(|status| status.success()) {
            return eprintln!("left out: nothing can be mounted here");
        }
        let result = loader.check(&roots);
        assert!(Command::new("umount").arg(&at).status().unwrap().success());
        assert!(result.unwrap_err().to_string().contains("read-only"));
    }
}
