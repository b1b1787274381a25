//! How much a scenario may be, so that whatever somebody writes ends in a clear line soon.

use thimble_core::limits::MAP;
use thimble_core::time::Duration;

/// Bytes of a scenario: the longest useful one has a few thousand.
pub const BYTES: usize = 256 * 1024;

/// Bytes of one line: room for the longest control map.
pub const LINE: usize = 2 * MAP;

/// Parts of a scenario.
pub const PARTS: usize = 200;

/// Lines that say what is done, in all parts, comments aside.
pub const COMMANDS: usize = 1000;

/// How often the daemon may do something before it waits again, in all of a scenario: an update takes about a hundred turns,
/// a year of nothing about a hundred thousand.
pub const TURNS: u32 = 300_000;

/// Lines of the timeline that are shown of a part that did not come to its end.
pub const STOPPED: usize = 100;

/// The longest time that may be waited for in one line: a leap year.
pub const TIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The greatest number of a time that something happens: `fail ArtifactInstall 10000`.
pub const TIMES: u32 = 10_000;

/// Complaints that are shown; of the others only the number.
pub const COMPLAINTS: usize = 20;

/// Characters of somebody's word that a complaint repeats.
pub const SHOWN: usize = 40;
