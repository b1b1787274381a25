use std::fs;

use super::super::medium;
use super::super::medium::fault::Fault;
use super::super::slot::SlotDevice;
use super::*;
use crate::testing::{Loop, Waits, run};

impl Waits for Writer {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        Writer::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        Writer::deadline(self)
    }
}

const MIB: usize = 1024 * 1024;
const SIZES: [usize; 9] = [1, 511, 512, 513, MIB - 1, MIB, MIB + 1, 3 * BUFFER, 5 * BUFFER + 4096 + 7];

fn image(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Writes `bytes` in chunks of `chunk`.
fn write(medium: Box<dyn Medium>, bytes: &[u8], chunk: usize, verify: bool) -> io::Result<Summary> {
    let mut writer = Writer::start(medium, bytes.len() as u64, None, Options { verify })?;
    for chunk in bytes.chunks(chunk) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = run(&mut writer, |writer, now| writer.poll_write(now, rest))?;
            rest = &rest[taken..];
        }
    }
    writer.end()?;
    run(&mut writer, |writer, now| writer.poll_finish(now))
}

fn simulated(fault: &Fault, bytes: &[u8]) -> io::Result<Summary> {
    write(Box::new(fault.clone()), bytes, 70_001, true)
}

#[test]
fn b7_images_of_any_size_are_whole_and_what_is_behind_them_stays() {
    for size in SIZES {
        let fault = Fault::new(4 * MIB);
        let bytes = image(size, 7);
        let summary = simulated(&fault, &bytes).unwrap();
        let state = fault.0.lock().unwrap();
        assert!(state.content[..size] == bytes, "{size}");
        assert!(state.content[size..].iter().all(|&byte| byte == 0xa5), "{size}: behind it");
        assert_eq!(state.flushes, 1);
        assert_eq!(summary.image, size as u64);
    }
}

#[test]
fn b7_a_slot_that_is_just_large_enough_is_filled() {
    for size in [512, MIB, MIB + 512] {
        let fault = Fault::new(size);
        let bytes = image(size, 3);
        simulated(&fault, &bytes).unwrap();
        assert!(fault.0.lock().unwrap().content == bytes);
    }
}

#[test]
fn b5_an_image_that_does_not_fit_is_refused_before_the_first_byte() {
    let fault = Fault::new(MIB);
    let error = simulated(&fault, &vec![1; MIB + 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains(&MIB.to_string()));
    let state = fault.0.lock().unwrap();
    assert_eq!((state.writes, state.flushes), (0, 0));
}

#[test]
fn b6_a_flush_that_fails_is_final() {
    let fault = Fault::new(MIB);
    fault.0.lock().unwrap().fail_flush = Some(libc::EIO);
    let error = simulated(&fault, &image(1000, 1)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(fault.0.lock().unwrap().flushes, 1, "no second try on the same descriptor");
}

#[test]
fn an_error_of_any_write_is_final_and_the_first_one_is_reported() {
    let bytes = image(8 * BUFFER, 5);
    for at in 0..8 {
        for code in [libc::EIO, libc::ENOSPC] {
            let fault = Fault::new(4 * MIB);
            fault.0.lock().unwrap().fail_write = Some((at, code));
            let error = simulated(&fault, &bytes).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code), "write {at}");
            let state = fault.0.lock().unwrap();
            assert_eq!((state.writes, state.flushes), (at, 0), "nothing more is done");
        }
    }
    let fault = Fault::new(4 * MIB);
    fault.0.lock().unwrap().fail_read = Some(libc::EIO);
    assert_eq!(simulated(&fault, &bytes).unwrap_err().raw_os_error(), Some(libc::EIO));
}

#[test]
fn i13_short_writes_go_on_and_a_full_device_keeps_its_error() {
    let bytes = image(MIB + 100, 5);
    for short in [512, 1000, 4096, 70_000] {
        let fault = Fault::new(2 * MIB);
        fault.0.lock().unwrap().short = Some(short);
        fault.0.lock().unwrap().interrupts = true;
        simulated(&fault, &bytes).unwrap();
        assert!(fault.0.lock().unwrap().content[..bytes.len()] == bytes);
    }
    let fault = Fault::new(2 * MIB);
    fault.0.lock().unwrap().short = Some(700);
    fault.0.lock().unwrap().fail_write = Some((5, libc::ENOSPC));
    assert_eq!(simulated(&fault, &bytes).unwrap_err().kind(), io::ErrorKind::StorageFull);
    // It never takes a whole sector and never says why.
    let fault = Fault::new(2 * MIB);
    fault.0.lock().unwrap().short = Some(100);
    assert!(simulated(&fault, &image(512, 1)).is_err());
}

