use std::cell::RefCell;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    Boots,
    /// Whole, but it hangs or panics: the watchdog resets.
    Hangs,
    /// Written in part.
    Garbage,
}

/// A device: two slots, the variables, the work tree, and the boot scripts of Mender.
#[derive(Debug)]
struct World {
    slots: [Image; 2],
    selected: Slot,
    upgrade_available: bool,
    bootcount: u8,
    running: Slot,
    tree: bool,
    memo: Option<Slot>,
    /// The next write of the boot environment is the last thing that happens: before it, or right behind it.
    cut: Option<bool>,
    /// Errors to come: reading, writing, checking the environment.
    broken: [bool; 3],
    /// The boot loader does not answer.
    hangs: bool,
    /// It was told to end its call.
    stopped: bool,
    unusable: bool,
    aimed: Option<Slot>,
    left: u64,
    writes: u32,
    warnings: Vec<String>,
}

fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

impl World {
    fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            slots: [Image::Boots, Image::Boots],
            selected: Slot::A,
            upgrade_available: false,
            bootcount: 0,
            running: Slot::A,
            tree: false,
            memo: None,
            cut: None,
            broken: [false; 3],
            hangs: false,
            stopped: false,
            unusable: false,
            aimed: None,
            left: 0,
            writes: 0,
            warnings: Vec::new(),
        }))
    }

    /// The boot script, until a system runs.
    fn boot(&mut self) {
        self.cut = None;
        for _ in 0..4 {
            if self.upgrade_available {
                if self.bootcount == 0 {
                    self.bootcount = 1;
                } else {
                    self.selected = self.selected.other();
                    self.upgrade_available = false;
                    self.bootcount = 0;
                }
            }
            if self.slots[index(self.selected)] == Image::Boots {
                self.running = self.selected;
                return;
            }
            assert!(self.upgrade_available, "a slot that does not boot is selected for good: {self:?}");
        }
        panic!("nothing boots: {self:?}");
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken(&'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Broken {
    fn kind(&self) -> Kind {
        Kind::Other
    }
}

/// It answers at the second poll.
struct Loader {
    world: Rc<RefCell<World>>,
    asked: Option<(BootCall, u8)>,
}

impl Loader {
    fn write(&self, selected: Slot, upgrade_available: bool) -> Result<(), Broken> {
        let mut world = self.world.borrow_mut();
        if world.broken[1] {
            return Err(Broken("write"));
        }
        let cut = world.cut.take();
        if cut != Some(false) {
            let new = (selected, upgrade_available);
            if new != (world.selected, world.upgrade_available) {
                world.writes += 1;
                (world.selected, world.upgrade_available) = new;
                world.bootcount = 0;
            }
        }
        if cut.is_some() { Err(Broken("power lost")) } else { Ok(()) }
    }

    fn call(&self, call: BootCall) -> Result<BootStatus, Broken> {
        match call {
            BootCall::Status => {}
            BootCall::Check if self.world.borrow().broken[2] => return Err(Broken("canary")),
            BootCall::Check => {}
            BootCall::Trial(slot) => return self.write(slot, true).map(|()| self.standing()),
            BootCall::Permanent(slot) => return self.write(slot, false).map(|()| self.standing()),
        }
        if self.world.borrow().broken[0] { Err(Broken("read")) } else { Ok(self.standing()) }
    }

    fn standing(&self) -> BootStatus {
        let world = self.world.borrow();
        let (running, selected, trial) = (world.running, world.selected, world.upgrade_available);
        BootStatus { running, selected, trial }
    }
}

impl ErrorType for Loader {
    type Error = Broken;
}

impl Bootloader for Loader {
    fn running(&mut self) -> Result<Slot, Broken> {
        Ok(self.world.borrow().running)
    }

    fn start(&mut self, _now: Instant, call: BootCall) -> Result<(), Broken> {
        assert!(self.asked.is_none(), "the call before has not ended");
        self.asked = Some((call, 1));
        Ok(())
    }

    fn poll(&mut self, _now: Instant) -> Poll<Result<BootStatus, Broken>> {
        let (call, polls) = self.asked.take().expect("it was asked");
        if polls > 0 && !self.world.borrow().stopped {
            let hangs = self.world.borrow().hangs;
            self.asked = Some((call, if hangs { polls } else { polls - 1 }));
            return Poll::Pending;
        }
        Poll::Ready(if self.world.borrow().stopped { Err(Broken("stopped")) } else { self.call(call) })
    }

    fn stop(&mut self, _now: Instant, _grace: Duration) {
        self.world.borrow_mut().stopped = true;
    }
}

struct Disks(Rc<RefCell<World>>);

impl ErrorType for Disks {
    type Error = Broken;
}

impl PayloadSink for Disks {
    fn poll_begin(&mut self, _now: Instant, _name: &str, size: u64) -> Poll<Result<(), Broken>> {
        let mut world = self.0.borrow_mut();
        let slot = world.aimed.unwrap();
        assert_ne!(slot, world.running, "the running slot is overwritten");
        world.slots[index(slot)] = Image::Garbage;
        world.left = size;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, _now: Instant, bytes: &[u8]) -> Poll<Result<usize, Broken>> {
        self.0.borrow_mut().left -= bytes.len() as u64;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_end(&mut self, _now: Instant) -> Poll<Result<(), Broken>> {
        let left = self.0.borrow().left;
        Poll::Ready(if left == 0 { Ok(()) } else { Err(Broken("short")) })
    }

    fn poll_finish(&mut self, _now: Instant) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {
        self.0.borrow_mut().aimed = None;
    }
}

impl Slots for Disks {
    fn aim(&mut self, slot: Slot) -> Result<(), Broken> {
        self.0.borrow_mut().aimed = Some(slot);
        Ok(())
    }

    fn check(&mut self, _slot: Slot) -> Result<(), Broken> {
        if self.0.borrow().unusable { Err(Broken("update marker")) } else { Ok(()) }
    }

    fn poll_idle(&mut self, _now: Instant) -> Poll<()> {
        Poll::Ready(())
    }

    fn prepare(&mut self, _facts: &TreeFacts<'_>) -> Result<(), Broken> {
        let mut world = self.0.borrow_mut();
        (world.tree, world.memo) = (true, None);
        Ok(())
    }

    fn remember(&mut self, running: Slot) -> Result<(), Broken> {
        self.0.borrow_mut().memo = Some(running);
        Ok(())
    }

    fn remembered(&mut self) -> Result<Option<Slot>, Broken> {
        Ok(self.0.borrow().memo)
    }

    fn has_tree(&mut self) -> bool {
        !self.is_clean()
    }

    fn is_clean(&mut self) -> bool {
        !self.0.borrow().tree
    }

    fn remove(&mut self) -> Result<(), Broken> {
        let mut world = self.0.borrow_mut();
        (world.tree, world.memo) = (false, None);
        Ok(())
    }

    fn warn(&mut self, message: fmt::Arguments<'_>) {
        self.0.borrow_mut().warnings.push(message.to_string());
    }
}

const FACTS: TreeFacts<'_> = TreeFacts {
    current_artifact_name: "old",
    current_artifact_group: "",
    current_device_type: "board",
    artifact_name: "new",
    artifact_group: "",
    payload_type: PAYLOAD_TYPE,
    header_info: b"{}",
    type_info: b"{}",
    meta_data: b"",
    files: 1,
};
const NOW: Instant = Instant::ZERO;

type Handler = RootfsImage<Loader, Disks>;

struct Lab {
    world: Rc<RefCell<World>>,
    handler: Handler,
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let mut lab = Self { handler: handler(&world), world };
        lab.handler.select(PAYLOAD_TYPE).unwrap();
        lab.handler.prepare(&FACTS).unwrap();
        lab
    }

    fn call(&mut self, call: Call) -> Result<(), String> {
        self.handler.start(NOW, call).map_err(|error| error.to_string())?;
        match self.wait(|handler| handler.poll_exit(NOW)) {
            Ok(exit) if exit.is_success() => Ok(()),
            Ok(exit) => Err(exit.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Polls until it is ready.
    fn wait<T>(&mut self, mut poll: impl FnMut(&mut Handler) -> Poll<T>) -> T {
        for _ in 0..10 {
            if let Poll::Ready(ready) = poll(&mut self.handler) {
                return ready;
            }
        }
        panic!("it does not end");
    }

    fn download(&mut self, image: Image) -> Result<(), String> {
        let text = |error: RootfsError<Broken, Broken>| error.to_string();
        self.handler.start(NOW, Call::DownloadWithFileSizes).map_err(text)?;
        self.wait(|handler| handler.poll_begin(NOW, "rootfs.ext4", 4)).map_err(text)?;
        assert_eq!(now(self.handler.poll_write(NOW, b"1234")).map_err(text)?, 4);
        now(self.handler.poll_end(NOW)).map_err(text)?;
        now(self.handler.poll_finish(NOW)).map_err(text)?;
        let mut world = self.world.borrow_mut();
        let slot = world.running.other();
        world.slots[index(slot)] = image;
        Ok(())
    }

    fn reboot(&mut self) {
        self.world.borrow_mut().boot();
        self.handler = handler(&self.world);
        self.handler.select(PAYLOAD_TYPE).unwrap();
    }

    fn installed(image: Image) -> Self {
        let mut lab = Self::new();
        lab.download(image).unwrap();
        lab.call(Call::ArtifactInstall).unwrap();
        lab
    }

    fn in_trial() -> Self {
        let mut lab = Self::installed(Image::Boots);
        lab.reboot();
        lab
    }

    fn standing(&self) -> (Slot, Slot, bool) {
        let world = self.world.borrow();
        (world.running, world.selected, world.upgrade_available)
    }
}

fn handler(world: &Rc<RefCell<World>>) -> Handler {
    RootfsImage::new(Loader { world: world.clone(), asked: None }, Disks(world.clone()))
}

fn now<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("pending"),
    }
}

#[test]
fn an_update_is_tried_once_and_committed() {
    let mut lab = Lab::new();
    for (call, answer) in [
        (Call::ProvidePayloadFileSizes, "Yes"),
        (Call::NeedsArtifactReboot, "Automatic"),
        (Call::SupportsRollback, "Yes"),
    ] {
        lab.call(call).unwrap();
        assert_eq!(lab.handler.answer(), answer.as_bytes());
    }
    lab.download(Image::Boots).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false), "a written slot is not selected");
    lab.call(Call::ArtifactInstall).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::B, true));
    lab.reboot();
    assert_eq!(lab.standing(), (Slot::B, Slot::B, true));
    lab.call(Call::ArtifactVerifyReboot).unwrap();
    lab.call(Call::ArtifactCommit).unwrap();
    assert_eq!(lab.standing(), (Slot::B, Slot::B, false));
    lab.call(Call::Cleanup).unwrap();
    lab.handler.remove().unwrap();
    assert!(lab.handler.is_clean());
    assert_eq!(lab.world.borrow().writes, 2);
}

