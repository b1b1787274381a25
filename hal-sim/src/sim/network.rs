//! The network: the server, and the artifact file.

use thimble_core::hal::{ErrorType, Kind, Network, Poll};
use thimble_core::http::{Authorization, ContentRange, Head, Method, Request, Target};
use thimble_core::time::{Duration, Instant};

use super::{Effect, Fate, Gone, Handle, SERVER};
use crate::server::{self, Delivery};

/// Reaches both.
pub struct Net {
    bench: Handle,
    /// The request whose body is still coming.
    pending: Option<Pending>,
    answer: Option<server::Response>,
    at: usize,
    seen: bool,
    /// The client has asked for what was not there yet, or has just begun: it is to be woken when it is.
    awaited: bool,
    /// When the next bytes come of a slow answer, or over a slow link.
    next: Instant,
}

/// A request, kept until its body is there.
struct Pending {
    method: Method,
    url: String,
    authorization: Option<String>,
    signature: Option<String>,
    length: Option<usize>,
    body: Vec<u8>,
    offset: u64,
    etag: Option<String>,
}

/// Time between two bytes of a slow answer.
const DRIP: Duration = Duration::from_secs(240);

/// The value of a header.
fn header<'a>(answer: &'a server::Response, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Net {
    pub(super) fn new(bench: Handle) -> Self {
        Self { bench, pending: None, answer: None, at: 0, seen: false, awaited: true, next: Instant::ZERO }
    }

    fn ask(&self, request: &Pending) -> Result<server::Response, Gone> {
        let lost = || Gone("the connection broke", Kind::Connection);
        let target = request.url.strip_prefix(SERVER).ok_or_else(lost)?;
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
        };
        let range = (request.offset > 0).then(|| format!("bytes={}-", request.offset));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(request.authorization.as_deref().map(|value| ("Authorization", value)));
        headers.extend(request.signature.as_deref().map(|value| ("X-MEN-Signature", value)));
        headers.extend(request.length.map(|_| ("Content-Type", "application/json")));
        headers.extend(range.as_deref().map(|value| ("Range", value)));
        headers
            .extend(request.etag.as_deref().filter(|_| request.offset > 0).map(|value| ("If-Range", value)));
        let body = &request.body[..];

        let mut fate = Fate::Works;
        if target.ends_with("/status") {
            let text = String::from_utf8_lossy(body).into_owned();
            let status =
                text.split("\"status\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
            fate = self.bench.fate(&Effect::Status(status.to_owned()))?;
            self.bench.line(format!("-- {status}"));
        }
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        let mut bench = self.bench.0.borrow_mut();
        match fate {
            Fate::Fails | Fate::LostInside => {}
            Fate::Refuses => {
                let ids: Vec<String> = bench.durable.server.deployments.keys().cloned().collect();
                ids.iter().for_each(|id| bench.durable.server.abort(id));
            }
            Fate::Works | Fate::LostBefore | Fate::LostAfter => {}
        }
        if fate == Fate::Fails {
            return Err(lost());
        }
        let answer = if fate == Fate::LostInside {
            None
        } else {
            Some(bench.durable.server.request(&server::Request { method, target, headers: &headers, body }))
        };
        drop(bench);
        if matches!(fate, Fate::LostInside | Fate::LostAfter) {
            self.bench.lose();
            return Err(Gone::down());
        }
        answer.ok_or_else(lost)
    }
}

impl Net {
    fn answer_whole_request(&mut self) {
        let whole = |pending: &Pending| pending.length.is_none_or(|length| pending.body.len() >= length);
        if let Some(pending) = self.pending.take_if(|pending| whole(pending)) {
            // What breaks, breaks when the answer should come.
            self.answer = Some(self.ask(&pending).unwrap_or(server::Response {
                status: 0,
                headers: Vec::new(),
                body: Vec::new().into(),
                delivery: Delivery::Lost,
            }));
        }
    }
}

impl ErrorType for Net {
    type Error = Gone;
}

