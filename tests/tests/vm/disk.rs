//! A disk with a volatile cache, served to QEMU over NBD.
//!
//! A write is in the cache until a flush; when the power is lost, what is in the cache is kept, lost or torn, sector by
//! sector and in any order, as [`Fate`] says. Killing QEMU over a disk image would be kinder than a real power loss:
//! the host keeps all that was written.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::power::{Area, Event, Power};
use crate::random::Random;

/// What a disk writes as a whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// The same where the datastore is, as disks have it that are made today. Linux refuses an ext4 whose journal ends with a
/// torn block (JBD2 calls the transaction corrupt), and no client can do anything about that.
const LARGE_SECTOR: usize = 4096;

/// What becomes of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// Each write is kept or lost.
    Mixed,
    /// Each sector of each write is kept or lost: [`LARGE_SECTOR`] in the datastore, else [`SECTOR`].
    Torn,
}

/// The disk. Its content outlives the machines that use it.
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    areas: Vec<(Area, Range<usize>)>,
}

struct State {
    /// What the machine reads.
    now: Vec<u8>,
    /// What survives for sure.
    durable: Vec<u8>,
    /// Writes since the last flush.
    cache: Vec<(usize, Vec<u8>)>,
}

impl Disk {
    /// A disk of this content.
    pub(crate) fn new(bytes: Vec<u8>, areas: Vec<(Area, Range<usize>)>) -> Self {
        let state = State { now: bytes.clone(), durable: bytes, cache: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), areas }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What survives a loss of power, of this area.
    pub(crate) fn durable(&self, area: Area) -> Vec<u8> {
        let found = self.areas.iter().find(|(known, _)| *known == area);
        let (_, range) = found.expect("every area is on the disk");
        self.state().durable[range.clone()].to_vec()
    }

