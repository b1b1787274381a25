//! What a user hands over: artifacts, folders of state scripts and root file systems, read from the files of a
//! host. Nothing of it is run, and nothing of it is believed: every part has a limit.

pub mod artifact;
pub mod root;
pub mod scripts;

pub use artifact::Artifact;
pub use root::Root;
pub use scripts::{Home, Script};
