//! How the last update ended, from what is stored anyway: the flight record says how, the log of the deployment when and which
//! artifact it was. Nothing is written for it.

use std::time::SystemTime;

use thimble_core::begun::{Mark, mark};
use thimble_core::deployment::Verdict;
use thimble_core::flight::{self, Event, Purpose, Record, Saved};
use thimble_core::json::Value;
use thimble_core::texts;
use thimble_hal_linux::log;

use crate::device::Device;

/// How an update ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// The server's id; empty: of an update by hand, or not known any more.
    pub(crate) deployment: String,
    /// Empty: not known any more.
    pub(crate) artifact: String,
    pub(crate) verdict: Verdict,
    /// A person rolled it back, and nothing had failed.
    pub(crate) is_taken_back: bool,
    /// Why it failed; empty: it did not, or that is not known any more.
    pub(crate) reason: String,
    /// By the wall clock.
    pub(crate) ended: Option<SystemTime>,
    /// It ended before this daemon was started.
    pub(crate) is_old: bool,
}

impl Last {
    /// How it ended: begins with `success`, `failure` or `rolled back`.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self.verdict {
            Verdict::RolledBack if self.is_taken_back => "rolled back: the device is what it was before",
            Verdict::Good => "success",
            Verdict::Failed => "failure: not rolled back, the device is inconsistent",
            Verdict::RolledBack => "failure: the device is what it was before",
            Verdict::RollbackFailed => "failure: the rollback failed, the device is inconsistent",
        }
    }

    /// By the flight record of this device.
    pub(crate) fn on_record(device: &Device, flight: &[u8]) -> Option<Self> {
        let Ended { deployment, verdict, reason, by } = ended(&Record::decode(flight)?)?;
        let mut last = Self {
            deployment: String::new(),
            artifact: String::new(),
            verdict,
            is_taken_back: by == Some(Purpose::Rollback) && reason.is_empty(),
            reason: text(&reason),
            ended: None,
            is_old: true,
        };
        let directory =
            device.conf.update_log_path.as_deref().unwrap_or_else(|| device.paths.deployment_logs());
        let logs = deployment.and_then(|deployment| Some((deployment, log::kept(directory).ok()?)));
        let log = logs.and_then(|(deployment, logs)| logs.into_iter().find(|(id, _)| mark(id) == deployment));
        if let Some((id, path)) = log
            && let Ok((log, written)) = log::read(&path)
        {
            let told = Told::of(&log, &id);
            last.artifact = told.artifact.unwrap_or_default();
            // A code that was cut lacks the end of the reason.
            if reason.len() >= flight::REASON {
                last.reason = told.first_error.unwrap_or(last.reason);
            }
            (last.deployment, last.ended) = (id, Some(written));
        }
        Some(last)
    }
}

/// The end of an update in the flight record.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    deployment: Option<Mark>,
    verdict: Verdict,
    /// The code of the reason.
    reason: String,
    by: Option<Purpose>,
}

/// The last end of an update. What the ring has dropped of it is not known.
fn ended(record: &Record<'_>) -> Option<Ended> {
    let (mut by, mut deployment, mut reason, mut verdict) = (None, None, String::new(), Verdict::Good);
    let mut last = None;
    for event in record.entries().filter_map(|entry| entry.event) {
        let is_by_hand =
            matches!(by, Some(Purpose::Install | Purpose::Resume | Purpose::Commit | Purpose::Rollback));
        let is_over = match event {
            Event::Starts { run, .. } => {
                by = Some(run);
                if run == Purpose::Install {
                    (deployment, reason, verdict) = (None, String::new(), Verdict::Good);
                }
                false
            }
            Event::Begins { deployment: begun } => {
                (deployment, reason, verdict) = (Some(begun), String::new(), Verdict::Good);
                false
            }
            Event::Reason(code) => {
                code.clone_into(&mut reason);
                false
            }
            Event::Saves(Saved::Update(_, now)) => {
                verdict = now;
                false
            }
            Event::Ends(now) => {
                verdict = now;
                by != Some(Purpose::Bootstrap)
            }
            // The last record of an update by hand that leaves its artifact behind.
            Event::Saves(Saved::Provides(_)) => is_by_hand,
            Event::Enters(_)
            | Event::Script { .. }
            | Event::Call(..)
            | Event::Request(..)
            | Event::Downloads(_)
            | Event::BreaksOff(_)
            | Event::Waits(..)
            | Event::Approved(_)
            | Event::Forbidden(..)
            | Event::Saves(Saved::Report | Saved::Nothing)
            | Event::NotSaved
            | Event::NotRebooted
            | Event::Terminated
            | Event::Again(_) => false,
        };
        if is_over {
            let deployment = deployment.filter(|_| !is_by_hand);
            last = Some(Ended { deployment, verdict, reason: reason.clone(), by });
        }
    }
    last
}

/// What the log of a deployment tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    artifact: Option<String>,
    first_error: Option<String>,
}

