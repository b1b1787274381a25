//! Reads a device whole, past the cache of its blocks: what a file system wrote through the cache of its files may not be
//! in there.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Bytes of one reading, and what its place in memory is aligned to: more than any device's sector.
const CHUNK: usize = 256 * 1024;
const ALIGNMENT: usize = 4096;

/// A device that is read from its beginning.
#[derive(Debug)]
pub struct Reader {
    device: File,
    memory: Vec<u8>,
    start: usize,
}

impl Reader {
    /// Reads `device` past the cache, where the kernel can.
    #[must_use]
    pub fn new(device: File) -> Self {
        let direct = fcntl_getfl(&device).and_then(|flags| fcntl_setfl(&device, flags | OFlags::DIRECT));
        // Those few devices that cannot are read through it.
        let _ = direct;
        let memory = vec![0; CHUNK + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { device, memory, start }
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let room = self.memory.get_mut(self.start..self.start + CHUNK).unwrap_or_default();
        let read = loop {
            match self.device.read(room) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        Ok(room.get(..read).unwrap_or_default())
    }
}