#[test]
fn b10_an_image_that_hangs_is_reverted_and_seen_as_that() {
    let mut lab = Lab::installed(Image::Hangs);
    lab.reboot();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    for call in [Call::ArtifactVerifyReboot, Call::ArtifactCommit] {
        assert!(lab.call(call).unwrap_err().contains("was reverted"));
    }
    lab.call(Call::ArtifactRollback).unwrap();
    lab.reboot();
    lab.call(Call::ArtifactVerifyRollbackReboot).unwrap();
}

#[test]
fn b10_a_reset_during_the_trial_counts_as_a_failed_boot() {
    let mut lab = Lab::in_trial();
    lab.reboot();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    assert!(lab.call(Call::ArtifactCommit).unwrap_err().contains("was reverted"));
}

#[test]
fn b12_i2_nothing_is_committed_from_the_wrong_slot() {
    // Installed, but the reboot did not happen.
    let mut lab = Lab::installed(Image::Boots);
    for call in [Call::ArtifactVerifyReboot, Call::ArtifactCommit] {
        assert!(lab.call(call).unwrap_err().contains("reboot before the commit"));
    }
    assert_eq!(lab.standing(), (Slot::A, Slot::B, true), "and nothing is repaired");
    // Never installed.
    let mut lab = Lab::new();
    assert!(lab.call(Call::ArtifactCommit).is_err());
    // Another system than the selected one, and no update.
    lab.world.borrow_mut().selected = Slot::B;
    assert!(lab.call(Call::ArtifactCommit).is_err());
}

