//! What `explore` and `ui` were told.

use std::path::PathBuf;

use thimble_hal_sim::explore::Limits;
use thimble_hal_sim::model::Budget;
use thimble_hal_sim::near::meant;
use thimble_hal_sim::story::Path;
use thimble_hal_sim::survey::{Shard, Task};
use thimble_hal_sim::whole::Kind;

use crate::failure::{Failure, no_option};
use crate::shell::quoted;
use crate::subject::Subject;
use crate::values::Once;

/// Configurations that a walk takes at most, unless it is told.
const CONFIGURATIONS: usize = 16_000_000;

/// Configurations that are kept whole at a time.
const FRONTIER: usize = 100_000;

/// Parts that a walk can have at most.
const SHARDS: u32 = 10_000;

/// Who reads the options of a walk: those that say what is walked are the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `explore`
    Explore,
    /// `ui`
    Ui,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Explore => "explore",
            Self::Ui => "ui",
        }
    }
}

/// What `explore` or `ui` was told.
pub(crate) struct Options {
    pub(super) subject: Subject,
    pub(super) budget: Budget,
    pub(super) limits: Limits,
    pub(super) shard: Shard,
    pub(super) forbidden: Vec<Kind>,
    pub(crate) path: Option<Path>,
    /// Where scenarios of what was found are written.
    pub(super) scenarios: Option<PathBuf>,
    pub(super) json: bool,
    /// Where the page is written.
    pub(super) html: Option<PathBuf>,
    /// Where `ui` listens; 0: anywhere.
    pub(crate) port: u16,
}

impl Options {
    /// What is to be walked.
    pub(super) fn task(&self) -> Task {
        Task {
            profile: self.subject.profile(),
            config: self.subject.config.clone(),
            scripts: self.subject.scripts(),
            standalone: self.subject.standalone,
            budget: self.budget,
            limits: self.limits,
            shard: self.shard,
        }
    }

    /// The command that tells a way.
    pub(super) fn again(&self, path: &Path) -> String {
        format!("thimble-sim explore {} --path '{path}'", self.words())
    }

    /// The options that say what is explored, for a shell.
    pub(super) fn words(&self) -> String {
        let Budget { failures, losses } = self.budget;
        let mut words: Vec<String> = self.subject.words().iter().map(|word| quoted(word)).collect();
        words.push(format!("--failures {failures} --losses {losses}"));
        words.join(" ")
    }

    /// Of a walk that is a part of everything: which, as `2/8`, and the seed that makes the parts.
    pub(super) fn part(&self) -> Option<String> {
        let Shard { number, of, seed } = self.shard;
        let seed = if seed == 0 { String::new() } else { format!(" with seed {seed}") };
        (of > 1).then(|| format!("{}/{of}{seed}", number + 1))
    }
}

/// Reads the words of the command line; `help` names all options.
pub(crate) fn read(verb: Verb, words: &[&str], help: &str) -> Result<Options, Failure> {
    let mut options = Options {
        subject: Subject::default(),
        budget: Budget { failures: 1, losses: 1 },
        limits: Limits { configurations: CONFIGURATIONS, frontier: FRONTIER },
        shard: Shard::WHOLE,
        forbidden: Vec::new(),
        path: None,
        scenarios: None,
        json: false,
        html: None,
        port: 0,
    };
    let mut given = Vec::new();
    let (mut words, mut once) = (words.iter(), Once::but(&["--scripts", "--forbid"]));
    while let Some(word) = words.next() {
        once.read(word)?;
        let mut value =
            || words.next().copied().ok_or_else(|| Failure::Usage(format!("{word} needs a value")));
        if options.subject.take(word, &mut value)? {
            continue;
        }
        given.push(word);
        match (*word, verb) {
            ("--failures", _) => options.budget.failures = few(word, value()?)?,
            ("--losses", _) => options.budget.losses = few(word, value()?)?,
            ("--forbid", _) => options.forbidden.extend(ends(value()?)?),
            ("--budget", _) => {
                let text = value()?;
                let number = text.parse().ok().filter(|number| (1..=1_000_000_000).contains(number));
                options.limits.configurations = number
                    .ok_or_else(|| format!("--budget {text}: a number from 1 to 1000000000 is wanted"))?;
            }
            ("--shard", _) => {
                let text = value()?;
                let (number, of) = shard(text).ok_or_else(|| {
                    format!("--shard {text}: a part and how many there are is wanted, 1/8 to 8/8; at most {SHARDS}")
                })?;
                options.shard = Shard { number, of, ..options.shard };
            }
            ("--seed", _) => {
                let text = value()?;
                options.shard.seed =
                    text.parse().map_err(|_| format!("--seed {text}: a number from 0 on is wanted"))?;
            }
            ("--path", _) => {
                options.path = Some(Path::read(value()?).map_err(|why| format!("--path: {why}"))?);
            }
            ("--scenarios", Verb::Explore) => options.scenarios = Some(value()?.into()),
            ("--json", Verb::Explore) => options.json = true,
            ("--html", Verb::Explore) => options.html = Some(value()?.into()),
            ("--port", Verb::Ui) => {
                let text = value()?;
                options.port =
                    text.parse().map_err(|_| format!("--port {text}: a number from 0 to 65535 is wanted"))?;
            }
            (option, _) => return Err(Failure::Usage(no_option(verb.name(), option, help))),
        }
    }
    let of_one = [
        ("--path", options.path.is_some()),
        ("--html", options.html.is_some()),
        ("--scenarios", options.scenarios.is_some()),
        ("ui", verb == Verb::Ui),
    ];
    if let Some((word, _)) = of_one.iter().find(|(_, is_there)| *is_there && options.subject.is_empty()) {
        return Err(
            format!("{word} is about one device: say --device, --artifact or --scripts as well").into()
        );
    }
    let of_walks = ["--forbid", "--budget", "--shard", "--seed", "--scenarios", "--html"];
    if verb == Verb::Explore
        && options.path.is_some()
        && let Some(word) = given.iter().find(|word| of_walks.contains(word))
    {
        return Err(format!("--path tells one way, and {word} is about all of them").into());
    }
    Ok(options)
}

