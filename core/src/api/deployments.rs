//! Deployments: asking for one, reading the offer, reporting how it goes (SERVER-20 to SERVER-33).

use core::fmt::{self, Write as _};

use super::url::LinkError;
use crate::artifact::provides::UNKNOWN;
use crate::deployment::Status;
use crate::http::fault::UrlFault;
use crate::http::url::Url;
use crate::json::{self, Items, Members, Out, Overflow, Str, Value};
use crate::limits;
use crate::message::texts;
use crate::text::{Lent, Text, TextExt};

/// The body of [`super::Endpoint::NextV2`]. `provides` is the record of what is installed, a JSON object of
/// strings with the artifact's name among them; members that are no strings are left out.
pub fn next_v2<'b>(device_type: &str, provides: Value<'_>, buf: &'b mut [u8]) -> Result<&'b str, Overflow> {
    let mut out = Out::new(buf);
    out.raw("{\"device_provides\":{\"device_type\":");
    out.string(device_type);
    out.raw(",\"artifact_name\":");
    match artifact_name(provides) {
        Some(name) => out.string_of(&name),
        // The server refuses an empty one.
        None => out.string(UNKNOWN),
    }
    for (key, value) in Members::of(Some(provides)) {
        let Some(value) = value.as_str() else { continue };
        if !key.is("device_type") && !key.is("artifact_name") {
            out.raw(",");
            out.string_of(&key);
            out.raw(":");
            out.string_of(&value);
        }
    }
    out.raw(if limits::MAPS == 0 { "}}" } else { "},\"update_control_map\":true}" });
    out.finish()
}

/// The name in the record of what is installed, if there is one.
#[must_use]
pub fn artifact_name(provides: Value<'_>) -> Option<Str<'_>> {
    let name = provides.member("artifact_name").ok()??.as_str()?;
    (!name.is_empty()).then_some(name)
}

/// The body of [`super::Endpoint::Status`]. A longer substate than the server takes is cut with a mark (R-25); an
/// empty one is left out.
pub fn status<'b>(status: Status, substate: &str, buf: &'b mut [u8]) -> Result<&'b str, Overflow> {
    let mut out = Out::new(buf);
    out.raw("{\"status\":");
    out.string(status.name());
    if !substate.is_empty() {
        out.raw(",\"substate\":");
        let substate: Text<{ limits::SUBSTATE }> = Text::front(substate);
        out.string(&substate);
    }
    out.raw("}");
    out.finish()
}