#[test]
fn b12_a_trial_of_the_slot_from_before_the_update_is_not_committed() {
    // A boot script that goes back and leaves the mark of the trial.
    let mut lab = Lab::in_trial();
    lab.world.borrow_mut().selected = Slot::A;
    lab.world.borrow_mut().running = Slot::A;
    for call in [Call::ArtifactVerifyReboot, Call::ArtifactCommit] {
        assert!(lab.call(call).unwrap_err().contains("ran before the update"));
    }
    assert_eq!(lab.standing(), (Slot::A, Slot::A, true), "and nothing is repaired");
    // The way back is to the slot that was remembered, not to the other one of the trial.
    lab.call(Call::ArtifactRollback).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    assert_eq!(lab.world.borrow().warnings.len(), 1);
}

#[test]
fn i6_a_commit_may_be_repeated_and_taken_back() {
    let mut lab = Lab::in_trial();
    lab.world.borrow_mut().cut = Some(true);
    assert!(lab.call(Call::ArtifactCommit).is_err());
    lab.reboot();
    assert_eq!(lab.standing(), (Slot::B, Slot::B, false));
    lab.call(Call::ArtifactCommit).unwrap();
    lab.call(Call::ArtifactRollback).unwrap();
    assert!(lab.call(Call::ArtifactVerifyRollbackReboot).is_err(), "not before the reboot");
    lab.reboot();
    lab.call(Call::ArtifactVerifyRollbackReboot).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
}

