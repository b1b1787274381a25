//! Every capacity that is fixed at compile time, with its reason. Capacities that depend on the platform
//! are the lengths of the buffers it lends (see [`crate::client::Buffers`] and
//! [`crate::artifact::Workspace`]); reaching one is a typed error that names it, never a truncation.

/// Longest artifact name, group, provides key and provides value, in bytes: the limit of Mender's server.
pub const NAME: usize = 256;

/// Longest artifact name on record, in bytes: what the client appends to the name of an artifact that is neither
/// installed nor rolled back is not in the artifact.
pub const STORED_NAME: usize = NAME + "_INCONSISTENT".len();

/// Longest payload type, in bytes: it becomes a file name in the module directory (A1).
pub const PAYLOAD_TYPE: usize = 64;

/// Longest deployment id, in bytes: it goes into a URL and a file name (SERVER-22).
pub const DEPLOYMENT_ID: usize = 64;

/// Longest artifact URL, in bytes: the longest request line that usual servers take. Signed links of object stores
/// reach 2 KiB, with the token of a role in them 4 KiB and more.
pub const URL: usize = 8192;

/// Bytes of an artifact that one call of [`Client::poll`](crate::client::Client::poll) moves before it gives the main loop
/// a turn; those of the step at hand come on top. The slowest decompressor takes some 10 ms for as much on a gateway.
pub const POLL: usize = 512 * 1024;

/// Longest authentication token, in bytes: it goes into a header (SERVER-14).
pub const TOKEN: usize = 8192;

/// Servers in the configuration: for each the client keeps in memory how long it asked not to be asked for a token.
pub const SERVERS: usize = 8;

/// Longest URL of a server, in bytes: a path and the names of device and artifact are appended to it, and the whole
/// stands on the stack.
pub const SERVER_URL: usize = 1024;

/// Longest device type, in bytes (server limit).
pub const DEVICE_TYPE: usize = 256;

/// Longest text of a failure reason kept for the user, in bytes; longer reasons are cut with a mark. Codes are shorter than
/// the texts they stand for.
pub const REASON: usize = if cfg!(feature = "text") { 480 } else { SUBSTATE };

/// Longest answer of a module query that is looked at, in bytes: the longest valid word has 9.
pub const QUERY_ANSWER: usize = 64;

/// Bytes of output kept per script and stream (SCRIPT-11, R-9).
pub const SCRIPT_OUTPUT: usize = 10 * 1024;

/// Scripts of one artifact (ARTIFACT-53).
pub const SCRIPTS: u16 = 256;

/// Record writes of one deployment; one more is a state loop (STATE-50).
pub const STORES: u8 = 28;

/// A deployment whose record was written so often is ended by a restart in Download, also where `ResumeDownloads` is set:
/// half of [`STORES`], so that enough writes are left for the rest of the deployment, a rollback with its reboot included.
pub const DOWNLOAD_STORES: u8 = STORES / 2;

/// Deployments of which the client remembers how often they began, and whether the server refused to hear how they ended
/// a server has a device do one after the other.
pub const BEGUN: usize = 4;

/// How often one deployment begins within a day, however often the server offers it.
pub const BEGINNINGS: u8 = 5;

/// Longest `ETag` kept to go on with a download, in bytes; a longer one counts as none.
pub const ETAG: usize = 128;

/// Update control maps at a time: one per program that may hold updates up, and the server's. None without feature
/// `control-maps`.
pub const MAPS: usize = if cfg!(feature = "control-maps") { 8 } else { 0 };

/// Longest update control map as it is received, in bytes: the largest useful one has about 600
/// (CONTROL-3).
pub const MAP: usize = 4096;

/// Longest record of one update control map, in bytes: a written map has at most 480.
pub const MAP_RECORD: usize = 512;

/// Longest record of all update control maps, in bytes.
pub const MAPS_RECORD: usize = MAP_RECORD * MAPS;

/// Longest identity of a device, as lines of `key=value`, in bytes (SERVER-54).
pub const IDENTITY: usize = 4096;

/// Longest output of one inventory script, in bytes (SERVER-54).
pub const INVENTORY_SCRIPT: usize = 32 * 1024;

/// Inventory attributes of a device: with one more the server refuses all of them.
pub const ATTRIBUTES: usize = 100;

/// Longest name of an inventory attribute, in bytes: with a longer one the server refuses all attributes.
pub const ATTRIBUTE_NAME: usize = 1024;

/// Longest substate of a status report, in bytes of UTF-8: the limit of Mender's server.
pub const SUBSTATE: usize = 200;

/// Longest name in a tar archive, and so of a payload file, in bytes: `NAME_MAX` of Linux file systems.
pub const FILE_NAME: usize = 255;

/// Zero bytes behind the end marker of a tar archive (ARTIFACT-4; GNU tar pads to 10 KiB).
pub const TRAILING_ZEROS: u64 = 1024 * 1024;

/// PAX and GNU headers in front of one tar entry: a name and a size need two, a global one may stand before.
pub const TAR_EXTENSIONS: usize = 8;

/// Body of the member `version`, in bytes: only 31 exist in the field.
pub const VERSION: usize = 128;

/// Bytes of a manifest: 1024 files with long names.
pub const MANIFEST: u64 = 512 * 1024;

/// Base64 text of a signature, in bytes: RSA-4096 has 684.
pub const SIGNATURE: usize = 1024;

/// Size of one state script in an artifact, in bytes.
pub const SCRIPT_SIZE: u64 = 4 * 1024 * 1024;

/// Bytes of a chunk that are parsed in one step, but for plain payloads: so many can be six thousand empty blocks of gzip, or
/// a hundred and thirty streams of xz, each of which costs some microseconds.
pub const PACKED: usize = 8 * 1024;

/// Bytes a header archive may have after decompression: stops a bomb.
pub const HEADER: u64 = 64 * 1024 * 1024;

/// Members of one JSON object of an artifact.
pub const JSON_MEMBERS: usize = 1024;

/// Keys of all objects of one JSON text of an artifact together. A megabyte of meta-data may have more; each of them costs
/// time in one call.
pub const JSON_KEYS: usize = 32 * 1024;

/// Work to clear provides, in bytes: the length of the artifact's patterns times the keys on record, and the other way
/// round. A hundred patterns for two hundred keys need a quarter of it, in some milliseconds. Patterns that were chosen to
/// be compared with the same characters again and again may not take more comparisons than that either.
pub const CLEARS: usize = 8 * 1024 * 1024;

/// Longest key or value of provides and depends, in bytes.
pub const JSON_STRING: usize = 1024;
