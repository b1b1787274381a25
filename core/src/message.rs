//! What core says to people: each text has a number that is never given to another, and a short code made of it.
//!
//! With feature `text`, [`Display`](fmt::Display) of an error or a message is its text. Without it, the texts are not
//! linked, and `Display` is the code behind a `~`: `~A31('a.img')`. [`texts::decode`](crate::texts::decode) of a build
//! with the feature, on a host, turns it into the same text.
//!
//! ```text
//! code      = letter number [ "(" argument { "," argument } ")" ]       letter: the catalogue; number: the text in it
//! argument  = [ "-" ] digits                                            a number
//!           | "'" text "'"                                              a text; a "\" before each "'" and "\"
//!           | '"' line '"'                                              a text that may hold codes, likewise
//!           | code                                                      another text, without "~"
//! ```
//!
//! A new text gets the next number of its catalogue, and a line in `texts/golden.txt`. The number of a text that is not
//! needed any more stays unused.

use core::fmt::{self, Write};

use crate::digits::decimal;
use crate::plain::Plain;

/// What has a code, and a text for people: [`Say`] shows the text with feature `text`, and the code behind a `~` without.
/// [`write()`] writes it: the number, then the content.
pub trait Coded: HasText {
    /// Its number. Apart from the arguments, so that texts whose arguments are alike share their code.
    fn number(&self) -> Number {
        Number::NONE
    }

    /// Writes the arguments of the text, in brackets if there are any; all of what has no number.
    ///
    /// # Errors
    /// Those of `f`.
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// The number of a text, behind the letter of its catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// A NUL: there is none.
    letter: u8,
    number: u16,
}

impl Number {
    /// Of what is no text of a catalogue: a number, a name.
    pub const NONE: Self = Self { letter: 0, number: 0 };

    pub(crate) const fn new(letter: char, number: u16) -> Self {
        Self { letter: letter as u8, number }
    }
}

/// What has a text in this build: [`Display`](fmt::Display) with feature `text`, anything without, so that `Display` is not
/// linked where only a code is shown.
#[cfg(feature = "text")]
pub use core::fmt::Display as HasText;

/// What has a text in this build: `Display` with feature `text`, anything without, so that `Display` is not linked where only
/// a code is shown.
#[cfg(not(feature = "text"))]
pub trait HasText {}

#[cfg(not(feature = "text"))]
impl<T: ?Sized> HasText for T {}

/// Shows the text of something, or its code where there are no texts.
pub struct Say<'a>(pub &'a dyn Coded);

impl fmt::Display for Say<'_> {
    #[cfg(feature = "text")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }

    #[cfg(not(feature = "text"))]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Code(self.0).fmt(f)
    }
}

/// Shows the code of something, with feature `text` as well.
pub struct Code<'a>(pub &'a dyn Coded);

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char(MARK)?;
        write(f, self.0)
    }
}

/// Stands before a code that is no argument.
pub(crate) const MARK: char = '~';

/// Gives each text of one or more types its number: implements [`Coded`] and [`Display`](fmt::Display), and makes the
/// [`Catalogue`] by which codes are decoded.
///
/// ```text
/// texts! {
///     FAULTS = 'F': Fault {                       the catalogue, its letter, the type
///         1 Gone => "it is gone",
///         2 TooLong(limit) => "longer than {limit} bytes",
///         3 Wrong { slot } with (other = slot.other()) => "slot {other} is wanted",     arguments other than the fields
///     }
/// }
/// ```
///
/// A struct has one row, and `Self` in place of the variant. Bounds of type parameters follow as `where [E: Error]`.
macro_rules! texts {
    ($(
        $catalogue:ident = $letter:literal: $type:ty $(where [$($generics:tt)*])? {
            $(
                $number:literal $variant:ident $(($($t:ident),+))? $({ $($f:ident),+ })?
                    $(with ($($name:ident = $value:expr),* $(,)?))? => $text:literal
            ),+ $(,)?
        }
    )+) => {$(
        impl$(<$($generics)*>)? $crate::message::Coded for $type {
            #[allow(unused_variables, reason = "fields are arguments")]
            fn number(&self) -> $crate::message::Number {
                $crate::message::Number::new($letter, match self {$(
                    $crate::message::texts!(@pattern $variant $(($($t),+))? $({ $($f),+ })?) => $number
                ),+})
            }

            #[allow(unused_variables, reason = "a row may have other arguments than its fields")]
            fn content(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {$(
                    $crate::message::texts!(@pattern $variant $(($($t),+))? $({ $($f),+ })?) => {
                        $($(let $name = &$value;)*)?
                        $crate::message::texts!(@arguments f [$(with $($name)*)?] [$($($t)+)? $($($f)+)?])
                    }
                )+}
            }
        }

        impl$(<$($generics)*>)? core::fmt::Display for $type {
            #[cfg(feature = "text")]
            #[allow(unused_variables, reason = "a row may have other arguments than its fields")]
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {$(
                    $crate::message::texts!(@pattern $variant $(($($t),+))? $({ $($f),+ })?) => {
                        $($(let $name = &$value;)*)?
                        core::write!(f, $text)
                    }
                )+}
            }

            #[cfg(not(feature = "text"))]
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&$crate::message::Code(self), f)
            }
        }

        #[cfg(feature = "text")]
        pub(crate) const $catalogue: $crate::message::Catalogue = $crate::message::Catalogue {
            letter: $letter,
            rows: &[$($crate::message::Row {
                number: $number,
                text: $text,
                arguments: $crate::message::texts!(@names [$(with $($name)*)?] [$($($t)+)? $($($f)+)?]),
            }),+],
        };
    )+};
    (@pattern Self $($fields:tt)*) => { Self $($fields)* };
    (@pattern $variant:ident $($fields:tt)*) => { Self::$variant $($fields)* };
    (@arguments $f:ident [with $($x:ident)*] [$($field:ident)*]) => {
        $crate::message::texts!(@arguments $f [] [$($x)*])
    };
    (@arguments $f:ident [] []) => { Ok(()) };
    (@arguments $f:ident [] [$x:ident]) => { $crate::message::argument($f, $x) };
    (@arguments $f:ident [] [$x:ident $y:ident]) => { $crate::message::two_arguments($f, $x, $y) };
    (@arguments $f:ident [] [$($x:ident)*]) => { $crate::message::arguments($f, &[$($x),*]) };
    (@names [] [$($x:ident)*]) => { &[$(core::stringify!($x)),*] };
    (@names [with $($x:ident)*] [$($field:ident)*]) => { &[$(core::stringify!($x)),*] };
}
pub(crate) use texts;

