//! Tar archives with every encoding a reader may meet, and every damage.

/// The end marker: two zero blocks.
pub const END: &[u8] = &[0; 1024];

/// How a member's name is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAs {
    /// In the header block; at most 100 bytes.
    Ustar,
    /// In a PAX record.
    Pax,
    /// In a GNU long name entry.
    Gnu,
}

/// How a member's size is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeAs {
    /// Octal digits.
    Octal,
    /// In a PAX record, zeros in the header block.
    Pax,
    /// GNU's binary form.
    Base256,
}

/// Changes a header block; whether its checksum is made anew afterwards.
pub type Patch = (fn(&mut [u8; 512]), bool);

/// One member of an archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: Vec<u8>,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its type: `b'0'` for a regular file.
    pub kind: u8,
    /// Encoding of the name.
    pub name_as: NameAs,
    /// Encoding of the size.
    pub size_as: SizeAs,
    /// GNU's magic instead of the POSIX one.
    pub gnu: bool,
    /// The size to claim; that of `data` if `None`.
    pub size: Option<u64>,
    /// A change of the header block.
    pub patch: Option<Patch>,
    /// What fills up the last block.
    pub padding: u8,
}

impl Member {
    /// A regular file.
    #[must_use]
    pub fn new(name: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            data: data.into(),
            kind: b'0',
            name_as: NameAs::Ustar,
            size_as: SizeAs::Octal,
            gnu: false,
            size: None,
            patch: None,
            padding: 0,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let size = self.size.unwrap_or(self.data.len() as u64);
        let mut records = Vec::new();
        if self.name_as == NameAs::Pax {
            records.extend(pax(b"path", &self.name));
        }
        if self.size_as == SizeAs::Pax {
            records.extend(pax(b"size", size.to_string().as_bytes()));
        }
        if !records.is_empty() {
            Self { kind: b'x', ..Self::new("PaxHeaders.0/x", records) }.write(out);
        }
        if self.name_as == NameAs::Gnu {
            let name = [&*self.name, b"\0"].concat();
            Self { kind: b'L', gnu: true, ..Self::new("././@LongLink", name) }.write(out);
        }
        let mut block = [0; 512];
        let short = self.name.len().min(100);
        block[..short].copy_from_slice(&self.name[..short]);
        block[100..108].copy_from_slice(b"0000600\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        match self.size_as {
            SizeAs::Octal => block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes()),
            SizeAs::Pax => block[124..136].copy_from_slice(b"00000000000\0"),
            SizeAs::Base256 => {
                block[124] = 0x80;
                block[128..136].copy_from_slice(&size.to_be_bytes());
            }
        }
        block[136..148].copy_from_slice(b"00000000000\0");
        block[156] = self.kind;
        block[257..265].copy_from_slice(if self.gnu { b"ustar  \0" } else { b"ustar\x0000" });
        seal(&mut block);
        if let Some((patch, sealed)) = self.patch {
            patch(&mut block);
            if sealed {
                seal(&mut block);
            }
        }
        out.extend(block);
        out.extend(&self.data);
        let fill = self.data.len().next_multiple_of(512) - self.data.len();
        out.extend(std::iter::repeat_n(self.padding, fill));
    }
}

/// The members one behind the other, then `end`.
#[must_use]
pub fn archive(members: &[Member], end: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        member.write(&mut out);
    }
    out.extend(end);
    out
}

/// A PAX record. Its length counts its own digits.
fn pax(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (1..).map(|digits| rest + digits).find(|len| rest + len.to_string().len() == *len);
    let len = len.unwrap_or(rest).to_string();
    [len.as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