#[test]
fn r40_the_commit_of_an_update_that_another_client_began_may_be_repeated_and_taken_back() {
    for is_told in [false, true] {
        let mut lab = Lab::in_trial();
        // That client keeps no note of the slot from before.
        lab.world.borrow_mut().memo = None;
        lab.world.borrow_mut().cut = Some(is_told);
        assert!(lab.call(Call::ArtifactCommit).is_err());
        lab.reboot();
        if is_told {
            assert_eq!(lab.standing(), (Slot::B, Slot::B, false));
            lab.call(Call::ArtifactCommit).unwrap();
            lab.call(Call::ArtifactRollback).unwrap();
            lab.reboot();
        } else {
            // The trial was lost with the power: the boot loader is back.
            assert!(lab.call(Call::ArtifactCommit).is_err());
        }
        lab.call(Call::ArtifactVerifyRollbackReboot).unwrap();
        assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    }
}

#[test]
fn a_rollback_before_the_reboot_stays_where_it_is() {
    let mut lab = Lab::installed(Image::Boots);
    lab.call(Call::ArtifactRollback).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    lab.call(Call::ArtifactRollback).unwrap();
    lab.call(Call::ArtifactVerifyRollbackReboot).unwrap();
    // Nothing was selected yet.
    let mut lab = Lab::new();
    lab.download(Image::Boots).unwrap();
    lab.call(Call::ArtifactRollback).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    assert_eq!(lab.world.borrow().writes, 0);
}

#[test]
fn a_rollback_of_what_was_never_selected_needs_no_write() {
    let mut lab = Lab::new();
    lab.download(Image::Boots).unwrap();
    lab.world.borrow_mut().broken = [false, true, false];
    assert!(lab.call(Call::ArtifactInstall).is_err());
    lab.call(Call::ArtifactRollback).unwrap();
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    assert_eq!(lab.world.borrow().warnings, Vec::<String>::new());
}

#[test]
fn r_45_a_rollback_before_the_reboot_needs_the_environment() {
    for broken in [[false, true, false], [true, true, true]] {
        let mut lab = Lab::installed(Image::Boots);
        lab.world.borrow_mut().broken = broken;
        let error = lab.call(Call::ArtifactRollback).unwrap_err();
        assert!(error.contains("not rolled back, the next boot may start the new image"), "{error}");
        assert!(lab.handler.rollback_waits());
        assert_eq!(lab.standing(), (Slot::A, Slot::B, true), "as it was");
        // Repeated, also after a restart, once the environment is there again.
        lab.handler = handler(&lab.world);
        lab.handler.select(PAYLOAD_TYPE).unwrap();
        assert!(lab.call(Call::ArtifactRollback).is_err());
        lab.world.borrow_mut().broken = [false; 3];
        lab.call(Call::ArtifactRollback).unwrap();
        assert!(!lab.handler.rollback_waits());
        assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    }
}

#[test]
fn r_45_a_selection_that_failed_on_the_way_is_taken_back_or_it_is_a_failure() {
    // It took effect, and could not be read back.
    let mut lab = Lab::new();
    lab.download(Image::Boots).unwrap();
    lab.world.borrow_mut().cut = Some(true);
    assert!(lab.call(Call::ArtifactInstall).is_err());
    lab.world.borrow_mut().broken = [true; 3];
    assert!(lab.call(Call::ArtifactRollback).is_err());
    assert!(lab.handler.rollback_waits());
    // An install that did not come so far has told the boot loader nothing.
    let mut lab = Lab::new();
    lab.download(Image::Boots).unwrap();
    lab.world.borrow_mut().broken = [true; 3];
    assert!(lab.call(Call::ArtifactInstall).is_err());
    lab.call(Call::ArtifactRollback).unwrap();
    assert!(!lab.handler.rollback_waits());
    assert!(lab.world.borrow().warnings[0].contains("has not told it anything"));
}

