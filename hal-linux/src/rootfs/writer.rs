//! Writes an image into a slot, in a thread of its own, so that receiving, hashing and writing overlap.
//!
//! ```text
//! poll_write --filled buffers--> thread: compare, write --...--> flush, read back, verdict
//!            <---empty buffers--
//! ```
//!
//! There are [`BUFFERS`] buffers and no more, so that a slow device slows the download down. Blocks that the slot
//! already holds are not written; where nothing matches, most blocks are not even compared. One flush at the end, and
//! one at each mark of a download that may go on after a restart; the failure of any is final. Reading back is hashed
//! while the next buffer is read, into the buffers that are free then.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::task::Poll;
use std::thread::{self, JoinHandle};

use ring::digest::{Context, SHA256};
use rustix::event::{EventfdFlags, eventfd};
use thimble_core::time::{Duration, Instant};

use super::medium::{ALIGNMENT, Medium};
use crate::wait::PollSet;

/// Bytes of a buffer, and so of a write: each costs the two threads and the device a turn.
pub(super) const BUFFER: usize = 384 * 1024;
/// Number of buffers: one that is filled, one that is written and one between them. This is little memory for a small
/// device.
const BUFFERS: usize = 3;
/// How many bytes of the slot's old content are read at once.
const LOOK: usize = 128 * 1024;
/// Size of the pieces that are compared, and written when they differ.
const PIECE: usize = 32 * 1024;
/// After so many buffers without a match in a row only one piece of every so manyth is compared, until it matches:
/// reading costs a device as much as writing.
const GIVE_UP: u32 = 4;
const SAMPLE: u32 = 16;

/// How long the thread may be at one buffer, or at one flush, of which the slowest is that of all of a device's memory.
/// Longer: the medium does not answer.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The same, once nobody needs the image any more.
const PATIENCE_STOPPED: Duration = Duration::from_secs(60);

/// Bytes of a thread's stack.
const STACK: usize = 128 * 1024;

/// How an image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Read the image back and compare its digest (R-19).
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { verify: true }
    }
}

/// How many bytes were written, and how many not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Length of the image.
    pub image: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes not written, because the slot held them already.
    pub same: u64,
    /// Zeros made without writing them.
    pub zeroed: u64,
}

/// Notes that so many bytes with this digest are durable.
pub(super) type Marker = Box<dyn Fn(u64, [u8; 32]) -> io::Result<()> + Send>;

/// A buffer that begins at a multiple of [`ALIGNMENT`].
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    /// Bytes filled.
    length: usize,
}

/// What the thread is given.
enum Message {
    Write(Buffer),
    /// All so far, with this digest, is to be durable and marked.
    Mark([u8; 32]),
}

impl Buffer {
    pub(super) fn new(size: usize) -> Self {
        let memory = vec![0; size + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, length: 0 }
    }

    pub(super) fn all(&mut self) -> &mut [u8] {
        let end = self.memory.len() - ALIGNMENT + self.start;
        &mut self.memory[self.start..end]
    }

    fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(BUFFER - self.length);
        let from = self.length;
        self.all()[from..from + length].copy_from_slice(&bytes[..length]);
        self.length += length;
        length
    }
}

/// State that the client and the writing thread share.
struct Shared {
    /// The client waits and has to be woken.
    waiting: AtomicBool,
    /// The client has given up: the rest need not be written.
    stop: AtomicBool,
    /// Counts what the thread has done, to see whether it does anything.
    steps: AtomicU64,
    wake: OwnedFd,
}

/// An image on its way into a slot.
pub(super) struct Writer {
    shared: Arc<Shared>,
    filled: Option<SyncSender<Message>>,
    empty: Receiver<Buffer>,
    verdict: Receiver<io::Result<Summary>>,
    thread: Option<JoinHandle<()>>,
    buffer: Option<Buffer>,
    left: u64,
    /// The thread did nothing for too long.
    hangs: bool,
    /// What the thread had done when the client first waited for it, and when that was.
    waiting: Option<(u64, Instant)>,
}

