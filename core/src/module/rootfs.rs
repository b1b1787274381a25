//! Root file systems in two slots: the built-in handler of `rootfs-image` (BOOT-1 to BOOT-11).
//!
//! ```text
//! Download          image -> the slot that does not run           nothing boots from it
//! ArtifactInstall   remember the running slot; trial of the other one
//!   reboot          the boot loader starts the other slot, once
//! ArtifactVerifyReboot, ArtifactCommit      only from the trial slot; commit makes it permanent
//!   or a boot that fails, or a reset        the boot loader goes back: seen as "reverted"
//! ArtifactRollback  before the reboot: stay; in the trial or after a commit: the remembered slot
//! ```
//!
//! Every call looks at the boot loader afresh and checks what it relies on. A look may take a while, and so may what the
//! boot loader is told after it: a disk or a tool that does not answer ends the call, not the client.

use core::fmt;
use core::task::{Poll, ready};

use crate::deployment::Call;
use crate::hal::{
    BootCall, BootStatus, Bootloader, Cause, Error, ErrorType, Exit, Kind, PayloadSink, Slot, Slots, Stored,
    TreeFacts, UpdateModule,
};
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, Coded, Say, messages, texts};
use crate::time::{Duration, Instant, earliest};

/// The payload type this handles.
pub const PAYLOAD_TYPE: &str = "rootfs-image";

/// The handler.
#[derive(Debug)]
pub struct RootfsImage<B, S> {
    boot: B,
    slots: S,
    run: Run,
    /// The last call was a rollback that the boot loader could not be told of.
    rollback_waits: bool,
    /// Files of the payload at hand.
    files: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Nothing,
    /// An action that succeeded.
    Done,
    /// A query and its answer.
    Answer(&'static str),
    /// This call waits for its look at the boot loader.
    Look(Call),
    /// A look at the boot loader tells whether what is to be committed runs.
    Ask,
    /// The boot loader is told what the call decided.
    Tell(Tell),
    Download {
        files: u8,
    },
    /// A download that was given up.
    Stopping,
    /// The same, while it still waited for its look.
    StoppingLook,
}

/// Why the boot loader is told something: what it means when that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    /// An install or a commit: it has failed.
    Forward,
    /// A rollback to slot `to` while slot `running` runs. `trial`: of the other one, which the boot loader starts next.
    Back { running: Slot, to: Slot, trial: bool },
}

impl<B: Bootloader, S: Slots> RootfsImage<B, S> {
    /// Over these two.
    pub const fn new(boot: B, slots: S) -> Self {
        Self { boot, slots, run: Run::Nothing, rollback_waits: false, files: 0 }
    }

    /// The boot loader, to add what it waits for to the main loop.
    pub const fn boot(&self) -> &B {
        &self.boot
    }

    /// The slots, to add what they wait for to the main loop.
    pub const fn slots(&self) -> &S {
        &self.slots
    }

    /// Begins a call: it has its answer at once, or looks at the boot loader first.
    fn call(&mut self, now: Instant, call: Call) -> Result<Run, Fault<B, S>> {
        let ask = match call {
            Call::ProvidePayloadFileSizes | Call::SupportsRollback => return Ok(Run::Answer("Yes")),
            Call::NeedsArtifactReboot => return Ok(Run::Answer("Automatic")),
            Call::Download => return Err(RootfsError::SizesNeeded),
            Call::DownloadWithFileSizes if self.files != 1 => return Err(RootfsError::Files),
            Call::ArtifactReboot | Call::ArtifactRollbackReboot | Call::ArtifactFailure | Call::Cleanup => {
                return Ok(Run::Done);
            }
            Call::DownloadWithFileSizes
            | Call::ArtifactInstall
            | Call::ArtifactVerifyReboot
            | Call::ArtifactCommit
            | Call::ArtifactVerifyRollbackReboot => BootCall::Check,
            Call::ArtifactRollback => BootCall::Status,
        };
        match self.boot.start(now, ask) {
            Ok(()) => Ok(Run::Look(call)),
            Err(error) if call == Call::ArtifactRollback => self.roll_back_unseen(error),
            Err(error) => Err(RootfsError::Boot(error)),
        }
    }