#[test]
fn i7_a_broken_environment_does_not_stop_a_rollback_of_a_trial() {
    for broken in [[false, true, false], [true, true, true]] {
        let mut lab = Lab::in_trial();
        lab.world.borrow_mut().broken = broken;
        lab.call(Call::ArtifactRollback).unwrap();
        assert_eq!(lab.world.borrow().warnings.len(), 1);
        lab.world.borrow_mut().broken = [false; 3];
        lab.reboot();
        lab.call(Call::ArtifactVerifyRollbackReboot).unwrap();
        assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
    }
    // After a commit nobody else goes back: then it is a failure, or found out after the reboot.
    let mut lab = Lab::in_trial();
    lab.call(Call::ArtifactCommit).unwrap();
    lab.world.borrow_mut().broken = [false, true, false];
    assert!(lab.call(Call::ArtifactRollback).is_err());
    assert!(lab.handler.rollback_waits());
    lab.world.borrow_mut().broken = [true; 3];
    lab.call(Call::ArtifactRollback).unwrap();
    lab.world.borrow_mut().broken = [false; 3];
    lab.reboot();
    assert!(lab.call(Call::ArtifactVerifyRollbackReboot).unwrap_err().contains("not rolled back"));
}

#[test]
fn b11_nothing_is_written_when_the_boot_loader_cannot_be_relied_on() {
    for broken in [[true, false, false], [false, false, true]] {
        let mut lab = Lab::new();
        lab.world.borrow_mut().broken = broken;
        assert!(lab.download(Image::Boots).is_err());
        assert!(lab.call(Call::ArtifactInstall).is_err());
        assert_eq!(lab.world.borrow().slots, [Image::Boots; 2]);
    }
}

#[test]
fn an_update_that_is_not_ended_or_explained_stops_the_next() {
    for (selected, trial, text) in [
        (Slot::B, true, "neither committed nor rolled back"),
        (Slot::A, true, "neither committed nor rolled back"),
        (Slot::B, false, "correct the boot environment"),
    ] {
        let mut lab = Lab::new();
        lab.world.borrow_mut().selected = selected;
        lab.world.borrow_mut().upgrade_available = trial;
        assert!(lab.download(Image::Boots).unwrap_err().contains(text));
        assert!(lab.call(Call::ArtifactInstall).unwrap_err().contains(text));
        assert_eq!(lab.world.borrow().slots, [Image::Boots; 2]);
        assert_eq!(lab.standing(), (Slot::A, selected, trial), "nothing is repaired");
    }
}

#[test]
fn an_interrupted_selection_may_be_repeated() {
    for behind in [false, true] {
        let mut lab = Lab::new();
        lab.download(Image::Boots).unwrap();
        lab.world.borrow_mut().cut = Some(behind);
        assert!(lab.call(Call::ArtifactInstall).is_err());
        lab.call(Call::ArtifactInstall).unwrap();
        assert_eq!(lab.standing(), (Slot::A, Slot::B, true));
        assert_eq!(lab.world.borrow().writes, 1, "nothing is written when nothing changes");
    }
}

#[test]
fn b9_a_slot_whose_update_was_interrupted_is_not_selected() {
    let mut lab = Lab::new();
    lab.download(Image::Boots).unwrap();
    lab.world.borrow_mut().unusable = true;
    assert!(lab.call(Call::ArtifactInstall).unwrap_err().contains("update marker"));
    assert_eq!(lab.standing(), (Slot::A, Slot::A, false));
}

#[test]
fn a_payload_has_exactly_one_file_with_content() {
    let mut lab = Lab::new();
    assert!(lab.call(Call::Download).is_err(), "sizes are needed");
    let begin = |lab: &mut Lab| {
        lab.handler.start(NOW, Call::DownloadWithFileSizes).unwrap();
    };
    for files in [0, 2] {
        // Before the slot is touched.
        lab.handler.prepare(&TreeFacts { files, ..FACTS }).unwrap();
        assert_eq!(lab.handler.start(NOW, Call::DownloadWithFileSizes), Err(RootfsError::Files));
    }
    lab.handler.prepare(&FACTS).unwrap();
    begin(&mut lab);
    assert_eq!(lab.wait(|handler| handler.poll_finish(NOW)), Err(RootfsError::Files));
    begin(&mut lab);
    assert_eq!(lab.wait(|handler| handler.poll_begin(NOW, "a", 0)), Err(RootfsError::Empty));
    begin(&mut lab);
    lab.wait(|handler| handler.poll_begin(NOW, "a", 1)).unwrap();
    now(lab.handler.poll_write(NOW, b"1")).unwrap();
    now(lab.handler.poll_end(NOW)).unwrap();
    assert_eq!(now(lab.handler.poll_begin(NOW, "b", 1)), Err(RootfsError::Files));
    lab.handler.abort();
    lab.handler.kill(NOW, Duration::ZERO);
    assert_eq!(now(lab.handler.poll_exit(NOW)), Ok(Exit::Code(1)));
    assert!(now(lab.handler.poll_write(NOW, b"1")).is_err());
}

