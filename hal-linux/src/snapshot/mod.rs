//! An image of a file system that is in use: which device it is on, and how it is kept from changing meanwhile.
//!
//! ```text
//! Source::find -> Source::open -> Frozen::begin -> Reader::read, Frozen::alive ... -> Frozen::end
//! ```
//!
//! A frozen file system holds up whoever writes to it, and a device whose root file system stays frozen can only be
//! switched off. [`freeze`] has what thaws it, whatever becomes of this process.

mod compress;
mod freeze;
mod read;
mod source;

pub use self::compress::{Compression, Compressor};
pub use self::freeze::{FreezeFault, Frozen, SILENCE_MAX};
pub use self::read::Reader;
pub use self::source::{Source, SourceFault};
