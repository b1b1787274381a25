//! Which boot loader the device has, and what it is asked and told. All of this blocks.

use std::path::PathBuf;
use thimble_core::hal::{BootCall, BootStatus, Slot};

use super::command::Tools;
use super::grub::{GrubFile, GrubPair};
use super::systemd_boot::SystemdBoot;
use super::tryboot::Tryboot;
use super::uboot::{self, Uboot};
use super::vars::{Change, Vars};
use super::{BootError, Choice, Environment, Look, NAMES, Settings};
use crate::rootfs::slot::{Machine, Roots};

/// A boot loader that was found.
pub(super) enum Loader {
    Variables(Box<dyn Environment>),
    Tryboot(Tryboot),
    SystemdBoot(SystemdBoot),
}

impl Loader {
    /// The one of this device.
    pub(super) fn find(settings: &Settings, machine: &Machine) -> Result<Self, BootError> {
        let variables = |environment: Box<dyn Environment>| Ok(Self::Variables(environment));
        let uboot = || Box::new(Uboot::new(machine.clone(), settings.allow_single));
        let uboot_tools = || Box::new(Tools::uboot(machine));
        let grub_tools = || Box::new(Tools::grub(machine));
        match settings.choice {
            Choice::Uboot => variables(uboot()),
            Choice::UbootTools => variables(uboot_tools()),
            Choice::GrubTools => variables(grub_tools()),
            Choice::Grub => match GrubPair::find(machine)? {
                Some(pair) => variables(Box::new(pair)),
                None => variables(Box::new(GrubFile::find(machine, settings.allow_single))),
            },
            Choice::Tryboot => {
                Tryboot::find(machine).map(Self::Tryboot).ok_or(BootError::NotThere(Tryboot::SIGNS))
            }
            Choice::SystemdBoot => SystemdBoot::find(machine)
                .map(Self::SystemdBoot)
                .ok_or(BootError::NotThere(SystemdBoot::SIGNS)),
            Choice::Auto => {
                if let Some(pair) = GrubPair::find(machine)? {
                    variables(Box::new(pair))
                } else if grub_tools().are_there() {
                    variables(grub_tools())
                } else if let Some(loader) = SystemdBoot::find(machine) {
                    Ok(Self::SystemdBoot(loader))
                } else if machine.at(uboot::CONFIG).is_file() {
                    variables(uboot())
                } else if let Some(found) = Tryboot::find(machine) {
                    Ok(Self::Tryboot(found))
                } else if uboot_tools().are_there() {
                    variables(uboot_tools())
                } else {
                    Err(BootError::NotFound)
                }
            }
        }
    }