impl Network for Net {
    fn start(&mut self, _: Instant, request: &Request<'_>) -> Result<(), Gone> {
        self.at = 0;
        self.seen = false;
        self.awaited = true;
        self.next = Instant::ZERO;
        self.answer = None;
        self.pending = None;
        match request.target {
            Target::File(_) => {
                self.answer = Some(server::Response {
                    status: 200,
                    headers: Vec::new(),
                    body: server::Body::part(&self.bench.0.borrow().file, 0..usize::MAX),
                    delivery: Delivery::Whole,
                });
            }
            Target::Url(url) => {
                self.pending = Some(Pending {
                    method: request.method,
                    url: url.to_owned(),
                    authorization: request.authorization.map(|authorization| match authorization {
                        Authorization::Bearer(token) => format!("Bearer {token}"),
                        Authorization::Basic(password) => format!("Basic {password}"),
                    }),
                    signature: request.signature.map(str::to_owned),
                    length: request.body,
                    body: Vec::new(),
                    offset: request.offset,
                    etag: request.etag.map(str::to_owned),
                });
                self.answer_whole_request();
            }
        }
        Ok(())
    }

    fn poll_send(&mut self, _: Instant, rest: &[u8]) -> Poll<Result<usize, Gone>> {
        let Some(pending) = &mut self.pending else { return Poll::Ready(Ok(0)) };
        pending.body.extend_from_slice(rest);
        self.answer_whole_request();
        Poll::Ready(Ok(rest.len()))
    }

    fn deadline(&self) -> Option<Instant> {
        self.answer.as_ref().filter(|_| self.awaited).map(|_| self.next)
    }

    fn poll_head(&mut self, _: Instant) -> Poll<Result<Head, Gone>> {
        if self.bench.is_down() || !std::mem::replace(&mut self.seen, true) {
            return Poll::Pending;
        }
        let Some(answer) = &self.answer else { return Poll::Pending };
        self.awaited = false;
        if matches!(answer.delivery, Delivery::Lost | Delivery::Silent) {
            return Poll::Ready(Err(Gone("the connection broke", Kind::Connection)));
        }
        let content_range = header(answer, "Content-Range").and_then(|value| {
            let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some(ContentRange {
                first: first.parse().ok()?,
                last: last.parse().ok()?,
                size: size.parse().ok(),
            })
        });
        Poll::Ready(Ok(Head {
            status: answer.status,
            content_length: match answer.delivery {
                Delivery::Ends(_) => None,
                Delivery::Whole | Delivery::Cut(_) | Delivery::Lost | Delivery::Silent | Delivery::Drip => {
                    Some(answer.body.len() as u64)
                }
            },
            content_range,
            retry_after: header(answer, "Retry-After")
                .and_then(|value| thimble_core::http::retry_after(value, None)),
        }))
    }

    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        let Some(answer) = &self.answer else { return Poll::Pending };
        self.awaited = now < self.next;
        if self.awaited {
            return Poll::Pending;
        }
        let end = match answer.delivery {
            Delivery::Cut(at) | Delivery::Ends(at) => at.min(answer.body.len()),
            Delivery::Whole | Delivery::Lost | Delivery::Silent => answer.body.len(),
            Delivery::Drip => {
                self.next = now + DRIP;
                answer.body.len().min(self.at + 1)
            }
        };
        let rest = answer.body.get(self.at..end).unwrap_or_default();
        if rest.is_empty() && matches!(answer.delivery, Delivery::Cut(_)) && end < answer.body.len() {
            return Poll::Ready(Err(Gone("the connection broke", Kind::Connection)));
        }
        let mut len = rest.len().min(buf.len());
        if let Some(speed) = self.bench.0.borrow().bytes_per_second {
            // As much as comes in a second.
            len = len.min(usize::try_from(speed.get()).unwrap_or(usize::MAX));
            self.next =
                now + Duration::from_millis((len as u64).saturating_mul(1000).div_ceil(speed.get().into()));
        }
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Poll::Ready(Ok(len))
    }

    fn etag(&self) -> Option<&str> {
        self.answer.as_ref().and_then(|answer| header(answer, "ETag"))
    }

    fn cancel(&mut self) {
        self.pending = None;
        self.answer = None;
    }
}
