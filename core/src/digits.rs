//! The digits of numbers, without what `core::fmt` has for every other format: on a board that is a kilobyte.

use core::fmt::{Result, Write};

/// Writes a number.
pub(crate) fn decimal(to: &mut dyn Write, number: u64) -> Result {
    let (before, last) = divide(number, 10);
    if before > 0 {
        decimal(to, before)?;
    }
    digit(to, last as u8)
}

/// The number that these digits, and nothing else, stand for.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit & 15)),
        _ => None,
    })
}

/// How often `by` goes into `number`, and what is left. The division of 64 bits that a 32-bit processor lacks would be
/// another kilobyte, for times and lengths of files. `by` is below 2^63; 0 goes into nothing.
#[inline(never)]
pub(crate) const fn divide(number: u64, by: u64) -> (u64, u64) {
    let (mut times, mut left) = (0, 0);
    let mut bit = u64::BITS.saturating_sub(number.leading_zeros());
    while bit > 0 && by > 0 {
        bit = bit.wrapping_sub(1);
        left = (left << 1) | ((number >> bit) & 1);
        times <<= 1;
        if left >= by {
            left = left.wrapping_sub(by);
            times |= 1;
        }
    }
    (times, left)
}

/// Writes the two hexadecimal digits of a byte.
pub(crate) fn hex(to: &mut dyn Write, byte: u8) -> Result {
    digit(to, byte >> 4)?;
    digit(to, byte & 15)
}

/// Writes a number in as few hexadecimal digits as it has.
pub(crate) fn hex_shortest(to: &mut dyn Write, number: u16) -> Result {
    if number > 15 {
        hex_shortest(to, number >> 4)?;
    }
    digit(to, number as u8 & 15)
}

/// Writes the two hexadecimal digits of a byte, as URLs have them.
pub(crate) fn hex_upper(to: &mut dyn Write, byte: u8) -> Result {
    let upper = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default().to_ascii_uppercase();
    to.write_char(upper(byte >> 4))?;
    to.write_char(upper(byte & 15))
}

fn digit(to: &mut dyn Write, digit: u8) -> Result {
    to.write_char(char::from_digit(digit.into(), 16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    #[test]
    fn numbers_are_digits_that_fit() {
        for text in ["0", "007", "18446744073709551615"] {
            assert_eq!(number(text.as_bytes()), text.parse().ok());
        }
        for bad in ["", "-1", "+1", "1 ", "1x", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn divides_as_the_processor_does() {
        for number in [0, 1, 9, 10, 999, 1000, 1 << 32, u64::MAX - 1, u64::MAX] {
            for by in [1, 2, 3, 10, 1000, 4 << 20, u64::from(u32::MAX), (1 << 63) - 1] {
                assert_eq!(divide(number, by), (number / by, number % by), "{number} / {by}");
            }
            assert_eq!(divide(number, 0).0, 0);
        }
    }

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for number in [0, 1, 9, 10, 19, 100, 12_345, u64::MAX] {
            let mut text = String::new();
            decimal(&mut text, number).unwrap();
            assert_eq!(text, format!("{number}"));
        }
        for byte in 0..=u8::MAX {
            let mut text = String::new();
            hex(&mut text, byte).unwrap();
            hex_upper(&mut text, byte).unwrap();
            assert_eq!(text, format!("{byte:02x}{byte:02X}"));
        }
    }
}