/// Why an answer cannot be understood. It counts as a failed poll; no script runs for it (R-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadAnswer {
    /// Not JSON.
    Json(json::Error),
    /// This field is not there.
    Missing(&'static str),
    /// This field is of another type.
    Type(&'static str),
    /// This field stands there twice.
    Repeated(&'static str),
    /// This field is longer than anything the server gives out, or empty.
    Length(&'static str),
    /// The id has other characters than letters, digits and `-`; it goes into a URL and a file name.
    Id,
}

texts! {
    ERRORS = 'N': BadAnswer {
        51 Json(error) => "the server's answer: {error}",
        52 Missing(field) => "the server's answer: `{field}` is missing",
        53 Type(field) => "the server's answer: `{field}` has the wrong type",
        54 Repeated(field) => "the server's answer: `{field}` stands there twice",
        55 Length(field) => "the server's answer: `{field}` is empty or too long",
        56 Id => "the server's answer: `id` has a character other than letters, digits and -",
    }
}

impl core::error::Error for BadAnswer {}

/// A deployment as the server offers it. Fields the client does not use are not looked at.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Of the deployment: 1 to [`limits::DEPLOYMENT_ID`] letters, digits and `-`.
    pub id: Text<{ limits::DEPLOYMENT_ID }>,
    /// Where the artifact is: see [`Self::link`].
    uri: Str<'a>,
    /// What the artifact's header must say (R-8).
    pub artifact_name: Text<{ limits::NAME }>,
    /// Strings only, checked.
    device_types: Value<'a>,
    /// The control map, not yet looked into: for [`crate::control::Map::from_server`]. `None` when absent or `null`.
    pub control_map: Option<&'a str>,
}

impl<'a> Offer<'a> {
    /// Reads the body of a 200 answer to `next`.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadAnswer> {
        let answer = Value::parse(body).map_err(BadAnswer::Json)?;
        let id = string(answer, "id")?;
        let artifact = object(field(answer, "artifact")?, "artifact")?;
        let name = string(artifact, "artifact_name")?;
        let device_types = field(artifact, "device_types_compatible")?;
        let mut types = device_types.items().ok_or(BadAnswer::Type("device_types_compatible"))?;
        if types.any(|one| one.as_str().is_none()) {
            return Err(BadAnswer::Type("device_types_compatible"));
        }
        let source = object(field(artifact, "source")?, "source")?;
        let uri = string(source, "uri")?;
        Ok(Self {
            id: deployment_id(id)?,
            uri,
            artifact_name: not_empty(name, "artifact_name")?,
            device_types,
            control_map: optional(answer, "update_control_map")?,
        })
    }

    /// Makes `link` where the artifact is, escapes undone, to be sent as it is. With `https_only` it must be `https` (R-34).
    ///
    /// # Errors
    /// The link cannot be used; what `link` is then means nothing. That is no bad answer: the deployment begins and fails
    /// in Download (R-7).
    pub fn link(&self, https_only: bool, link: &mut Lent<'_>) -> Result<(), LinkError> {
        link.clear();
        write!(link, "{}", self.uri).map_err(|fmt::Error| LinkError::Url(UrlFault::TooLong(link.limit())))?;
        let url = Url::parse(link.as_str()).map_err(LinkError::Url)?;
        if https_only && !url.is_https { Err(LinkError::NotHttps) } else { Ok(()) }
    }

    /// Whether the artifact is for this type of device (R-8).
    #[must_use]
    pub fn is_for(&self, device_type: &str) -> bool {
        let mut types = Items::of(Some(self.device_types)).filter_map(Value::as_str);
        types.any(|one| one.is(device_type))
    }
}

/// The control map in the answer to [`super::Endpoint::ControlMap`], not yet looked into. An answer without one is
/// a bad one, to be asked for again.
pub fn control_map(body: &[u8]) -> Result<&str, BadAnswer> {
    let answer = Value::parse(body).map_err(BadAnswer::Json)?;
    optional(answer, "update_control_map")?.ok_or(BadAnswer::Missing("update_control_map"))
}

fn deployment_id(id: Str<'_>) -> Result<Text<{ limits::DEPLOYMENT_ID }>, BadAnswer> {
    let id = not_empty(id, "id")?;
    if id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Ok(id)
    } else {
        Err(BadAnswer::Id)
    }
}

fn member<'a>(object: Value<'a>, name: &'static str) -> Result<Option<Value<'a>>, BadAnswer> {
    object.member(name).map_err(|json::Duplicate| BadAnswer::Repeated(name))
}

fn field<'a>(object: Value<'a>, name: &'static str) -> Result<Value<'a>, BadAnswer> {
    member(object, name)?.ok_or(BadAnswer::Missing(name))
}

fn optional<'a>(object: Value<'a>, name: &'static str) -> Result<Option<&'a str>, BadAnswer> {
    Ok(member(object, name)?.filter(|value| !value.is_null()).map(Value::raw))
}

fn object<'a>(value: Value<'a>, name: &'static str) -> Result<Value<'a>, BadAnswer> {
    value.members().map(|_| value).ok_or(BadAnswer::Type(name))
}

fn string<'a>(object: Value<'a>, name: &'static str) -> Result<Str<'a>, BadAnswer> {
    field(object, name)?.as_str().ok_or(BadAnswer::Type(name))
}

