//! `inspect` and `install --check`: what an artifact is, and whether this device would take it. Nothing is changed.

mod fit;
mod read;

use std::fmt::{Display, Write as _};

use thimble_core::artifact::Trust;
use thimble_core::artifact::accept::Facts;
use thimble_core::hal::Verifier as _;
use thimble_core::http::Target;
use thimble_hal_linux::network::{HttpNetwork, NetworkConfig};
use thimble_hal_linux::verify::KeyVerifier;

use self::fit::{Check, Known, Standing};
use self::read::{Artifact, Reading};
use crate::args::Invocation;
use crate::device::{Device, network_config};
use crate::json::{list, member, quoted};
use crate::output::{FAILURE, Failure, SUCCESS, one_line, print};
use crate::verbs::VerbName;

pub(crate) use self::fit::size as size_of_device;

/// What is known of its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    /// By a key of this device.
    Good,
    /// There is one, and no key here to check it with.
    NotVerified,
    None,
    /// Either way, there is no key here; the source can be read only once.
    ReadOnce,
    /// There is no key here, and the artifact is too damaged to say.
    Damaged,
    /// Which keys there are is not known.
    Unread,
    /// A key that is configured cannot be used.
    NoKey,
    /// A key is configured, and the artifact did not get past it.
    Bad,
}

impl Signature {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::NotVerified => "not-verified",
            Self::None => "none",
            Self::ReadOnce | Self::Damaged | Self::Unread | Self::NoKey => "unknown",
            Self::Bad => "bad",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Good => "good, by a key of this device",
            Self::NotVerified => "there, not verified: no ArtifactVerifyKeys are configured here",
            Self::None => "none; no ArtifactVerifyKeys are configured here, so that none is asked for",
            Self::ReadOnce => {
                "not looked at: no ArtifactVerifyKeys are configured here, and a pipe can be read only once"
            }
            Self::Damaged => "unknown: the artifact is not good",
            Self::NoKey => "not looked at: a key of ArtifactVerifyKeys cannot be used",
            Self::Unread => "not looked at: the configuration, which names the keys, cannot be used",
            Self::Bad => "not good",
        }
    }
}

/// What is told.
struct Told<'a> {
    source: &'a str,
    signature: Signature,
    artifact: Option<Artifact>,
    /// Why it is no good artifact.
    fault: Option<String>,
    checks: Vec<Check>,
}

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    let name = invocation.source.to_str().ok_or_else(|| {
        Failure::new(format_args!("{} is no UTF-8 text: rename the file", invocation.source.display()))
    })?;
    if name.len() > read::SOURCE_MAX {
        return Err(Failure::new(format_args!("{name}: longer than {} bytes", read::SOURCE_MAX)));
    }
    let source = read::target(name);
    // What an installation needs and is not there is told; what the artifact says of itself can be read without.
    let mut missing = Vec::new();
    let mut miss = |name, trouble: &dyn Display| {
        missing.push(Check { name, standing: Standing::Refused, text: trouble.to_string() });
    };
    let verifier = KeyVerifier::load(&device.conf.artifact_verify_keys);
    let is_key_missing = verifier.is_err();
    let mut verifier = verifier.unwrap_or_else(|error| {
        miss("verify keys", &error);
        KeyVerifier::without_keys()
    });
    let network = match (HttpNetwork::new(network_config(&device.conf), device.log.clone()), source) {
        (Err(error), Target::File(_)) => {
            miss("certificates", &error);
            HttpNetwork::new(NetworkConfig::default(), device.log.clone())
        }
        (network, _) => network,
    };
    let mut network = network.map_err(Failure::new)?;
    read::tell_of_wait(&device, source);
    let known = Known::of(&device);
    let facts = known.installed.as_ref().ok().map(|installed| Facts {
        device_type: known.device_type.as_deref().ok(),
        installed,
        deployment: None,
    });
    // A configuration that cannot be read may well ask for signatures.
    let has_keys = verifier.has_keys();
    let trust = if has_keys { Trust::Signed } else { Trust::Unsigned };
    let is_signed = if has_keys || !read::can_be_read_again(source) {
        None
    } else {
        read::is_signed(&mut network, source)
    };
    let Reading { artifact, judged, fault } =
        read::read(&mut network, source, &mut verifier, trust, facts.as_ref())?;
    let signature = match (has_keys, is_signed) {
        (true, _) if artifact.is_some() => Signature::Good,
        (true, _) => Signature::Bad,
        (false, _) if is_key_missing => Signature::NoKey,
        (false, _) if device.conf_trouble.is_some() => Signature::Unread,
        (false, Some(true)) => Signature::NotVerified,
        (false, Some(false)) => Signature::None,
        (false, None) if artifact.is_some() && !read::can_be_read_again(source) => Signature::ReadOnce,
        (false, None) => Signature::Damaged,
    };
    let mut checks = artifact
        .as_ref()
        .map_or(Vec::new(), |artifact| fit::checks(&device, known, artifact, judged, fault.is_none()));
    if artifact.is_some() {
        checks.splice(0..0, missing);
    }
    if let Some(trouble) = device.conf_trouble.as_ref().filter(|_| artifact.is_some()) {
        checks.insert(
            0,
            Check { name: "configuration", standing: Standing::Unknown, text: trouble.to_string() },
        );
    }
    let told =
        Told { source: name, signature, artifact, fault: fault.map(|fault| fault.to_string()), checks };
    print(&if invocation.json { told.json() } else { told.lines() })?;
    told.end(invocation.verb)
}

