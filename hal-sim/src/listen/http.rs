//! Requests as they stand on the wire, read strictly: what a good client would not send is a violation.

use std::io::{self, ErrorKind, Read};

/// The longest head: real servers stop at 8 to 16 KiB.
const HEAD: usize = 16 * 1024;

/// The longest body that is read.
const BODY: usize = 4 * 1024 * 1024;

/// A request as it came.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) violations: Vec<String>,
}

/// The next request; `None` at the end of the connection, or when `is_over`.
pub(super) fn read(
    stream: &mut impl Read,
    host: &str,
    is_over: &dyn Fn() -> bool,
) -> io::Result<Option<Request>> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if read.len() > HEAD {
            return Err(io::Error::other("the head is too long"));
        }
        if !more(stream, &mut read, is_over)? {
            return Ok(None);
        }
    };
    let mut body = read.split_off(head + 4);
    let mut request = parse(&read[..head], host);
    let surplus = if request.values("Transfer-Encoding").is_empty() {
        let length = request.content_length();
        while body.len() < length {
            if !more(stream, &mut body, is_over)? {
                return Ok(None);
            }
        }
        let surplus = body.split_off(length);
        request.body = body;
        surplus.len()
    } else {
        // Mender 3 does that, and the real server takes it.
        loop {
            if let Some((joined, surplus)) = unchunked(&body) {
                request.body = joined;
                break surplus;
            }
            if body.len() > BODY || !more(stream, &mut body, is_over)? {
                return Ok(None);
            }
        }
    };
    if surplus > 0 {
        request.violations.push(format!("{surplus} bytes behind the request"));
    }
    Ok(Some(request))
}

/// The body in these chunks and how many bytes stand behind it; `None` as long as it is not complete.
fn unchunked(mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        let chunk = rest.get(end + 2..)?.get(..size.checked_add(2)?)?;
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[end + 2 + size + 2..];
        if size == 0 {
            return Some((body, rest.len()));
        }
    }
}

fn more(stream: &mut impl Read, bytes: &mut Vec<u8>, is_over: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut buf = [0; 16 * 1024];
    while !is_over() {
        match stream.read(&mut buf) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                bytes.extend_from_slice(&buf[..read]);
                return Ok(true);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn parse(head: &[u8], host: &str) -> Request {
    let mut violations = Vec::new();
    let text = String::from_utf8_lossy(head);
    if head.iter().any(|&byte| !(byte == b'\r' || byte == b'\n' || (0x20..0x7f).contains(&byte))) {
        violations.push("a byte in the head that has no place there".to_owned());
    }
    let mut lines = text.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
    let (method, target) = match first[..] {
        [method, target, "HTTP/1.1"] => (method, target),
        _ => {
            violations.push(format!("request line: {}", first.join(" ")));
            (first.first().copied().unwrap_or(""), first.get(1).copied().unwrap_or(""))
        }
    };
    let mut headers = Vec::new();
    for line in lines {
        match line.split_once(':') {
            Some((name, value))
                if !name.is_empty() && name.bytes().all(is_token) && !line.contains(['\r', '\n']) =>
            {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            _ => violations.push(format!("header line: {}", line.escape_debug())),
        }
    }
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
        violations: Vec::new(),
    };
    request.check(host, &mut violations);
    Request { violations, ..request }
}

impl Request {
    fn values(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    fn content_length(&self) -> usize {
        let length = self.values("Content-Length").first().and_then(|value| value.parse().ok());
        length.unwrap_or(0).min(BODY)
    }

    fn check(&self, host: &str, violations: &mut Vec<String>) {
        if self.values("Host") != [host] {
            violations.push(format!("Host is {:?}", self.values("Host")));
        }
        for once in
            ["Content-Length", "Content-Type", "Authorization", "Range", "User-Agent", "X-MEN-Signature"]
        {
            if self.values(once).len() > 1 {
                violations.push(format!("{once} is given twice"));
            }
        }
        if self.values("User-Agent").iter().all(|agent| agent.is_empty()) {
            violations.push("no User-Agent".to_owned());
        }
        if !self.values("Transfer-Encoding").is_empty() {
            violations.push("a request in chunks".to_owned());
        }
        let length = self.values("Content-Length");
        if matches!(self.method.as_str(), "POST" | "PUT" | "PATCH")
            && !matches!(length[..], [value] if value.bytes().all(|b| b.is_ascii_digit()) && value.len() < 10)
        {
            violations.push(format!("{} with Content-Length {length:?}", self.method));
        }
        if !self.target.starts_with('/') {
            violations.push(format!("target {}", self.target));
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
