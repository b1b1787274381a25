//! The simulated device and its server: everything that outlives a process, as one value that can be cloned,
//! compared and hashed.
//!
//! The device has either two slots behind a boot loader that counts boots (as the `rootfs-image` module expects
//! it), or one place that the module overwrites.

use std::collections::BTreeMap;

use thimble_core::checkpoint::Checkpoint;
use thimble_core::deployment::{Call, Status};
use thimble_core::hal::Key;
use thimble_core::last_report::{Ended, LastReport};

use crate::near::meant;

/// What the module answers to `NeedsArtifactReboot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub enum Reboot {
    No,
    Yes,
    Automatic,
}

/// The kind of device and module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Two slots and a boot loader, or one place that is overwritten.
    pub slots: bool,
    /// `NeedsArtifactReboot`.
    pub reboot: Reboot,
    /// `SupportsRollback`.
    pub rollback: bool,
    /// The artifact has a payload.
    pub payload: bool,
}

impl Profile {
    /// Those of devices with a payload, by their words in scenarios and on command lines.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("slots", Self::SLOTS),
        ("files", Self::FILES),
        ("custom", Self::CUSTOM),
        ("one-way", Self::ONE_WAY),
    ];

    /// The profile of this word.
    ///
    /// # Errors
    /// There is none: what is wanted, and which may be meant.
    pub fn named(word: &str) -> Result<Self, String> {
        let found = Self::NAMED.iter().find(|(name, _)| *name == word).map(|(_, profile)| *profile);
        found.ok_or_else(|| {
            let hint = meant(word, Self::NAMED.map(|(name, _)| name));
            format!("{word}: slots, files, custom or one-way is wanted{hint}")
        })
    }

    /// An A/B device: reboots by the client, rolls back.
    pub const SLOTS: Self = Self { slots: true, reboot: Reboot::Automatic, rollback: true, payload: true };
    /// A module that overwrites and can put back.
    pub const FILES: Self = Self { slots: false, reboot: Reboot::No, rollback: true, payload: true };
    /// A module that overwrites and can put back, and restarts something itself.
    pub const CUSTOM: Self = Self { reboot: Reboot::Yes, ..Self::FILES };
    /// A module that overwrites and cannot put back.
    pub const ONE_WAY: Self = Self { rollback: false, ..Self::FILES };
    /// An artifact that has only provides.
    pub const EMPTY: Self = Self { payload: false, ..Self::FILES };
}

/// What stands in a slot, or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Content {
    Old,
    New,
    /// Partly written, or not verified.
    Broken,
}

/// The device without its records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// What kind it is.
    pub profile: Profile,
    /// A and B; without slots only the first counts, and it is what runs.
    pub slots: [Content; 2],
    /// The slot that runs: 0 or 1.
    pub running: usize,
    /// The slot the boot loader boots next (`mender_boot_part`).
    pub next: usize,
    /// The next slot is on trial (`upgrade_available`).
    pub trial: bool,
    /// Boots since the trial was asked for.
    pub boots: u8,
    /// The module's note of the slot that ran before (`orig-part` in the work tree).
    pub original: Option<usize>,
    /// What the module keeps to roll back, without slots.
    pub backup: bool,
    /// The work tree is there.
    pub tree: bool,
    /// The payload was stored and verified.
    pub staged: bool,
    /// What is marked as stored of the payload, and the digest the mark says.
    pub partial: Option<(Vec<u8>, [u8; 32])>,
}

impl Device {
    /// A device that runs the old content from slot A.
    #[must_use]
    pub const fn new(profile: Profile) -> Self {
        Self {
            profile,
            slots: [Content::Old, Content::Old],
            running: 0,
            next: 0,
            trial: false,
            boots: 0,
            original: None,
            backup: false,
            tree: false,
            staged: false,
            partial: None,
        }
    }

    /// What runs.
    #[must_use]
    pub const fn content(&self) -> Content {
        self.slots[self.running]
    }

    /// The name of the slot that runs.
    #[must_use]
    pub const fn slot(&self) -> char {
        if self.running == 0 { 'A' } else { 'B' }
    }

