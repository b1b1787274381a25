use core::fmt::{self, Write};

use super::url::Percent;
use crate::http::{Method, RetryAfter};
use crate::json::{Out, Overflow, Value};
use crate::message::texts;
use crate::text::{Text, TextExt};

/// A request of the device API. Ids are those of deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// Ask for a token. The only one without a token, and with a signature.
    Auth,
    /// Is there a deployment? With all that the device provides.
    NextV2,
    /// The same for servers that do not know the second version.
    NextV1 {
        /// What is installed.
        artifact_name: &'a str,
        /// What the device is.
        device_type: &'a str,
    },
    /// Report a status.
    Status(&'a str),
    /// Send the log of a failed deployment.
    Log(&'a str),
    /// Send the inventory.
    Inventory,
    /// Fetch the control map anew.
    ControlMap(&'a str),
}

/// What the status of an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It worked; where the endpoint has an answer, it is in the body.
    Done,
    /// There is no deployment for this device.
    Nothing,
    /// Status 401. Asking for a token: the device is not accepted (yet). Else: get a new token once and repeat once; a
    /// second time it is a failure.
    Unauthorized,
    /// 404: the server does not know this endpoint ([`Endpoint::NextV2`]: use v1), the device or the deployment.
    NotFound,
    /// 400 to a status with a substate: the server may count its length in another way. Report it once more without
    /// (R-25).
    SubstateRefused,
    /// The deployment was aborted.
    Aborted,
    /// 413: repeating the same would not help.
    TooLarge,
    /// 429: not now; after so many seconds if the server said when.
    Later(Option<u32>),
    /// Any other status.
    Failed(u16),
}

texts! {
    REPLIES = 'N': Reply {
        31 Done => "accepted",
        32 Nothing => "nothing to do",
        33 Unauthorized => "not authorized (status 401)",
        34 NotFound => "not found (status 404)",
        35 SubstateRefused => "the server answered with status 400",
        36 Aborted => "the server aborted the deployment",
        37 TooLarge => "the request was too large (status 413)",
        38 Later(None) with () => "too many requests (status 429)",
        39 Later(seconds) with (seconds = seconds.unwrap_or_default()) =>
            "too many requests (status 429), again in {seconds} seconds",
        40 Failed(status) => "the server answered with status {status}",
    }
}

impl Endpoint<'_> {
    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Auth | Self::NextV2 => Method::Post,
            Self::NextV1 { .. } | Self::ControlMap(_) => Method::Get,
            Self::Status(_) | Self::Log(_) | Self::Inventory => Method::Put,
        }
    }

    /// The URL on `server`, which may have a path of its own: one slash between the two.
    pub fn url<'b>(&self, server: &str, buf: &'b mut [u8]) -> Result<&'b str, Overflow> {
        let mut out = Out::new(buf);
        // A failure is remembered by `out`.
        let mut server = server;
        while let Some(before) = server.strip_suffix('/') {
            server = before;
        }
        out.raw(server);
        out.raw("/");
        let _ = write!(out, "{self}");
        out.finish()
    }

    /// What `status` means here. Redirects are not followed and so are failures.
    #[must_use]
    pub fn reply(&self, status: u16, retry_after: Option<RetryAfter>) -> Reply {
        let is_next = matches!(self, Self::NextV2 | Self::NextV1 { .. });
        let is_report = matches!(self, Self::Status(_) | Self::Log(_));
        let has_answer = is_next || matches!(self, Self::Auth | Self::ControlMap(_));
        match status {
            200 => Reply::Done,
            204 if is_next => Reply::Nothing,
            201 | 204 if !has_answer => Reply::Done,
            401 => Reply::Unauthorized,
            404 if matches!(self, Self::ControlMap(_)) => Reply::Aborted,
            404 => Reply::NotFound,
            // For `next` a conflict says that what the device provides has changed: a failed poll.
            409 if is_report => Reply::Aborted,
            413 => Reply::TooLarge,
            429 => Reply::Later(retry_after.map(|after| after.seconds)),
            _ => Reply::Failed(status),
        }
    }
}

/// Path and query, without the leading slash.
impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, path) = match self {
            Self::Auth => ("1", "authentication/auth_requests"),
            Self::NextV2 => ("2", "deployments/device/deployments/next"),
            Self::NextV1 { .. } => ("1", "deployments/device/deployments/next?artifact_name="),
            Self::Status(_) | Self::Log(_) => ("1", "deployments/device/deployments/"),
            Self::Inventory => ("1", "inventory/device/attributes"),
            Self::ControlMap(_) => ("2", "deployments/device/deployments/"),
        };
        let (value, rest, last) = match *self {
            Self::Auth | Self::NextV2 | Self::Inventory => ("", "", ""),
            Self::NextV1 { artifact_name, device_type } => (artifact_name, "&device_type=", device_type),
            Self::Status(id) => (id, "/status", ""),
            Self::Log(id) => (id, "/log", ""),
            Self::ControlMap(id) => (id, "/update_control_map", ""),
        };
        f.write_str("api/devices/v")?;
        f.write_str(version)?;
        f.write_str("/")?;
        f.write_str(path)?;
        Percent(value).fmt(f)?;
        f.write_str(rest)?;
        Percent(last).fmt(f)
    }
}

