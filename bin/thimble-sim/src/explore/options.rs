//! What `explore` was told.

use std::path::PathBuf;

use thimble_hal_sim::explore::Limits;
use thimble_hal_sim::model::Budget;
use thimble_hal_sim::near::meant;
use thimble_hal_sim::story::Path;
use thimble_hal_sim::survey::{Shard, Task};
use thimble_hal_sim::whole::Kind;

use crate::failure::{Failure, no_option};
use crate::subject::Subject;

/// Configurations that a walk takes at most, unless it is told.
const CONFIGURATIONS: usize = 16_000_000;

/// Configurations that are kept whole at a time.
const FRONTIER: usize = 100_000;

/// Parts that a walk can have at most.
const SHARDS: u32 = 10_000;

/// What `explore` was told.
pub(super) struct Options {
    pub(super) subject: Subject,
    pub(super) budget: Budget,
    pub(super) limits: Limits,
    pub(super) shard: Shard,
    pub(super) forbidden: Vec<Kind>,
    pub(super) path: Option<Path>,
    /// Where scenarios of what was found are written.
    pub(super) scenarios: Option<PathBuf>,
    pub(super) json: bool,
    /// Where the page is written.
    pub(super) html: Option<PathBuf>,
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
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Reads the words of the command line; `help` names all options.
pub(super) fn read(words: &[&str], help: &str) -> Result<Options, Failure> {
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
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value =
            || words.next().copied().ok_or_else(|| Failure::Usage(format!("{word} needs a value")));
        if options.subject.take(word, &mut value)? {
            continue;
        }
        match *word {
            "--failures" => options.budget.failures = few(word, value()?)?,
            "--losses" => options.budget.losses = few(word, value()?)?,
            "--forbid" => options.forbidden = ends(value()?)?,
            "--budget" => {
                let text = value()?;
                let number = text.parse().ok().filter(|number| (1..=1_000_000_000).contains(number));
                options.limits.configurations = number
                    .ok_or_else(|| format!("--budget {text}: a number from 1 to 1000000000 is wanted"))?;
            }
            "--shard" => {
                let text = value()?;
                let (number, of) = shard(text).ok_or_else(|| {
                    format!("--shard {text}: a part and how many there are is wanted, 1/8 to 8/8; at most {SHARDS}")
                })?;
                options.shard = Shard { number, of, ..options.shard };
            }
            "--seed" => {
                let text = value()?;
                options.shard.seed =
                    text.parse().map_err(|_| format!("--seed {text}: a number from 0 on is wanted"))?;
            }
            "--path" => {
                options.path = Some(Path::read(value()?).map_err(|why| format!("--path: {why}"))?);
            }
            "--scenarios" => options.scenarios = Some(value()?.into()),
            "--json" => options.json = true,
            "--html" => options.html = Some(value()?.into()),
            option => return Err(Failure::Usage(no_option("explore", option, help))),
        }
    }
    let of_one = [("--path", options.path.is_some()), ("--html", options.html.is_some())];
    if let Some((word, _)) = of_one.iter().find(|(_, is_there)| *is_there && options.subject.is_empty()) {
        return Err(
            format!("{word} is about one device: say --device, --artifact or --scripts as well").into()
        );
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
    use super::read;
    use crate::failure::Failure;

    #[test]
    fn options_are_read() {
        let help = super::super::HELP;
        let options = read(&["--losses", "0", "--failures", "3", "--shard", "2/8"], help).unwrap();
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
            match read(words, help) {
                Err(Failure::Usage(reason)) => assert_eq!(reason, told),
                Err(_) | Ok(_) => panic!("{words:?}"),
            }
        }
    }

    #[test]
    fn what_is_done_again_says_everything() {
        let words = ["--device", "slots", "--standalone", "--losses", "2"];
        let options = read(&words, super::super::HELP).unwrap();
        let path = super::Path::of(&[0, 4]);
        let again = options.again(&path);
        assert_eq!(
            again,
            "thimble-sim explore --device slots --standalone --failures 1 --losses 2 --path '1.4'"
        );
        assert_eq!(super::quoted("it's"), "'it'\\''s'");
    }
}
