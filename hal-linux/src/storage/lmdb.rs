//! Reads single values out of a database of Mender's own clients (LMDB), to take over what is installed.
//!
//! Only what those clients write: one unnamed database, small keys, values in leaf pages or in overflow pages. Both
//! word sizes, little-endian. Nothing in the file is trusted: every page and length is checked against the file,
//! depth and value size are bounded.
//!
//! ```text
//! page       = number:word  pad:u16  flags:u16  lower:u16  upper:u16   then the offsets of its nodes, u16 each
//! page 0, 1  = page  magic:u32  version:u32  address:word  map-size:word  free-db  main-db  last-page:word  txn:word
//! db         = pad:u32 (page size, in free-db)  flags:u16  depth:u16  branch, leaf, overflow, entries, root: word
//! node       = low:u16  high:u16  flags:u16  key-length:u16  key  value
//! ```

use std::io;

use super::directory::Medium;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;

const BIG_VALUE: u16 = 0x01;

/// Greatest depth that is followed; a tree of a few keys has less.
const DEPTH_MAX: usize = 16;

/// Pages LMDB can be built with.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=65536;

/// Why a database could not be read.
#[derive(Debug)]
pub(super) enum LmdbFault {
    Io(io::Error),
    Damaged,
    /// It is in another format, with this number.
    Version(u32),
}

impl From<io::Error> for LmdbFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How a database is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// 4 or 8 bytes.
    pub(super) word: usize,
    pub(super) page_size: usize,
    /// The room that its client reserved, in bytes.
    pub(super) map_size: u64,
}

impl Shape {
    /// As a client on this device makes it.
    pub(super) const NATIVE: Self = Self { word: size_of::<usize>(), page_size: 4096, map_size: 0 };
}

/// An open database at its newest state.
pub(super) struct Database<'m, M> {
    medium: &'m mut M,
    word: usize,
    page_size: usize,
    map_size: u64,
    root: u64,
    /// Counts the changes of the database.
    pub(super) transaction: u64,
}

struct Meta {
    page_size: usize,
    map_size: u64,
    root: u64,
    transaction: u64,
}

impl<'m, M: Medium> Database<'m, M> {
    /// `None`: not an LMDB file.
    pub(super) fn open(medium: &'m mut M) -> Result<Option<Self>, LmdbFault> {
        for word in [8, 4] {
            let Some(first) = read_meta(medium, word, 0)? else { continue };
            if !PAGE_SIZES.contains(&first.page_size) || !first.page_size.is_power_of_two() {
                return Err(LmdbFault::Damaged);
            }
            let second = read_meta(medium, word, first.page_size as u64)?;
            let page_size = first.page_size;
            let newest = match second {
                Some(second) if second.transaction > first.transaction => second,
                Some(_) | None => first,
            };
            return Ok(Some(Self {
                medium,
                word,
                page_size,
                map_size: newest.map_size,
                root: newest.root,
                transaction: newest.transaction,
            }));
        }
        Ok(None)
    }

    /// How it is laid out.
    pub(super) fn shape(&self) -> Shape {
        Shape { word: self.word, page_size: self.page_size, map_size: self.map_size }
    }

    /// The value of `key`; longer than `limit` counts as damage.
    pub(super) fn read(&mut self, key: &[u8], limit: usize) -> Result<Option<Vec<u8>>, LmdbFault> {
        if self.root == self.no_page() {
            return Ok(None);
        }
        let mut number = self.root;
        for _ in 0..DEPTH_MAX {
            let page = self.page(number)?;
            match page.flags & (BRANCH | LEAF) {
                BRANCH => number = page.child(key)?,
                LEAF => {
                    let Some(node) = page.find(key)? else { return Ok(None) };
                    return self.value(&page, &node, limit).map(Some);
                }
                _ => return Err(LmdbFault::Damaged),
            }
        }
        Err(LmdbFault::Damaged)
    }

    fn value(&mut self, page: &Page, node: &Node, limit: usize) -> Result<Vec<u8>, LmdbFault> {
        let length = node.low | node.high << 16;
        if length > limit || node.flags & !BIG_VALUE != 0 {
            return Err(LmdbFault::Damaged);
        }
        if node.flags & BIG_VALUE == 0 {
            return Ok(slice(&page.bytes, node.value_at, length)?.to_vec());
        }
        let number = word_at(&page.bytes, node.value_at, self.word)?;
        if self.page(number)?.flags & OVERFLOW == 0 {
            return Err(LmdbFault::Damaged);
        }
        let at =
            self.offset(number)?.checked_add(header_length(self.word) as u64).ok_or(LmdbFault::Damaged)?;
        if at.checked_add(length as u64).ok_or(LmdbFault::Damaged)? > self.medium.size()? {
            return Err(LmdbFault::Damaged);
        }
        read_exact(self.medium, at, length)?.ok_or(LmdbFault::Damaged)
    }

