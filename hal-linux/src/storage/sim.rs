//! A disk for tests: what was not flushed may be lost in any part, and operations fail on request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::directory::{Access, Directory, Found, Locked, Medium};

/// The smallest piece that a power loss leaves whole. Far smaller than a real one: stricter, and fewer bytes to
/// go through.
pub(super) const SECTOR: usize = 8;

/// How the budget of operations ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The power goes: a write under way reached the cache with this many bytes; all further calls fail.
    Power(usize),
    /// This call fails (after a short write of this many bytes), and so do the next ones, this many in all.
    Fail { short: usize, calls: usize },
}

#[derive(Clone, Debug, Default)]
struct Node {
    durable: Vec<u8>,
    now: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct State {
    nodes: Vec<Node>,
    durable_names: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    /// Calls that change something, until `end` strikes; `None`: never.
    fuel: Option<(usize, End)>,
    failures_left: usize,
    off: bool,
    writes: usize,
    flushes: usize,
    salt: u64,
    /// Another process holds the locks.
    in_use: bool,
    /// What another process makes of a file as soon as it was opened once.
    written_meanwhile: Option<Vec<u8>>,
}

/// The directory; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Rc<RefCell<State>>);

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    disk: Disk,
    node: usize,
}

/// What of the unflushed state a power loss leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survival {
    /// Bit `n % 64`: the changed sector number `n` of a file reached the disk.
    pub(super) sectors: u64,
    /// The new length reached the disk; else sectors behind the old one are gone.
    pub(super) length: bool,
    /// The new names reached the disk.
    pub(super) names: bool,
}

impl Disk {
    pub(super) fn with_file(name: &str, bytes: &[u8]) -> Self {
        let disk = Self::default();
        disk.put(name, bytes);
        disk
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let node = state.nodes.len();
        state.nodes.push(Node { durable: bytes.to_vec(), now: bytes.to_vec() });
        state.durable_names.insert(name.to_owned(), node);
        state.names.insert(name.to_owned(), node);
    }

    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.names.get(name).map(|&node| state.nodes[node].now.clone())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// Another process is in the middle of writing; after the next `open` the file is `bytes`.
    pub(super) fn write_after_open(&self, bytes: Vec<u8>) {
        self.0.borrow_mut().written_meanwhile = Some(bytes);
    }

    /// Another process holds the locks, or does not any more.
    pub(super) fn use_elsewhere(&self, in_use: bool) {
        self.0.borrow_mut().in_use = in_use;
    }

    /// The budget: `calls` more changing calls succeed, then `end`.
    pub(super) fn limit(&self, calls: usize, end: End) {
        self.0.borrow_mut().fuel = Some((calls, end));
    }

    pub(super) fn repair(&self) {
        let mut state = self.0.borrow_mut();
        state.fuel = None;
        state.failures_left = 0;
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.borrow().off
    }

    /// (writes, flushes) so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.0.borrow();
        (state.writes, state.flushes)
    }

    /// A disk of its own, as it is found after the power came back.
    pub(super) fn after_power_loss(&self, survival: Survival) -> Self {
        let mut state = self.0.borrow().clone();
        if survival.names {
            state.durable_names = state.names.clone();
        }
        state.names = state.durable_names.clone();
        for node in &mut state.nodes {
            node.durable = torn(node, survival);
            node.now = node.durable.clone();
        }
        (state.fuel, state.failures_left, state.off) = (None, 0, false);
        Self(Rc::new(RefCell::new(state)))
    }

    /// Accounts for one changing call. `Ok(n)`: it may go on, with at most `n` bytes of a write.
    fn spend(&self) -> io::Result<(usize, bool)> {
        let mut state = self.0.borrow_mut();
        if state.off {
            return Err(io::Error::other("power is off"));
        }
        if state.failures_left > 0 {
            state.failures_left -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        match &mut state.fuel {
            None => Ok((usize::MAX, false)),
            Some((0, End::Power(part))) => {
                let part = *part;
                state.off = true;
                Ok((part, true))
            }
            Some((0, End::Fail { short, calls })) => {
                let (short, calls) = (*short, *calls);
                state.fuel = None;
                // A short write is no failure yet: the next call is the first to fail.
                state.failures_left = if short > 0 { calls } else { calls - 1 };
                if short > 0 { Ok((short, false)) } else { Err(io::ErrorKind::StorageFull.into()) }
            }
            Some((calls, _)) => {
                *calls -= 1;
                Ok((usize::MAX, false))
            }
        }
    }

    /// A changing call that is done whole or not at all.
    fn change(&self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let (part, dying) = self.spend()?;
        // Power loss inside: part 0 is before it, anything else after it.
        if !dying || part > 0 {
            change(&mut self.0.borrow_mut());
        }
        if dying { Err(io::Error::other("power is off")) } else { Ok(()) }
    }
}

