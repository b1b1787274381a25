//! Authentication: the body that is signed and sent, and the token that comes back (SERVER-11 to SERVER-18).

use core::fmt::{self, Write};

use super::pairs::{lines, next_key, write_values};
use crate::config::Tier;
use crate::json::{Out, Overflow, write_string};
use crate::limits;
use crate::message::texts;

/// Why what the device tells of itself is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityError {
    /// More than [`limits::IDENTITY`] bytes.
    TooLong,
    /// The line of this number, from 1, is no `key=value` in UTF-8.
    BadLine(usize),
    /// There is no pair at all.
    Empty,
}

texts! {
    IDENTITY_ERRORS = 'N': IdentityError {
        21 TooLong with (limit = limits::IDENTITY) => "the device's identity: longer than {limit} bytes",
        22 BadLine(number) => "the device's identity: line {number} is no key=value",
        23 Empty => "the device's identity: no key=value in it",
    }
}

impl core::error::Error for IdentityError {}

/// What the device is called by the server: the checked output of the identity script. Prints as a JSON object,
/// keys sorted, a repeated key with all its values.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a>(&'a [u8]);

impl<'a> Identity<'a> {
    /// The identity in the whole output of the script, which has exited with 0.
    pub fn parse(output: &'a [u8]) -> Result<Self, IdentityError> {
        if output.len() > limits::IDENTITY {
            return Err(IdentityError::TooLong);
        }
        if let Some(line) = lines(output).find(|line| line.pair.is_none()) {
            return Err(IdentityError::BadLine(line.number));
        }
        match lines(output).next() {
            Some(_) => Ok(Self(output)),
            None => Err(IdentityError::Empty),
        }
    }
}

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        let mut last = None;
        while let Some(key) = next_key(self.0, last) {
            f.write_char(separator)?;
            separator = ',';
            write_string(f, key)?;
            f.write_char(':')?;
            write_values(f, self.0, key)?;
            last = Some(key);
        }
        f.write_char('}')
    }
}

/// What a device says when it asks for a token, as it is written.
#[derive(Debug)]
pub struct AuthRequest<'b>(Out<'b>);

impl<'b> AuthRequest<'b> {
    /// Begins the body in the front of `buf`. `tenant_token`: whose the device is; sent when there is anything but white
    /// space in it. `tier`: sent only when configured (R-1).
    #[must_use]
    pub fn begin(buf: &'b mut [u8], identity: Identity<'_>, tenant_token: &str, tier: Option<Tier>) -> Self {
        let mut out = Out::new(buf);
        out.raw("{\"id_data\":");
        // A JSON object inside a JSON string: what it escapes is escaped again.
        out.string_of(&identity);
        let tenant_token = tenant_token.trim();
        if !tenant_token.is_empty() {
            out.raw(",\"tenant_token\":");
            out.string(tenant_token);
        }
        if let Some(tier) = tier {
            out.raw(",\"tier\":");
            out.string(tier.name());
        }
        Self(out)
    }

    /// The whole body, with the public key: PEM with LF line ends and a final one. The signature covers exactly these
    /// bytes: sign them and send them as they are.
    pub fn finish(self, pubkey: &str) -> Result<&'b str, Overflow> {
        let Self(mut out) = self;
        out.raw(",\"pubkey\":");
        out.string(pubkey);
        out.raw("}");
        out.finish()
    }
}

/// Why an answer holds no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenError {
    /// Nothing but white space.
    Empty,
    /// More than so many bytes: [`limits::TOKEN`], or what is lent for it.
    TooLong(usize),
    /// A character that no token has: it would go into a header.
    Character,
}

texts! {
    TOKEN_ERRORS = 'N': TokenError {
        24 Empty => "the server's token cannot be used: it is empty",
        25 TooLong(limit) => "the server's token cannot be used: longer than {limit} bytes",
        26 Character =>
            "the server's token cannot be used: it has a character other than letters, digits and ._=-",
    }
}

impl core::error::Error for TokenError {}

