use std::process::Command;

use super::super::tests::look;
use super::*;
use crate::rootfs::slot::fake::Fake;

/// Both copies in memory, losing power when the fuel (in writes of a sector) is out.
#[derive(Clone)]
struct Sim {
    files: [[Vec<u8>; 3]; 2],
    fuel: Option<usize>,
}

const SECTOR: usize = 512;

fn index(name: Name) -> usize {
    match name {
        Name::Env => 0,
        Name::Lock => 1,
        Name::Digest => 2,
    }
}

fn block(text: &[(&str, &str)]) -> Vec<u8> {
    let changes: Vec<Change<'_>> = text.iter().map(|&(name, value)| (name, Some(value))).collect();
    changed(&grub_env::empty(), &changes).unwrap().unwrap()
}

const OLD: [(&str, &str); 4] =
    [("bootcount", "0"), ("mender_boot_part", "2"), ("upgrade_available", "0"), ("machine_id", "m")];
const NEW: [Change<'_>; 3] =
    [("mender_boot_part", Some("3")), ("upgrade_available", Some("1")), ("bootcount", Some("0"))];

impl Sim {
    fn new() -> Self {
        // Values far apart: they are in different sectors.
        let mut vars = OLD.to_vec();
        let filler = "f".repeat(600);
        vars.insert(1, ("filler", &filler));
        let lock = block(&[("editing", "0")]);
        let digest = digest_line(&lock).into_bytes();
        let copy = [block(&vars), lock, digest];
        Self { files: [copy.clone(), copy], fuel: None }
    }

    /// Mender's boot script up to the choice of a part: its repair, then copy 1.
    fn boot(&mut self) -> (String, String) {
        let editing =
            |files: &[Vec<u8>; 3]| decode(&files[1]).is_none_or(|vars| vars.get("editing") != Some("0"));
        let ours = ["bootcount", "mender_boot_part", "upgrade_available"];
        let repair = if editing(&self.files[1]) {
            Some((0, 1))
        } else if editing(&self.files[0]) {
            Some((1, 0))
        } else {
            None
        };
        if let Some((from, to)) = repair {
            let good = decode(&self.files[from][0]).expect("the copy it restores from is whole");
            // GRUB writes a block anew where it cannot be read.
            if decode(&self.files[to][0]).is_none() {
                self.files[to][0] = grub_env::empty();
            }
            let changes: Vec<_> = ours.iter().map(|name| (*name, good.get(name))).collect();
            if let Some(new) = changed(&self.files[to][0], &changes).unwrap() {
                self.files[to][0] = new;
            }
            self.files[to][1] = block(&[("editing", "0")]);
        }
        let vars = decode(&self.files[0][0]).expect("copy 1 is whole");
        let value = |name| vars.get(name).unwrap().to_owned();
        assert!(["0", "1"].contains(&value("bootcount").as_str()));
        (value("mender_boot_part"), value("upgrade_available"))
    }
}

impl Files for Sim {
    fn read(&mut self, copy: usize, name: Name) -> io::Result<Vec<u8>> {
        Ok(self.files[copy][index(name)].clone())
    }

    fn write(&mut self, copy: usize, name: Name, bytes: &[u8]) -> io::Result<()> {
        let file = &mut self.files[copy][index(name)];
        file.resize(bytes.len().max(file.len()), 0);
        for (sector, part) in bytes.chunks(SECTOR).enumerate() {
            match &mut self.fuel {
                Some(0) => return Err(io::Error::other("power lost")),
                Some(fuel) => *fuel -= 1,
                None => {}
            }
            file[sector * SECTOR..][..part.len()].copy_from_slice(part);
        }
        file.truncate(bytes.len());
        Ok(())
    }

    fn check(&mut self, _copy: usize, _name: Name) -> io::Result<()> {
        Ok(())
    }
}

fn pair(vars: &Vars) -> (String, String) {
    (vars.get("mender_boot_part").unwrap().into(), vars.get("upgrade_available").unwrap().into())
}

#[test]
fn b1_power_lost_at_every_sector_leaves_an_environment_that_boots_and_is_old_or_new() {
    let old = ("2".to_owned(), "0".to_owned());
    let new = ("3".to_owned(), "1".to_owned());
    let mut seen = [0, 0];
    for fuel in 0.. {
        let mut files = Sim { fuel: Some(fuel), ..Sim::new() };
        let result = store(&mut files, &NEW);
        files.fuel = None;
        // We see what the boot script will see, and it boots.
        let ours = pair(&in_force(&mut files.clone()).unwrap());
        let mut booted = files.clone();
        assert_eq!(booted.boot(), ours, "{fuel}");
        assert!(ours == old || ours == new, "{fuel}: {ours:?}");
        seen[usize::from(ours == new)] += 1;
        // After either, the next write is whole in both copies.
        for mut files in [files, booted] {
            store(&mut files, &[("upgrade_available", Some("0")), ("mender_boot_part", Some("2"))]).unwrap();
            assert_eq!(files.files[0][0], files.files[1][0]);
            assert_eq!(files.boot(), old);
        }
        if result.is_ok() {
            break;
        }
    }
    assert!(seen[0] > 3 && seen[1] > 3, "{seen:?}");
}

#[test]
fn b2_copies_that_differ_are_brought_in_step_by_the_check() {
    let mut files = Sim::new();
    files.files[1][0] = block(&[("mender_boot_part", "3"), ("upgrade_available", "1"), ("bootcount", "0")]);
    assert_eq!(pair(&in_force(&mut files).unwrap()).0, "2", "the first copy counts");
    check(&mut files, &NEW).unwrap();
    assert_eq!(files.files[0][0], files.files[1][0]);
    assert_eq!(pair(&in_force(&mut files).unwrap()).0, "2");
    // And a damaged one, whichever it is, from the other.
    for copy in [0, 1] {
        for name in [Name::Env, Name::Lock] {
            let mut files = Sim::new();
            files.files[copy][index(name)].clear();
            check(&mut files, &NEW).unwrap();
            assert_eq!(files.files, Sim::new().files);
        }
    }
    let mut files = Sim::new();
    files.files[0][0].clear();
    files.files[1][1].clear();
    assert!(matches!(check(&mut files, &NEW), Err(BootError::NoEnvironment)));
}

#[test]
fn a_full_block_is_noticed_before_anything_is_written() {
    let long = "x".repeat(700);
    let mut files = Sim::new();
    assert!(matches!(check(&mut files, &[("long", Some(&long))]), Err(BootError::Vars(_))));
    assert!(store(&mut files, &[("long", Some(&long))]).is_err());
    assert_eq!(files.files, Sim::new().files);
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let mut files = Sim { fuel: Some(0), ..Sim::new() };
    store(&mut files, &[("mender_boot_part", Some("2"))]).unwrap();
    assert!(store(&mut files, &NEW).is_err());
}

#[test]
fn the_directory_is_read_from_the_configuration() {
    assert_eq!(env_dir("# x\nENV_DIR=/boot/efi/g\n"), Some("/boot/efi/g".to_owned()));
    assert_eq!(env_dir("ENV_DIR=\"/a b\"\n"), Some("/a b".to_owned()));
    // As Mender's own script reads it.
    assert_eq!(env_dir("ENV_DIR = /boot/g \n"), Some("/boot/g".to_owned()));
    assert_eq!(env_dir("ENV_DIR=/old\n ENV_DIR= /new\n"), Some("/new".to_owned()));
    assert_eq!(env_dir("OTHER=1\nENV_DIRECTORY=/x\nENV_DIR\n"), None);
}

#[test]
fn a_configured_directory_without_the_copies_is_no_other_directory() {
    let Some(fake) = Fake::new() else { return };
    assert!(GrubPair::find(&fake.machine()).unwrap().is_none());
    fs::create_dir_all(fake.path("boot/grub/grub-mender-grubenv/mender_grubenv1")).unwrap();
    assert!(GrubPair::find(&fake.machine()).unwrap().is_some());
    fake.write("etc/mender_grubenv.config", "ENV_DIR = /boot/elsewhere\n");
    let error = GrubPair::find(&fake.machine()).unwrap_err().to_string();
    assert!(
        error.contains("mender_grubenv.config: ENV_DIR is") && error.contains("/boot/elsewhere"),
        "{error}"
    );
    fs::create_dir_all(fake.path("boot/elsewhere/mender_grubenv1")).unwrap();
    let found = GrubPair::find(&fake.machine()).unwrap().unwrap();
    assert!(found.describe().ends_with("/boot/elsewhere"));
}

fn editenv(path: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("grub-editenv").arg(path).args(arguments).output();
    let Ok(output) = output else {
        eprintln!("left out: grub-editenv is not installed");
        return None;
    };
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Directories as `grub-editenv` makes them.
pub(crate) fn lab() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        let dir = dir.path().join(copy);
        fs::create_dir(&dir).unwrap();
        for (file, set) in
            [("env", &["mender_boot_part=2", "upgrade_available=0"][..]), ("lock", &["editing=0"])]
        {
            editenv(&dir.join(file), &["create"])?;
            editenv(&dir.join(file), &[&["set"], set].concat())?;
        }
        fs::write(dir.join("lock.sha256sum"), digest_line(&fs::read(dir.join("lock")).unwrap())).unwrap();
    }
    Some(dir)
}