#[test]
fn i12_a_medium_that_keeps_something_else_is_found_by_reading_back() {
    let bytes = image(MIB + 1, 5);
    for rot in [0, 1000, MIB] {
        let fault = Fault::new(2 * MIB);
        fault.0.lock().unwrap().rot = Some(rot);
        let error = simulated(&fault, &bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{rot}");
        let fault = Fault::new(2 * MIB);
        fault.0.lock().unwrap().rot = Some(rot);
        write(Box::new(fault), &bytes, MIB, false).unwrap();
    }
}

#[test]
fn i12_what_is_read_back_is_compared_with_the_digest_of_the_manifest() {
    let bytes = image(100_000, 5);
    let digest = ring::digest::digest(&SHA256, &bytes);
    let right: [u8; 32] = digest.as_ref().try_into().unwrap();
    for (expected, good) in [(right, true), ([0; 32], false)] {
        let fault = Fault::new(MIB);
        let mut writer = Writer::start(Box::new(fault), 100_000, Some(expected), Options::default()).unwrap();
        assert!(matches!(writer.poll_write(Instant::ZERO, &bytes), Poll::Ready(Ok(100_000))));
        writer.end().unwrap();
        assert_eq!(run(&mut writer, |writer, now| writer.poll_finish(now)).is_ok(), good);
    }
}

#[test]
fn a_mark_comes_behind_its_bytes_and_a_flush() {
    let bytes = image(3 * BUFFER, 3);
    let fault = Fault::new(2 * MIB);
    let (say, said) = channel();
    let looks_at = fault.clone();
    let marker: Marker = Box::new(move |length, sum| {
        let state = looks_at.0.lock().unwrap();
        say.send((length, sum, state.flushes, state.content[..2 * BUFFER].to_vec())).unwrap();
        Err(io::ErrorKind::Other.into())
    });
    let expected = ring::digest::digest(&SHA256, &bytes).as_ref().try_into().unwrap();
    let size = bytes.len() as u64;
    let medium = Box::new(fault.clone());
    let mut writer = Writer::start_at(0, medium, size, Some(expected), Options::default(), marker).unwrap();
    for (number, buffer) in bytes.chunks(BUFFER).enumerate() {
        // Not at a whole buffer: nothing to mark.
        let (front, rest) = buffer.split_at(1000);
        assert!(matches!(writer.poll_write(Instant::ZERO, front), Poll::Ready(Ok(1000))));
        writer.mark([9; 32]);
        assert!(matches!(writer.poll_write(Instant::ZERO, rest), Poll::Ready(Ok(_))));
        if number == 1 {
            writer.mark([1; 32]);
        }
    }
    writer.end().unwrap();
    // That the mark could not be written is no failure.
    run(&mut writer, |writer, now| writer.poll_finish(now)).unwrap();
    let (length, sum, flushes, content) = said.recv().unwrap();
    assert_eq!((length, sum, flushes), (2 * BUFFER as u64, [1; 32], 1));
    assert!(content == bytes[..2 * BUFFER]);
    assert!(said.recv().is_err(), "no other");
    assert_eq!(fault.0.lock().unwrap().flushes, 2);
}

#[test]
fn b9_a_sequential_medium_is_flushed_once_and_never_marked() {
    let bytes = image(2 * BUFFER, 3);
    let fault = Fault::new(MIB);
    fault.0.lock().unwrap().sequential = true;
    let expected = ring::digest::digest(&SHA256, &bytes).as_ref().try_into().unwrap();
    let (medium, size) = (Box::new(fault.clone()), bytes.len() as u64);
    let marker: Marker = Box::new(|_, _| panic!("its update is whole or nothing"));
    let mut writer = Writer::start_at(0, medium, size, Some(expected), Options::default(), marker).unwrap();
    for buffer in bytes.chunks(BUFFER) {
        assert!(matches!(writer.poll_write(Instant::ZERO, buffer), Poll::Ready(Ok(BUFFER))));
        writer.mark([1; 32]);
    }
    writer.end().unwrap();
    run(&mut writer, |writer, now| writer.poll_finish(now)).unwrap();
    assert_eq!(fault.0.lock().unwrap().flushes, 1);
}

#[test]
fn b6_a_mark_that_cannot_be_flushed_fails_the_image() {
    let fault = Fault::new(MIB);
    fault.0.lock().unwrap().fail_flush = Some(libc::EIO);
    let mut writer = Writer::start(Box::new(fault.clone()), BUFFER as u64, None, Options::default()).unwrap();
    assert!(matches!(writer.poll_write(Instant::ZERO, &[1; BUFFER]), Poll::Ready(Ok(BUFFER))));
    writer.mark([1; 32]);
    assert!(writer.end().is_ok());
    let error = run(&mut writer, |writer, now| writer.poll_finish(now)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
}

#[test]
fn an_image_goes_on_behind_what_is_there() {
    let bytes = image(3 * BUFFER + 700, 3);
    let fault = Fault::new(2 * MIB);
    fault.0.lock().unwrap().content[..BUFFER].copy_from_slice(&bytes[..BUFFER]);
    let expected = ring::digest::digest(&SHA256, &bytes).as_ref().try_into().unwrap();
    let (medium, from, size) = (Box::new(fault.clone()), BUFFER as u64, bytes.len() as u64);
    let marker: Marker = Box::new(|_, _| Ok(()));
    let mut writer =
        Writer::start_at(from, medium, size, Some(expected), Options::default(), marker).unwrap();
    for part in bytes[BUFFER..].chunks(BUFFER) {
        assert!(matches!(writer.poll_write(Instant::ZERO, part), Poll::Ready(Ok(_))));
    }
    writer.end().unwrap();
    let summary = run(&mut writer, |writer, now| writer.poll_finish(now)).unwrap();
    assert_eq!((summary.image, summary.same), (size, from));
    assert!(fault.0.lock().unwrap().content[..bytes.len()] == bytes);
}

#[test]
fn an_image_that_is_all_there_is_read_back_and_no_more() {
    for length in [BUFFER, 5 * BUFFER] {
        let bytes = image(length, 3);
        let fault = Fault::new(4 * MIB);
        fault.0.lock().unwrap().content[..length].copy_from_slice(&bytes);
        let expected = ring::digest::digest(&SHA256, &bytes).as_ref().try_into().unwrap();
        let (medium, size) = (Box::new(fault.clone()), length as u64);
        let marker: Marker = Box::new(|_, _| Ok(()));
        let mut writer =
            Writer::start_at(size, medium, size, Some(expected), Options::default(), marker).unwrap();
        writer.end().unwrap();
        let summary = run(&mut writer, |writer, now| writer.poll_finish(now)).unwrap();
        assert_eq!((summary.image, summary.same, summary.written), (size, size, 0));
    }
}

#[test]
fn i12_more_or_less_than_the_announced_size_is_an_error() {
    let fault = Fault::new(MIB);
    let mut writer = Writer::start(Box::new(fault.clone()), 10, None, Options::default()).unwrap();
    assert!(matches!(writer.poll_write(Instant::ZERO, &[0; 11]), Poll::Ready(Err(_))));
    assert!(matches!(writer.poll_write(Instant::ZERO, &[0; 9]), Poll::Ready(Ok(9))));
    assert!(writer.end().is_err());
    assert!(matches!(writer.poll_finish(Instant::ZERO), Poll::Ready(Err(_))));
    drop(writer);
    assert_eq!(fault.0.lock().unwrap().flushes, 0);
}

#[test]
fn the_same_image_again_writes_nothing() {
    let fault = Fault::new(8 * MIB);
    let mut bytes = image(5 * MIB + 77, 5);
    bytes[MIB..2 * MIB].fill(0);
    let first = simulated(&fault, &bytes).unwrap();
    assert!(first.written + first.zeroed >= bytes.len() as u64 && first.same == 0, "{first:?}");
    assert!(first.zeroed == MIB as u64, "{first:?}");
    let again = simulated(&fault, &bytes).unwrap();
    let same = bytes.len() as u64;
    assert_eq!(again, Summary { image: same, written: 0, same, zeroed: 0 });
    // One byte that differs: one piece.
    bytes[3 * MIB + 5] ^= 1;
    assert_eq!(simulated(&fault, &bytes).unwrap().written, PIECE as u64);
    assert!(fault.0.lock().unwrap().content[..bytes.len()] == bytes);
}

#[test]
fn zeros_between_data_are_made_and_zeros_that_are_there_stay() {
    let mut bytes = image(4 * BUFFER, 5);
    bytes[LOOK..BUFFER + LOOK].fill(0);
    bytes[2 * BUFFER + PIECE..2 * BUFFER + LOOK].fill(0);
    let zeros = BUFFER as u64;
    let fault = Fault::new(4 * MIB);
    let first = simulated(&fault, &bytes).unwrap();
    assert_eq!((first.zeroed, first.written), (zeros, bytes.len() as u64 - zeros), "whole looks of zeros");
    assert!(fault.0.lock().unwrap().content[..bytes.len()] == bytes);
    // A slot of zeros, and a medium that cannot make them: none is written.
    let fault = Fault::new(4 * MIB);
    fault.0.lock().unwrap().content.fill(0);
    fault.0.lock().unwrap().no_zero = true;
    let first = simulated(&fault, &bytes).unwrap();
    assert!(first.written <= bytes.len() as u64 - zeros && first.same >= zeros, "{first:?}");
    assert!(fault.0.lock().unwrap().content[..bytes.len()] == bytes);
}

#[test]
fn zeros_are_written_where_the_medium_cannot_make_them() {
    let fault = Fault::new(2 * MIB);
    fault.0.lock().unwrap().no_zero = true;
    let summary = simulated(&fault, &vec![0; MIB]).unwrap();
    assert_eq!((summary.zeroed, summary.written), (0, MIB as u64));
    assert!(fault.0.lock().unwrap().content[..MIB].iter().all(|&byte| byte == 0));
}

#[test]
fn a_sequential_medium_gets_exactly_the_image() {
    for size in SIZES {
        let fault = Fault::new(4 * MIB);
        fault.0.lock().unwrap().sequential = true;
        let bytes = image(size, 7);
        let summary = simulated(&fault, &bytes).unwrap();
        assert_eq!(summary.written, size as u64);
        let state = fault.0.lock().unwrap();
        assert!(state.content[..size] == bytes && state.written == size as u64);
    }
}

#[test]
fn stopping_ends_the_thread_and_flushes_nothing() {
    let fault = Fault::new(2 * MIB);
    let mut writer = Writer::start(Box::new(fault.clone()), MIB as u64, None, Options::default()).unwrap();
    assert!(matches!(writer.poll_write(Instant::ZERO, &[1; 1000]), Poll::Ready(Ok(1000))));
    writer.stop();
    run(&mut writer, |writer, now| writer.poll_idle(now));
    assert_eq!(fault.0.lock().unwrap().flushes, 0);
    assert!(writer.thread.is_none());
}

const fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// A writer whose thread has begun with a buffer, and hangs in the medium for as long as the guard lives.
fn hanging(fault: &Fault) -> (Writer, std::sync::MutexGuard<'_, medium::fault::State>) {
    let mut writer =
        Writer::start(Box::new(fault.clone()), 4 * BUFFER as u64, None, Options::default()).unwrap();
    // Every call to the medium waits for this lock.
    let guard = fault.0.lock().unwrap();
    for _ in 0..BUFFERS {
        assert!(matches!(writer.poll_write(at(0), &[1; BUFFER]), Poll::Ready(Ok(BUFFER))));
    }
    while writer.shared.steps.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    (writer, guard)
}

#[test]
fn a_medium_that_does_not_answer_ends_the_wait() {
    let fault = Fault::new(4 * BUFFER);
    let (mut writer, guard) = hanging(&fault);
    assert_eq!(writer.deadline(), None, "nobody waits yet");
    let end = at(10) + PATIENCE;
    for time in [at(10), at(500), at(1809)] {
        assert!(writer.poll_write(time, &[1; BUFFER]).is_pending());
        assert_eq!(writer.deadline(), Some(end));
    }
    let Poll::Ready(Err(error)) = writer.poll_write(end, &[1; BUFFER]) else { panic!("it still waits") };
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (io::ErrorKind::TimedOut, "it has not answered for 30 minutes")
    );
    let thread = writer.let_go().expect("the thread hangs and is not waited for");
    assert!(!thread.is_finished());
    drop(guard);
    thread.join().unwrap();
    assert!(fault.0.lock().unwrap().written <= BUFFER as u64, "only what it had at hand");
}

#[test]
fn a_medium_that_is_slow_is_waited_for_anew_after_each_buffer() {
    let fault = Fault::new(4 * BUFFER);
    let (mut writer, guard) = hanging(&fault);
    assert!(writer.poll_write(at(10), &[1; BUFFER]).is_pending());
    drop(guard);
    assert!(matches!(run(&mut writer, |writer, _| writer.poll_write(at(11), &[1; BUFFER])), Ok(BUFFER)));
    assert_eq!(writer.deadline(), None);
    writer.end().unwrap();
    assert!(run(&mut writer, |writer, _| writer.poll_finish(at(12))).is_ok());
}

#[test]
fn a_medium_that_does_not_answer_is_not_waited_for_long_when_the_image_is_not_needed_any_more() {
    let fault = Fault::new(4 * BUFFER);
    let (mut writer, guard) = hanging(&fault);
    assert!(writer.poll_write(at(10), &[1; BUFFER]).is_pending());
    writer.stop();
    assert!(writer.poll_idle(at(100)).is_pending());
    assert_eq!(writer.deadline(), Some(at(160)));
    assert!(writer.poll_idle(at(160)).is_ready());
    let thread = writer.let_go().expect("the thread hangs and is not waited for");
    drop(guard);
    thread.join().unwrap();
}

struct Disk {
    _device: Loop,
    slot: SlotDevice,
    file: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

fn disk(size: usize) -> Option<Disk> {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    fs::write(&file, vec![0xa5; size]).unwrap();
    let device = Loop::attach(&file)?;
    let rdev = fs::metadata(device.path()).unwrap().rdev();
    let slot = SlotDevice { path: device.path().to_owned(), device: rdev, number: 1, is_ubi: false };
    Some(Disk { _device: device, slot, file, _dir: dir })
}

#[test]
fn b7_a_block_device_holds_images_of_any_size() {
    for size in SIZES {
        let Some(disk) = disk(4 * MIB) else { return };
        let mut bytes = image(size, 9);
        if size > MIB {
            bytes[BUFFER..2 * BUFFER].fill(0);
        }
        for verify in [true, false] {
            let medium = medium::open(&disk.slot, None, None).unwrap();
            let summary = write(medium, &bytes, 100_000, verify).unwrap();
            if !verify {
                assert_eq!(summary.written, 0, "{size}: the second time");
            }
        }
        drop(disk._device);
        let content = fs::read(&disk.file).unwrap();
        assert!(content[..size] == bytes && content[size..].iter().all(|&byte| byte == 0xa5), "{size}");
    }
}

#[test]
fn b5_b8_a_block_device_that_runs_or_is_too_small_or_mounted_is_not_written() {
    let Some(disk) = disk(MIB) else { return };
    let slot = &disk.slot;
    assert!(medium::open(slot, Some(slot.device), None).is_err(), "the running root");
    let swapped = SlotDevice { device: slot.device + 1, ..slot.clone() };
    assert!(medium::open(&swapped, None, None).is_err(), "another device than was looked up");
    let medium = medium::open(slot, None, None).unwrap();
    assert!(medium::open(slot, None, None).is_err(), "held by another writer");
    let error = write(medium, &vec![1; MIB + 1], MIB, true).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(fs::read(&disk.file).unwrap().iter().all(|&byte| byte == 0xa5));
}

#[test]
fn b4_a_wrong_path_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sda33");
    let slot = SlotDevice { path: path.clone(), device: 5, number: 33, is_ubi: false };
    assert!(medium::open(&slot, None, None).is_err());
    assert!(!path.exists());
    fs::write(&path, "file").unwrap();
    assert!(medium::open(&slot, None, None).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"file");
}
