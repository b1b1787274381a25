//! Process groups.

use std::fs;

use rustix::process::Pid;

/// Whether the group has a member that is not a zombie. Without `/proc` the answer is no: the caller wants the
/// group to end and kills it without knowing its members.
pub(super) fn has_live_member(group: Pid) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
        .any(|stat| is_live_in(&stat, group.as_raw_nonzero().get()))
}

/// `pid (name) state ppid pgrp ...`; the name may hold anything, also parentheses and newlines.
fn is_live_in(stat: &[u8], group: i32) -> bool {
    let Some(name_end) = stat.iter().rposition(|&b| b == b')') else { return false };
    let mut fields = stat[name_end + 1..].split(|&b| b == b' ').filter(|field| !field.is_empty());
    let (state, pgrp) = (fields.next(), fields.nth(1));
    let of_group = pgrp.and_then(|f| str::from_utf8(f).ok()?.parse::<i32>().ok()) == Some(group);
    of_group && !matches!(state, Some(b"Z" | b"X" | b"x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_state_and_group() {
        assert!(is_live_in(b"12 (sh) S 1 77 77 0 -1", 77));
        assert!(is_live_in(b"12 (a) Z 1 5) (x\n) R 1 77 0", 77));
        assert!(!is_live_in(b"12 (sh) Z 1 77 77 0 -1", 77));
        assert!(!is_live_in(b"12 (sh) S 77 1 77 0 -1", 77));
        assert!(!is_live_in(b"", 77));
        assert!(!is_live_in(b"12 (sh)", 77));
    }

    #[test]
    fn sees_this_process() {
        assert!(has_live_member(rustix::process::getpgrp()));
    }
}
