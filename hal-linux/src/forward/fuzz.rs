//! What holds for whatever programs and servers send: panics where it does not.

use thimble_core::http::body::{Body, Framing, Next};

use super::head::{self, Answer, Kind, Origin, Refusal};
use super::pipe::{Form, take};

/// A head that is passed on is read back as the same: one host, one way to find the end of the body, no line that was not
/// written as one. A body in chunks is the same bytes when it was written anew.
pub fn bytes(bytes: &[u8]) {
    let origin = Origin { token: "t", server: "https://server.example" };
    if let Ok(Some(asked)) = head::request(bytes, Some(origin), |_| None) {
        assert!(asked.length <= bytes.len() && asked.framing != Framing::UntilClose);
        lines(&asked.head);
        let again = head::request(&asked.head, Some(origin), |_| None);
        let again = match again {
            Ok(Some(again)) => again,
            // What is written anew may be a little longer, and have a line more, than may come.
            Err(Refusal::TooLong | Refusal::TooLongTarget) => return,
            Ok(None) | Err(_) => panic!("{:?} cannot be read back: {again:?}", text(&asked.head)),
        };
        let kind = Kind { is_old: false, ..asked.kind };
        assert_eq!((again.length, again.framing, again.kind), (asked.head.len(), asked.framing, kind));
        let sorted = |head: &[u8]| {
            let mut lines: Vec<String> = text(head).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&again.head), sorted(&asked.head));
    }
    for kind in [(false, false, true), (true, false, false), (false, true, false)] {
        let kind = Kind { is_head: kind.0, is_old: kind.1, upgrades: kind.2 };
        match head::answer(bytes, kind, false) {
            Ok(Answer::Interim(length, out)) => {
                assert!(length <= bytes.len());
                if !out.is_empty() {
                    lines(&out);
                }
            }
            Ok(Answer::Upgraded(length, out) | Answer::Final(length, out, _)) => {
                assert!(length <= bytes.len());
                lines(&out);
            }
            Ok(Answer::Partial) | Err(_) => {}
        }
    }
    chunks(bytes);
}

/// Every line ends with CR LF, and the only empty one is the last.
fn lines(head: &[u8]) {
    assert!(head.ends_with(b"\r\n\r\n"), "{:?}", text(head));
    let inner = head.get(..head.len() - 4).unwrap_or_default();
    assert!(!inner.windows(4).any(|four| four == b"\r\n\r\n"), "{:?}", text(head));
    let ends = |byte: u8| inner.iter().filter(|b| **b == byte).count();
    assert_eq!(
        (ends(b'\r'), ends(b'\n')),
        (text(inner).matches("\r\n").count(), text(inner).matches("\r\n").count())
    );
}

fn chunks(bytes: &[u8]) {
    let (mut body, mut plain) = (Body::new(Framing::Chunked), Vec::new());
    let Ok(used) = take(&mut body, Form::Plain, bytes, &mut plain) else { return };
    let (mut body, mut out) = (Body::new(Framing::Chunked), Vec::new());
    for byte in bytes {
        if take(&mut body, Form::Chunks, &[*byte], &mut out).is_err() {
            panic!("refused only in pieces");
        }
    }
    let is_whole = body.next() == Next::End;
    let (mut body, mut again) = (Body::new(Framing::Chunked), Vec::new());
    assert!(take(&mut body, Form::Plain, &out, &mut again).is_ok() && used <= bytes.len());
    assert!(again == plain && (body.next() == Next::End) == is_whole);
}

fn text(head: &[u8]) -> String {
    String::from_utf8_lossy(head).into_owned()
}