    /// What follows from a look.
    fn looked(
        &mut self,
        now: Instant,
        call: Call,
        look: Result<BootStatus, B::Error>,
    ) -> Result<Run, Fault<B, S>> {
        let status = match look {
            Ok(status) => status,
            Err(error) if call == Call::ArtifactRollback => return self.roll_back_unseen(error),
            Err(error) => return Err(RootfsError::Boot(error)),
        };
        match call {
            Call::DownloadWithFileSizes => {
                let running = Self::settled(status)?;
                if self.remembered()?.is_some() {
                    // This update has installed already: the other slot may be its way back.
                    return Err(RootfsError::Order);
                }
                self.slots.aim(running.other()).map_err(RootfsError::Slots)?;
                Ok(Run::Download { files: 0 })
            }
            Call::ArtifactInstall => self.install(now, status),
            Call::ArtifactVerifyReboot => self.in_trial(status).map(|()| Run::Done),
            Call::ArtifactCommit => self.commit(now, status),
            Call::ArtifactRollback => self.roll_back(now, status),
            Call::ArtifactVerifyRollbackReboot => self.verify_rollback(status).map(|()| Run::Done),
            Call::ProvidePayloadFileSizes
            | Call::SupportsRollback
            | Call::NeedsArtifactReboot
            | Call::Download
            | Call::ArtifactReboot
            | Call::ArtifactRollbackReboot
            | Call::ArtifactFailure
            | Call::Cleanup => Err(RootfsError::Order),
        }
    }

    /// Tells the boot loader.
    fn tell(&mut self, now: Instant, call: BootCall, why: Tell) -> Result<Run, Fault<B, S>> {
        match self.boot.start(now, call) {
            Ok(()) => Ok(Run::Tell(why)),
            Err(error) => self.told(why, Err(error)),
        }
    }

    /// What follows from what it was told.
    fn told(&mut self, why: Tell, told: Result<BootStatus, B::Error>) -> Result<Run, Fault<B, S>> {
        match (why, told) {
            (Tell::Forward, Ok(_)) => {}
            (Tell::Forward, Err(error)) => return Err(RootfsError::Boot(error)),
            (Tell::Back { running, to, trial: _ }, Ok(_)) => {
                if running != to {
                    self.warn(&Warning::UntilReboot { running, to });
                }
            }
            (Tell::Back { running, to, trial: true }, Err(error)) if running != to => {
                self.warn(&Warning::LeftToGoBack { to, error: Cause::of(&error) });
            }
            (Tell::Back { .. }, Err(error)) => return Err(RootfsError::StillSelected(error)),
        }
        Ok(Run::Done)
    }

    /// Goes on with the look, or with what the boot loader is told.
    fn advance(&mut self, now: Instant) -> Poll<Result<(), Fault<B, S>>> {
        loop {
            let (Run::Look(_) | Run::Ask | Run::Tell(_)) = self.run else { return Poll::Ready(Ok(())) };
            let answer = ready!(self.boot.poll(now));
            let next = match self.run {
                Run::Look(call) => self.looked(now, call, answer),
                // Whatever else is wrong is found, and told, by the commit itself.
                Run::Ask => Ok(Run::Answer(match answer {
                    Ok(status) if status.trial && status.running != status.selected => "No",
                    Ok(_) | Err(_) => "Yes",
                })),
                Run::Tell(why) => self.told(why, answer),
                Run::Nothing
                | Run::Done
                | Run::Answer(_)
                | Run::Download { .. }
                | Run::Stopping
                | Run::StoppingLook => return Poll::Ready(Ok(())),
            };
            self.run = match next {
                Ok(next) => next,
                Err(fault) => return Poll::Ready(Err(self.failed(fault))),
            };
        }
    }

    fn warn(&mut self, warning: &dyn Coded) {
        self.slots.warn(format_args!("{}", Say(warning)));
    }

    fn failed(&mut self, fault: Fault<B, S>) -> Fault<B, S> {
        self.run = Run::Nothing;
        self.rollback_waits = matches!(fault, RootfsError::StillSelected(_));
        fault
    }

    fn remembered(&mut self) -> Result<Option<Slot>, Fault<B, S>> {
        self.slots.remembered().map_err(RootfsError::Slots)
    }