fn not_empty<const N: usize>(text: Str<'_>, name: &'static str) -> Result<Text<N>, BadAnswer> {
    match Text::format(&text) {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) | Err(_) => Err(BadAnswer::Length(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::{String, ToString};

    const ANSWER: &str = r#"{
        "id":"w81s4fae-7dec-11d0-a765-00a0c91e6bf6",
        "artifact":{
            "id":"x","artifact_name":"my-app-0.1","device_types_compatible":["rspi","rspi\u0032"],
            "source":{"uri":"https://h/f?a=1\u0026b=%20","expire":"2016-03-11T13:03:17.063+0000","method":"GET"}
        },
        "update_control_map":{"id":"x"},
        "unknown":[{}]
    }"#;

    fn offer(body: &str) -> Offer<'_> {
        Offer::parse(body.as_bytes()).unwrap()
    }

    fn error(body: &str) -> BadAnswer {
        Offer::parse(body.as_bytes()).expect_err(body)
    }

    fn uri(uri: &str, https_only: bool) -> Result<String, LinkError> {
        let body = ANSWER.replace(r"https://h/f?a=1\u0026b=%20", uri);
        let mut room = [0; limits::URL];
        let mut link = Lent::new(&mut room);
        offer(&body).link(https_only, &mut link).map(|()| link.as_str().to_string())
    }

    #[test]
    fn reads_an_offer_with_escapes_undone() {
        let (offer, mut room) = (offer(ANSWER), [0; 64]);
        let mut link = Lent::new(&mut room);
        link.set("what was there").unwrap();
        assert_eq!(offer.id, "w81s4fae-7dec-11d0-a765-00a0c91e6bf6");
        assert_eq!(offer.link(true, &mut link), Ok(()));
        assert_eq!(link.as_str(), "https://h/f?a=1&b=%20");
        assert_eq!(offer.artifact_name, "my-app-0.1");
        assert!(offer.is_for("rspi") && offer.is_for("rspi2") && !offer.is_for("rsp"));
        assert_eq!(offer.control_map, Some(r#"{"id":"x"}"#));
    }

    #[test]
    fn a_map_may_be_absent_or_null() {
        for none in [ANSWER.replace(r#"{"id":"x"}"#, "null"), ANSWER.replace("update_control_map", "else")] {
            assert_eq!(offer(&none).control_map, None);
        }
        // Whatever else it is, it is the map's own reader who refuses it.
        assert_eq!(offer(&ANSWER.replace(r#"{"id":"x"}"#, "7")).control_map, Some("7"));
    }

    #[test]
    fn missing_and_wrong_typed_fields_are_bad_answers() {
        for field in ["artifact_name", "device_types_compatible", "uri", "source", "artifact"] {
            let missing = ANSWER.replace(&format!("\"{field}\""), "\"other\"");
            assert_eq!(error(&missing), BadAnswer::Missing(field));
            for value in ["null", "1", "[1]", "[null]"] {
                let wrong = ANSWER.replace(&format!("\"{field}\":"), &format!("\"{field}\":{value},\"x\":"));
                assert_eq!(error(&wrong), BadAnswer::Type(field), "{wrong}");
                let twice =
                    ANSWER.replace(&format!("\"{field}\":"), &format!("\"{field}\":{value},\"{field}\":"));
                assert_eq!(error(&twice), BadAnswer::Repeated(field));
            }
        }
        assert_eq!(error("{}"), BadAnswer::Missing("id"));
        assert_eq!(error("[]"), BadAnswer::Missing("id"));
        assert_eq!(error(r#"{"id":5}"#), BadAnswer::Type("id"));
    }

    #[test]
    fn empty_truncated_and_non_json_bodies_are_bad_answers() {
        for end in 0..ANSWER.len() {
            assert!(matches!(error(&ANSWER[..end]), BadAnswer::Json(_)), "{}", &ANSWER[..end]);
        }
        assert!(matches!(error("<html></html>"), BadAnswer::Json(_)));
        assert!(matches!(error(&format!("{ANSWER}{ANSWER}")), BadAnswer::Json(_)));
    }

    #[test]
    fn n16_ids_cannot_leave_a_directory_or_a_url() {
        let id = |id: &str| error(&ANSWER.replace("w81s4fae-7dec-11d0-a765-00a0c91e6bf6", id));
        for bad in ["../x", "a/b", "a b", ".", "a\\u0000", "a\\r\\n", "ä", "a_b", "%2e"] {
            assert_eq!(id(bad), BadAnswer::Id, "{bad}");
        }
        assert_eq!(id(""), BadAnswer::Length("id"));
        assert_eq!(id(&"a".repeat(65)), BadAnswer::Length("id"));
        let longest = ANSWER.replace("w81s4fae-7dec-11d0-a765-00a0c91e6bf6", &"a".repeat(64));
        assert_eq!(offer(&longest).id.len(), 64);
    }

    #[test]
    fn names_are_not_empty_and_fit() {
        let name = |name: &str| error(&ANSWER.replace("my-app-0.1", name));
        assert_eq!(name(""), BadAnswer::Length("artifact_name"));
        assert_eq!(name(&"a".repeat(257)), BadAnswer::Length("artifact_name"));
    }

    #[test]
    fn n16_an_unusable_link_is_reported_apart_from_bad_answers() {
        assert_eq!(uri("", true), Err(LinkError::Url(UrlFault::Scheme)));
        assert_eq!(uri("ftp://h/x", false), Err(LinkError::Url(UrlFault::Scheme)));
        assert_eq!(uri("https://h/a b", true), Err(LinkError::Url(UrlFault::Byte(b' '))));
        assert_eq!(uri("https://h/a\\r\\nX: y", true), Err(LinkError::Url(UrlFault::Byte(b'\r'))));
        assert_eq!(uri("https://h/\\u0000", true), Err(LinkError::Url(UrlFault::Byte(0))));
        let long = format!("https://h/{}", "a".repeat(limits::URL));
        assert_eq!(uri(&long[..limits::URL], true).unwrap(), &long[..limits::URL]);
        assert_eq!(uri(&long, true), Err(LinkError::Url(UrlFault::TooLong(limits::URL))));
    }

    #[test]
    fn n19_r34_a_link_is_as_secure_as_it_has_to_be() {
        assert_eq!(uri("http://h/x", true), Err(LinkError::NotHttps));
        assert_eq!(uri("http://h/x", false).unwrap(), "http://h/x");
        assert_eq!(uri("https://h/x", false).unwrap(), "https://h/x");
    }

    #[test]
    fn a_refreshed_map_must_be_there() {
        assert_eq!(control_map(br#"{"update_control_map": {"id":1} }"#), Ok(r#"{"id":1}"#));
        for bad in [&b"{}"[..], br#"{"update_control_map":null}"#, b"[]"] {
            assert_eq!(control_map(bad), Err(BadAnswer::Missing("update_control_map")));
        }
        assert!(matches!(control_map(b""), Err(BadAnswer::Json(_))));
    }

    #[test]
    fn v2_sends_type_name_and_all_provides_once() {
        let provides =
            r#"{"a":"\"","artifact_name":"n","device_type":"stale","n":1,"rootfs-image.version":"v"}"#;
        let mut buf = [0; 512];
        assert_eq!(
            next_v2("d\"", Value::parse(provides.as_bytes()).unwrap(), &mut buf).unwrap(),
            concat!(
                r#"{"device_provides":{"device_type":"d\"","artifact_name":"n","a":"\"","#,
                r#""rootfs-image.version":"v"},"update_control_map":true}"#
            )
        );
        for nameless in ["{}", r#"{"artifact_name":""}"#, r#"{"artifact_name":1}"#, "[]"] {
            let body = next_v2("d", Value::parse(nameless.as_bytes()).unwrap(), &mut buf).unwrap();
            assert!(body.contains(r#""artifact_name":"unknown"}"#), "{body}");
        }
        assert!(next_v2("d", Value::parse(b"{}").unwrap(), &mut buf[..40]).is_err());
    }

    #[test]
    fn r25_substates_are_cut_at_200_bytes_between_two_characters() {
        let substate = |text: &str| {
            let mut buf = [0; 2048];
            let body = status(Status::Failure, text, &mut buf).unwrap();
            let body = Value::parse(body.as_bytes()).unwrap();
            assert!(body.member("status").unwrap().unwrap().as_str().unwrap().is("failure"));
            body.member("substate").unwrap().map(|value| value.as_str().unwrap().to_string())
        };
        assert_eq!(substate(""), None);
        assert_eq!(substate("a\"b\n"), Some("a\"b\n".into()));
        assert_eq!(substate(&"ä".repeat(100)), Some("ä".repeat(100)));
        assert_eq!(substate(&"ä".repeat(101)), Some(format!("{}...", "ä".repeat(98))));
        assert_eq!(substate(&"a".repeat(200)), Some("a".repeat(200)));
        assert_eq!(substate(&"a".repeat(201)), Some(format!("{}...", "a".repeat(197))));
        // The server counts the characters that are written as escapes too.
        assert_eq!(substate(&"\n".repeat(200)), Some("\n".repeat(200)));
    }
}
