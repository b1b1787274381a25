//! The digits of numbers, without what `core::fmt` has for every other format: on a board that is a kilobyte.

use core::fmt::{Result, Write};

/// Writes a number.
pub(crate) fn decimal(to: &mut dyn Write, number: u64) -> Result {
    if number >= 10 {
        decimal(to, number / 10)?;
    }
    digit(to, (number % 10) as u8)
}

/// Writes the two hexadecimal digits of a byte.
pub(crate) fn hex(to: &mut dyn Write, byte: u8) -> Result {
    digit(to, byte >> 4)?;
    digit(to, byte & 15)
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
