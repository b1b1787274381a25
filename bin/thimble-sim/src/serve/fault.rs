//! Faults of the network, as they are written on the command line.

use thimble_hal_sim::listen::Wire;
use thimble_hal_sim::server::{Endpoint, Fault};

/// A fault, and which requests meet it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disturbance {
    pub(super) endpoint: Endpoint,
    pub(super) skip: u32,
    pub(super) times: u32,
    pub(super) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Fault(Fault),
    Wire(Wire),
}

const ENDPOINTS: [(&str, Endpoint); 8] = [
    ("auth", Endpoint::Auth),
    ("next-v2", Endpoint::NextV2),
    ("next-v1", Endpoint::NextV1),
    ("status", Endpoint::Status),
    ("log", Endpoint::Log),
    ("inventory", Endpoint::Inventory),
    ("control-map", Endpoint::ControlMap),
    ("artifact", Endpoint::Artifact),
];

/// The word for an endpoint.
pub(super) fn name(endpoint: Endpoint) -> &'static str {
    ENDPOINTS.iter().find(|(_, of)| *of == endpoint).map_or("", |(name, _)| name)
}

/// Reads `WHERE:WHAT[@SKIP[xTIMES]]`.
pub(super) fn disturbance(text: &str) -> Result<Disturbance, String> {
    let wrong = || format!("{text:?} is no fault: WHERE:WHAT[@SKIP[xTIMES]]");
    let (place, rest) = text.split_once(':').ok_or_else(wrong)?;
    let endpoint = ENDPOINTS.iter().find(|(name, _)| *name == place).ok_or_else(wrong)?.1;
    let (what, when) = rest.rsplit_once('@').unwrap_or((rest, "0"));
    let (skip, times) = when.split_once('x').unwrap_or((when, "1"));
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let (skip, times) = (number(skip)?, number(times)?);
    let (kind, value) = what.split_once('=').unwrap_or((what, ""));
    let size = || value.parse::<usize>().map_err(|_| wrong());
    let what = match kind {
        "status" => What::Fault(Fault::Status(value.parse().map_err(|_| wrong())?)),
        "retry-after" => What::Fault(Fault::RetryAfter(value.into())),
        "body" => What::Fault(Fault::Body(value.into())),
        "refuse" => What::Fault(Fault::Unreachable),
        "silent" => What::Fault(Fault::Silent),
        "drip" => What::Fault(Fault::Drip),
        "answer-lost" => What::Fault(Fault::AnswerLost),
        "cut" => What::Fault(Fault::Cut(size()?)),
        "close" => What::Wire(Wire::Close(size()?)),
        "reset" => What::Wire(Wire::Reset(size()?)),
        "hang" => What::Wire(Wire::Hang(size()?)),
        "slow" => {
            let (bytes, pause) = value.split_once(',').ok_or_else(wrong)?;
            What::Wire(Wire::Slow(bytes.parse().map_err(|_| wrong())?, pause.parse().map_err(|_| wrong())?))
        }
        "raw" => What::Wire(Wire::Raw(value.into())),
        "surplus" => What::Wire(Wire::Surplus(value.into())),
        "no-length" => What::Wire(Wire::NoLength),
        "chunked" => What::Wire(Wire::Chunked(size()?)),
        "header" => What::Wire(Wire::Header(value.into())),
        "interim" => What::Wire(Wire::Interim),
        _ => return Err(wrong()),
    };
    Ok(Disturbance { endpoint, skip, times, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let fault = |endpoint, skip, times, what| Ok(Disturbance { endpoint, skip, times, what });
        for (text, expected) in [
            ("status:status=500", fault(Endpoint::Status, 0, 1, What::Fault(Fault::Status(500)))),
            ("artifact:close=5000@1x2", fault(Endpoint::Artifact, 1, 2, What::Wire(Wire::Close(5000)))),
            ("auth:slow=1,20@3", fault(Endpoint::Auth, 3, 1, What::Wire(Wire::Slow(1, 20)))),
            (
                "log:body={\"a\":1}",
                fault(Endpoint::Log, 0, 1, What::Fault(Fault::Body(b"{\"a\":1}".to_vec()))),
            ),
            ("next-v1:refuse@0x9", fault(Endpoint::NextV1, 0, 9, What::Fault(Fault::Unreachable))),
        ] {
            assert_eq!(disturbance(text), expected, "{text}");
        }
        for text in [
            "",
            "status",
            "nowhere:refuse",
            "status:explode",
            "status:status=x",
            "auth:refuse@x",
            "auth:cut=",
        ] {
            assert!(disturbance(text).is_err(), "{text}");
        }
    }
}
