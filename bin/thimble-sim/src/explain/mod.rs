//! `explain`: what an update will do, and what each failure leads to.

mod draw;

use std::io::Write;

use thimble_core::time::Duration;
use thimble_hal_sim::explain::{Explained, Given, Outcome, Step, Who, explain, why_not};
use thimble_hal_sim::near::meant;
use thimble_hal_sim::world::{OLD, provides};

use crate::failure::{Failure, no_option};
use crate::subject::{Subject, subject_help};
use crate::values::{self, Once};

pub(crate) const HELP: &str = concat!(
    "\
Tells what an update will do step by step, and what each failure leads to.

The real client does it on a simulated device, once without a fault and once with each: a step that fails, power that is
lost in it, a script that asks to be run again for ever. Nothing of yours is run.

Usage: thimble-sim explain [OPTION]...

",
    subject_help!(),
    "  --form FORM           text, mermaid, dot or svg [text]
  --why-not DEVICE      only: why this device refuses the artifact. DEVICE is a file with what `thimble show-provides`
                        prints on it, and a line device_type=TYPE (/var/lib/mender/device_type)

Exit status 1: a failure leaves the device inconsistent; with --why-not, the device refuses the artifact.

Examples:
  thimble-sim explain --artifact release-2.mender --scripts state-scripts --config mender.conf
  thimble-sim explain --artifact release-2.mender --form svg > update.svg
  thimble-sim explain --artifact release-2.mender --why-not device.txt
",
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Mermaid,
    Dot,
    Svg,
}

/// Explains. `Ok(false)`: a failure leaves the device inconsistent, or the device refuses the artifact.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let (subject, form, device) = read(words)?;
    let given = given(&subject);
    if let Some(path) = device {
        let given = describe(given, &path)?;
        let artifact = given.artifact.as_ref().ok_or("--why-not wants --artifact".to_owned())?;
        let Some(why) = why_not(&given) else {
            writeln!(out, "A {} with these provides takes {}.", given.device_type, artifact.name)?;
            return Ok(true);
        };
        writeln!(out, "{why}")?;
        return Ok(false);
    }
    let title = subject.title(&given.device_type);
    let explained = explain(&given);
    match form {
        Form::Text => text(out, &title, "Without a failure", &explained)?,
        Form::Mermaid => write!(out, "{}", draw::mermaid(&explained))?,
        Form::Dot => write!(out, "{}", draw::dot(&explained))?,
        Form::Svg => write!(out, "{}", draw::svg(&title, &explained))?,
    }
    let bad = |step: &Step| outcomes(step).iter().any(|(_, outcome)| outcome.is_bad());
    Ok(!explained.steps.iter().any(bad))
}

/// What is to be explained, in which form, and the file that describes a device.
fn read(words: &[&str]) -> Result<(Subject, Form, Option<String>), Failure> {
    let (mut subject, mut form, mut device) = (Subject::default(), Form::Text, None);
    let (mut words, mut once) = (words.iter(), Once::but(&["--scripts"]));
    while let Some(word) = words.next() {
        once.read(word)?;
        let mut value =
            || words.next().copied().ok_or_else(|| Failure::Usage(format!("{word} needs a value")));
        if subject.take(word, &mut value)? {
            continue;
        }
        match *word {
            "--why-not" => device = Some(value()?.to_owned()),
            "--form" => {
                form = match value()? {
                    "text" => Form::Text,
                    "mermaid" => Form::Mermaid,
                    "dot" => Form::Dot,
                    "svg" => Form::Svg,
                    other => {
                        let hint = meant(other, ["text", "mermaid", "dot", "svg"]);
                        return Err(
                            format!("--form {other}: text, mermaid, dot or svg is wanted{hint}").into()
                        );
                    }
                }
            }
            option => return Err(Failure::Usage(no_option("explain", option, HELP))),
        }
    }
    Ok((subject, form, device))
}

