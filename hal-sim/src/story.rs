//! A way an update went, or can go, in words: a row for each thing that was done, and what was otherwise than it should be.

use thimble_core::state::State;
use thimble_core::time::Duration;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The server, or the network before it.
    Server,
    /// The client, its state scripts and its user.
    Device,
    /// The update module.
    Module,
}

impl Lane {
    /// All, from left to right.
    pub const ALL: [Self; 3] = [Self::Server, Self::Device, Self::Module];

    /// Its word in documents for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Device => "device",
            Self::Module => "module",
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Since the beginning, on the simulated clock.
    pub at: Duration,
    /// Who does it.
    pub lane: Lane,
    /// Where the client stands.
    pub state: Option<State>,
    /// What is done: a script's file, a call, a status, a request.
    pub what: String,
    /// What came of it, where that is not plain success and nobody's doing.
    pub result: Option<String>,
    /// What goes wrong here because it was to.
    pub fault: Option<String>,
    /// Its name in scenarios, if it has one there.
    pub effect: Option<String>,
    /// One of the many small things between two steps of an update that people know: a piece of a download, an answer.
    pub is_detail: bool,
    /// What else can happen here: the number of the choice, and what it is. With a choice of its own, a row is the one of
    /// number [`Row::choice`].
    pub others: Vec<(u32, String)>,
    /// Which of everything that can happen here this is; 0: nothing goes wrong.
    pub choice: u32,
}

/// A path by the choices in it that are not 0: `14.3,52.7` takes choice 3 at step 14 and choice 7 at step 52, counted from 0, and
/// 0 everywhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(pub Vec<(u32, u32)>);

impl Path {
    /// The most choices of a path that is read.
    pub const CHOICES: usize = 64;

    /// Of all choices, from the first step on.
    #[must_use]
    pub fn of(choices: &[u32]) -> Self {
        let taken = (0..).zip(choices).filter(|(_, choice)| **choice != 0);
        Self(taken.map(|(step, choice)| (step, *choice)).collect())
    }

    /// The choice at this step.
    #[must_use]
    pub fn at(&self, step: u32) -> u32 {
        self.0.iter().find(|(at, _)| *at == step).map_or(0, |(_, choice)| *choice)
    }

    /// The same up to this step, and 0 from there on.
    #[must_use]
    pub fn before(&self, step: u32) -> Self {
        Self(self.0.iter().copied().filter(|(at, _)| *at < step).collect())
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wanted.
    pub fn read(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!("{text:?} is no path: 14.3,52.7 is one, with a step and its choice, or nothing at all")
        };
        let mut choices = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (step, choice) = part.split_once('.').ok_or_else(wanted)?;
            let (step, choice) = step.parse().ok().zip(choice.parse().ok()).ok_or_else(wanted)?;
            if choices.last().is_some_and(|(before, _)| *before >= step) || choices.len() == Self::CHOICES {
                return Err(wanted());
            }
            choices.push((step, choice));
        }
        Ok(Self(choices))
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (step, choice)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{step}.{choice}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn paths_are_written_and_read() {
        let path = Path::of(&[0, 3, 0, 7]);
        assert_eq!(path.to_string(), "1.3,3.7");
        assert_eq!(Path::read("1.3,3.7"), Ok(path.clone()));
        assert_eq!(Path::read(""), Ok(Path::default()));
        assert_eq!((path.at(1), path.at(2), path.before(3).to_string()), (3, 0, "1.3".to_owned()));
        for wrong in ["1", "1.", "x.1", "3.1,1.1", "1.1,1.2", "-1.2"] {
            assert!(Path::read(wrong).is_err(), "{wrong}");
        }
        assert!(Path::read(&"9.1,".repeat(3)).is_err());
    }
}
