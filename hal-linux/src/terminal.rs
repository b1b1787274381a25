//! What a person types at a terminal and nobody is to read.

use std::io;

use rustix::io::Errno;
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::secret::Secret;

const CONTROL_C: u8 = 3;
const CONTROL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CONTROL_U: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// Reads a line of at most `max` bytes from standard input, a terminal, which shows none of it; `prompt` is called when it no
/// longer shows what is typed. `None`: the person gave up (Ctrl-C, Ctrl-D), or the terminal is gone. Waits as long as nobody
/// types. When the process is killed meanwhile, the terminal stays as it is: `stty sane` helps.
///
/// # Errors
/// Standard input is no terminal; the line is longer, or no UTF-8.
pub fn read_hidden(max: usize, prompt: impl FnOnce()) -> io::Result<Option<Secret>> {
    let usual = tcgetattr(stdin())?;
    let mut hidden = usual.clone();
    // Ctrl-C comes as a byte: a signal would end the process and leave the terminal like this.
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    // What was typed before was not meant for this.
    tcsetattr(stdin(), OptionalActions::Flush, &hidden)?;
    let _shown_again = Shown(usual);
    prompt();
    line(max)
}

/// Makes the terminal what it was.
struct Shown(Termios);

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

fn line(max: usize) -> io::Result<Option<Secret>> {
    // With all its room from the beginning: a buffer that grows leaves parts of the secret behind.
    let mut line = Zeroizing::new(Vec::with_capacity(max));
    let mut byte = Zeroizing::new([0_u8]);
    loop {
        match rustix::io::read(stdin(), &mut *byte) {
            Ok(0) | Err(Errno::IO) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match byte[0] {
            b'\n' | b'\r' => break,
            CONTROL_C => return Ok(None),
            CONTROL_D if line.is_empty() => return Ok(None),
            CONTROL_D => break,
            CONTROL_U => line.clear(),
            BACKSPACE | DELETE => {
                // A whole character, of as many bytes as it has.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            _ if line.len() == max => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("longer than {max} bytes")));
            }
            byte => line.push(byte),
        }
    }
    match str::from_utf8(&line) {
        Ok(text) => Ok(Some(Secret::new(text.to_owned()))),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "no UTF-8")),
    }
}