#[test]
fn a_boot_loader_that_does_not_answer_keeps_no_call_from_its_end() {
    for call in [Call::ArtifactInstall, Call::ArtifactCommit, Call::ArtifactRollback] {
        let mut lab = Lab::installed(Image::Boots);
        lab.world.borrow_mut().hangs = true;
        lab.handler.start(NOW, call).unwrap();
        assert!(lab.handler.poll_exit(NOW).is_pending());
        lab.handler.kill(NOW, Duration::ZERO);
        let error = lab.wait(|handler| handler.poll_exit(NOW)).unwrap_err().to_string();
        assert!(error.ends_with("stopped"), "{error}");
    }
    // A download that waits for its look is given up, and has touched no slot.
    let mut lab = Lab::new();
    lab.world.borrow_mut().hangs = true;
    lab.handler.start(NOW, Call::DownloadWithFileSizes).unwrap();
    assert!(lab.handler.poll_begin(NOW, "i", 4).is_pending());
    lab.handler.abort();
    assert!(lab.handler.poll_exit(NOW).is_pending());
    lab.handler.kill(NOW, Duration::ZERO);
    assert_eq!(lab.wait(|handler| handler.poll_exit(NOW)), Ok(Exit::Code(1)));
    assert_eq!(lab.world.borrow().aimed, None);
}

#[test]
fn without_a_work_tree_only_cleanup_succeeds() {
    let mut lab = Lab::new();
    lab.handler.remove().unwrap();
    assert!(lab.call(Call::ArtifactRollback).unwrap_err().contains("work tree"));
    lab.call(Call::Cleanup).unwrap();
}

#[test]
fn another_payload_type_is_refused() {
    assert_eq!(Lab::new().handler.select("single-file"), Err(RootfsError::PayloadType));
}

/// The invariant of all: whatever is called in whatever order, and wherever power is lost, a slot that boots is
/// selected (the boot model asserts it), and a commit only succeeds where the running slot was on trial.
#[test]
fn random_calls_reboots_and_power_losses_always_leave_a_device_that_boots() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 33) % n
    };
    let mut commits = 0;
    for _ in 0..3000 {
        let mut lab = Lab::new();
        for _ in 0..40 {
            let before = lab.standing();
            let memo = lab.world.borrow().memo;
            if random(6) == 0 {
                lab.world.borrow_mut().cut = Some(random(2) == 0);
            }
            lab.world.borrow_mut().broken = [random(20) == 0, random(20) == 0, random(20) == 0];
            match random(11) {
                0 => drop(lab.handler.prepare(&FACTS)),
                1 => drop(lab.download(Image::Boots)),
                2 => drop(lab.download(Image::Hangs)),
                3 => {
                    // Power is lost while the slot is written.
                    if lab.handler.start(NOW, Call::DownloadWithFileSizes).is_ok() {
                        drop(lab.wait(|handler| handler.poll_begin(NOW, "i", 4)));
                        lab.reboot();
                    }
                }
                4 | 5 => drop(lab.call(Call::ArtifactInstall)),
                6 => {
                    if lab.call(Call::ArtifactCommit).is_ok() {
                        commits += 1;
                        let (running, selected, trial) = before;
                        assert_eq!(running, selected);
                        assert!(trial || memo == Some(running.other()));
                        assert_eq!(lab.standing(), (running, running, false));
                    }
                }
                7 => {
                    if lab.call(Call::ArtifactVerifyReboot).is_ok() {
                        assert!(before.2 && before.0 == before.1);
                    }
                }
                8 => drop(lab.call(Call::ArtifactRollback)),
                9 => drop(lab.call(Call::ArtifactVerifyRollbackReboot)),
                _ => lab.reboot(),
            }
            if lab.world.borrow().cut.is_none() && random(10) == 0 {
                lab.reboot();
            }
        }
        lab.reboot();
    }
    assert!(commits > 300, "{commits}: the walk does not get far");
}