    /// A description for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Variables(environment) => environment.describe(),
            Self::Tryboot(tryboot) => tryboot.describe(),
            Self::SystemdBoot(loader) => loader.describe(),
        }
    }

    pub(super) fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        match self {
            Self::Variables(environment) => environment.places(),
            Self::Tryboot(tryboot) => Ok(tryboot.places()),
            Self::SystemdBoot(loader) => Ok(loader.places()),
        }
    }

    /// Asks or tells it; how it stands then.
    pub(super) fn call(
        &mut self,
        look: &mut Look,
        roots: &Roots,
        call: BootCall,
    ) -> Result<BootStatus, BootError> {
        let running = roots.running;
        match call {
            BootCall::Status => self.status(look, roots),
            BootCall::Check => self.check(look, roots),
            BootCall::Trial(slot) => self.select(look, roots, slot, true).map(|()| BootStatus {
                running,
                selected: slot,
                trial: true,
            }),
            BootCall::Permanent(slot) => self.select(look, roots, slot, false).map(|()| BootStatus {
                running,
                selected: slot,
                trial: false,
            }),
        }
    }

    fn status(&mut self, look: &mut Look, roots: &Roots) -> Result<BootStatus, BootError> {
        match self {
            Self::Variables(environment) => status(&environment.load(look)?, roots),
            Self::Tryboot(tryboot) => tryboot.status(roots),
            Self::SystemdBoot(loader) => loader.status(roots),
        }
    }

    fn check(&mut self, look: &mut Look, roots: &Roots) -> Result<BootStatus, BootError> {
        match self {
            Self::Variables(environment) => {
                let longest = if roots.a.number > roots.b.number { Slot::A } else { Slot::B };
                let hex = environment.uses_hex();
                let vars = environment.check(look, &Selection::new(roots, longest, true).changes(hex))?;
                if vars.get(NAMES.check_canary) == Some("1") && vars.get(NAMES.canary) != Some("1") {
                    return Err(BootError::Canary);
                }
                status(&vars, roots)
            }
            Self::Tryboot(tryboot) => tryboot.check(roots),
            Self::SystemdBoot(loader) => loader.check(roots),
        }
    }

    fn select(&mut self, look: &mut Look, roots: &Roots, slot: Slot, trial: bool) -> Result<(), BootError> {
        if let Self::Variables(environment) = self {
            let selection = Selection::new(roots, slot, trial);
            let hex = environment.uses_hex();
            return store(environment.as_mut(), look, roots, &selection.changes(hex));
        }
        let before = self.status(look, roots)?;
        let told = match self {
            Self::Tryboot(tryboot) if trial => tryboot.set_trial(roots, slot),
            Self::Tryboot(tryboot) => tryboot.set_permanent(roots, slot),
            Self::SystemdBoot(loader) if trial => loader.set_trial(roots, slot),
            Self::SystemdBoot(loader) => loader.set_permanent(roots, slot),
            Self::Variables(_) => return Ok(()),
        };
        told.map_err(|why| match self.status(look, roots) {
            Ok(now) if now == before => why,
            now => BootError::NotUndone(Box::new(why), now.ok()),
        })
    }
}

/// Stores `changes`. When that fails, the variables are what they were, or the error says that they are not.
fn store(
    environment: &mut dyn Environment,
    look: &mut Look,
    roots: &Roots,
    changes: &[Change<'_>],
) -> Result<(), BootError> {
    let before = environment.load(look)?;
    let Err(why) = environment.store(look, changes) else { return Ok(()) };
    let old: Vec<Change<'_>> = changes.iter().map(|&(name, _)| (name, before.get(name))).collect();
    // The boot loader goes by the other three.
    let is_back =
        |now: &Vars| old.iter().all(|&(name, value)| name == NAMES.part_hex || now.get(name) == value);
    if environment.load(look).is_ok_and(|now| is_back(&now)) {
        return Err(why);
    }
    // What this returns does not count: the look after it does.
    let _ = environment.store(look, &old);
    match environment.load(look) {
        Ok(now) if is_back(&now) => Err(why),
        Ok(now) => Err(BootError::NotUndone(Box::new(why), status(&now, roots).ok())),
        Err(_) => Err(BootError::NotUndone(Box::new(why), None)),
    }
}

/// The variables of a selection.
struct Selection {
    part: String,
    part_hex: String,
    upgrade: &'static str,
}

impl Selection {
    fn new(roots: &Roots, slot: Slot, trial: bool) -> Self {
        let number = roots.device(slot).number;
        Self {
            part: number.to_string(),
            part_hex: format!("{number:x}"),
            upgrade: if trial { "1" } else { "0" },
        }
    }

    fn changes(&self, hex: bool) -> Vec<Change<'_>> {
        let mut changes = vec![
            (NAMES.part, Some(self.part.as_str())),
            (NAMES.upgrade, Some(self.upgrade)),
            (NAMES.bootcount, Some("0")),
        ];
        if hex {
            changes.push((NAMES.part_hex, Some(&self.part_hex)));
        }
        changes
    }
}

/// What the variables say.
fn status(vars: &Vars, roots: &Roots) -> Result<BootStatus, BootError> {
    let variable = |name: &'static str| {
        let value = vars.get(name).unwrap_or_default().chars().take(40).collect::<String>();
        BootError::Variable(name, value)
    };
    let selected = vars.get(NAMES.part).and_then(|number| roots.slot(number));
    let trial = match vars.get(NAMES.upgrade) {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(variable(NAMES.upgrade)),
    };
    Ok(BootStatus { running: roots.running, selected: selected.ok_or_else(|| variable(NAMES.part))?, trial })
}
