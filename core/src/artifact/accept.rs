//! Whether an artifact may be installed here. Its header is verified, and nothing of it has taken place yet.
//!
//! | asked | of | else |
//! |---|---|---|
//! | does it fit the device's type and what is installed? | every artifact, once the device's type is known | [`NotAccepted::Depends`] |
//! | can its provides be stored, however the update ends? | every artifact | [`NotAccepted::Provides`] |
//! | is it the one that the server offered? (R-8) | a deployment | [`NotAccepted::OtherArtifact`] |
//! | was it offered to devices of this type? (R-8) | a deployment | [`NotAccepted::OtherDevice`] |
//! | does the device's tier take such a payload? (A26) | a deployment with a payload | [`NotAccepted::Tier`] |

use super::Header;
use super::depends::{self, DependsError};
use super::provides::{self, MergeError};
use crate::config::Tier;
use crate::limits;
use crate::message::texts;
use crate::text::{Text, TextExt};

/// What an artifact is held against.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The type of this device. `None`: nothing says it yet.
    pub device_type: Option<&'a str>,
    /// The record of what is installed.
    pub installed: &'a [u8],
    /// The deployment that the artifact was downloaded for; `None`: a person or the bootstrap run brought it.
    pub deployment: Option<Deployment<'a>>,
}

/// What is known of a deployment before its artifact comes.
#[derive(Clone, Copy, Debug)]
pub struct Deployment<'a> {
    /// The name of the artifact that the server offered.
    pub artifact_name: &'a str,
    /// The server offered it to devices of this type.
    pub fits_device: bool,
    /// The tier of this device, if it has one.
    pub tier: Option<Tier>,
}

/// What there is to install of an artifact that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: only its provides are stored.
    None,
    /// A payload, for a module.
    ForModule,
}

/// Why an artifact may not be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAccepted {
    /// It does not fit this device.
    Depends(DependsError),
    /// What it provides could not be stored.
    Provides(MergeError),
    /// The server offered the artifact of this name.
    OtherArtifact(Text<{ limits::NAME }>),
    /// The server offered it to other devices.
    OtherDevice,
    /// A device of tier "system" does not take payloads of this type.
    Tier(Text<{ limits::PAYLOAD_TYPE }>),
}

texts! {
    ERRORS = 'A': NotAccepted {
        50 Depends(error) => "{error}",
        51 Provides(error) => "the new provides could not be stored: {error}",
        52 OtherArtifact(offered) => "the server offered artifact \"{offered}\", the link gives another",
        53 OtherDevice => "the server's offer is not for this device type",
        54 Tier(kind) => "a device of the tier \"system\" does not take payloads of type {kind}",
    }
}

/// Judges an artifact by its header. `out` has the room that the new provides have; `scratch` is what the parser lends
/// beside the header.
///
/// # Errors
/// The first thing that is wrong, in the order of the table above.
pub fn judge(
    header: &Header<'_>,
    facts: &Facts<'_>,
    out: &mut [u8],
    scratch: &mut [u8],
) -> Result<Payload, NotAccepted> {
    if let Some(device_type) = facts.device_type {
        depends::check(header, device_type, facts.installed, scratch).map_err(NotAccepted::Depends)?;
    }
    provides::check_merge(facts.installed, header, out, scratch).map_err(NotAccepted::Provides)?;
    if let Some(deployment) = &facts.deployment {
        let mut name = [0; limits::NAME];
        if deployment.artifact_name != header.artifact_name(&mut name) {
            return Err(NotAccepted::OtherArtifact(Text::front(deployment.artifact_name)));
        }
        if !deployment.fits_device {
            return Err(NotAccepted::OtherDevice);
        }
    }
    let mut kind = [0; limits::PAYLOAD_TYPE];
    let Some(kind) = header.payload_type(&mut kind) else { return Ok(Payload::None) };
    let tier = facts.deployment.and_then(|deployment| deployment.tier);
    if tier.is_some_and(|tier| !tier.accepts(kind)) {
        return Err(NotAccepted::Tier(Text::front(kind)));
    }
    Ok(Payload::ForModule)
}

#[cfg(test)]
mod tests {
    use super::super::header::Checked;
    use super::*;
    use std::format;
    use std::string::{String, ToString};

    const ROOTFS: &str = r#"{"type":"rootfs-image"}"#;
    const EMPTY: &str = r#"{"type":null}"#;
    const DEPLOYMENT: Deployment<'_> = Deployment { artifact_name: "new", fits_device: true, tier: None };
    const FACTS: Facts<'_> =
        Facts { device_type: Some("gateway"), installed: b"{}", deployment: Some(DEPLOYMENT) };