/// The token in the body of a 200 answer: the raw text without white space around it.
pub fn token(body: &[u8]) -> Result<&str, TokenError> {
    let token = body.trim_ascii();
    if token.is_empty() {
        return Err(TokenError::Empty);
    }
    if token.len() > limits::TOKEN {
        return Err(TokenError::TooLong(limits::TOKEN));
    }
    let is_allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'=' | b'-');
    match str::from_utf8(token) {
        Ok(text) if token.iter().all(is_allowed) => Ok(text),
        Ok(_) | Err(_) => Err(TokenError::Character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;
    use std::string::ToString;

    fn identity(output: &str) -> Identity<'_> {
        Identity::parse(output.as_bytes()).unwrap()
    }

    #[test]
    fn identities_are_sorted_and_repeated_keys_are_lists() {
        let output = "sn=1\n\nmac=de:ad\nsn=0\na=b=c\nempty=\n\nlast=%0A";
        assert_eq!(
            identity(output).to_string(),
            r#"{"a":"b=c","empty":"","last":"%0A","mac":"de:ad","sn":["1","0"]}"#
        );
    }

    #[test]
    fn identities_are_not_trimmed() {
        assert_eq!(identity(" k = v \t\n").to_string(), r#"{" k ":" v \t"}"#);
    }

    #[test]
    fn identity_lines_may_end_in_cr_lf() {
        let expected = r#"{"mac":"de:ad","sn":"1\r"}"#;
        for output in ["mac=de:ad\r\n\r\nsn=1\r\r\n", "mac=de:ad\r\nsn=1\r\r"] {
            assert_eq!(identity(output).to_string(), expected);
        }
        assert_eq!(identity("a=\r\nb=x\ry\n").to_string(), r#"{"a":"","b":"x\ry"}"#);
    }

    #[test]
    fn what_is_no_identity_is_an_error() {
        let parse = |output: &[u8]| Identity::parse(output).map(|identity| identity.to_string());
        assert_eq!(parse(b""), Err(IdentityError::Empty));
        assert_eq!(parse(b"\n\n"), Err(IdentityError::Empty));
        assert_eq!(parse(b"a=b\n\nno pair\nc=d"), Err(IdentityError::BadLine(3)));
        assert_eq!(parse(b"=v"), Err(IdentityError::BadLine(1)));
        assert_eq!(parse(b"a=\xff"), Err(IdentityError::BadLine(1)));
        let mut long = std::vec![b'a'; limits::IDENTITY];
        long[1] = b'=';
        assert!(parse(&long).is_ok());
        long.push(b'a');
        assert_eq!(parse(&long), Err(IdentityError::TooLong));
    }

    #[test]
    fn the_body_has_the_identity_as_a_string_in_a_string() {
        let mut buf = [0; 512];
        let request = AuthRequest::begin(&mut buf, identity("mac=\"\\\n"), " tok\n", Some(Tier::Micro));
        let body = request.finish("-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n").unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"id_data":"{\"mac\":\"\\\"\\\\\"}","#,
                r#""tenant_token":"tok","tier":"micro","#,
                r#""pubkey":"-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n"}"#
            )
        );
        let id_data = Value::parse(body.as_bytes()).unwrap().member("id_data").unwrap().unwrap();
        let id_data = id_data.as_str().unwrap().to_string();
        let mac = Value::parse(id_data.as_bytes()).unwrap().member("mac").unwrap().unwrap();
        assert!(mac.as_str().unwrap().is("\"\\"));
    }

    #[test]
    fn tenant_and_tier_are_absent_when_not_configured() {
        let (mut buf, mut short) = ([0; 64], [0; 30]);
        let write = |buf| AuthRequest::begin(buf, identity("a=b"), " ", None).finish("k");
        assert_eq!(write(&mut buf[..]).unwrap(), r#"{"id_data":"{\"a\":\"b\"}","pubkey":"k"}"#);
        assert_eq!(write(&mut short[..]), Err(Overflow { limit: 30 }));
    }

    #[test]
    fn n16_tokens_hold_only_what_may_go_into_a_header() {
        assert_eq!(token(b" \r\nabc.DEF_0=-\n"), Ok("abc.DEF_0=-"));
        assert_eq!(token(b" \n"), Err(TokenError::Empty));
        for bad in [&b"a b"[..], b"a\r\nX: y", b"\"abc\"", b"a\0", b"a/b", b"a+b", b"a\xff", "ä".as_bytes()]
        {
            assert_eq!(token(bad), Err(TokenError::Character), "{bad:?}");
        }
        let long = [b'a'; limits::TOKEN + 1];
        assert!(token(&long[1..]).is_ok());
        assert_eq!(token(&long), Err(TokenError::TooLong(limits::TOKEN)));
    }
}