#[test]
fn directories_of_grub_editenv_are_read_and_it_reads_what_is_written() {
    let Some(dir) = lab() else { return };
    let mut pair = GrubPair::at(dir.path());
    assert!(pair.places().unwrap().iter().all(|place| place.is_dir()), "{:?}", pair.places());
    assert_eq!(pair.load(&mut look()).unwrap().get("mender_boot_part"), Some("2"));
    let before = fs::read(dir.path().join("mender_grubenv1/lock")).unwrap();
    pair.check(&mut look(), &NEW).unwrap();
    pair.store(&mut look(), &NEW).unwrap();
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        let printed = editenv(&dir.path().join(copy).join("env"), &["list"]).unwrap();
        assert_eq!(printed, "mender_boot_part=3\nupgrade_available=1\nbootcount=0\n");
        assert_eq!(fs::read(dir.path().join(copy).join("lock")).unwrap(), before, "the pristine lock");
        let sum = Command::new("sha256sum")
            .args(["-c", "lock.sha256sum"])
            .current_dir(dir.path().join(copy))
            .output();
        assert!(sum.unwrap().status.success());
        editenv(&dir.path().join(copy).join("env"), &["set", "mender_boot_part=2", "odd=a\\b"]).unwrap();
    }
    let vars = pair.load(&mut look()).unwrap();
    assert_eq!((vars.get("mender_boot_part"), vars.get("odd")), (Some("2"), Some("a\\b")));
}

#[test]
fn b11_directories_that_cannot_be_written_are_noticed_before() {
    let Some(dir) = lab() else { return };
    fs::remove_file(dir.path().join("mender_grubenv2/env")).unwrap();
    assert!(GrubPair::at(dir.path()).check(&mut look(), &NEW).is_err());
    assert!(!dir.path().join("mender_grubenv2/env").exists());
}

#[test]
fn a_single_file_is_written_only_where_that_is_allowed() {
    let Some(dir) = lab() else { return };
    let path = dir.path().join("mender_grubenv1/env");
    let error = GrubFile::new(&path, false).store(&mut look(), &NEW).unwrap_err();
    assert!(matches!(error, BootError::Single(_)));
    let mut file = GrubFile::new(&path, true);
    file.check(&mut look(), &NEW).unwrap();
    file.store(&mut look(), &NEW).unwrap();
    assert_eq!(file.load(&mut look()).unwrap().get("mender_boot_part"), Some("3"));
    assert!(editenv(&path, &["list"]).unwrap().contains("mender_boot_part=3\n"));
}
