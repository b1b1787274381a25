//! The tenant token of hosted Mender, which its server gives to whoever has an account there: what `mender-setup` does with
//! `--username` and `--password`. Two requests, of which the client itself never makes any.

use std::ffi::OsStr;

use thimble_core::http::{Authorization, Head, Method, Request, Target};
use thimble_core::json::Value;
use thimble_core::limits;
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::network::{HttpNetwork, NetworkConfig, credentials};
use thimble_hal_linux::secret::Secret;

use super::questions::Questions;
use crate::args::Invocation;
use crate::exchange::exchange;
use crate::output::{Failure, hint};

/// Longest e-mail address in bytes: RFC 5321 allows 254.
const NAME_MAX: usize = 254;

/// Longest password in bytes; the server's own limit is 256.
const PASSWORD_MAX: usize = 1024;

/// Longest answer in bytes that tells about the organization.
const TENANT_MAX: usize = 64 * 1024;

/// How often a person at a terminal may mistype.
const TRIES: usize = 3;

/// Who has an account.
pub(super) struct Account {
    name: String,
    password: Secret,
    /// The password was typed, so that it can be typed again.
    is_typed: bool,
}

impl Account {
    /// From the options, or asked.
    pub(super) fn collect(given: &Invocation, questions: &mut Questions) -> Result<Self, Failure> {
        let name = match given.own("username") {
            Some(word) => word.to_str().ok_or("no text").and_then(name).map_err(|reason| {
                Failure::new(format_args!("--username \"{}\" is {reason}", word.display()))
            })?,
            None => questions.ask("E-mail address of the account", "", "--username", |answer| {
                name(answer).map_err(|reason| format!("\"{answer}\" is {reason}"))
            })?,
        };
        match given.own("password") {
            Some(word) => Ok(Self { name, password: password(word)?, is_typed: false }),
            None => Self::typed(name, questions),
        }
    }

    fn typed(name: String, questions: &mut Questions) -> Result<Self, Failure> {
        let password = questions.secret("Password", "--password, or --tenant-token", PASSWORD_MAX)?;
        Ok(Self { name, password, is_typed: true })
    }

    /// The token of the organization that the account belongs to. A typed password that is wrong is asked again.
    pub(super) fn tenant_token(
        mut self,
        config: &NetworkConfig,
        log: &SharedLog,
        server: &str,
        questions: &mut Questions,
    ) -> Result<String, Failure> {
        let mut network = HttpNetwork::new(config.clone(), log.clone()).map_err(Failure::new)?;
        let mut tries = 1;
        let token = loop {
            match self.log_in(&mut network, server)? {
                Ok(token) => break token,
                Err(refusal) if self.is_typed && tries < TRIES => {
                    hint(&refusal.to_string());
                    self = Self::typed(self.name, questions)?;
                    tries += 1;
                }
                Err(refusal) => return Err(refusal),
            }
        };
        let url = format!("{server}/api/management/v1/tenantadm/user/tenant");
        let call = call(Method::Get, &url, Authorization::Bearer(token.expose()), None);
        let (head, body) = exchange(&mut network, &call, &[], TENANT_MAX + 1)?;
        if head.status != 200 {
            return Err(refused(server, &head, "does not say which organization the account belongs to"));
        }
        let value = Value::parse(&body).ok().filter(|_| body.len() <= TENANT_MAX);
        let value = value.and_then(|value| value.member("tenant_token").ok().flatten());
        let token = value.and_then(|value| Some(value.as_str()?.to_string()));
        token.filter(|token| is_token(token)).ok_or_else(|| {
            Failure::new(format_args!(
                "{server} names no tenant token of the account; give --tenant-token (in the server's user interface: \
                 Settings, Organization). Nothing was changed"
            ))
        })
    }

    /// A token for this person; `Err` inside: the server does not know this name with this password.
    fn log_in(&self, network: &mut HttpNetwork, server: &str) -> Result<Result<Secret, Failure>, Failure> {
        let url = format!("{server}/api/management/v1/useradm/auth/login");
        let secret = credentials(&self.name, &self.password);
        let call = call(Method::Post, &url, Authorization::Basic(secret.expose()), Some(0));
        let (head, body) = exchange(network, &call, &[], limits::TOKEN + 1)?;
        match head.status {
            200 => {}
            401 => {
                return Ok(Err(Failure::new(format_args!(
                    "{server} does not know this e-mail address with this password (status 401). Where two factors or a \
                     company's login are needed, give --tenant-token. Nothing was changed"
                ))));
            }
            _ => return Err(refused(server, &head, "does not let this account log in")),
        }
        let text = str::from_utf8(&body).map(str::trim_ascii).unwrap_or_default();
        if !is_token(text) || text.len() > limits::TOKEN {
            return Err(Failure::new(format_args!(
                "{server} answers the login with something that is no token; is it a Mender server? Nothing was changed"
            )));
        }
        Ok(Ok(Secret::new(text.to_owned())))
    }
}

fn call<'a>(
    method: Method,
    url: &'a str,
    authorization: Authorization<'a>,
    body: Option<usize>,
) -> Request<'a> {
    Request {
        method,
        target: Target::Url(url),
        authorization: Some(authorization),
        signature: None,
        body,
        offset: 0,
        etag: None,
    }
}

/// What a status means that is not what was hoped for.
fn refused(server: &str, head: &Head, what: &str) -> Failure {
    let status = head.status;
    let wait = head.retry_after.map_or(String::new(), |after| format!(" in {} s", after.seconds));
    let why = match status {
        401 | 403 => "the account may not; give --tenant-token, or take another account".to_owned(),
        404 => "there is nothing of that name; give --tenant-token".to_owned(),
        429 => format!("too many attempts; try again{wait}, or give --tenant-token"),
        500.. => format!("it cannot answer now; try again later{wait}, or give --tenant-token"),
        _ => "which is none of its answers; is it a Mender server? Or give --tenant-token".to_owned(),
    };
    Failure::new(format_args!("{server} {what} (status {status}): {why}. Nothing was changed"))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn name(word: &str) -> Result<String, &'static str> {
    let is_good = |c: char| !c.is_control() && !c.is_whitespace() && c != ':';
    match word.split_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() => {}
        Some(_) | None => return Err("no e-mail address"),
    }
    if !word.chars().all(is_good) {
        return Err("no e-mail address: a blank or a colon is in it");
    }
    if word.len() > NAME_MAX {
        return Err("too long for an e-mail address");
    }
    Ok(word.to_owned())
}

/// Never in an error.
fn password(word: &OsStr) -> Result<Secret, Failure> {
    match word.to_str() {
        None => Err(Failure::new("the value of --password is no text")),
        Some(text) if text.len() > PASSWORD_MAX => {
            Err(Failure::new(format_args!("the value of --password is longer than {PASSWORD_MAX} bytes")))
        }
        Some(text) => Ok(Secret::new(text.to_owned())),
    }
}
