//! IP addresses as text. The library's own reading and printing of them, with its widths, is three kilobytes.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::digits;

/// Four numbers up to 255, without zeros in front.
pub(super) fn v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.as_bytes().split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 1 && part.starts_with(b"0") {
            return None;
        }
        *octet = u8::try_from(digits::number(part)?).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Eight groups of one to four hexadecimal digits (RFC 4291, section 2.2). `::` stands once for one or more groups of zeros;
/// the last two may be an IPv4 address.
pub(super) fn v6(text: &str) -> Option<Ipv6Addr> {
    let mut groups = [0; 8];
    let mut count: usize = 0;
    let mut gap = None;
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix("::") {
        gap = Some(0);
        rest = behind;
    }
    while !(rest.is_empty() && gap == Some(count)) {
        let end = rest.bytes().position(|byte| byte == b':').unwrap_or(rest.len());
        let (part, behind) = rest.split_at_checked(end)?;
        if behind.is_empty()
            && let Some(address) = v4(part)
        {
            let [a, b, c, d] = address.octets();
            let last = count.checked_add(1)?;
            *groups.get_mut(count)? = u16::from_be_bytes([a, b]);
            *groups.get_mut(last)? = u16::from_be_bytes([c, d]);
            count = last.checked_add(1)?;
            break;
        }
        *groups.get_mut(count)? = group(part)?;
        count = count.checked_add(1)?;
        let Some(behind) = behind.strip_prefix(':') else { break };
        rest = behind;
        if let Some(behind) = behind.strip_prefix(':') {
            if gap.replace(count).is_some() {
                return None;
            }
            rest = behind;
        } else if behind.is_empty() {
            return None;
        }
    }
    let zeros = groups.len().checked_sub(count)?;
    if gap.is_some() != (zeros > 0) {
        return None;
    }
    // What stands behind the gap belongs at the end.
    let mut address = [0; 8];
    for (at, group) in groups.iter().take(count).enumerate() {
        let is_behind = gap.is_some_and(|gap| at >= gap);
        *address.get_mut(if is_behind { at.saturating_add(zeros) } else { at })? = *group;
    }
    Some(address.into())
}

fn group(part: &str) -> Option<u16> {
    if !(1..=4).contains(&part.len()) {
        return None;
    }
    part.chars().try_fold(0, |group, digit| Some(group << 4 | u16::try_from(digit.to_digit(16)?).ok()?))
}

pub(super) fn print_v4(f: &mut fmt::Formatter<'_>, address: Ipv4Addr) -> fmt::Result {
    let mut separator = "";
    address.octets().iter().try_for_each(|&byte| {
        f.write_str(separator)?;
        separator = ".";
        digits::decimal(f, byte.into())
    })
}

/// An IPv6 address as RFC 5952 has it: the longest run of zeros, of two groups at least and the first of equal ones, is
/// `::`; one that stands for an IPv4 address ends like that.
pub(super) fn print_v6(f: &mut fmt::Formatter<'_>, address: Ipv6Addr) -> fmt::Result {
    if let Some(mapped) = address.to_ipv4_mapped() {
        f.write_str("::ffff:")?;
        return print_v4(f, mapped);
    }
    let groups = address.segments();
    let zeros = |from: usize| groups.iter().skip(from).take_while(|group| **group == 0).count();
    let (mut run, mut longest) = (groups.len(), 1);
    for from in 0..groups.len() {
        if zeros(from) > longest {
            (run, longest) = (from, zeros(from));
        }
    }
    let mut separator = "";
    for (at, &group) in groups.iter().enumerate() {
        if at == run {
            f.write_str("::")?;
            separator = "";
        } else if at < run || at >= run.saturating_add(longest) {
            f.write_str(separator)?;
            separator = ":";
            digits::hex_shortest(f, group)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    struct V4(Ipv4Addr);
    struct V6(Ipv6Addr);

    impl fmt::Display for V4 {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            print_v4(f, self.0)
        }
    }

    impl fmt::Display for V6 {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            print_v6(f, self.0)
        }
    }

    /// Reads and prints it as the library does.
    fn check(text: &str) {
        assert_eq!(v4(text), text.parse().ok(), "{text}");
        assert_eq!(v6(text), text.parse().ok(), "{text}");
        if let Some(address) = v4(text) {
            assert_eq!(V4(address).to_string(), address.to_string());
        }
        if let Some(address) = v6(text) {
            assert_eq!(V6(address).to_string(), address.to_string());
        }
    }

    #[test]
    fn addresses_are_those_of_the_library() {
        for text in [
            "::",
            "::1",
            "1::",
            "1::1",
            "2001:db8::1:0:0:1",
            "1:0:0:2:0:0:0:3",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "0:2:3:4:5:6:7:8",
            "1:0:3:4:5:6:7:8",
            "0:0:3:4:0:0:7:8",
            "::ffff:192.0.2.1",
            "::192.0.2.1",
            "fe80::abcd:EF",
            "::ffff:0:1:2",
            "0:1::",
            "1:2:3:4:5:6:1.2.3.4",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1::2:3:4:5:6:1.2.3.4",
            "1.2.3.4::",
            "::1.2.3.4:1",
            "1:2:3:4:5:6:7:8::",
            "::1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7",
            "1:",
            ":1",
            ":",
            ":::",
            "1:::2",
            "1::2::3",
            "12345::",
            "g::",
            "+1::",
            "::1%1",
            "[::1]",
            "",
            "0.0.0.0",
            "127.0.0.1",
            "255.10.1.100",
            "256.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "01.2.3.4",
            "1.2.3.00",
            "+1.2.3.4",
            "1.2.3.4 ",
        ] {
            check(text);
        }
    }

    /// From a seed, so that each run has the same.
    #[test]
    fn so_are_texts_that_are_nearly_addresses() {
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let pieces = ["0", "1", "f", "00", "12ab", ":", ":", ":", "::", ".", "1.2.3.4", "0:0", "255"];
        for _ in 0..200_000 {
            let text: String = (0..next(12)).map(|_| pieces[next(pieces.len())]).collect();
            check(&text);
        }
    }
}
