//! The server at the other end of the byte stream: two deployments of one artifact. The first is good; its link breaks once
//! in the middle. The second fails while it is installed. A request that no good client makes gets no answer.
//!
//! Nothing of it belongs to the board, neither its code nor what it sends: the sections `.peer` are not counted as flash. It
//! uses nothing of core, and its turn is between two polls, so that its stack is not measured either.

use crate::wire::{State, Wire};

/// The artifact of the full board: `mender-artifact write module-image -T flash -n release-2 -t board -t other-board
/// --compression gzip --depends board-revision:3 --provides flash.version:2 --software-name app`, with meta-data, a state
/// script and a file of some kilobytes. It is signed by ECDSA on P-256, with a key of which `update.key` keeps the public
/// half, a point of 65 bytes:
///
/// ```text
/// openssl ecparam -genkey -name prime256v1 -noout -out key.pem
/// openssl ec -in key.pem -pubout -outform DER | tail -c 65 > update.key
/// mender-artifact sign -k key.pem --force update.mender
/// ```
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

/// A text that is the server's. What it refers to lies in the same section, which a literal does not.
macro_rules! peer {
    ($($name:ident = $text:expr;)*) => {$(
        #[unsafe(link_section = ".peer")]
        static $name: [u8; $text.len()] = *$text;
    )*};
}

peer! {
    FIRST_OFFER = br#"{"id":"01234567-89ab-cdef-0123-456789abcdef","artifact":{"artifact_name":"release-2","source":{"uri":"https://store.example/a?x=1\u0026y=2","expire":"2030-01-01T00:00:00Z"},"device_types_compatible":["board"]},"update_control_map":{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":0,"states":{"ArtifactInstall_Enter":{"action":"continue"}}}}"#;
    SECOND_OFFER = br#"{"id":"d-2","artifact":{"artifact_name":"release-2","source":{"uri":"https://store.example/a"},"device_types_compatible":["board"]}}"#;
    // The first one's control map, asked for anew.
    MAP = br#"{"update_control_map":{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":0,"states":{"ArtifactInstall_Enter":{"action":"continue"}}}}"#;
    TOKEN = b"header.payload.signature";

    STORE = b"\r\nHost: store.example\r\n";
    BEARER = b"\r\nAuthorization: Bearer header.payload.signature\r\n";
    SIGNATURE = b"\r\nX-MEN-Signature: BBBB\r\n";
    RANGE = b"\r\nRange: bytes=";
    SAME = b"\r\nIf-Range: \"one\"\r\n";
    LENGTH = b"\r\nContent-Length: ";
    GET = b"GET ";
    NEXT = b"/next HTTP/1.1\r\n";
    AUTH = b"/auth_requests HTTP/1.1\r\n";
    UPDATE_CONTROL = b"/update_control_map HTTP/1.1\r\n";
    STATUS = b"/status HTTP/1.1\r\n";
    ATTRIBUTES = b"/attributes HTTP/1.1\r\n";
    LOG = b"/log HTTP/1.1\r\n";
    CONTROL_MAP = b"update_control_map";
    SUCCESS = b"\"success\"";
    FAILURE = b"\"failure\"";

    ANSWER = b"HTTP/1.1 ";
    ANSWER_LENGTH = b" X\r\nServer: made-up\r\nContent-Length: ";
    ANSWER_RANGE = b"\r\nContent-Range: bytes ";
    ANSWER_END = b"\r\nETag: \"one\"\r\n\r\n";
    HEAD_END = b"\r\n\r\n";
}

/// The server, and the request and answer at hand.
pub struct Server {
    /// How many deployments are over.
    pub over: usize,
    /// How they ended: `success`, then `failure`.
    pub good: [bool; 2],
    /// Whether control maps were asked for, and whether an inventory came.
    pub extras: [bool; 2],
    /// Downloads that went on where the link had broken.
    pub resumed: usize,
    request: Text<4096>,
    answer: Text<160>,
    sent: usize,
    body: &'static [u8],
    at: usize,
    end: usize,
    broke: bool,
}

impl Server {
    pub const fn new() -> Self {
        Self {
            over: 0,
            good: [false; 2],
            extras: [false; 2],
            resumed: 0,
            request: Text::new(),
            answer: Text::new(),
            sent: 0,
            body: &[],
            at: 0,
            end: 0,
            broke: false,
        }
    }