/// On a device of the type that the artifact names first, where what it depends on is installed.
pub(crate) fn given(subject: &Subject) -> Given {
    let installed = subject.artifact.as_ref();
    Given {
        profile: subject.profile(),
        config: subject.config.clone(),
        device_type: subject.device_type().to_owned(),
        installed: installed.map_or_else(|| provides(OLD), |artifact| artifact.fitting_provides(OLD)),
        artifact: subject.artifact.clone(),
        scripts: subject.scripts(),
        command_line: subject.standalone,
        past: Vec::new(),
    }
}

/// Takes the device from a file of lines `KEY=VALUE`.
fn describe(mut given: Given, path: &str) -> Result<Given, Failure> {
    let text = values::text(path)?;
    let mut installed = serde_json::Map::new();
    let mut device_type = None;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let pair = line
            .trim()
            .split_once('=')
            .ok_or_else(|| Failure::Input(format!("{path}:{number}: a line KEY=VALUE is wanted")))?;
        match pair {
            ("device_type", value) => device_type = Some(value.to_owned()),
            (key, value) => drop(installed.insert(key.to_owned(), value.into())),
        }
    }
    let missing =
        |what: &str, hint: &str| Failure::Input(format!("{path}: a line {what}=... is missing: {hint}"));
    given.device_type =
        device_type.ok_or_else(|| missing("device_type", "it is in /var/lib/mender/device_type"))?;
    if !installed.contains_key("artifact_name") {
        return Err(missing("artifact_name", "`thimble show-provides` prints it"));
    }
    given.installed = serde_json::Value::Object(installed).to_string().into_bytes();
    Ok(given)
}

/// What can become of a step.
pub(crate) fn outcomes(step: &Step) -> Vec<(&'static str, &Outcome)> {
    let mut all = vec![("fails", &step.fails), ("power lost", &step.power_lost)];
    if let Some((_, again)) = &step.again {
        all.push(("asks again for ever", again));
    }
    all
}

/// A time for people: `2 h 5 min`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if parts.is_empty() { "no time".to_owned() } else { parts.join(" ") }
}

fn who(step: &Step) -> String {
    match (step.who, &step.again) {
        (Who::Script, Some((again, _))) => {
            format!("script, at most {}; may ask again for {}", time(step.at_most), time(*again))
        }
        (Who::Script, None) => format!("script, at most {}", time(step.at_most)),
        (Who::Module, _) => format!("update module, at most {}", time(step.at_most)),
        (Who::Server, _) if step.at_most.as_secs() == 0 => "report to the server, sent once".to_owned(),
        (Who::Server, _) => format!("report to the server, tried for {}", time(step.at_most)),
        (Who::Device, _) => format!("reboot, waited for at most {}", time(step.at_most)),
    }
}

/// The steps, and how it ends `without` a failure.
pub(crate) fn text(
    out: &mut dyn Write,
    title: &str,
    without: &str,
    explained: &Explained,
) -> std::io::Result<()> {
    writeln!(out, "{title}\n")?;
    let mut bad = 0;
    for (number, step) in (1..).zip(&explained.steps) {
        writeln!(out, "{number:2}. {:<40} {}", step.what, who(step))?;
        for (what, outcome) in outcomes(step) {
            let mark = if outcome.is_bad() { "!!" } else { "  " };
            bad += usize::from(outcome.is_bad());
            writeln!(out, "   {mark} {what}: {}", outcome.verdict())?;
            let quiet = |line: &&String| !line.contains('?') && **line != step.what;
            let then: Vec<&str> =
                outcome.happened.iter().filter(quiet).map(|line| line.trim_start_matches("-- ")).collect();
            if !then.is_empty() {
                writeln!(out, "        then {}", then.join(", "))?;
            }
        }
    }
    let Outcome { reason, .. } = &explained.good;
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    writeln!(out, "\n{without}: {}{reason}.", explained.good.verdict())?;
    writeln!(
        out,
        "Scripts and module may take {} together, beside the download and what the server is waited for.",
        time(explained.at_most())
    )?;
    match bad {
        0 => writeln!(
            out,
            "No failure of one of these steps, and no loss of power in one, leaves the device inconsistent."
        ),
        1 => writeln!(out, "One failure leaves the device inconsistent: see !! above."),
        more => writeln!(out, "{more} failures leave the device inconsistent: see !! above."),
    }
}
