//! Root file systems in two slots on Linux: finding them, and writing an image into the one that does not run.

pub mod slot;