    fn page(&mut self, number: u64) -> Result<Page, LmdbFault> {
        let at = self.offset(number)?;
        let bytes = read_exact(self.medium, at, self.page_size)?.ok_or(LmdbFault::Damaged)?;
        let flags = u16_at(&bytes, self.word + 2)?;
        if word_at(&bytes, 0, self.word)? != number {
            return Err(LmdbFault::Damaged);
        }
        Ok(Page { bytes, flags, word: self.word })
    }

    fn offset(&self, number: u64) -> Result<u64, LmdbFault> {
        number.checked_mul(self.page_size as u64).ok_or(LmdbFault::Damaged)
    }

    fn no_page(&self) -> u64 {
        if self.word == 8 { u64::MAX } else { u64::from(u32::MAX) }
    }
}

struct Page {
    bytes: Vec<u8>,
    flags: u16,
    word: usize,
}

struct Node {
    low: usize,
    high: usize,
    flags: u16,
    key_at: usize,
    key_length: usize,
    value_at: usize,
}

impl Page {
    fn nodes(&self) -> Result<usize, LmdbFault> {
        let lower = usize::from(u16_at(&self.bytes, self.word + 4)?);
        let header = header_length(self.word);
        if lower > self.bytes.len() { Err(LmdbFault::Damaged) } else { Ok(lower.saturating_sub(header) / 2) }
    }

    fn node(&self, index: usize) -> Result<Node, LmdbFault> {
        let at = usize::from(u16_at(&self.bytes, header_length(self.word) + index * 2)?);
        let key_length = usize::from(u16_at(&self.bytes, at + 6)?);
        Ok(Node {
            low: usize::from(u16_at(&self.bytes, at)?),
            high: usize::from(u16_at(&self.bytes, at + 2)?),
            flags: u16_at(&self.bytes, at + 4)?,
            key_at: at + 8,
            key_length,
            value_at: at + 8 + key_length,
        })
    }

    fn key(&self, node: &Node) -> Result<&[u8], LmdbFault> {
        slice(&self.bytes, node.key_at, node.key_length)
    }

    fn find(&self, key: &[u8]) -> Result<Option<Node>, LmdbFault> {
        for index in 0..self.nodes()? {
            let node = self.node(index)?;
            if self.key(&node)? == key {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// The page below that may hold `key`: the last whose first key is not greater. The first node has no key.
    fn child(&self, key: &[u8]) -> Result<u64, LmdbFault> {
        let mut found = None;
        for index in 0..self.nodes()? {
            let node = self.node(index)?;
            if index > 0 && self.key(&node)? > key {
                break;
            }
            let top = if self.word == 8 { u64::from(node.flags) << 32 } else { 0 };
            found = Some(node.low as u64 | (node.high as u64) << 16 | top);
        }
        found.ok_or(LmdbFault::Damaged)
    }
}

/// `None`: no meta page there.
fn read_meta(medium: &mut impl Medium, word: usize, at: u64) -> Result<Option<Meta>, LmdbFault> {
    let length = header_length(word) + 8 + 2 * word + 2 * (8 + 5 * word) + 2 * word;
    let Some(bytes) = read_exact(medium, at, length)? else { return Ok(None) };
    let magic_at = header_length(word);
    if u32_at(&bytes, magic_at)? != MAGIC {
        return Ok(None);
    }
    match u32_at(&bytes, magic_at + 4)? {
        VERSION => {}
        // Each page begins with its number; what the format of another version means by it is not known.
        other if at == 0 => return Err(LmdbFault::Version(other)),
        _ => return Ok(None),
    }
    let free_db = magic_at + 8 + 2 * word;
    let main_db = free_db + 8 + 5 * word;
    let after = main_db + 8 + 5 * word;
    Ok(Some(Meta {
        map_size: word_at(&bytes, magic_at + 8 + word, word)?,
        page_size: usize::try_from(u32_at(&bytes, free_db)?).map_err(|_| LmdbFault::Damaged)?,
        root: word_at(&bytes, main_db + 8 + 4 * word, word)?,
        transaction: word_at(&bytes, after + word, word)?,
    }))
}

const fn header_length(word: usize) -> usize {
    word + 8
}

/// `None`: the file ends before.
fn read_exact(medium: &mut impl Medium, at: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    Ok(super::journal::fill(medium, at, &mut bytes)?.then_some(bytes))
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], LmdbFault> {
    bytes.get(at..).and_then(|b| b.get(..length)).ok_or(LmdbFault::Damaged)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, LmdbFault> {
    bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u16::from_le_bytes(*b)).ok_or(LmdbFault::Damaged)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, LmdbFault> {
    bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u32::from_le_bytes(*b)).ok_or(LmdbFault::Damaged)
}

fn word_at(bytes: &[u8], at: usize, word: usize) -> Result<u64, LmdbFault> {
    if word == 4 {
        return u32_at(bytes, at).map(u64::from);
    }
    bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b)).ok_or(LmdbFault::Damaged)
}
