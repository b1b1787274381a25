//! `lint`: what is wrong with state scripts, before a device finds out.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_sim::given::{Home, Root, Script, artifact, scripts};
use thimble_hal_sim::lint::{About, Finding, RULES, Severity, lint};

use crate::failure::{Failure, no_option};

pub(crate) const HELP: &str = "\
Finds what is wrong with state scripts, without running them.

Names that never run, files that the kernel cannot start, scripts that no client calls, times that cannot work, effects
that nothing takes back. PATH is an artifact, a folder of scripts, or a device's root file system: then the scripts are
those in etc/mender/scripts below it.

Usage: thimble-sim lint [OPTION]... PATH...
       thimble-sim lint --rules

  --for artifact|rootfs  whose scripts a folder has [those of Artifact states an artifact's, all others the device's]
  --root DIR             the device's root file system: interpreters are looked for in it
  --config FILE          the device's mender.conf: how long scripts may run and be repeated
  --fail-on SEVERITY     exit status 1 from this on: error, warning or note [error]
  --json                 one JSON document
  --sarif                one SARIF 2.1.0 document, for code review
  --rules                what is looked for, and why

Examples:
  thimble-sim lint state-scripts/
  thimble-sim lint --root build/rootfs --config mender.conf release-2.mender state-scripts/
  thimble-sim lint --sarif --fail-on warning state-scripts/ > lint.sarif
";

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Text,
    Json,
    Sarif,
}

#[derive(Default)]
struct Options {
    home: Option<Home>,
    about: About,
    fail_on: Option<Severity>,
    form: Form,
    paths: Vec<String>,
}

/// Prints what was found. `Ok(false)`: something to fail on.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    if words == ["--rules"] {
        rules(out)?;
        return Ok(true);
    }
    let options = read(words)?;
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    for path in &options.paths {
        match look(path, options.home)? {
            Looked::Scripts(scripts) => all.extend(scripts),
            Looked::Refused(why) => refused.push((path.clone(), why)),
        }
    }
    let findings = lint(&all, &options.about);
    let from = options.fail_on.unwrap_or(Severity::Error);
    let good = refused.is_empty() && findings.iter().all(|finding| finding.rule.severity < from);
    match options.form {
        Form::Text => text(out, all.len(), &findings, &refused)?,
        Form::Json => writeln!(out, "{:#}", as_json(all.len(), &findings, &refused))?,
        Form::Sarif => writeln!(out, "{:#}", as_sarif(&findings, &refused))?,
    }
    Ok(good)
}

fn read(words: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        match *word {
            "--for" => {
                options.home = Some(match value()? {
                    "artifact" => Home::Artifact,
                    "rootfs" => Home::RootFileSystem,
                    other => return Err(format!("--for {other}: artifact or rootfs is wanted")),
                });
            }
            "--root" => {
                let path = value()?;
                if !Path::new(path).is_dir() {
                    return Err(format!("--root {path}: it is no folder"));
                }
                options.about.root = Some(Root::new(Path::new(path)));
            }
            "--config" => {
                let main = Source { path: Path::new(value()?), required: true };
                // There is no second file; what is wrong with other keys is not for here.
                let (conf, _) = MenderConf::load(main, main).map_err(|error| error.to_string())?;
                options.about.config = conf.core_config();
            }
            "--fail-on" => {
                let name = value()?;
                let severity = Severity::parse(name);
                options.fail_on = Some(
                    severity.ok_or_else(|| format!("--fail-on {name}: error, warning or note is wanted"))?,
                );
            }
            "--json" => options.form = Form::Json,
            "--sarif" => options.form = Form::Sarif,
            option if option.starts_with('-') => return Err(no_option("lint", option, HELP)),
            path => options.paths.push(path.to_owned()),
        }
    }
    if options.paths.is_empty() {
        return Err("lint wants an artifact or a folder of state scripts".into());
    }
    Ok(options)
}

enum Looked {
    Scripts(Vec<Script>),
    /// An artifact that no device would take.
    Refused(String),
}

fn look(path: &str, home: Option<Home>) -> Result<Looked, String> {
    let at = Path::new(path);
    let about = fs::metadata(at).map_err(|error| format!("{path}: {error}"))?;
    if about.is_dir() {
        let inside = at.join("etc/mender/scripts");
        let (folder, home) =
            if inside.is_dir() { (inside, Some(Home::RootFileSystem)) } else { (at.to_owned(), home) };
        return match scripts::folder(&folder, home) {
            Ok(scripts) if scripts.is_empty() => Err(format!("{}: there is no file in it", folder.display())),
            Ok(scripts) => Ok(Looked::Scripts(scripts)),
            Err(error) => Err(format!("{}: {error}", folder.display())),
        };
    }
    if !about.is_file() {
        return Err(format!("{path}: it is neither a file nor a folder"));
    }
    let file = fs::File::open(at).map_err(|error| format!("{path}: {error}"))?;
    match artifact::read(file, &mut Decompressor::default()) {
        Ok(artifact) => Ok(Looked::Scripts(scripts::of_artifact(&artifact, path))),
        Err(artifact::Error::Io(error)) => Err(format!("{path}: {error}")),
        Err(artifact::Error::Refused(error)) => Ok(Looked::Refused(error.to_string())),
    }
}