/// An enum of messages and their [`texts`] in one: `3 Gone { name: &'a str } => "{name} is gone"`.
macro_rules! messages {
    (
        $(#[$meta:meta])*
        $vis:vis enum $enum:ident$(<$life:lifetime>)?, $catalogue:ident = $letter:literal {
            $($number:literal $variant:ident $({ $($field:ident: $type:ty),+ })? => $text:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $enum$(<$life>)? {
            $($variant $({ $($field: $type),+ })?),+
        }

        $crate::message::texts! {
            $catalogue = $letter: $enum$(<$life>)? $(where [$life])? {
                $($number $variant $({ $($field),+ })? => $text),+
            }
        }
    };
}
pub(crate) use messages;

/// The texts of one type.
#[cfg(feature = "text")]
pub(crate) struct Catalogue {
    /// Some catalogues share one, and then no number.
    pub(crate) letter: char,
    pub(crate) rows: &'static [Row],
}

/// A text.
#[cfg(feature = "text")]
pub(crate) struct Row {
    pub(crate) number: u16,
    /// With the names of its arguments in braces.
    pub(crate) text: &'static str,
    /// Their names, in the order in which they are in the code.
    pub(crate) arguments: &'static [&'static str],
}

/// Writes a code, without the `~`.
///
/// # Errors
/// Those of `f`.
pub fn write(f: &mut fmt::Formatter<'_>, coded: &dyn Coded) -> fmt::Result {
    let Number { letter, number } = coded.number();
    if letter != 0 {
        f.write_char(letter.into())?;
        decimal(f, number.into())?;
    }
    coded.content(f)
}

/// Writes the one argument of a text.
pub(crate) fn argument(f: &mut fmt::Formatter<'_>, argument: &dyn Coded) -> fmt::Result {
    arguments(f, &[argument])
}

/// Writes the two arguments of a text.
#[inline(never)]
pub(crate) fn two_arguments(
    f: &mut fmt::Formatter<'_>,
    first: &dyn Coded,
    second: &dyn Coded,
) -> fmt::Result {
    arguments(f, &[first, second])
}

/// Writes the arguments of a text.
pub(crate) fn arguments(f: &mut fmt::Formatter<'_>, arguments: &[&dyn Coded]) -> fmt::Result {
    let mut before = '(';
    for argument in arguments {
        f.write_char(before)?;
        write(f, *argument)?;
        before = ',';
    }
    f.write_char(')')
}

macro_rules! numbers {
    ($($type:ty)+) => {$(
        impl Coded for $type {
            fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                decimal(f, *self as u64)
            }
        }
    )+};
}

numbers!(u8 u16 u32 u64 usize);

impl Coded for i8 {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self < 0 {
            f.write_char('-')?;
        }
        decimal(f, self.unsigned_abs().into())
    }
}

impl Coded for str {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote(f, &Plain(self))
    }
}

impl<T: Coded + ?Sized> Coded for &T {
    fn number(&self) -> Number {
        (**self).number()
    }

    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).content(f)
    }
}

/// A text that was made earlier, and may hold codes.
#[derive(Clone, Copy)]
pub(crate) struct Earlier<'a>(pub(crate) &'a dyn fmt::Display);

impl Coded for Earlier<'_> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote_with(f, '"', self.0)
    }
}

#[cfg(feature = "text")]
impl fmt::Display for Earlier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes a text as an argument.
pub(crate) fn quote(f: &mut fmt::Formatter<'_>, text: &dyn fmt::Display) -> fmt::Result {
    quote_with(f, '\'', text)
}

fn quote_with(f: &mut fmt::Formatter<'_>, quote: char, text: &dyn fmt::Display) -> fmt::Result {
    f.write_char(quote)?;
    core::write!(Quoted { f, quote }, "{text}")?;
    f.write_char(quote)
}

struct Quoted<'f, 'b> {
    f: &'f mut fmt::Formatter<'b>,
    quote: char,
}

impl Write for Quoted<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            if c == self.quote || c == '\\' {
                self.f.write_char('\\')?;
            }
            self.f.write_char(c)
        })
    }
}