/// What the server says about an error, for the log: the `error` of its JSON body, cut. `None` when the body says
/// nothing.
#[must_use]
pub fn error_text(body: &[u8]) -> Option<Text<200>> {
    let text = Value::parse(body).ok()?.member("error").ok()??.as_str()?;
    (!text.is_empty()).then(|| Text::cut(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    const NEXT_V1: Endpoint<'_> = Endpoint::NextV1 { artifact_name: "a b&c", device_type: "ä/1" };

    fn url(server: &str, endpoint: Endpoint<'_>) -> String {
        endpoint.url(server, &mut [0; 512]).unwrap().to_string()
    }

    #[test]
    fn every_endpoint_has_its_method_and_path() {
        let base = "https://h/api/devices/";
        for (endpoint, method, path) in [
            (Endpoint::Auth, Method::Post, "v1/authentication/auth_requests"),
            (Endpoint::NextV2, Method::Post, "v2/deployments/device/deployments/next"),
            (
                NEXT_V1,
                Method::Get,
                "v1/deployments/device/deployments/next?artifact_name=a%20b%26c&device_type=%C3%A4%2F1",
            ),
            (Endpoint::Status("x-1"), Method::Put, "v1/deployments/device/deployments/x-1/status"),
            (Endpoint::Log("x-1"), Method::Put, "v1/deployments/device/deployments/x-1/log"),
            (Endpoint::Inventory, Method::Put, "v1/inventory/device/attributes"),
            (
                Endpoint::ControlMap("x-1"),
                Method::Get,
                "v2/deployments/device/deployments/x-1/update_control_map",
            ),
        ] {
            assert_eq!(endpoint.method(), method);
            assert_eq!(url("https://h", endpoint).strip_prefix(base), Some(path));
        }
    }

    #[test]
    fn one_slash_joins_server_and_path() {
        for (server, start) in [
            ("https://h", "https://h/api"),
            ("https://h//", "https://h/api"),
            ("http://h/p/", "http://h/p/api"),
        ] {
            assert!(url(server, Endpoint::Inventory).starts_with(start), "{server}");
        }
        assert_eq!(Endpoint::Auth.url("https://h", &mut [0; 20]), Err(Overflow { limit: 20 }));
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert!(url("https://h", Endpoint::Status("../x?y")).contains("/..%2Fx%3Fy/status"));
    }

    #[test]
    fn every_status_has_its_meaning() {
        use Endpoint::{Auth, ControlMap, Inventory, Log, NextV2, Status};
        let all = [Auth, NextV2, NEXT_V1, Status("x"), Log("x"), Inventory, ControlMap("x")];
        let check = |status: u16, expected: [Reply; 7]| {
            let replies = all.map(|endpoint| endpoint.reply(status, None));
            assert_eq!(replies, expected, "status {status}");
        };
        use Reply::{Aborted, Done, Failed, Later, NotFound, Nothing, TooLarge, Unauthorized};
        check(200, [Done; 7]);
        check(204, [Failed(204), Nothing, Nothing, Done, Done, Done, Failed(204)]);
        check(401, [Unauthorized; 7]);
        check(404, [NotFound, NotFound, NotFound, NotFound, NotFound, NotFound, Aborted]);
        check(409, [Failed(409), Failed(409), Failed(409), Aborted, Aborted, Failed(409), Failed(409)]);
        check(413, [TooLarge; 7]);
        check(429, [Later(None); 7]);
        for status in [0, 100, 206, 301, 302, 307, 400, 403, 415, 500, 502, 503, 599, 65535] {
            check(status, [Failed(status); 7]);
        }
        let soon = Some(RetryAfter { seconds: 9 });
        assert_eq!(NextV2.reply(429, soon), Later(Some(9)));
        assert_eq!(NextV2.reply(503, soon), Failed(503), "only 429 puts off without end");
    }

    #[test]
    fn errors_of_the_server_are_cut_or_absent() {
        assert_eq!(error_text(br#"{"error":"no \u0026 no","request_id":"1"}"#).unwrap(), "no & no");
        for silent in [&b""[..], b"<html>", b"[]", b"{}", br#"{"error":1}"#, br#"{"error":""}"#] {
            assert_eq!(error_text(silent), None);
        }
        let long = std::format!("{{\"error\":\"{}\"}}", "ä".repeat(500));
        assert!(error_text(long.as_bytes()).unwrap().as_str().ends_with("ä..."));
    }
}
