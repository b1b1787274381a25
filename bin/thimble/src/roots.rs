//! The two root file systems of a device and its boot loader, for `status`: looked at by whoever asks, so that no
//! daemon has to run.

use std::fmt::Write as _;

use thimble_core::hal::{BootCall, BootStatus, Slot};
use thimble_core::time::Duration;
use thimble_hal_linux::bootloader::LinuxBootloader;
use thimble_hal_linux::rootfs::slot::{Machine, Parts};

use crate::device::Device;
use crate::json::member;
use crate::output::one_line;

/// How long a person waits for a boot loader that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How they stand.
pub(crate) struct Roots {
    /// Which boot loader it is, and where its records are.
    pub(crate) boot_loader: Option<String>,
    /// The device of each.
    pub(crate) devices: Option<[String; 2]>,
    pub(crate) boot: Option<BootStatus>,
    /// Why something of this is not known.
    pub(crate) trouble: Option<String>,
}

impl Roots {
    /// `None` where no two are configured.
    pub(crate) fn look(device: &Device) -> Option<Self> {
        let settings = device.boot_settings();
        let Parts { a: Some(_), b: Some(_) } = &settings.parts else { return None };
        let machine = Machine::default();
        let found = machine.roots(&settings.parts);
        let mut loader = LinuxBootloader::new(settings, machine).patient(PATIENCE);
        let boot = loader.wait(BootCall::Status);
        let first =
            [found.as_ref().err().map(ToString::to_string), boot.as_ref().err().map(ToString::to_string)];
        Some(Self {
            boot_loader: loader.describe().map(|name| one_line(&name)),
            devices: found.ok().map(|roots| {
                [Slot::A, Slot::B].map(|slot| one_line(&roots.device(slot).path.to_string_lossy()))
            }),
            boot: boot.ok(),
            trouble: first.into_iter().flatten().next().map(|trouble| one_line(&trouble)),
        })
    }
}

/// For programs: more members of an object.
pub(crate) fn members(roots: Option<&Roots>, out: &mut String) {
    member(out, "boot_loader", roots.and_then(|roots| roots.boot_loader.as_deref()));
    let Some(roots) = roots else { return };
    let [a, b] = roots.devices.as_ref().map_or([None, None], |[a, b]| [Some(a.as_str()), Some(b.as_str())]);
    member(out, "root_a", a);
    member(out, "root_b", b);
    let boot = roots.boot.as_ref();
    member(out, "root_running", boot.map(|boot| boot.running.name()));
    member(out, "root_selected", boot.map(|boot| boot.selected.name()));
    let trial = boot.map_or("null", |boot| if boot.trial { "true" } else { "false" });
    let _ = write!(out, ",\"root_trial\":{trial}");
    member(out, "boot_trouble", roots.trouble.as_deref());
}
