//! The board's server: two deployments of one artifact. The first is good; its link breaks once in the middle. The second
//! fails while it is installed.

use thimble_core::http::{ContentRange, Head, Method, Request, Target};

/// The artifact of the full board: `mender-artifact write module-image -T flash -n release-2 -t board -t other-board
/// --compression gzip --depends board-revision:3 --provides flash.version:2 --software-name app`, with a signature,
/// meta-data, a state script and a file of some kilobytes.
#[cfg(feature = "full")]
#[unsafe(link_section = ".peer")]
static ARTIFACT: [u8; include_bytes!("../update.mender").len()] = *include_bytes!("../update.mender");

/// The artifact of the small board: `mender-artifact write module-image -T flash -n release-2 -t board --compression none
/// -f app`, where `app` is what `seq 1 500` writes.
#[cfg(not(feature = "full"))]
#[unsafe(link_section = ".peer")]
static ARTIFACT: [u8; include_bytes!("../small.mender").len()] = *include_bytes!("../small.mender");

/// Where the first download breaks off.
const BREAK: usize = 3000;

/// Its answer to `next`.
const OFFER: [&[u8]; 2] = [
    br#"{"id":"01234567-89ab-cdef-0123-456789abcdef","artifact":{"artifact_name":"release-2","source":{"uri":"https://store.example/a?x=1\u0026y=2","expire":"2030-01-01T00:00:00Z"},"device_types_compatible":["board"]},"update_control_map":{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":0,"states":{"ArtifactInstall_Enter":{"action":"continue"}}}}"#,
    br#"{"id":"d-2","artifact":{"artifact_name":"release-2","source":{"uri":"https://store.example/a"},"device_types_compatible":["board"]}}"#,
];

/// The first one's control map, asked for anew.
const MAP: &[u8] = br#"{"update_control_map":{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":0,"states":{"ArtifactInstall_Enter":{"action":"continue"}}}}"#;

/// What comes next of a body.
pub enum Answer {
    /// So many bytes; 0: it is complete.
    Bytes(usize),
    /// The connection broke.
    Broken,
}

/// The server, and the answer at hand.
pub struct Server {
    /// How many deployments are over.
    pub over: usize,
    /// How they ended: `success`, then `failure`.
    pub good: [bool; 2],
    /// Whether control maps were asked for, and whether an inventory came.
    pub extras: [bool; 2],
    status: u16,
    body: &'static [u8],
    at: usize,
    end: usize,
    broke: bool,
    is_status: bool,
}

impl Server {
    pub const fn new() -> Self {
        Self {
            over: 0,
            good: [false; 2],
            extras: [false; 2],
            status: 0,
            body: &[],
            at: 0,
            end: 0,
            broke: false,
            is_status: false,
        }
    }

    /// Whether the module is to fail.
    pub const fn wants_failure(&self) -> bool {
        self.over == 1
    }

    pub fn ask(&mut self, request: &Request<'_>) {
        let Target::Url(url) = request.target else { return };
        (self.status, self.body, self.at, self.is_status) = (204, &[], 0, false);
        if url.starts_with("https://store.example/") {
            let from = usize::try_from(request.offset).unwrap_or(0);
            (self.status, self.body, self.at) = (if from == 0 { 200 } else { 206 }, &ARTIFACT, from);
        } else if url.ends_with("/auth_requests") {
            (self.status, self.body) = (200, b"header.payload.signature");
        } else if url.ends_with("/next") {
            if let Some(offer) = OFFER.get(self.over) {
                (self.status, self.body) = (200, offer);
            }
        } else if url.ends_with("/update_control_map") {
            (self.status, self.body) = (200, MAP);
        } else if url.ends_with("/status") {
            self.is_status = true;
        } else if request.method == Method::Patch || request.method == Method::Put {
            let is_inventory = url.ends_with("/attributes");
            self.extras[1] |= is_inventory;
            self.status = if is_inventory { 200 } else { 204 };
        }
        self.end = self.body.len();
        if self.status == 200 && self.body.len() == ARTIFACT.len() && !self.broke {
            (self.broke, self.end) = (true, BREAK);
        }
    }

    /// The body of the request, whole: no body is longer than the buffer it is made in.
    pub fn hear(&mut self, body: &[u8]) {
        let says = |word: &[u8]| body.windows(word.len()).any(|at| at == word);
        self.extras[0] |= says(b"update_control_map");
        let good = says(br#""success""#);
        if self.is_status && (good || says(br#""failure""#)) {
            if let Some(end) = self.good.get_mut(self.over) {
                *end = good;
            }
            self.over += 1;
        }
    }

    pub fn head(&self) -> Head {
        let (first, size) = (self.at as u64, self.body.len() as u64);
        let range = ContentRange { first, last: size.saturating_sub(1), size: Some(size) };
        Head {
            status: self.status,
            content_length: Some(size.saturating_sub(first)),
            content_range: (self.status == 206).then_some(range),
            retry_after: None,
        }
    }

    pub fn read(&mut self, buf: &mut [u8]) -> Answer {
        let left = self.body.get(self.at..self.end).unwrap_or_default();
        if left.is_empty() && self.end < self.body.len() {
            return Answer::Broken;
        }
        let count = left.len().min(buf.len()).min(1000);
        buf[..count].copy_from_slice(&left[..count]);
        self.at += count;
        Answer::Bytes(count)
    }
}
