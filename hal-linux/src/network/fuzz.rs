//! What holds for whatever a server sends, and for any URL: panics where it does not.

use super::body::{Body, Next};
use super::head::{Parsed, parse};
use super::url::Url;

/// A response: head, then body. Reading ends, never takes more than there is, and what is a head stays one with more
/// bytes behind it.
pub fn response(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        match parse(rest, 1_800_000_000) {
            Ok(Parsed::Complete(length, head)) => {
                assert!(0 < length && length <= rest.len(), "a head of {length} bytes in {}", rest.len());
                let (before, behind) = rest.split_at(length);
                match parse(before, 1_800_000_000) {
                    Ok(Parsed::Complete(again, same)) => assert_eq!((again, &same), (length, &head)),
                    other => panic!("without what stands behind it a head is {other:?}"),
                }
                if let Some(location) = &head.location
                    && let Ok(base) = Url::parse("https://host:8443/path/file?query")
                {
                    joined(&base, location);
                }
                body(Body::new(head.framing), behind);
                return;
            }
            Ok(Parsed::Interim(length)) => {
                assert!(0 < length && length <= rest.len());
                rest = &rest[length..];
            }
            Ok(Parsed::Partial) | Err(_) => return,
        }
    }
}

fn body(mut body: Body, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match body.next() {
            Next::End => return,
            Next::Data(most) => {
                assert!(most > 0, "data of no bytes are asked for");
                let taken = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
                body.advance(taken);
                bytes = &bytes[taken..];
            }
            Next::Mark => {
                if body.mark(bytes[0]).is_err() {
                    return;
                }
                bytes = &bytes[1..];
            }
        }
    }
}

/// A URL that is accepted is sent to the host that it names, has nothing in it that ends a header, and stays the same
/// when it is read again.
pub fn url(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(url) = Url::parse(first) {
        whole(&url);
        joined(&url, second);
    }
}

fn joined(base: &Url, location: &str) {
    if let Ok(url) = base.join(location) {
        whole(&url);
    }
}

fn whole(url: &Url) {
    let text = url.absolute_form();
    assert!(url.path.starts_with('/') && !url.path.contains('#'), "path {}", url.path);
    assert!(text.bytes().all(|byte| byte > b' ' && byte != 0x7f), "{text}");
    assert!(!url.host_header().contains(['/', '?', '#', '@', '\\', ' ']), "{}", url.host_header());
    match Url::parse(&text) {
        Ok(again) => assert!(again == *url, "{text} is another URL"),
        Err(fault) => panic!("{text} was accepted, and now {fault}"),
    }
}