    /// The power is lost. Sectors that were in the cache: those kept, and all.
    pub(crate) fn lose_power(&self, fate: Fate, random: &mut Random) -> (usize, usize) {
        let mut state = self.state();
        let (mut kept, mut all) = (0, 0);
        for (at, bytes) in std::mem::take(&mut state.cache) {
            let of_write = random.coin();
            let is_data = self.areas.iter().any(|(area, range)| *area == Area::Data && range.contains(&at));
            let unit = if is_data { LARGE_SECTOR } else { SECTOR };
            let mut of_sector = of_write;
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                let at = at + number * SECTOR;
                if number == 0 || at.is_multiple_of(unit) {
                    of_sector = random.coin();
                }
                let is_kept = match fate {
                    Fate::Lost => false,
                    Fate::Kept => true,
                    Fate::Mixed => of_write,
                    Fate::Torn => of_sector,
                };
                all += 1;
                if is_kept {
                    kept += 1;
                    state.durable[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        state.now = state.durable.clone();
        (kept, all)
    }

    /// Serves the disk at a socket in `dir` until the machine that connects is gone or has no power.
    pub(crate) fn serve(&self, dir: &Path, power: &Arc<Power>) -> io::Result<Server> {
        let socket = dir.join("disk");
        drop(std::fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket)?;
        let export = Export { state: self.state.clone(), areas: self.areas.clone(), power: power.clone() };
        let thread = thread::spawn(move || {
            // Ends with the machine, or when the socket is connected to and left, as `Server` does.
            if let Ok((stream, _)) = listener.accept() {
                drop(export.serve(stream));
            }
        });
        Ok(Server { socket, thread: Some(thread) })
    }
}

/// Ends when it is dropped, which must be after the machine has ended.
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes a server whose machine never connected.
        drop(UnixStream::connect(&self.socket));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The protocol: <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, as little of it as QEMU needs.
struct Export {
    state: Arc<Mutex<State>>,
    areas: Vec<(Area, Range<usize>)>,
    power: Arc<Power>,
}

const MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

const OPT_ABORT: u32 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_UNSUPPORTED: u32 = 0x8000_0001;

/// Has flags, takes flushes.
const FLAGS: u16 = 1 | 4;

const READ: u16 = 0;
const WRITE: u16 = 1;
const END: u16 = 2;
const FLUSH: u16 = 3;

const EINVAL: u32 = 22;

/// The longest request: QEMU sends no longer ones.
const LONGEST: usize = 32 << 20;

impl Export {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        if self.greet(&mut stream)? {
            while self.request(&mut stream)? {}
        }
        Ok(())
    }

    /// True when requests may come.
    fn greet(&self, stream: &mut UnixStream) -> io::Result<bool> {
        // Fixed newstyle, no zeroes.
        stream.write_all(&[&MAGIC.to_be_bytes()[..], &OPTION.to_be_bytes(), &[0, 3]].concat())?;
        number::<4>(stream)?;
        loop {
            if number::<8>(stream)? != OPTION {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let option = number::<4>(stream)?;
            let length = number::<4>(stream)?;
            io::copy(&mut Read::by_ref(stream).take(length), &mut io::sink())?;
            let mut reply = |kind: u32, data: &[u8]| {
                let option = u32::try_from(option).unwrap_or(0).to_be_bytes();
                let length = u32::try_from(data.len()).unwrap_or(0).to_be_bytes();
                stream.write_all(
                    &[&OPTION_REPLY.to_be_bytes()[..], &option, &kind.to_be_bytes(), &length, data].concat(),
                )
            };
            if option == u64::from(OPT_GO) {
                let size = self.state().now.len() as u64;
                reply(REP_INFO, &[&[0, 0], &size.to_be_bytes()[..], &FLAGS.to_be_bytes()].concat())?;
                let sizes = [SECTOR as u32, 4096, LONGEST as u32].map(u32::to_be_bytes).concat();
                reply(REP_INFO, &[&[0, 3], &sizes[..]].concat())?;
                reply(REP_ACK, &[])?;
                return Ok(true);
            }
            if option == u64::from(OPT_ABORT) {
                reply(REP_ACK, &[])?;
                return Ok(false);
            }
            reply(REP_UNSUPPORTED, &[])?;
        }
    }

    /// Answers a request. False: no more will come, or there is no power to answer.
    fn request(&self, stream: &mut UnixStream) -> io::Result<bool> {
        let magic = number::<4>(stream)?;
        number::<2>(stream)?;
        let kind = u16::try_from(number::<2>(stream)?).unwrap_or(u16::MAX);
        let handle = number::<8>(stream)?;
        let at = usize::try_from(number::<8>(stream)?).unwrap_or(usize::MAX);
        let length = usize::try_from(number::<4>(stream)?).unwrap_or(usize::MAX);
        if magic != u64::from(REQUEST) || length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut error = 0;
        let mut data = Vec::new();
        let end = at.saturating_add(length);
        let fits = end <= self.state().now.len();
        match kind {
            READ if fits => {
                if !self.power.tell(Event::Read) {
                    return Ok(false);
                }
                data = self.state().now[at..end].to_vec();
            }
            WRITE if fits => {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes)?;
                {
                    let mut state = self.state();
                    state.now[at..end].copy_from_slice(&bytes);
                    state.cache.push((at, bytes));
                }
                let area = self.areas.iter().find(|(_, range)| range.contains(&at));
                if let Some((area, _)) = area
                    && !self.power.tell(Event::Write(*area))
                {
                    return Ok(false);
                }
            }
            FLUSH => {
                if !self.power.tell(Event::Flush) {
                    return Ok(false);
                }
                self.state().flush();
                if !self.power.tell(Event::Flushed) {
                    return Ok(false);
                }
            }
            END => return Ok(false),
            _ => error = EINVAL,
        }
        let head = [&REPLY.to_be_bytes()[..], &u32::to_be_bytes(error), &handle.to_be_bytes()].concat();
        stream.write_all(&[head, data].concat())?;
        Ok(true)
    }
}

impl State {
    fn flush(&mut self) {
        for (at, bytes) in self.cache.drain(..) {
            self.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
}

fn number<const N: usize>(stream: &mut UnixStream) -> io::Result<u64> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)))
}
