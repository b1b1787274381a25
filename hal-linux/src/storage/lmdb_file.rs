//! Writes a whole database of Mender's clients (LMDB), for a device that goes back to such a client. `lmdb.rs` draws the
//! pages.
//!
//! A new file has no history: two meta pages that name the same tree, one leaf with all keys, and overflow pages for what is
//! too long for it. Both meta pages are good, whichever a client picks.

use super::lmdb::Shape;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;

const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;

const BIG_VALUE: u16 = 0x01;

/// The flags of the database of free pages: its keys are numbers, and the file is not in a directory of its own.
const FREE_FLAGS: u16 = 0x4008;

/// The first page behind the two meta pages.
const ROOT: u64 = 2;

/// Room that the client has for what it will add, in bytes at least: what LMDB takes by default.
const MAP_SIZE: u64 = 1024 * 1024;

/// Why values cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The bytes of a database in which these keys have these values. An error where they do not fit into one leaf page.
pub(super) fn write(shape: Shape, transaction: u64, values: &[(&str, &[u8])]) -> Result<Vec<u8>, TooMany> {
    let mut values = values.to_vec();
    values.sort_unstable_by_key(|(key, _)| key.as_bytes());
    let file = File { shape, transaction };
    let header = file.header();
    let (mut leaf, mut overflow) = (vec![0; shape.page_size], Vec::new());
    let (mut lower, mut upper, mut next) = (header, shape.page_size, ROOT + 1);
    for (key, value) in &values {
        let mut node = Vec::new();
        let is_big = node_length(key, value.len()) > file.node_max();
        let length = u32::try_from(value.len()).map_err(|_| TooMany)?;
        node.extend(length.to_le_bytes());
        node.extend((if is_big { BIG_VALUE } else { 0 }).to_le_bytes());
        node.extend(u16::try_from(key.len()).map_err(|_| TooMany)?.to_le_bytes());
        node.extend(key.as_bytes());
        if is_big {
            node.extend(file.word(next));
            let pages = (header - 1 + value.len()) / shape.page_size + 1;
            let count = u32::try_from(pages).map_err(|_| TooMany)?;
            let mut page = file.page(next, OVERFLOW, count.to_le_bytes());
            page.extend(*value);
            page.resize(pages * shape.page_size, 0);
            overflow.extend(page);
            next += pages as u64;
        } else {
            node.extend(*value);
        }
        upper = upper.checked_sub(node.len() + node.len() % 2).ok_or(TooMany)?;
        if upper < lower + 2 {
            return Err(TooMany);
        }
        leaf[upper..upper + node.len()].copy_from_slice(&node);
        leaf[lower..lower + 2].copy_from_slice(&file.short(upper));
        lower += 2;
    }
    let mut bounds = [0; 4];
    bounds[..2].copy_from_slice(&file.short(lower));
    bounds[2..].copy_from_slice(&file.short(upper));
    leaf[..header].copy_from_slice(&file.page(ROOT, LEAF, bounds));
    let pages = Pages { overflow: next - ROOT - 1, entries: values.len() as u64, last: next - 1 };
    let mut bytes = file.meta(0, &pages);
    bytes.extend(file.meta(1, &pages));
    bytes.extend(leaf);
    bytes.extend(overflow);
    Ok(bytes)
}

struct File {
    shape: Shape,
    transaction: u64,
}

struct Pages {
    overflow: u64,
    entries: u64,
    last: u64,
}

impl File {
    const fn header(&self) -> usize {
        self.shape.word + 8
    }

    /// The longest node of a leaf: two fit into one.
    const fn node_max(&self) -> usize {
        (((self.shape.page_size - self.header()) / 2) & !1) - 2
    }

    fn word(&self, number: u64) -> Vec<u8> {
        number.to_le_bytes()[..self.shape.word].to_vec()
    }

    /// Places in a page are below its size, which is at most 65536; the place behind the largest page is never used.
    fn short(&self, at: usize) -> [u8; 2] {
        u16::try_from(at).unwrap_or(u16::MAX).to_le_bytes()
    }

    fn page(&self, number: u64, flags: u16, bounds: [u8; 4]) -> Vec<u8> {
        let mut page = self.word(number);
        page.extend([0; 2]);
        page.extend(flags.to_le_bytes());
        page.extend(bounds);
        page
    }

    fn meta(&self, number: u64, pages: &Pages) -> Vec<u8> {
        let mut meta = self.page(number, META, [0; 4]);
        meta.extend(MAGIC.to_le_bytes());
        meta.extend(VERSION.to_le_bytes());
        let needed = (pages.last + 1).saturating_mul(self.shape.page_size as u64).saturating_mul(2);
        let map_size = self.shape.map_size.max(MAP_SIZE).max(needed);
        for word in [0, map_size] {
            meta.extend(self.word(word));
        }
        // The free pages: none.
        meta.extend(u32::try_from(self.shape.page_size).unwrap_or(u32::MAX).to_le_bytes());
        meta.extend(FREE_FLAGS.to_le_bytes());
        meta.extend([0; 2]);
        for word in [0, 0, 0, 0, u64::MAX] {
            meta.extend(self.word(word));
        }
        // The one tree: a leaf. Without keys there is none.
        let (depth, leaves, root) = if pages.entries == 0 { (0, 0, u64::MAX) } else { (1_u16, 1, ROOT) };
        meta.extend([0; 6]);
        meta.extend(depth.to_le_bytes());
        for word in [0, leaves, pages.overflow, pages.entries, root] {
            meta.extend(self.word(word));
        }
        let is_newest = number == self.transaction % 2;
        let transaction = if is_newest { self.transaction } else { self.transaction.saturating_sub(1) };
        for word in [pages.last, transaction] {
            meta.extend(self.word(word));
        }
        meta.resize(self.shape.page_size, 0);
        meta
    }
}

fn node_length(key: &str, value: usize) -> usize {
    8 + key.len() + value
}