impl Writer {
    /// Begins an image of `size` bytes, which must fit (B5). `expected`: what its digest must be, where that is
    /// known; else it is computed on the way.
    #[cfg(test)]
    pub(super) fn start(
        medium: Box<dyn Medium>,
        size: u64,
        expected: Option<[u8; 32]>,
        options: Options,
    ) -> io::Result<Self> {
        Self::start_at(0, medium, size, expected, options, Box::new(|_, _| Ok(())))
    }

    /// The same behind the first `from` bytes, whole buffers, which the slot holds already; what `expected` is must
    /// be known then.
    pub(super) fn start_at(
        from: u64,
        medium: Box<dyn Medium>,
        size: u64,
        expected: Option<[u8; 32]>,
        options: Options,
        marker: Marker,
    ) -> io::Result<Self> {
        if size > medium.size() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("the image has {size} bytes, the slot {}", medium.size()),
            ));
        }
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            waiting: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            wake,
        });
        // Room for a mark behind each buffer.
        let (filled, to_write) = sync_channel(2 * BUFFERS);
        let (give_back, empty) = channel();
        let (say, verdict) = channel();
        for _ in 0..BUFFERS {
            // The other end is here.
            let _ = give_back.send(Buffer::new(BUFFER));
        }
        let theirs = shared.clone();
        let thread = thread::Builder::new().name("slot".into()).stack_size(STACK).spawn(move || {
            let mut work = Work {
                medium,
                options,
                expected,
                marker,
                shared: theirs.clone(),
                summary: Summary::default(),
            };
            let result = work.run(from, size, &to_write, &give_back);
            // Closed before anybody hears of it.
            drop(work);
            let _ = say.send(result);
            drop(give_back);
            theirs.wake_up();
        })?;
        Ok(Self {
            shared,
            filled: Some(filled),
            empty,
            verdict,
            thread: Some(thread),
            buffer: None,
            left: size - from,
            hangs: false,
            waiting: None,
        })
    }

    /// Adds the descriptor that ends a wait.
    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if self.shared.waiting.load(Ordering::SeqCst) {
            set.read(&self.shared.wake);
        }
    }

    /// When to poll though nothing happened: then the wait for the thread has its end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.map(|(_, since)| since + self.patience())
    }

    /// Takes some of `bytes`.
    pub(super) fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            return Poll::Ready(Err(io::Error::other("more comes than the size that was announced")));
        }
        if self.buffer.is_none() {
            match self.poll_buffer() {
                Poll::Ready(Ok(buffer)) => self.buffer = Some(buffer),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.wait(now).map(Err),
            }
        }
        self.waiting = None;
        let Some(buffer) = &mut self.buffer else { return Poll::Pending };
        let taken = buffer.take(bytes);
        let is_full = buffer.length == BUFFER;
        self.left -= taken as u64;
        if is_full {
            self.send();
        }
        Poll::Ready(Ok(taken))
    }

    /// What came so far, whole buffers with this digest, is to be durable and marked, some time. Left out where a slow
    /// medium still has other marks to come to.
    pub(super) fn mark(&self, sum: [u8; 32]) {
        if let (None, Some(filled)) = (&self.buffer, &self.filled) {
            // Full, or a thread that is gone and has said why.
            let _ = filled.try_send(Message::Mark(sum));
        }
    }

    /// No more comes: the rest is written and flushed. Says so at once when less came than was announced.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other(format!("{} bytes of the image are missing", self.left)));
        }
        self.send();
        self.filled = None;
        Ok(())
    }

    /// Ready when everything is durable and, if that was asked for, read back.
    pub(super) fn poll_finish(&mut self, now: Instant) -> Poll<io::Result<Summary>> {
        if self.filled.is_some() {
            return Poll::Ready(Err(io::Error::other("the image is not complete")));
        }
        match self.poll_verdict() {
            Poll::Ready(verdict) => Poll::Ready(verdict),
            Poll::Pending => self.wait(now).map(Err),
        }
    }

    /// Gives up. The thread ends after the write at hand.
    pub(super) fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.filled = None;
        self.buffer = None;
        self.waiting = None;
    }

    /// Ready when nothing is written any more, or the medium does not answer.
    pub(super) fn poll_idle(&mut self, now: Instant) -> Poll<()> {
        match self.poll_verdict() {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.wait(now).map(drop),
        }
    }

    /// Ends it. The thread, when it hangs in the medium: as long as it is there it may still write what it had at hand.
    pub(super) fn let_go(mut self) -> Option<JoinHandle<()>> {
        self.stop();
        let hangs = self.hangs;
        self.thread.take_if(|_| hangs)
    }

    /// Pending, while the thread does something.
    fn wait(&mut self, now: Instant) -> Poll<io::Error> {
        let steps = self.shared.steps.load(Ordering::SeqCst);
        let (_, since) = self.waiting.filter(|(seen, _)| *seen == steps).unwrap_or((steps, now));
        self.waiting = Some((steps, since));
        if now < since + self.patience() {
            return Poll::Pending;
        }
        self.hangs = true;
        let text = format!("it has not answered for {}", self.patience());
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    fn patience(&self) -> Duration {
        if self.shared.stop.load(Ordering::SeqCst) { PATIENCE_STOPPED } else { PATIENCE }
    }

    fn send(&mut self) {
        if let (Some(buffer), Some(filled)) = (self.buffer.take(), &self.filled)
            && buffer.length > 0
        {
            // There are no more buffers than fit, so this does not wait. A thread that is gone has said why.
            let _ = filled.send(Message::Write(buffer));
        }
    }

    fn poll_buffer(&mut self) -> Poll<io::Result<Buffer>> {
        for announced in [false, true] {
            match self.empty.try_recv() {
                Ok(mut buffer) => {
                    buffer.length = 0;
                    self.shared.waiting.store(false, Ordering::SeqCst);
                    return Poll::Ready(Ok(buffer));
                }
                // It ended early: with an error.
                Err(TryRecvError::Disconnected) => {
                    let why = self.poll_verdict();
                    return why.map(|why| Err(why.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())));
                }
                Err(TryRecvError::Empty) if announced => {}
                Err(TryRecvError::Empty) => self.shared.announce(),
            }
        }
        Poll::Pending
    }

    fn poll_verdict(&mut self) -> Poll<io::Result<Summary>> {
        for announced in [false, true] {
            match self.verdict.try_recv() {
                Ok(verdict) => {
                    self.shared.waiting.store(false, Ordering::SeqCst);
                    if let Some(thread) = self.thread.take() {
                        let _ = thread.join();
                    }
                    return Poll::Ready(verdict);
                }
                Err(TryRecvError::Disconnected) => {
                    return Poll::Ready(Err(io::Error::other("the image is not being written any more")));
                }
                Err(TryRecvError::Empty) if announced => {}
                Err(TryRecvError::Empty) => self.shared.announce(),
            }
        }
        Poll::Pending
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take()
            && !self.hangs
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The thread got on.
    fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on the thread wakes the client. To be followed by one more look.
    fn announce(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        self.waiting.store(true, Ordering::SeqCst);
    }

    fn wake_up(&self) {
        if self.waiting.load(Ordering::SeqCst) {
            // Fails only when it is awake already.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

/// Runs in the writing thread.
struct Work {
    medium: Box<dyn Medium>,
    options: Options,
    expected: Option<[u8; 32]>,
    marker: Marker,
    shared: Arc<Shared>,
    summary: Summary,
}

impl Work {
    fn run(
        &mut self,
        from: u64,
        size: u64,
        filled: &Receiver<Message>,
        empty: &Sender<Buffer>,
    ) -> io::Result<Summary> {
        let mut old = Buffer::new(LOOK);
        let mut kept = Vec::new();
        let mut digest = (self.options.verify && self.expected.is_none()).then(|| Context::new(&SHA256));
        let mut offset = from;
        let mut misses = 0;
        self.summary.same = from;
        self.medium.begin(size)?;
        while let Ok(message) = filled.recv() {
            self.shared.step();
            self.stopped()?;
            let buffer = match message {
                Message::Write(buffer) => buffer,
                // Its update is whole or nothing: no part of it could be gone on with.
                Message::Mark(_) if self.medium.is_sequential() => continue,
                Message::Mark(sum) => {
                    self.medium.flush()?;
                    // A mark that cannot be written costs a restart more, and nothing else.
                    let _ = (self.marker)(offset, sum);
                    continue;
                }
            };
            if let Some(digest) = &mut digest {
                digest.update(buffer.filled());
            }
            self.store(offset, buffer.filled(), &mut old, &mut misses)?;
            offset += buffer.length as u64;
            // What the rest of the image does not need is for reading back.
            let needed = size.saturating_sub(offset).div_ceil(BUFFER as u64);
            if needed > (BUFFERS - 1 - kept.len()) as u64 {
                let _ = empty.send(buffer);
                self.shared.wake_up();
            } else {
                kept.push(buffer);
            }
        }
        self.stopped()?;
        if offset != size {
            return Err(io::Error::other("the image ended early"));
        }
        self.shared.step();
        self.medium.flush()?;
        self.shared.step();
        if let Some(digest) = digest {
            self.verify(size, digest.finish().as_ref(), kept)?;
        } else if let Some(expected) = self.expected.filter(|_| self.options.verify) {
            self.verify(size, &expected, kept)?;
        }
        self.summary.image = size;
        Ok(self.summary)
    }

    fn stopped(&self) -> io::Result<()> {
        if self.shared.stop.load(Ordering::SeqCst) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Writes what differs. Only the last call has a length that is no multiple of a sector.
    fn store(&mut self, offset: u64, bytes: &[u8], old: &mut Buffer, misses: &mut u32) -> io::Result<()> {
        if self.medium.is_sequential() {
            self.summary.written += bytes.len() as u64;
            return write_all(self.medium.as_mut(), offset, bytes);
        }
        let sector = self.medium.sector();
        let whole = bytes.len() / sector * sector;
        let (body, tail) = bytes.split_at(whole);
        if !body.is_empty() {
            let probe = misses.is_multiple_of(SAMPLE);
            let compare =
                *misses < GIVE_UP || (probe && self.holds(offset, &body[..PIECE.min(whole)], old)?);
            let matched = self.store_body(offset, body, compare, old)?;
            *misses = if matched { 0 } else { misses.saturating_add(1) };
        }
        if tail.is_empty() {
            return Ok(());
        }
        // The slot's own bytes behind the image stay.
        let last = &mut old.all()[..sector];
        read_all(self.medium.as_mut(), offset + whole as u64, last)?;
        if &last[..tail.len()] == tail {
            self.summary.same += tail.len() as u64;
            return Ok(());
        }
        last[..tail.len()].copy_from_slice(tail);
        self.summary.written += sector as u64;
        write_all(self.medium.as_mut(), offset + whole as u64, last)
    }

    /// The slot has `piece` already.
    fn holds(&mut self, offset: u64, piece: &[u8], old: &mut Buffer) -> io::Result<bool> {
        let there = &mut old.all()[..piece.len()];
        read_all(self.medium.as_mut(), offset, there)?;
        Ok(there == piece)
    }

    /// Writes the pieces that differ, or all where nothing is compared; neighbours in one go. True when a piece was
    /// there already. Zeros are always compared: a slot often holds them.
    fn store_body(&mut self, offset: u64, body: &[u8], compare: bool, old: &mut Buffer) -> io::Result<bool> {
        let mut matched = false;
        // Where the pieces begin that are still to be put, and whether they are zeros.
        let mut run: Option<(usize, bool)> = None;
        for (index, new) in body.chunks(LOOK).enumerate() {
            let from = index * LOOK;
            let is_zero = is_zero(new);
            let there = if compare || is_zero {
                let there = &mut old.all()[..new.len()];
                read_all(self.medium.as_mut(), offset + from as u64, there)?;
                &*there
            } else {
                &[]
            };
            for at in (0..new.len()).step_by(PIECE) {
                let piece = at..(at + PIECE).min(new.len());
                let is_same = there.get(piece.clone()) == new.get(piece.clone());
                let ends = run.filter(|(_, zeros)| is_same || *zeros != is_zero);
                if let Some((begin, zeros)) = ends {
                    self.put(offset + begin as u64, &body[begin..from + at], zeros)?;
                    run = None;
                }
                if is_same {
                    matched = true;
                    self.summary.same += piece.len() as u64;
                } else {
                    run.get_or_insert((from + at, is_zero));
                }
            }
        }
        if let Some((begin, zeros)) = run {
            self.put(offset + begin as u64, &body[begin..], zeros)?;
        }
        Ok(matched)
    }

    fn put(&mut self, offset: u64, bytes: &[u8], is_zero: bool) -> io::Result<()> {
        let length = bytes.len() as u64;
        if is_zero && self.medium.zero(offset, length)? {
            self.summary.zeroed += length;
            return Ok(());
        }
        self.summary.written += length;
        write_all(self.medium.as_mut(), offset, bytes)
    }

    /// Reads `size` bytes back. One thread reads into `buffers`, one hashes what was read.
    fn verify(&mut self, size: u64, expected: &[u8], mut buffers: Vec<Buffer>) -> io::Result<()> {
        // Where all of the image was there already, none was used.
        while buffers.len() < 2 {
            buffers.push(Buffer::new(BUFFER));
        }
        let (read, to_hash) = sync_channel::<io::Result<Buffer>>(BUFFERS);
        let (give_back, empty) = channel();
        for buffer in buffers {
            // The other end is below.
            let _ = give_back.send(buffer);
        }
        let (medium, shared) = (self.medium.as_mut(), &self.shared);
        let mut digest = Context::new(&SHA256);
        thread::scope(|scope| -> io::Result<()> {
            let reader = thread::Builder::new().name("read-back".into()).stack_size(STACK);
            reader.spawn_scoped(scope, move || {
                let mut offset = 0;
                while offset < size
                    && let Ok(mut buffer) = empty.recv()
                {
                    buffer.length = usize::try_from(size - offset).unwrap_or(BUFFER).min(BUFFER);
                    let length = buffer.length.next_multiple_of(medium.sector());
                    let result = read_all(medium, offset, &mut buffer.all()[..length]);
                    offset += buffer.length as u64;
                    // Without the other end nobody wants the rest.
                    if read.send(result.map(|()| buffer)).is_err() {
                        return;
                    }
                }
            })?;
            let mut hashed = 0;
            while let Ok(buffer) = to_hash.recv() {
                let buffer = buffer?;
                if shared.stop.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                shared.step();
                digest.update(buffer.filled());
                hashed += buffer.length as u64;
                let _ = give_back.send(buffer);
            }
            drop(give_back);
            if hashed == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })?;
        if digest.finish().as_ref() == expected {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "what is read back is not what was written: the medium is damaged",
            ))
        }
    }
}

/// All of `bytes`, a multiple of the sector. A short write goes on at the sector it stopped in; the first error is
/// the one reported (I13).
fn write_all(medium: &mut dyn Medium, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let sector = medium.sector();
    let mut done = 0;
    let mut stalls = 0;
    while done < bytes.len() {
        match medium.write_at(offset + done as u64, &bytes[done..]) {
            // Less than a sector: why is said by the next try.
            Ok(taken) if taken < sector && stalls < 3 => stalls += 1,
            Ok(taken) if taken < sector => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => done += taken / sector * sector,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All of `to`, whole sectors.
pub(super) fn read_all(medium: &mut dyn Medium, offset: u64, to: &mut [u8]) -> io::Result<()> {
    let sector = medium.sector();
    let mut done = 0;
    while done < to.len() {
        match medium.read_at(offset + done as u64, &mut to[done..]) {
            Ok(read) if read < sector => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read / sector * sector,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