impl Told {
    fn of(log: &[u8], id: &str) -> Self {
        let begins = format!("deployment {id} of artifact \"");
        let mut told = Self::default();
        for line in log.split(|&byte| byte == b'\n') {
            let Ok(value) = Value::parse(line) else { continue };
            let member = |name| Some(value.member(name).ok()??.as_str()?.to_string());
            let Some(message) = member("message") else { continue };
            let artifact = message.strip_prefix(&begins).and_then(|rest| rest.strip_suffix("\" begins"));
            if let Some(artifact) = artifact {
                // A deployment that the server offers again has the log of before, too.
                told = Self { artifact: Some(artifact.to_owned()), first_error: None };
            }
            if told.first_error.is_none() && member("level").is_some_and(|level| level == "error") {
                told.first_error = Some(message);
            }
        }
        told
    }
}

fn text(code: &str) -> String {
    let mut text = String::new();
    // A `String` takes everything.
    let _ = texts::decode(code, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use thimble_core::checkpoint::Tag;
    use thimble_core::deployment::Naming;
    use thimble_core::flight::Ring;
    use thimble_core::time::Instant;

    use super::*;

    const fn starts(run: Purpose) -> Event<'static> {
        Event::Starts { run, version: "1", found: None }
    }

    fn end_of(events: &[Event<'_>]) -> Option<Ended> {
        let mut ring = Ring::new();
        events.iter().for_each(|event| ring.note(Instant::ZERO, event));
        ended(&Record::decode(ring.bytes()).unwrap())
    }

    #[test]
    fn the_last_end_counts_and_what_belongs_to_it() {
        let deployment = mark("d-1");
        let mut events = vec![
            starts(Purpose::Daemon),
            Event::Begins { deployment },
            Event::Reason("~U19(T5)"),
            Event::Saves(Saved::Update(Tag::Rollback, Verdict::RolledBack)),
            // After a restart.
            starts(Purpose::Daemon),
            Event::Ends(Verdict::RolledBack),
            Event::Saves(Saved::Nothing),
        ];
        let failed = Ended {
            deployment: Some(deployment),
            verdict: Verdict::RolledBack,
            reason: "~U19(T5)".into(),
            by: Some(Purpose::Daemon),
        };
        assert_eq!(end_of(&events).as_ref(), Some(&failed));
        // One that has not ended changes nothing.
        events.extend([
            Event::Begins { deployment: mark("d-2") },
            Event::Saves(Saved::Update(Tag::Store, Verdict::Good)),
        ]);
        assert_eq!(end_of(&events), Some(failed));
        events.push(Event::Ends(Verdict::Good));
        let good = Ended {
            deployment: Some(mark("d-2")),
            verdict: Verdict::Good,
            reason: String::new(),
            by: Some(Purpose::Daemon),
        };
        assert_eq!(end_of(&events), Some(good));
    }

    #[test]
    fn an_update_by_hand_ends_with_its_name_or_with_its_record() {
        let by_hand =
            |verdict, by| Some(Ended { deployment: None, verdict, reason: String::new(), by: Some(by) });
        let installed = [
            Event::Begins { deployment: mark("d-1") },
            starts(Purpose::Install),
            Event::Saves(Saved::Update(Tag::BeforeCommit, Verdict::Good)),
        ];
        assert_eq!(end_of(&installed), None);
        let committed = [starts(Purpose::Commit), Event::Saves(Saved::Provides(Naming::Good))];
        assert_eq!(end_of(&[&installed[..], &committed].concat()), by_hand(Verdict::Good, Purpose::Commit));
        let rolled_back = [starts(Purpose::Rollback), Event::Ends(Verdict::RolledBack)];
        assert_eq!(
            end_of(&[&installed[..], &rolled_back].concat()),
            by_hand(Verdict::RolledBack, Purpose::Rollback)
        );
        assert_eq!(end_of(&[starts(Purpose::Bootstrap), Event::Ends(Verdict::Good)]), None);
    }

    #[test]
    fn a_log_names_the_artifact_and_the_first_error_since_the_deployment_began_last() {
        let log = "{\"timestamp\":\"t\",\"level\":\"error\",\"message\":\"old\"}\n\
                   {\"timestamp\":\"t\",\"level\":\"info\",\"message\":\"deployment d-1 of artifact \\\"r \\\"2\\\" begins\"}\n\
                   torn {\"\n{}\n\
                   {\"timestamp\":\"t\",\"level\":\"error\",\"message\":\"first\"}\n\
                   {\"timestamp\":\"t\",\"level\":\"error\",\"message\":\"second\"}\n";
        let told = Told::of(log.as_bytes(), "d-1");
        assert_eq!(told, Told { artifact: Some("r \"2".into()), first_error: Some("first".into()) });
        assert_eq!(Told::of(log.as_bytes(), "d-2").artifact, None);
        assert_eq!(Told::of(b"", "d-1"), Told::default());
    }
}