    /// No update is under way and the boot loader can be relied on: an image may be written and selected.
    fn settled(status: BootStatus) -> Result<Slot, Fault<B, S>> {
        if status.trial {
            return Err(RootfsError::Uncommitted(status));
        }
        if status.running != status.selected {
            return Err(RootfsError::Inconsistent(status));
        }
        Ok(status.running)
    }

    fn install(&mut self, now: Instant, status: BootStatus) -> Result<Run, Fault<B, S>> {
        let again = status.trial
            && status.selected == status.running.other()
            && self.remembered()? == Some(status.running);
        if again {
            // Power was lost right behind the selection below.
            return Ok(Run::Done);
        }
        let running = Self::settled(status)?;
        let next = running.other();
        self.slots.check(next).map_err(RootfsError::Slots)?;
        self.slots.remember(running).map_err(RootfsError::Slots)?;
        self.tell(now, BootCall::Trial(next), Tell::Forward)
    }

    /// The new slot runs on trial.
    fn in_trial(&mut self, status: BootStatus) -> Result<(), Fault<B, S>> {
        match (status.trial, status.running == status.selected) {
            (true, true) if self.ran_before(status.running) => Err(RootfsError::NotNew(status)),
            (true, true) => Ok(()),
            (true, false) => Err(RootfsError::NotRebooted(status)),
            (false, _) => Err(RootfsError::Reverted(status)),
        }
    }

    /// `slot` is remembered as the one from before the update. A damaged memo says nothing: the boot loader does.
    fn ran_before(&mut self, slot: Slot) -> bool {
        match self.slots.remembered() {
            Ok(remembered) => remembered == Some(slot),
            Err(error) => {
                self.warn(&Warning::NotRemembered { error: Cause::of(&error) });
                false
            }
        }
    }