    /// Moves what can be moved; false: nothing.
    #[inline(never)]
    #[unsafe(link_section = ".peer.text")]
    pub fn turn(&mut self, wire: &mut Wire) -> bool {
        match wire.state {
            State::Closed | State::Broken => return false,
            State::Opening => {
                wire.state = State::Open;
                (self.request.length, self.answer.length) = (0, 0);
                return true;
            }
            State::Open => {}
        }
        let Text { bytes, length } = &mut self.request;
        let received = bytes.get_mut(*length..).map_or(0, |room| wire.to_server.take(room));
        *length += received;
        if self.answer.length == 0 {
            if received == 0 || !self.respond() {
                return received > 0;
            }
            self.sent = 0;
        }
        let head = wire.to_board.put(self.answer.get().get(self.sent..).unwrap_or_default());
        self.sent += head;
        let mut body = 0;
        if self.sent == self.answer.length {
            body = wire.to_board.put(self.body.get(self.at..self.end).unwrap_or_default());
            self.at += body;
            if self.at == self.end && self.end < self.body.len() {
                wire.state = State::Broken;
            }
        }
        received + head + body > 0
    }

    /// Answers the request if it is complete; false: it is not, or is none.
    #[inline(never)]
    #[unsafe(link_section = ".peer.text")]
    fn respond(&mut self) -> bool {
        let request = self.request.get();
        let Some(head_end) = place(request, &HEAD_END) else { return false };
        let (head, body) = request.split_at(head_end + 2);
        let body = body.get(2..).unwrap_or_default();
        if body.len() < number_behind(head, &LENGTH).unwrap_or(0) {
            return false;
        }
        let has = |words: &[u8]| place(head, words).is_some();
        let mut status = 204;
        let mut answer: &'static [u8] = &[];
        let mut from = 0;
        if has(&STORE) {
            if has(&BEARER) || !head.starts_with(&GET) {
                return false;
            }
            (status, answer) = (200, &ARTIFACT);
            if let Some(first) = number_behind(head, &RANGE) {
                if !has(&SAME) {
                    return false;
                }
                self.resumed += 1;
                (status, from) = (206, first);
            }
        } else if has(&AUTH) {
            if !has(&SIGNATURE) {
                return false;
            }
            (status, answer) = (200, &TOKEN);
        } else if !has(&BEARER) {
            return false;
        } else if has(&NEXT) {
            self.extras[0] |= place(body, &CONTROL_MAP).is_some();
            match self.over {
                0 => (status, answer) = (200, &FIRST_OFFER),
                1 => (status, answer) = (200, &SECOND_OFFER),
                _ => {}
            }
        } else if has(&UPDATE_CONTROL) {
            (status, answer) = (200, &MAP);
        } else if has(&STATUS) {
            let good = place(body, &SUCCESS).is_some();
            if good || place(body, &FAILURE).is_some() {
                if let Some(end) = self.good.get_mut(self.over) {
                    *end = good;
                }
                self.over += 1;
            }
        } else if has(&ATTRIBUTES) {
            self.extras[1] = true;
            status = 200;
        } else if !has(&LOG) {
            return false;
        }
        (self.body, self.at, self.end) = (answer, from, answer.len());
        if status == 200 && answer.len() == ARTIFACT.len() && !self.broke {
            (self.broke, self.end) = (true, BREAK);
        }
        let out = &mut self.answer;
        out.push(&ANSWER);
        out.push_number(status);
        if status == 204 {
            // Such an answer has no body, and says nothing of its length.
            out.push(b" \r\n\r\n");
            return true;
        }
        out.push(&ANSWER_LENGTH);
        out.push_number(answer.len().saturating_sub(from));
        if status == 206 {
            out.push(&ANSWER_RANGE);
            out.push_number(from);
            out.push(b"-");
            out.push_number(answer.len().saturating_sub(1));
            out.push(b"/");
            out.push_number(answer.len());
        }
        out.push(&ANSWER_END);
        true
    }
}

/// Some bytes.
struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    #[inline(always)]
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[inline(never)]
    #[unsafe(link_section = ".peer.text")]
    fn push(&mut self, text: &[u8]) {
        for &byte in text {
            if let Some(to) = self.bytes.get_mut(self.length) {
                *to = byte;
                self.length += 1;
            }
        }
    }

    #[inline(never)]
    #[unsafe(link_section = ".peer.text")]
    fn push_number(&mut self, number: usize) {
        if number > 9 {
            self.push_number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

/// Where `words` begin in `text`.
#[inline(never)]
#[unsafe(link_section = ".peer.text")]
fn place(text: &[u8], words: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with(words) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The number behind `words`.
#[inline(never)]
#[unsafe(link_section = ".peer.text")]
fn number_behind(text: &[u8], words: &[u8]) -> Option<usize> {
    let rest = text.get(place(text, words)? + words.len()..)?;
    let mut number = 0;
    for &byte in rest {
        if !byte.is_ascii_digit() {
            break;
        }
        number = number * 10 + usize::from(byte - b'0');
    }
    Some(number)
}
