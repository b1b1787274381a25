//! What holds for whatever a server sends, and for any URL: panics where it does not.

use thimble_core::http::body::{Body, Next};
use thimble_core::http::head::{Parsed, parse};
use thimble_core::http::url::{Joined, Url};

/// A response: head, then body. Reading ends, never takes more than there is, and what is a head stays one with more
/// bytes behind it.
pub fn response(bytes: &[u8]) {
    const NOW: Option<u64> = Some(1_800_000_000);
    let mut rest = bytes;
    loop {
        match parse(rest, NOW) {
            Ok(Parsed::Complete(length, head)) => {
                assert!(0 < length && length <= rest.len(), "a head of {length} bytes in {}", rest.len());
                let (before, behind) = rest.split_at(length);
                match parse(before, NOW) {
                    Ok(Parsed::Complete(again, same)) => assert_eq!((again, same), (length, head)),
                    other => panic!("without what stands behind it a head is {other:?}"),
                }
                if let Some(location) = head.location {
                    joined("https://host:8443/path/file?query", location);
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
        joined(first, second);
    }
}

fn joined(base: &str, location: &str) {
    let Ok(url) = Url::parse(base) else { panic!("{base} was a URL") };
    if let Ok(Joined { kept, between, rest }) = url.join(location) {
        let text = format!("{}{between}{rest}", &base[..kept]);
        if let Ok(url) = Url::parse(&text) {
            whole(&url);
        }
    }
}

fn whole(url: &Url<'_>) {
    let (text, path) = (url.absolute_form().to_string(), url.origin_form().to_string());
    let host = url.host_header().to_string();
    assert!(path.starts_with('/') && !path.contains('#'), "path {path}");
    assert!(text.bytes().all(|byte| byte > b' ' && byte != 0x7f), "{text}");
    assert!(!host.contains(['/', '?', '#', '@', '\\', ' ']), "{host}");
    match Url::parse(&text) {
        Ok(again) => assert!(again == *url, "{text} is another URL"),
        // The longest URL, and now it has the slash that was missing in front of its path.
        Err(fault) => assert!(text.len() > 8192, "{text} was accepted, and now {fault}"),
    }
}