    fn commit(&mut self, now: Instant, status: BootStatus) -> Result<Run, Fault<B, S>> {
        match self.in_trial(status) {
            Ok(()) => {
                // Another client has begun this update. After a loss of power behind the commit, the boot loader does not
                // tell any more that there was something to commit, or to take back.
                if let Ok(None) = self.slots.remembered() {
                    self.slots.remember(status.running.other()).map_err(RootfsError::Slots)?;
                }
                self.tell(now, BootCall::Permanent(status.running), Tell::Forward)
            }
            Err(RootfsError::Reverted(status))
                if status.running == status.selected
                    && self.remembered()? == Some(status.running.other()) =>
            {
                // Already committed: power was lost before that was on record.
                Ok(Run::Done)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Goes back to the slot from before the update. Where the trial itself runs, the boot loader goes back at the next
    /// boot whatever is stored (I7), and the check after the reboot tells. Anywhere else the next boot would start the
    /// refused image: that the boot loader cannot be asked or told is then an error (R-45).
    fn roll_back(&mut self, now: Instant, status: BootStatus) -> Result<Run, Fault<B, S>> {
        let BootStatus { running, selected, trial } = status;
        let remembered = match self.slots.remembered() {
            Ok(remembered) => remembered,
            Err(error) if trial => {
                self.warn(&Warning::NotRemembered { error: Cause::of(&error) });
                None
            }
            Err(error) => return Err(RootfsError::Slots(error)),
        };
        if !trial {
            // Else nothing was selected by this update, or it was taken back already: a boot loader that cannot be
            // written must not make more of it.
            let Some(to) = remembered.filter(|&before| before != selected) else { return Ok(Run::Done) };
            return self.tell(now, BootCall::Permanent(to), Tell::Back { running, to, trial });
        }
        // Before the reboot the slot that runs; in the trial the remembered one, or else the one that does not run.
        let other = selected.other();
        let to = if running == other { other } else { remembered.unwrap_or(other) };
        if let Some(slot) = remembered.filter(|&slot| slot != other) {
            self.warn(&Warning::WrongMemo { slot, to });
        }
        self.tell(now, BootCall::Permanent(to), Tell::Back { running, to, trial })
    }

    /// The boot loader cannot be asked: what this update has done so far tells whether the trial runs.
    fn roll_back_unseen(&mut self, error: B::Error) -> Result<Run, Fault<B, S>> {
        match (self.slots.remembered(), self.boot.running()) {
            // It is remembered before the boot loader is told of the new slot.
            (Ok(None), _) => {
                self.warn(&Warning::NothingTold { error: Cause::of(&error) });
                Ok(Run::Done)
            }
            (Ok(Some(before)), Ok(running)) if running != before => {
                self.warn(&Warning::LeftAlone { error: Cause::of(&error) });
                Ok(Run::Done)
            }
            (Ok(Some(_)) | Err(_), Ok(_) | Err(_)) => Err(RootfsError::StillSelected(error)),
        }
    }

    fn verify_rollback(&mut self, status: BootStatus) -> Result<(), Fault<B, S>> {
        let before = self.remembered()?;
        let is_back = !status.trial
            && status.running == status.selected
            && before.is_none_or(|before| before == status.running);
        if is_back { Ok(()) } else { Err(RootfsError::NotRolledBack(status)) }
    }

    fn downloading(&mut self) -> Result<&mut u8, Fault<B, S>> {
        match &mut self.run {
            Run::Download { files } => Ok(files),
            Run::Nothing
            | Run::Done
            | Run::Answer(_)
            | Run::Look(_)
            | Run::Ask
            | Run::Tell(_)
            | Run::Stopping
            | Run::StoppingLook => Err(RootfsError::Order),
        }
    }
}

type Fault<B, S> = RootfsError<<B as ErrorType>::Error, <S as ErrorType>::Error>;

impl<B: Bootloader, S: Slots> ErrorType for RootfsImage<B, S> {
    type Error = Fault<B, S>;
}

impl<B: Bootloader, S: Slots> UpdateModule for RootfsImage<B, S> {
    fn select(&mut self, payload_type: &str) -> Result<(), Self::Error> {
        if payload_type == PAYLOAD_TYPE { Ok(()) } else { Err(RootfsError::PayloadType) }
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        self.run = Run::Nothing;
        self.files = facts.files;
        self.slots.prepare(facts).map_err(RootfsError::Slots)
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        self.run = Run::Nothing;
        self.files = facts.files;
        self.slots.prepare_again(facts).map_err(RootfsError::Slots)
    }

    fn start(&mut self, now: Instant, call: Call) -> Result<(), Self::Error> {
        self.run = Run::Nothing;
        self.rollback_waits = false;
        if call != Call::Cleanup && !self.slots.has_tree() {
            return Err(RootfsError::NoTree(call));
        }
        self.run = self.call(now, call).map_err(|fault| self.failed(fault))?;
        Ok(())
    }

    fn rollback_waits(&self) -> bool {
        self.rollback_waits
    }

    fn start_check_running(&mut self, now: Instant) -> Result<bool, Self::Error> {
        self.boot.start(now, BootCall::Status).map_err(RootfsError::Boot)?;
        self.run = Run::Ask;
        Ok(true)
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>> {
        if let Err(fault) = ready!(self.advance(now)) {
            return Poll::Ready(Err(fault));
        }
        match self.run {
            Run::Nothing => Poll::Ready(Err(RootfsError::Order)),
            Run::Done | Run::Answer(_) => Poll::Ready(Ok(Exit::Code(0))),
            Run::Look(_) | Run::Ask | Run::Tell(_) | Run::Download { .. } => Poll::Pending,
            Run::Stopping => self.slots.poll_idle(now).map(|()| Ok(Exit::Code(1))),
            Run::StoppingLook => self.boot.poll(now).map(|_| {
                self.run = Run::Stopping;
                Ok(Exit::Code(1))
            }),
        }
    }

    fn answer(&self) -> &[u8] {
        match self.run {
            Run::Answer(answer) => answer.as_bytes(),
            Run::Nothing
            | Run::Done
            | Run::Look(_)
            | Run::Ask
            | Run::Tell(_)
            | Run::Download { .. }
            | Run::Stopping
            | Run::StoppingLook => &[],
        }
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        match self.run {
            // Nothing depends on a look.
            Run::Look(_) | Run::Ask | Run::StoppingLook => self.boot.stop(now, Duration::ZERO),
            Run::Tell(_) => self.boot.stop(now, grace),
            Run::Nothing | Run::Done | Run::Answer(_) | Run::Download { .. } | Run::Stopping => {}
        }
        self.abort();
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(self.boot.deadline(), self.slots.deadline())
    }

    fn is_clean(&mut self) -> bool {
        self.slots.is_clean()
    }

    fn remove(&mut self) -> Result<(), Self::Error> {
        self.abort();
        self.run = Run::Nothing;
        self.slots.remove().map_err(RootfsError::Slots)
    }
}

impl<B: Bootloader, S: Slots> PayloadSink for RootfsImage<B, S> {
    fn expect(&mut self, sha256: &[u8; 32]) {
        self.slots.expect(sha256);
    }

    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), Self::Error>> {
        if let Err(fault) = ready!(self.advance(now)) {
            return Poll::Ready(Err(fault));
        }
        match self.downloading() {
            Ok(0) => {}
            Ok(_) => return Poll::Ready(Err(RootfsError::Files)),
            Err(fault) => return Poll::Ready(Err(fault)),
        }
        if size == 0 {
            return Poll::Ready(Err(RootfsError::Empty));
        }
        let begun = self.slots.poll_begin(now, name, size).map_err(RootfsError::Slots);
        if let (Poll::Ready(Ok(())), Ok(files)) = (&begun, self.downloading()) {
            *files = 1;
        }
        begun
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, Self::Error>> {
        if let Err(fault) = self.downloading() {
            return Poll::Ready(Err(fault));
        }
        self.slots.poll_write(now, bytes).map_err(RootfsError::Slots)
    }

    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        if let Err(fault) = self.downloading() {
            return Poll::Ready(Err(fault));
        }
        self.slots.poll_end(now).map_err(RootfsError::Slots)
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        if let Err(fault) = ready!(self.advance(now)) {
            return Poll::Ready(Err(fault));
        }
        match self.downloading() {
            Ok(0) => return Poll::Ready(Err(RootfsError::Files)),
            Ok(_) => {}
            Err(fault) => return Poll::Ready(Err(fault)),
        }
        self.slots.poll_finish(now).map_err(RootfsError::Slots)
    }

    fn mark_every(&self) -> u64 {
        self.slots.mark_every()
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), Self::Error> {
        self.downloading()?;
        self.slots.mark(sha256).map_err(RootfsError::Slots)
    }

    fn stored(&mut self) -> Option<Stored> {
        self.slots.stored()
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, Self::Error> {
        self.downloading()?;
        self.slots.read_stored(to).map_err(RootfsError::Slots)
    }

    fn forget_stored(&mut self) -> Result<(), Self::Error> {
        self.downloading()?;
        self.slots.forget_stored().map_err(RootfsError::Slots)
    }

    fn abort(&mut self) {
        match self.run {
            Run::Download { .. } => {
                self.slots.abort();
                self.run = Run::Stopping;
            }
            Run::Look(Call::DownloadWithFileSizes) => self.run = Run::StoppingLook,
            Run::Nothing
            | Run::Done
            | Run::Answer(_)
            | Run::Look(_)
            | Run::Ask
            | Run::Tell(_)
            | Run::Stopping
            | Run::StoppingLook => {}
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootfsError<B, S> {
    /// The boot loader's own.
    Boot(B),
    /// The boot loader's own, in a rollback while the new image does not run: the next boot may start it.
    StillSelected(B),
    /// The slots' own.
    Slots(S),
    /// Asked to handle another payload type.
    PayloadType,
    /// `Download` without sizes.
    SizesNeeded,
    /// Not exactly one file.
    Files,
    /// A file without content.
    Empty,
    /// A call without a work tree.
    NoTree(Call),
    /// An earlier update is neither committed nor taken back.
    Uncommitted(BootStatus),
    /// The running slot is not the one that would be started next, and no update explains it.
    Inconsistent(BootStatus),
    /// The new slot does not run (yet).
    NotRebooted(BootStatus),
    /// The slot from before the update runs, and is on trial.
    NotNew(BootStatus),
    /// The trial is over without a commit.
    Reverted(BootStatus),
    /// The device is not back where it was.
    NotRolledBack(BootStatus),
    /// No call or file is open for this.
    Order,
}

texts! {
    ERRORS = 'B': RootfsError<B, S> where [B: Error, S: Error] {
        1 Boot(error) with (error = Cause::of(error)) => "{error}",
        2 StillSelected(error) with (error = Cause::of(error)) =>
            "not rolled back, the next boot may start the new image: {error}",
        3 Slots(error) with (error = Cause::of(error)) => "{error}",
        4 PayloadType with (only = PAYLOAD_TYPE) => "only payloads of type {only} are handled here",
        5 SizesNeeded => "a root file system is only written when its size is known",
        6 Files with (kind = PAYLOAD_TYPE) => "a {kind} payload has exactly one file",
        7 Empty => "the image is empty",
        8 NoTree(call) =>
            "cannot call {call}: the work tree is missing, and the update cannot go on: install it anew; a \
             deployment fails, and the server may deploy again",
        9 Uncommitted(status) with (selected = status.selected) =>
            "slot {selected} is on trial from an earlier update that was neither committed nor rolled back: \
             reboot until the boot loader has gone back, or set its records right",
        10 Inconsistent(status) with (running = status.running, selected = status.selected) =>
            "slot {running} runs but the boot loader would start slot {selected} next: reboot, or correct \
             the boot environment",
        11 NotRebooted(status) with (running = status.running, selected = status.selected) =>
            "slot {running} still runs, not the new slot {selected}: an update by hand needs a reboot before \
             the commit; a deployment goes back to slot {running} and fails",
        12 NotNew(status) with (running = status.running) =>
            "slot {running} ran before the update and runs now: the new slot was not started",
        13 Reverted(status) with (running = status.running) =>
            "the update was reverted: the boot loader is not in a trial any more, and slot {running} runs",
        14 NotRolledBack(status) with (selection = Selection::of(*status), running = status.running) =>
            "not rolled back: slot {running} runs and slot {selection}",
        15 Order => "no call or payload file is open for this",
    }
}

messages! {
    /// Which slot is selected.
    enum Selection, SELECTIONS = 'B' {
        21 Kept { slot: Slot } => "{slot} is selected",
        22 Trial { slot: Slot } => "{slot} is selected for a trial",
    }
}

impl Selection {
    const fn of(BootStatus { selected: slot, trial, .. }: BootStatus) -> Self {
        if trial { Self::Trial { slot } } else { Self::Kept { slot } }
    }
}

messages! {
    /// What people should know of and what stops nothing.
    enum Warning<'a>, WARNINGS = 'B' {
        31 UntilReboot { running: Slot, to: Slot } => "slot {running} runs until the reboot, then slot {to}",
        32 LeftToGoBack { to: Slot, error: Cause<'a> } =>
            "the boot loader is left to go back to slot {to} by itself: {error}",
        33 NotRemembered { error: Cause<'a> } => "the slot before the update is not known: {error}",
        34 WrongMemo { slot: Slot, to: Slot } =>
            "slot {slot} was remembered as the one before the update, but slot {slot} is on trial; going back to \
             slot {to}",
        35 NothingTold { error: Cause<'a> } =>
            "the boot loader cannot be asked, but this update has not told it anything: {error}",
        36 LeftAlone { error: Cause<'a> } =>
            "the boot loader cannot be asked, it is left to go back by itself: {error}",
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&ERRORS, &SELECTIONS, &WARNINGS];

impl<B: Error, S: Error> Error for RootfsError<B, S> {
    fn kind(&self) -> Kind {
        match self {
            Self::Boot(error) | Self::StillSelected(error) => error.kind(),
            Self::Slots(error) => error.kind(),
            Self::NoTree(_) => Kind::NotFound,
            Self::PayloadType
            | Self::SizesNeeded
            | Self::Files
            | Self::Empty
            | Self::Uncommitted(_)
            | Self::Inconsistent(_) => Kind::Refused,
            Self::NotRebooted(_)
            | Self::NotNew(_)
            | Self::Reverted(_)
            | Self::NotRolledBack(_)
            | Self::Order => Kind::Other,
        }
    }

    fn write_code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::write(f, self)
    }
}

#[cfg(test)]
#[path = "rootfs_tests.rs"]
mod tests;
