//! A deployment log that is too long keeps its beginning and its end: what began the deployment, and what went wrong.

use thimble_core::hal::Level;
use thimble_core::json::Value;

use super::entry::entry;

/// Bytes that are kept of the beginning, in whole lines.
pub(super) const HEAD: usize = 64 * 1024;

/// Bytes that are kept of the end, in whole lines.
pub(super) const TAIL: usize = 448 * 1024;

/// Ends the message of the line between.
const LEFT_OUT: &str = " bytes of the deployment log are left out here";

/// The log with its middle left out, and a line of this time in its place; `None`: it is not too long.
pub(super) fn shortened(log: &[u8], time: &str) -> Option<Vec<u8>> {
    let middle = log.len().checked_sub(HEAD + TAIL).filter(|&length| length > 0)?;
    let (head, _) = log.split_at(HEAD);
    let head = head.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    // The line of an earlier time is no part of the beginning, where it has room there.
    let head = mark_in(&log[..head]).unwrap_or(head);
    let (_, tail) = log.split_at(HEAD + middle);
    let tail = log.len() - tail.len() + tail.iter().position(|&b| b == b'\n').map_or(tail.len(), |at| at + 1);
    let (left_out, before) = without_mark(&log[head..tail]);
    let mark = format!("{}{LEFT_OUT}", (left_out.len() as u64).saturating_add(before));
    let mark = format!("{}\n", entry(time, Level::Warning.name(), &mark));
    Some([&log[..head], mark.as_bytes(), &log[tail..]].concat())
}

/// What follows the line of an earlier time, and how much that line says.
fn without_mark(middle: &[u8]) -> (&[u8], u64) {
    let end = middle.iter().position(|&b| b == b'\n').map_or(middle.len(), |at| at + 1);
    let (line, rest) = middle.split_at(end);
    left_out(line).map_or((middle, 0), |said| (rest, said))
}

/// Where the line of an earlier time begins.
fn mark_in(head: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in head.split_inclusive(|&b| b == b'\n') {
        if left_out(line).is_some() {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// How much such a line says.
fn left_out(line: &[u8]) -> Option<u64> {
    // Most lines are none, and need not be read.
    if !line.windows(LEFT_OUT.len()).any(|part| part == LEFT_OUT.as_bytes()) {
        return None;
    }
    let message = Value::parse(line).ok()?.member("message").ok()??.as_str()?.to_string();
    message.strip_suffix(LEFT_OUT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: usize, to: usize) -> String {
        (from..to).map(|n| entry("t", "info", &format!("line {n}")) + "\n").collect()
    }

    #[test]
    fn a_log_within_its_limit_stays() {
        assert_eq!(shortened(b"", "t"), None);
        assert_eq!(shortened(&vec![b'x'; HEAD + TAIL], "t"), None);
    }

    #[test]
    fn r30_beginning_and_end_are_kept_in_whole_lines_and_all_that_is_left_out_is_counted() {
        let all = lines(0, 40_000);
        let mut log = Vec::new();
        // Shortened again and again, as it grows.
        for piece in all.as_bytes().chunks(300_001) {
            log.extend_from_slice(piece);
            log = shortened(&log, "t").unwrap_or(log);
        }
        let text = String::from_utf8(log).unwrap();
        assert!(text.len() <= HEAD + TAIL + 200 && text.len() > HEAD + TAIL - 200, "{}", text.len());
        let marks: Vec<_> = text.lines().enumerate().filter(|(_, line)| line.contains(LEFT_OUT)).collect();
        let [(at, mark)] = marks[..] else { panic!("{marks:?}") };
        let kept: usize = text.lines().map(|line| line.len() + 1).sum::<usize>() - mark.len() - 1;
        assert!(mark.contains(&format!("\"{}{LEFT_OUT}\"", all.len() - kept)), "{mark}");
        let head: Vec<_> = text.lines().take(at).collect();
        assert_eq!(head.join("\n") + "\n", lines(0, at), "from the first line on");
        let tail: Vec<_> = text.lines().skip(at + 1).collect();
        assert_eq!(tail.join("\n") + "\n", lines(40_000 - tail.len(), 40_000), "to the last one");
    }

    #[test]
    fn a_log_of_one_endless_line_is_bounded_too() {
        let short = shortened(&vec![b'x'; 2 * (HEAD + TAIL)], "t").unwrap();
        assert!(short.len() < 200, "{}", short.len());
    }
}
