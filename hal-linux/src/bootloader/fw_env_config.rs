//! `fw_env.config`: where U-Boot's environment is (BOOT-45).

use std::fmt;
use std::path::PathBuf;

/// Longest environment that is read: sixteen times a large one.
const ENVIRONMENT_MAX: u64 = 4 * 1024 * 1024;

/// Where one copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A device or a file.
    pub(crate) device: PathBuf,
    /// Where it begins; negative: before the end of the device.
    pub(crate) offset: i64,
    /// Its size, head included.
    pub(crate) size: usize,
    /// Size of an erase block (flash only).
    pub(crate) sector: u64,
    /// Erase blocks it may use, bad ones included (flash only).
    pub(crate) sectors: u64,
}

/// Why the file cannot be used. The number is that of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FwEnvConfigError {
    /// No copy is named.
    Empty,
    /// More than two copies are named.
    Third(usize),
    /// A line has not the columns device, offset and size.
    Columns(usize),
    /// A column is no number, or out of range.
    Number(usize),
    /// The two copies have not one size.
    Sizes,
    /// The two copies overlap.
    Overlap,
}

/// One copy, or two.
pub(super) fn parse(text: &str) -> Result<Vec<Place>, FwEnvConfigError> {
    let mut places = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if places.len() == 2 {
            return Err(FwEnvConfigError::Third(index + 1));
        }
        places.push(place(line, index + 1)?);
    }
    match places.as_slice() {
        [] => Err(FwEnvConfigError::Empty),
        [a, b] if a.size != b.size => Err(FwEnvConfigError::Sizes),
        [a, b] if overlap(a, b) => Err(FwEnvConfigError::Overlap),
        _ => Ok(places),
    }
}

fn place(line: &str, number: usize) -> Result<Place, FwEnvConfigError> {
    let wrong = FwEnvConfigError::Number(number);
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [device, offset, size, rest @ ..] = columns.as_slice() else {
        return Err(FwEnvConfigError::Columns(number));
    };
    let hexadecimal = |text: &str| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if digits.starts_with('+') { None } else { u64::from_str_radix(digits, 16).ok() }
    };
    let offset = match offset.strip_prefix('-') {
        Some(before_end) => hexadecimal(before_end).and_then(|n| i64::try_from(n).ok()).map(|n| -n),
        None => hexadecimal(offset).and_then(|n| i64::try_from(n).ok()),
    };
    let offset = offset.ok_or_else(|| wrong.clone())?;
    let size =
        hexadecimal(size).filter(|size| (6..=ENVIRONMENT_MAX).contains(size)).ok_or_else(|| wrong.clone())?;
    let sector = match rest.first() {
        Some(text) => hexadecimal(text).ok_or_else(|| wrong.clone())?,
        None => 0,
    };
    let sector = if sector == 0 { size } else { sector };
    let sectors = match rest.get(1) {
        Some(text) => hexadecimal(text).ok_or_else(|| wrong.clone())?,
        None => 0,
    };
    let least = size.div_ceil(sector);
    let sectors = if sectors == 0 { least } else { sectors };
    if sectors < least || sector.checked_mul(sectors).is_none_or(|whole| whole > u64::from(u32::MAX)) {
        return Err(wrong);
    }
    let size = usize::try_from(size).map_err(|_| wrong)?;
    Ok(Place { device: PathBuf::from(device), offset, size, sector, sectors })
}

/// Writing one copy would damage the other.
fn overlap(a: &Place, b: &Place) -> bool {
    let apart = (a.offset < 0) != (b.offset < 0);
    a.device == b.device && !apart && a.offset.abs_diff(b.offset) < a.size as u64
}

impl fmt::Display for FwEnvConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no environment is named"),
            Self::Third(line) => {
                write!(f, "line {line}: a third copy of the environment; at most two are supported")
            }
            Self::Columns(line) => write!(f, "line {line}: must have a device, an offset and a size"),
            Self::Number(line) => {
                write!(f, "line {line}: a number is missing, not hexadecimal, or out of range")
            }
            Self::Sizes => f.write_str("the two copies must have one size"),
            Self::Overlap => f.write_str("the two copies overlap"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(device: &str, offset: i64, size: usize, sector: u64, sectors: u64) -> Place {
        Place { device: device.into(), offset, size, sector, sectors }
    }

    #[test]
    fn one_or_two_copies_are_read() {
        let text = "# comment\n\n/dev/mmcblk0\t0x800000 0x20000 # first\n/dev/mmcblk0 0X1000000 20000\n";
        let expected = vec![
            place("/dev/mmcblk0", 0x80_0000, 0x2_0000, 0x2_0000, 1),
            place("/dev/mmcblk0", 0x100_0000, 0x2_0000, 0x2_0000, 1),
        ];
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse("/dev/mtd1 0 4000 1000 8"), Ok(vec![place("/dev/mtd1", 0, 0x4000, 0x1000, 8)]));
        assert_eq!(parse("/dev/mtd1 0 4001 1000"), Ok(vec![place("/dev/mtd1", 0, 0x4001, 0x1000, 5)]));
        assert_eq!(
            parse("/boot/uboot.env -0x4000 4000"),
            Ok(vec![place("/boot/uboot.env", -0x4000, 0x4000, 0x4000, 1)])
        );
        assert_eq!(
            parse("/dev/ubi0:u-boot-env-1 0 1000").unwrap()[0].device,
            PathBuf::from("/dev/ubi0:u-boot-env-1")
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        use FwEnvConfigError::{Columns, Empty, Number, Overlap, Sizes, Third};
        for (text, error) in [
            ("", Empty),
            ("# only this\n", Empty),
            ("/dev/a 0 100\n/dev/b 0 100\n\n/dev/c 0 100\n", Third(4)),
            ("/dev/a 0", Columns(1)),
            ("\n/dev/a 0 x", Number(2)),
            ("/dev/a - 100", Number(1)),
            ("/dev/a +1 100", Number(1)),
            ("/dev/a 0 0", Number(1)),
            ("/dev/a 0 5", Number(1)),
            ("/dev/a 0 ffffffff", Number(1)),
            ("/dev/a ffffffffffffffff 100", Number(1)),
            ("/dev/a 0 2000 1000 1", Number(1)),
            ("/dev/a 0 2000 1000 ffffffffffff", Number(1)),
            ("/dev/a 0 100\n/dev/b 0 200", Sizes),
            ("/dev/a 0 100\n/dev/a 80 100", Overlap),
            ("/dev/a 0 100\n/dev/a 0 100", Overlap),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }
}