    /// Nothing is on trial, and what runs is what will run after the next boot.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        !self.trial && self.running == self.next
    }

    /// The machine starts: after a reboot, a crash or power loss.
    pub fn boot(&mut self) {
        if !self.profile.slots {
            return;
        }
        if self.trial {
            self.boots += 1;
            if self.boots > 1 {
                // The boot loader reverts what nobody committed.
                self.next = 1 - self.next;
                self.trial = false;
            }
        }
        self.running = self.next;
    }

    /// A new artifact's work tree is built: what an earlier one left is gone.
    pub fn prepare(&mut self) {
        self.partial = None;
        self.prepare_again();
    }

    /// The same, but what was stored of the payload is kept.
    pub fn prepare_again(&mut self) {
        self.tree = true;
        self.original = None;
        self.backup = false;
        self.staged = false;
    }

    /// The payload begins to arrive; nothing of it is verified.
    pub fn receive(&mut self) {
        self.staged = false;
        if self.profile.slots {
            self.slots[1 - self.running] = Content::Broken;
        }
    }

    /// All of the payload arrived and every checksum was right.
    pub fn received(&mut self) {
        self.staged = true;
        if self.profile.slots {
            self.slots[1 - self.running] = Content::New;
        }
    }

    /// The module does what `call` asks for; false: it fails, having changed nothing.
    pub fn call(&mut self, call: Call) -> bool {
        if !self.tree && call != Call::Cleanup {
            return false;
        }
        match call {
            Call::ArtifactInstall if self.profile.slots => {
                let other = 1 - self.running;
                self.original = Some(self.running);
                self.next = other;
                self.trial = true;
                self.boots = 0;
                self.staged
            }
            Call::ArtifactInstall => {
                self.backup = true;
                self.slots[0] = Content::New;
                self.staged
            }
            Call::ArtifactVerifyReboot => !self.profile.slots || (self.trial && self.running == self.next),
            Call::ArtifactCommit if self.profile.slots => {
                let good = self.trial && self.running == self.next;
                self.trial &= !good;
                good
            }
            Call::ArtifactRollback if self.profile.slots => {
                if self.trial {
                    self.next = 1 - self.next;
                    self.trial = false;
                } else if let Some(original) = self.original {
                    self.next = original;
                }
                true
            }
            Call::ArtifactRollback => {
                if self.backup && self.profile.rollback {
                    self.slots[0] = Content::Old;
                }
                true
            }
            Call::ArtifactVerifyRollbackReboot => self.is_settled(),
            Call::ArtifactCommit
            | Call::ArtifactReboot
            | Call::ArtifactRollbackReboot
            | Call::ArtifactFailure => true,
            Call::Cleanup => {
                self.clean();
                true
            }
            Call::ProvidePayloadFileSizes
            | Call::NeedsArtifactReboot
            | Call::SupportsRollback
            | Call::Download
            | Call::DownloadWithFileSizes => true,
        }
    }

    /// The module was stopped in the middle of `call`.
    pub fn half_call(&mut self, call: Call) {
        if !self.tree {
            return;
        }
        if call == Call::ArtifactInstall && !self.profile.slots {
            self.backup = true;
            self.slots[0] = Content::Broken;
        } else if call == Call::ArtifactInstall {
            self.original = Some(self.running);
        } else if call == Call::ArtifactRollback && !self.profile.slots && self.backup {
            self.slots[0] = Content::Broken;
        }
    }

    /// The work tree goes.
    pub fn clean(&mut self) {
        self.tree = false;
        self.staged = false;
        self.original = None;
        self.backup = false;
        self.partial = None;
    }
}

/// What the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// A deployment waits to be handed out.
    pub pending: bool,
    /// Statuses it accepted, in order, without repeats of the last.
    pub statuses: Vec<Status>,
    /// The deployment was aborted: every status is answered 409.
    pub aborted: bool,
    /// It cannot be reached at the moment.
    pub down: bool,
}

impl Server {
    /// Takes a status; false: 409.
    pub fn take(&mut self, status: Status) -> bool {
        if self.aborted {
            return false;
        }
        if self.statuses.last() != Some(&status) {
            self.statuses.push(status);
        }
        true
    }

    /// The final status it heard last.
    #[must_use]
    pub fn verdict(&self) -> Option<Status> {
        self.statuses.iter().rev().copied().find(|s| matches!(s, Status::Success | Status::Failure))
    }
}

/// Everything that outlives a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Durable records.
    pub records: BTreeMap<Key, Vec<u8>>,
    /// Slots, boot loader, work tree.
    pub device: Device,
    /// The other side.
    pub server: Server,
}

/// The name of what the device ran first.
pub const OLD: &str = "old";
/// The name of the artifact.
pub const NEW: &str = "new";
/// What is in the file of that artifact.
pub const PAYLOAD: &[u8] = b"what the new artifact brings";
/// What an inconsistent name ends in.
pub const SUFFIX: &str = "_INCONSISTENT";

/// The artifact name on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// [`OLD`].
    Old,
    /// [`NEW`].
    New,
    /// [`NEW`] with [`SUFFIX`].
    Inconsistent,
}

impl Name {
    /// The name of this text.
    ///
    /// # Errors
    /// It is none of the three.
    pub fn read(text: &str) -> Result<Self, String> {
        match text {
            OLD => Ok(Self::Old),
            NEW => Ok(Self::New),
            _ if text.strip_suffix(SUFFIX) == Some(NEW) => Ok(Self::Inconsistent),
            _ => Err(format!("the name on record is {text:?}")),
        }
    }
}

impl World {
    /// A device that runs [`OLD`], and a server that has a deployment for it.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            records: BTreeMap::from([(Key::Provides, provides(OLD))]),
            device: Device::new(profile),
            server: Server { pending: true, ..Server::default() },
        }
    }

    /// The record of the update in progress.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let record = self.records.get(&Key::Checkpoint).and_then(|bytes| Checkpoint::decode(bytes).ok())?;
        Some(Checkpoint { offer: self.records.contains_key(&Key::Offer), ..record })
    }

    /// The end of a deployment that a daemon has still to report when it starts.
    #[must_use]
    pub fn report(&self) -> Option<Ended> {
        let record = self.records.get(&Key::Report).filter(|_| self.checkpoint().is_none())?;
        LastReport::decode(record).map(|report| report.ended)
    }

    /// The artifact name on record.
    #[must_use]
    pub fn name(&self) -> String {
        let text = self.records.get(&Key::Provides).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let text = text.unwrap_or_default();
        let key = "\"artifact_name\":\"";
        let name =
            text.find(key).and_then(|at| text.get(at + key.len()..)).and_then(|rest| rest.split('"').next());
        name.unwrap_or("unknown").to_owned()
    }

    /// Power is lost and comes back.
    pub fn power_cycle(&mut self) {
        self.server.down = false;
        self.device.boot();
    }
}

/// The record of the provides, as the client writes it: one JSON object, string to string.
#[must_use]
pub fn provides(name: &str) -> Vec<u8> {
    format!("{{\"artifact_name\":\"{name}\"}}").into_bytes()
}