fn torn(node: &Node, survival: Survival) -> Vec<u8> {
    let length = if survival.length { node.now.len() } else { node.durable.len() };
    let mut bytes = vec![0; length];
    for (number, sector) in bytes.chunks_mut(SECTOR).enumerate() {
        let at = number * SECTOR;
        let new = survival.sectors >> (number % 64) & 1 == 1;
        let source = if new { &node.now } else { &node.durable };
        for (i, byte) in sector.iter_mut().enumerate() {
            *byte = source.get(at + i).copied().unwrap_or(0);
        }
    }
    bytes
}

impl Directory for Disk {
    type File = File;

    fn open(&self, name: &str, _: Access) -> io::Result<Found<File>> {
        let node = self.0.borrow().names.get(name).copied();
        let found = node.map_or(Found::Missing, |node| Found::File(File { disk: self.clone(), node }));
        let written = self.0.borrow_mut().written_meanwhile.take();
        if let Some(bytes) = written {
            // As a new node: the file just opened goes on to show what it was.
            self.put(name, &bytes);
        }
        Ok(found)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        if self.exists(name)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.0.borrow().nodes.len();
        self.change(|state| {
            state.nodes.push(Node::default());
            state.names.insert(name.to_owned(), node);
        })?;
        Ok(File { disk: self.clone(), node })
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.0.borrow().names.contains_key(name))
    }

    fn create_like(&self, name: &str, _: &str) -> io::Result<File> {
        self.create(name)
    }

    fn lock(&self, _: &str) -> io::Result<Locked<File>> {
        Ok(if self.0.borrow().in_use { Locked::Elsewhere } else { Locked::Missing })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let node = state.names.remove(from).expect("the store renames what it saw");
            state.names.insert(to.to_owned(), node);
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.exists(name)? {
            return Ok(());
        }
        self.change(|state| {
            state.names.remove(name);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change(|state| {
            state.flushes += 1;
            state.durable_names = state.names.clone();
        })
    }

    fn salt(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.salt += 1;
        state.salt
    }
}

impl Medium for File {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().nodes[self.node].now.len() as u64)
    }

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.borrow();
        let bytes = state.nodes[self.node].now.get(at as usize..).unwrap_or_default();
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let (part, dying) = self.disk.spend()?;
        let n = part.min(bytes.len());
        let mut state = self.disk.0.borrow_mut();
        state.writes += 1;
        let now = &mut state.nodes[self.node].now;
        let (at, end) = (at as usize, at as usize + n);
        if now.len() < end {
            now.resize(end, 0);
        }
        now[at..end].copy_from_slice(&bytes[..n]);
        if dying { Err(io::Error::other("power is off")) } else { Ok(n) }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.clone().change(|state| state.nodes[self.node].now.resize(len as usize, 0))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.clone().change(|state| {
            state.flushes += 1;
            state.nodes[self.node].durable = state.nodes[self.node].now.clone();
        })
    }
}