impl Told<'_> {
    /// The exit status, or the reason for 1.
    fn end(&self, verb: VerbName) -> Result<u8, Failure> {
        if let Some(fault) = &self.fault {
            return Err(Failure::new(format_args!("{}: the artifact is not good: {fault}", self.source)));
        }
        // Whoever only asks what it is, perhaps on another machine, has the answer.
        if verb != VerbName::Install {
            return Ok(SUCCESS);
        }
        let against = |standing| self.checks.iter().find(move |check| check.standing == standing);
        match against(Standing::Refused).or_else(|| against(Standing::Unknown)) {
            None => Ok(SUCCESS),
            Some(Check { name, standing: Standing::Unknown, text }) => Err(Failure::with_status(
                FAILURE,
                format_args!("whether it can be installed is not known: {name}: {text}"),
            )),
            Some(check) => Err(Failure::new(format_args!("it would be refused: {}", check.text))),
        }
    }

    fn lines(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:17}{}", one_line(value));
        };
        if let Some(artifact) = &self.artifact {
            line("Artifact:", &artifact.name);
            if let Some(group) = &artifact.group {
                line("Group:", group);
            }
            line("For devices:", &artifact.device_types.join(", "));
            for (key, values) in &artifact.depends {
                line("Depends on:", &format!("{key}={}", values.join(" or ")));
            }
            for (key, value) in &artifact.provides {
                line("Provides:", &format!("{key}={value}"));
            }
            if !artifact.clears.is_empty() {
                line("Removes:", &artifact.clears.join(", "));
            }
            line(
                "Payload:",
                artifact.payload_type.as_deref().unwrap_or("none: only what it provides is stored"),
            );
            for (name, size) in &artifact.files {
                line("File:", &format!("{name}, {size} bytes"));
            }
            for (name, size) in &artifact.scripts {
                line("State script:", &format!("{name}, {size} bytes"));
            }
        }
        line("Signature:", self.signature.text());
        match &self.fault {
            Some(fault) => line("Not good:", fault),
            None => line("Checksums:", "all are right"),
        }
        if !self.checks.is_empty() {
            out.push_str("\nThis device:\n");
        }
        for Check { name, standing, text } in &self.checks {
            let _ = writeln!(out, "  {:10}{name}: {}", standing.word(), one_line(text));
        }
        out
    }

    fn json(&self) -> String {
        let mut out = String::from("{\"signature\":");
        out.push_str(&quoted(self.signature.word()));
        member(&mut out, "fault", self.fault.as_deref());
        let artifact = self.artifact.as_ref();
        member(&mut out, "artifact_name", artifact.map(|artifact| artifact.name.as_str()));
        member(&mut out, "artifact_group", artifact.and_then(|artifact| artifact.group.as_deref()));
        member(&mut out, "payload_type", artifact.and_then(|artifact| artifact.payload_type.as_deref()));
        let fallback = Artifact::default();
        let artifact = artifact.unwrap_or(&fallback);
        let text = |text: &String| quoted(text);
        let sized = |(name, size): &(String, u64)| format!("{{\"name\":{},\"size\":{size}}}", quoted(name));
        let depends = |(key, values): &(String, Vec<String>)| {
            format!("{{\"key\":{},\"values\":{}}}", quoted(key), list(values.iter().map(text)))
        };
        let provides = |(key, value): &(String, String)| {
            format!("{{\"key\":{},\"value\":{}}}", quoted(key), quoted(value))
        };
        let check = |check: &Check| {
            let Check { name, standing, text } = check;
            format!(
                "{{\"name\":{},\"standing\":{},\"text\":{}}}",
                quoted(name),
                quoted(standing.word()),
                quoted(text)
            )
        };
        for (name, value) in [
            ("device_types", list(artifact.device_types.iter().map(text))),
            ("depends", list(artifact.depends.iter().map(depends))),
            ("provides", list(artifact.provides.iter().map(provides))),
            ("clears_provides", list(artifact.clears.iter().map(text))),
            ("files", list(artifact.files.iter().map(sized))),
            ("scripts", list(artifact.scripts.iter().map(sized))),
            ("checks", list(self.checks.iter().map(check))),
        ] {
            let _ = write!(out, ",\"{name}\":{value}");
        }
        out.push_str("}\n");
        out
    }
}