fn rules(out: &mut dyn Write) -> io::Result<()> {
    for rule in RULES {
        writeln!(out, "{} ({}): {}\n    {}", rule.id, rule.severity.name(), rule.title, rule.why)?;
    }
    Ok(())
}

/// How many findings have each severity, the worst first.
fn counts(findings: &[Finding], refused: usize) -> [(Severity, usize); 3] {
    [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        let found = findings.iter().filter(|finding| finding.rule.severity == severity).count();
        (severity, if severity == Severity::Error { found + refused } else { found })
    })
}

fn text(
    out: &mut dyn Write,
    files: usize,
    findings: &[Finding],
    refused: &[(String, String)],
) -> io::Result<()> {
    for (path, why) in refused {
        writeln!(out, "{path}: error: no device takes this artifact: {why}")?;
    }
    for (at, finding) in findings.iter().enumerate() {
        writeln!(out, "{finding}")?;
        let before = findings.get(..at).unwrap_or_default();
        if before.iter().all(|earlier| earlier.rule != finding.rule) {
            writeln!(out, "    why:  {}", finding.rule.why)?;
        }
    }
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    if findings.is_empty() && refused.is_empty() {
        return writeln!(out, "Nothing wrong found in {files}.");
    }
    let counts = counts(findings, refused.len())
        .map(|(severity, count)| format!("{count} {}{}", severity.name(), if count == 1 { "" } else { "s" }));
    writeln!(out, "{files}: {}", counts.join(", "))
}

fn as_json(files: usize, findings: &[Finding], refused: &[(String, String)]) -> Value {
    let [errors, warnings, notes] = counts(findings, refused.len()).map(|(_, count)| count);
    let finding = |finding: &Finding| {
        json!({
            "rule": finding.rule.id,
            "severity": finding.rule.severity.name(),
            "file": finding.place,
            "script": finding.script,
            "line": finding.line,
            "what": finding.what,
            "why": finding.rule.why,
            "mend": finding.mend,
        })
    };
    json!({
        "schema": 1,
        "files": files,
        "errors": errors,
        "warnings": warnings,
        "notes": notes,
        "refused": refused.iter().map(|(path, why)| json!({ "file": path, "why": why })).collect::<Vec<_>>(),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// SARIF 2.1.0, as code review takes it.
fn as_sarif(findings: &[Finding], refused: &[(String, String)]) -> Value {
    let rules = RULES.iter().map(|rule| {
        json!({
            "id": rule.id,
            "shortDescription": { "text": rule.title },
            "fullDescription": { "text": rule.why },
            "defaultConfiguration": { "level": rule.severity.name() },
        })
    });
    let refusal = json!({
        "id": "ARTIFACT1",
        "shortDescription": { "text": "an artifact that no device takes" },
        "defaultConfiguration": { "level": "error" },
    });
    let result = |finding: &Finding| {
        let mut location =
            json!({ "physicalLocation": { "artifactLocation": { "uri": uri(&finding.place) } } });
        match (&finding.script, finding.line) {
            // A line of a script inside an artifact is no line of the artifact.
            (Some(script), _) => {
                location["logicalLocations"] = json!([{ "fullyQualifiedName": script, "kind": "member" }]);
            }
            (None, Some(line)) => location["physicalLocation"]["region"] = json!({ "startLine": line }),
            (None, None) => {}
        }
        let script = finding.script.as_ref().map_or_else(String::new, |script| format!("{script}: "));
        json!({
            "ruleId": finding.rule.id,
            "level": finding.rule.severity.name(),
            "message": { "text": format!("{script}{}. To mend it: {}.", finding.what, finding.mend) },
            "locations": [location],
        })
    };
    let refusals = refused.iter().map(|(path, why)| {
        json!({
            "ruleId": "ARTIFACT1",
            "level": "error",
            "message": { "text": format!("no device takes this artifact: {why}") },
            "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(path) } } }],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "thimble-sim lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.chain([refusal]).collect::<Vec<_>>(),
            } },
            "results": refusals.chain(findings.iter().map(result)).collect::<Vec<_>>(),
        }],
    })
}

/// A path as a reference of RFC 3986.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