    /// An artifact called "new" for "gateway" that depends on artifact "old" where `depends` says so.
    fn judged(payload: &str, depends: &str, facts: &Facts<'_>, room: usize) -> Result<Payload, String> {
        let payload_type = if payload == EMPTY { "null" } else { "\"rootfs-image\"" };
        let info = format!(
            r#"{{"payloads":[{{"type":{payload_type}}}],"artifact_provides":{{"artifact_name":"new"}},
                "artifact_depends":{{"device_type":["gateway"]{depends}}}}}"#
        );
        let parts = [info.as_bytes(), payload.as_bytes(), b""];
        let mut scratch = [0; 4096];
        let checked = Checked::check(parts, &mut scratch).unwrap();
        let mut out = [0; 256];
        judge(&checked.view(parts).unwrap(), facts, &mut out[..room], &mut scratch)
            .map_err(|error| error.to_string())
    }

    fn with(deployment: Deployment<'static>) -> Facts<'static> {
        Facts { deployment: Some(deployment), ..FACTS }
    }

    fn refused(facts: &Facts<'_>) -> String {
        judged(ROOTFS, "", facts, 256).expect_err("it is accepted")
    }

    #[test]
    fn what_fits_is_accepted() {
        assert_eq!(judged(ROOTFS, "", &FACTS, 256), Ok(Payload::ForModule));
        assert_eq!(judged(EMPTY, "", &FACTS, 256), Ok(Payload::None));
    }

    #[test]
    fn an_artifact_for_another_device_type_is_refused() {
        let other = Facts { device_type: Some("board"), ..FACTS };
        assert_eq!(
            refused(&other),
            "the artifact is for the device type \"gateway\", and this device is a \"board\""
        );
        // Not known yet: the bootstrap artifact may come first.
        let unknown = Facts { device_type: None, deployment: None, ..FACTS };
        assert_eq!(judged(ROOTFS, "", &unknown, 256), Ok(Payload::ForModule));
    }

    #[test]
    fn an_artifact_that_depends_on_another_one_is_refused() {
        let depends = r#","artifact_name":["old"]"#;
        let installed = |installed| Facts { installed, ..FACTS };
        assert_eq!(
            judged(ROOTFS, depends, &installed(br#"{"artifact_name":"old"}"#), 256),
            Ok(Payload::ForModule)
        );
        let refused = judged(ROOTFS, depends, &installed(br#"{"artifact_name":"older"}"#), 256);
        assert_eq!(
            refused,
            Err("the artifact depends on \"artifact_name\" being \"old\", and what is installed provides \"older\"".into())
        );
    }

    #[test]
    fn provides_that_cannot_be_stored_are_refused_before_anything_is_installed() {
        let refused = judged(ROOTFS, "", &FACTS, 20);
        assert_eq!(refused, Err("the new provides could not be stored: they have more than 20 bytes".into()));
    }

    #[test]
    fn r8_another_artifact_than_the_offered_one_is_refused_from_the_server_alone() {
        let other = Deployment { artifact_name: "newer", ..DEPLOYMENT };
        assert_eq!(refused(&with(other)), "the server offered artifact \"newer\", the link gives another");
        let by_hand = Facts { deployment: None, ..FACTS };
        assert_eq!(judged(ROOTFS, "", &by_hand, 256), Ok(Payload::ForModule));
    }

    #[test]
    fn r8_an_offer_to_other_devices_is_refused() {
        let other = Deployment { fits_device: false, ..DEPLOYMENT };
        assert_eq!(refused(&with(other)), "the server's offer is not for this device type");
    }

    #[test]
    fn a26_a_system_takes_no_part_of_it_but_an_empty_artifact() {
        let system = with(Deployment { tier: Some(Tier::System), ..DEPLOYMENT });
        assert_eq!(
            refused(&system),
            "a device of the tier \"system\" does not take payloads of type rootfs-image"
        );
        assert_eq!(judged(EMPTY, "", &system, 256), Ok(Payload::None));
        let micro = with(Deployment { tier: Some(Tier::Micro), ..DEPLOYMENT });
        assert_eq!(judged(ROOTFS, "", &micro, 256), Ok(Payload::ForModule));
    }

    #[test]
    fn what_the_artifact_says_of_itself_comes_before_what_the_server_said() {
        let all_wrong = Facts {
            device_type: Some("board"),
            ..with(Deployment { artifact_name: "x", fits_device: false, tier: Some(Tier::System) })
        };
        assert!(refused(&all_wrong).contains("the artifact is for the device type"));
    }
}
