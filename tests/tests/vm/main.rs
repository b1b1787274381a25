//! A real machine: QEMU starts GRUB or U-Boot, that starts a Debian kernel from one of two slots, and in it runs the client.
//!
//! It takes a deployment from the server over the network, writes the other slot, reboots and commits, or goes back. In
//! between the power is lost at any moment, and what the disk had not flushed with it. Whatever happens, the machine
//! ends with one whole image, and the server was told the truth.
//!
//! | file | what |
//! |---|---|
//! | `fetch`, `packages` | Debian's packages, unpacked and not installed |
//! | `guest/`, `slot`, `image` | the boot loaders' scripts, the init of a slot; the root file systems; the disk they make |
//! | `disk`, `power` | a disk with a volatile cache; the event at which the power is lost |
//! | `machine`, `trial` | QEMU; one update to its end, and whether that is right |
//! | `sweep` | the long form: hundreds of cuts by chance |
//!
//! Nothing is timed: a cut comes with the n-th write, flush, read, request or line of the console.

mod disk;
mod image;
mod machine;
mod packages;
mod power;
mod random;
mod slot;
mod sweep;
mod trial;

use std::path::Path;
use std::sync::OnceLock;

use thimble_hal_sim::listen::Security;

use crate::disk::Fate;
use crate::image::{Images, Loader};
use crate::power::{Area, Event};
use crate::slot::{Init, Kind};
use crate::trial::{Cut, End, Trial};

/// Made once; `None` where something is missing.
fn images() -> Option<&'static Images> {
    static IMAGES: OnceLock<Option<Images>> = OnceLock::new();
    IMAGES.get_or_init(Images::make).as_ref()
}

/// `None` where something is missing.
#[track_caller]
fn run(trial: &Trial) -> Option<End> {
    Some(trial.run(images()?).unwrap_or_else(|story| panic!("{story}")))
}

#[test]
fn a_good_image_takes_over() {
    let trial = Trial { security: Security::Tls, ..Trial::new(Kind::Good) };
    let Some(end) = run(&trial) else { return };
    assert_eq!(end.status, "success");
    assert_eq!(end.starts, ["release-1 runs in slot 2", "release-2 runs in slot 3"]);
}

#[test]
fn an_image_without_a_kernel_is_left_by_the_boot_loader() {
    let Some(end) = run(&Trial::new(Kind::NoKernel)) else { return };
    assert_eq!(end.status, "failure");
    assert_eq!(end.starts, ["release-1 runs in slot 2"; 3]);
}

#[test]
fn an_image_that_finds_itself_sick_goes_back() {
    let Some(end) = run(&Trial::new(Kind::SickHealth)) else { return };
    assert_eq!(end.status, "failure");
    assert_eq!(
        end.starts,
        ["release-1 runs in slot 2", "release-2 runs in slot 3", "release-1 runs in slot 2"]
    );
}

/// An update of a good image that loses its power at these moments, which it must come to. The numbers are those of an
/// undisturbed update: in the boot partition the mount is the first write, then the client selects the slot in 12, GRUB
/// counts the start in 6, and the client commits in 12.
#[track_caller]
fn run_cut(cuts: &[Cut]) -> Option<End> {
    let end = run(&Trial { cuts: cuts.to_vec(), ..Trial::new(Kind::Good) })?;
    assert_eq!(end.made.len(), cuts.len(), "not all moments came: {end:?}");
    Some(end)
}

#[test]
fn the_strict_unit_updates_the_root_file_system_under_systemd() {
    let (systemd, ctl) = ("/lib/systemd/systemd", "/bin/systemctl");
    if !(Path::new(systemd).exists() && Path::new(ctl).exists()) {
        println!("left out: needs {systemd} and {ctl}");
        return;
    }
    let Some(end) = run(&Trial { init: Init::Systemd, ..Trial::new(Kind::Good) }) else { return };
    assert_eq!(end.status, "success");
    assert_eq!(end.starts, ["release-1 runs in slot 2", "release-2 runs in slot 3"]);
}

#[test]
fn power_is_lost_while_the_slot_is_written() {
    let cut = Cut { event: Event::Write(Area::B), number: 60, fate: Fate::Torn };
    let Some(end) = run_cut(&[cut]) else { return };
    assert_eq!(end.status, "failure");
    assert_eq!(end.starts, ["release-1 runs in slot 2"; 2]);
}

#[test]
fn power_is_lost_while_the_slot_is_selected_and_while_the_boot_loader_counts_its_start() {
    let select = Cut { event: Event::Write(Area::Boot), number: 10, fate: Fate::Torn };
    // Behind three writes that restore the first copy of the environment.
    let count = Cut { event: Event::Write(Area::Boot), number: 5, fate: Fate::Torn };
    let Some(end) = run_cut(&[select, count]) else { return };
    assert_eq!(end.status, "failure");
}

#[test]
fn power_is_lost_before_the_success_is_reported_and_again_behind_it() {
    let before = Cut { event: Event::Request, number: 11, fate: Fate::Lost };
    // The first asks for a token.
    let behind = Cut { event: Event::Answered, number: 2, fate: Fate::Lost };
    let Some(end) = run_cut(&[before, behind]) else { return };
    assert_eq!(end.status, "success");
    // With all that was not flushed lost behind the report, the new image stays.
    assert_eq!(end.starts[2..], ["release-2 runs in slot 3"; 2]);
}

#[test]
fn u_boot_tries_a_good_image() {
    let Some(end) = run(&Trial { loader: Loader::Uboot, ..Trial::new(Kind::Good) }) else { return };
    assert_eq!(end.status, "success");
}

#[test]
fn u_boot_leaves_an_image_whose_init_dies_although_its_own_write_was_torn() {
    // The client's write comes first.
    let count = Cut { event: Event::Write(Area::Boot), number: 2, fate: Fate::Torn };
    let trial = Trial { loader: Loader::Uboot, cuts: vec![count], ..Trial::new(Kind::DyingInit) };
    let Some(end) = run(&trial) else { return };
    assert_eq!((end.status.as_str(), end.made.len()), ("failure", 1));
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
#[ignore = "a quarter of a minute for each cut and processor"]
fn power_is_lost_at_any_moment() {
    let Some(cuts) = number_of("THIMBLE_VM_CUTS") else {
        return eprintln!(
            "left out: set THIMBLE_VM_CUTS to the number of cuts, and THIMBLE_VM_SEED if you like"
        );
    };
    let Some(images) = images() else { return };
    sweep::run(images, cuts, number_of("THIMBLE_VM_SEED").unwrap_or(1));
}
