//! What is wrong with a set of state scripts, told before a device finds out. Nothing is run.
//!
//! [`lint`] looks at scripts of a folder, of an artifact, or of both; [`RULES`] lists what it knows.

mod effects;
mod names;
mod programs;
mod times;

use std::collections::BTreeMap;
use std::fmt;

use thimble_core::config::Config;

use crate::given::{Home, Root, Script};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, but not everywhere or not as it seems.
    Warning,
    /// It never runs, or it fails an update.
    Error,
}

impl Severity {
    /// The word for it, also that of SARIF.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The severity of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Note, Self::Warning, Self::Error].into_iter().find(|severity| severity.name() == name)
    }
}

/// Something that is looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which stays.
    pub id: &'static str,
    /// What is found, in a few words.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// How bad it is.
    pub severity: Severity,
}

macro_rules! rules {
    ($($id:ident $severity:ident $title:literal $why:literal)*) => {
        /// All rules, in the order of their names.
        pub const RULES: &[Rule] = &[$($id),*];
        $(
            #[doc = $title]
            pub(crate) const $id: Rule =
                Rule { id: stringify!($id), title: $title, why: $why, severity: Severity::$severity };
        )*
    };
}

rules! {
    EFFECT1 Warning "an effect of ArtifactInstall that no script takes back"
        "When the update fails later, the update module rolls its own work back, but not what scripts changed: that is for the scripts of ArtifactRollback and ArtifactFailure."
    NAME1 Error "a name that never runs"
        "A client runs only files whose whole name is STATE_ACTION_NN or STATE_ACTION_NN_TEXT, and passes over all others in silence."
    NAME2 Error "a script in the wrong place"
        "Scripts of Idle, Sync and Download are looked for in the root file system only, those of Artifact states in the artifact only."
    NAME3 Warning "a script that no client calls"
        "Idle, ArtifactRollback, ArtifactRollbackReboot and ArtifactFailure have no Error scripts: what fails there is marked, and the way goes on."
    NAME4 Note "a script that the command line does not call"
        "`mender install`, `commit` and `rollback` run the scripts of Download, ArtifactInstall, ArtifactCommit, ArtifactRollback and ArtifactFailure; the reboot is the user's."
    NAME5 Note "a file that is no state script"
        "It is passed over."
    NAME6 Note "two scripts with one number"
        "They run in the order of their whole names, byte by byte; whoever adds a third may not expect that."
    RUN1 Error "a script that cannot be executed"
        "A file without an execute bit is passed over with a warning in the log, or fails the transition, depending on the client."
    RUN2 Error "no interpreter line"
        "The kernel starts the file itself, without a shell: it must begin with #! and an absolute path, or be a program of the device's."
    RUN3 Error "an interpreter that is not there"
        "The script cannot be started, which fails its transition like exit status 1."
    RUN4 Error "an interpreter line that ends in a carriage return"
        "The kernel looks for an interpreter whose name ends in a carriage return, which does not exist: the script cannot be started."
    RUN5 Error "a byte order mark in front"
        "The kernel wants #! as the first two bytes and finds others: the script cannot be started."
    RUN6 Warning "carriage returns at the ends of lines"
        "A shell takes them as part of the last word of each line: `exit 0` becomes an exit with a status that is no number."
    RUN7 Error "a script that others can change"
        "thimble runs as root and starts nothing that others than root could have changed."
    TIME1 Warning "a script that asks to be run again and never is"
        "After exit status 21 the client waits for StateScriptRetryIntervalSeconds; when that is more than StateScriptRetryTimeoutSeconds, the script has failed before its second run."
    TIME2 Warning "scripts that may outlast the download link"
        "The server's link to the artifact is good for 24 hours from the poll; scripts that run between the poll and the download use them up."
    TIME3 Warning "a script that sleeps for longer than it may run"
        "After StateScriptTimeoutSeconds the client ends the script and its process group, and that is a failure."
    VERSION1 Warning "no file `version`"
        "Mender's client 3 fails every transition that has scripts when there is no file `version` beside them; thimble and Mender's client 4 and later take its absence for 3."
    VERSION2 Error "a version that no client knows"
        "Every transition fails, even those whose errors are otherwise ignored, when `version` says anything but 2 or 3."
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub rule: &'static Rule,
    /// The path of the file, or of the artifact that it is in.
    pub place: String,
    /// The script's name, when `place` is an artifact.
    pub script: Option<String>,
    /// The line, from 1 on.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub mend: String,
}

/// What is wrong, where, and what to do; why it matters is the same for all of a [`Rule`].
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, place, script, line, what, mend } = self;
        f.write_str(place)?;
        if let Some(script) = script {
            write!(f, ": {script}")?;
        }
        if let Some(line) = line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {} {}: {what}\n    mend: {mend}", rule.severity.name(), rule.id)
    }
}

impl Finding {
    fn of(rule: &'static Rule, script: &Script, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            rule,
            place: script.place.clone(),
            script: (script.home == Home::Artifact && !script.place.ends_with(&script.name))
                .then(|| script.name.clone()),
            line: None,
            what: what.into(),
            mend: mend.into(),
        }
    }

    const fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

/// What the device is known to be.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its settings.
    pub config: Config,
    /// Its root file system; without it, interpreters are not looked for.
    pub root: Option<Root>,
}

/// Looks at scripts, whose folders are told apart by `Script::place`. The findings are in the order of the files.
#[must_use]
pub fn lint(scripts: &[Script], about: &About) -> Vec<Finding> {
    let mut found = Vec::new();
    for script in scripts {
        names::check(script, &mut found);
        programs::check(script, about, &mut found);
        times::check(script, &about.config, &mut found);
    }
    names::check_sets(scripts, &mut found);
    times::check_set(scripts, &about.config, &mut found);
    effects::check(scripts, &mut found);
    let order: BTreeMap<(&str, &str), usize> =
        scripts.iter().enumerate().map(|(at, s)| ((s.place.as_str(), s.name.as_str()), at)).collect();
    let place = |finding: &Finding| {
        let of_file = |(&(place, name), at): (&(&str, &str), &usize)| {
            (place == finding.place && finding.script.as_deref().is_none_or(|s| s == name)).then_some(*at)
        };
        order.iter().find_map(of_file).unwrap_or(usize::MAX)
    };
    found.sort_by_cached_key(|finding| (place(finding), finding.line));
    found
}

#[cfg(test)]
mod tests;