fn few(option: &str, text: &str) -> Result<u8, Failure> {
    let number = text.parse().ok().filter(|number| *number <= 3);
    number.ok_or_else(|| format!("{option} {text}: a number from 0 to 3 is wanted").into())
}

/// `brick,inconsistent`.
fn ends(text: &str) -> Result<Vec<Kind>, Failure> {
    let known = [Kind::Brick, Kind::Inconsistent, Kind::Misreported, Kind::Failed];
    let end = |word: &str| {
        let found = known.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| {
            let hint = meant(word, known.map(Kind::name));
            Failure::Usage(format!(
                "--forbid {word}: brick, inconsistent, misreported or failed is wanted{hint}"
            ))
        })
    };
    text.split(',').map(end).collect()
}

/// `2/8`: the second of eight, counted from 0.
fn shard(text: &str) -> Option<(u32, u32)> {
    let (number, of) = text.split_once('/')?;
    let (number, of) = (number.parse::<u32>().ok()?, of.parse().ok()?);
    ((1..=of).contains(&number) && of <= SHARDS).then(|| (number - 1, of))
}

#[cfg(test)]
mod tests {
    use super::{Verb, read};
    use crate::failure::Failure;

    #[test]
    fn options_are_read() {
        let help = super::super::HELP;
        let options =
            read(Verb::Explore, &["--losses", "0", "--failures", "3", "--shard", "2/8"], help).unwrap();
        assert_eq!((options.budget.failures, options.budget.losses), (3, 0));
        assert_eq!((options.shard.number, options.shard.of), (1, 8));
        for (words, told) in [
            (&["--failures"][..], "--failures needs a value"),
            (&["--failures", "4"], "--failures 4: a number from 0 to 3 is wanted"),
            (&["--loses", "1"], "explore has no option --loses; is --losses meant?"),
            (
                &["--shard", "0/8"],
                "--shard 0/8: a part and how many there are is wanted, 1/8 to 8/8; at most 10000",
            ),
            (
                &["--forbid", "bricks"],
                "--forbid bricks: brick, inconsistent, misreported or failed is wanted; is brick meant?",
            ),
            (&["--path", "1.1"], "--path is about one device: say --device, --artifact or --scripts as well"),
            (
                &["--html", "page.html"],
                "--html is about one device: say --device, --artifact or --scripts as well",
            ),
        ] {
            match read(Verb::Explore, words, help) {
                Err(Failure::Usage(reason)) => assert_eq!(reason, told),
                Err(_) | Ok(_) => panic!("{words:?}"),
            }
        }
    }

    #[test]
    fn each_verb_has_options_of_its_own() {
        for (verb, words, told) in [
            (Verb::Ui, &["--device", "files", "--html", "x"], "ui has no option --html"),
            (Verb::Explore, &["--device", "files", "--port", "1"], "explore has no option --port"),
            (Verb::Ui, &["--device", "files", "--port", "x"], "--port x: a number from 0 to 65535 is wanted"),
        ] {
            match read(verb, words, "") {
                Err(Failure::Usage(reason)) => assert_eq!(reason, told),
                Err(_) | Ok(_) => panic!("{words:?}"),
            }
        }
        assert!(read(Verb::Ui, &["--losses", "2"], "").is_err(), "a page is about one device");
        assert_eq!(read(Verb::Ui, &["--device", "files", "--port", "80"], "").unwrap().port, 80);
    }

    #[test]
    fn what_is_done_again_says_everything() {
        let words = ["--device", "slots", "--standalone", "--losses", "2"];
        let options = read(Verb::Explore, &words, super::super::HELP).unwrap();
        let path = super::Path::of(&[0, 4]);
        let again = options.again(&path);
        assert_eq!(
            again,
            "thimble-sim explore --device slots --standalone --failures 1 --losses 2 --path '1.4'"
        );
    }
}
