//! What is known to have happened on a device: the client on the simulated one is led the same way, so that what is explained
//! begins where the real one was seen last.

use thimble_core::deployment::Call;
use thimble_core::script::Transition;

use crate::sim::{Effect, Fate};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A script of this transition ran.
    Script(Transition, Fate),
    /// The update module was called.
    Call(Call, Fate),
    /// The status of this name was reported.
    Status(String, Fate),
    /// Records were written.
    Saved,
    /// The process ended, and another one started.
    Restart,
}

impl Happened {
    /// What it did to the effect, if that is it.
    fn fate(&self, effect: &Effect) -> Option<Fate> {
        match (self, effect) {
            (Self::Script(transition, fate), Effect::Script(of)) if transition == of => Some(*fate),
            (Self::Call(call, fate), Effect::Module(of)) if call == of => Some(*fate),
            (Self::Status(status, fate), Effect::Status(of)) if status == of => Some(*fate),
            (Self::Saved, Effect::Commit(_)) => Some(Fate::Works),
            (
                Self::Script(..) | Self::Call(..) | Self::Status(..) | Self::Saved | Self::Restart,
                Effect::Script(_)
                | Effect::Module(_)
                | Effect::Status(_)
                | Effect::Commit(_)
                | Effect::Mark
                | Effect::Reboot,
            ) => None,
        }
    }
}

/// The way there, as far as the client has come.
#[derive(Clone, Debug)]
pub(super) struct Past {
    way: Vec<Happened>,
    at: usize,
    /// Scripts that ran on it.
    pub(super) scripts: usize,
}

impl Past {
    pub(super) fn new(way: &[Happened]) -> Self {
        Self { way: way.to_vec(), at: 0, scripts: 0 }
    }

    /// What has not happened yet.
    pub(super) fn missing(&self) -> &[Happened] {
        self.way.get(self.at..).unwrap_or_default()
    }

    /// What happens to the next effect; `None`: all of it has happened.
    pub(super) fn fate(&mut self, effect: &Effect) -> Option<Fate> {
        let missing = self.missing();
        if missing.is_empty() {
            return None;
        }
        // Of this process.
        let restart = missing.iter().position(|happened| *happened == Happened::Restart);
        let here = missing.get(..restart.unwrap_or(missing.len())).unwrap_or_default();
        let mut places = here.iter().enumerate();
        let found = places.find_map(|(place, happened)| Some((place, happened.fate(effect)?)));
        // What is not on record may have been written in between.
        let found = found.filter(|(place, _)| *place == 0 || !matches!(effect, Effect::Commit(_)));
        // Where nothing says what was written, everything was.
        let writes =
            matches!(effect, Effect::Commit(_) | Effect::Mark) && !self.way.contains(&Happened::Saved);
        let fate = match (found, restart) {
            // The reboot of the update is the restart.
            _ if *effect == Effect::Reboot => {
                self.at += restart.map_or(missing.len(), |place| place + 1);
                Fate::Works
            }
            (Some((place, fate)), _) => {
                self.at += place + 1;
                let restarts = self.way.get(self.at) == Some(&Happened::Restart);
                self.at += usize::from(restarts && fate == Fate::LostInside);
                fate
            }
            (None, Some(place)) if !writes && here.is_empty() => {
                self.at += place + 1;
                Fate::LostBefore
            }
            // The record or the log does not say everything.
            (None, _) => Fate::Works,
        };
        self.scripts += usize::from(matches!(effect, Effect::Script(_)) && fate != Fate::LostBefore);
        Some(fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Batch;

    const RECORD: Effect = Effect::Commit(Batch::Record);

    fn fates(way: &[Happened], effects: &[Effect]) -> Vec<Option<Fate>> {
        let mut past = Past::new(way);
        effects.iter().map(|effect| past.fate(effect)).collect()
    }

    #[test]
    fn what_is_not_known_to_fail_works_and_the_way_ends() {
        let way = [Happened::Saved, Happened::Call(Call::ArtifactInstall, Fate::Fails)];
        let effects = [
            RECORD,
            Effect::Module(Call::Download),
            Effect::Module(Call::ArtifactInstall),
            Effect::Module(Call::ArtifactInstall),
        ];
        let (works, fails) = (Some(Fate::Works), Some(Fate::Fails));
        assert_eq!(fates(&way, &effects), [works, works, fails, None]);
    }

    #[test]
    fn power_is_lost_behind_the_last_that_is_on_record() {
        let way = [Happened::Saved, Happened::Restart];
        assert_eq!(
            fates(&way, &[RECORD, Effect::Module(Call::Download), RECORD]),
            [Some(Fate::Works), Some(Fate::LostBefore), None]
        );
        assert_eq!(fates(&way, &[RECORD, RECORD, RECORD]), [Some(Fate::Works), Some(Fate::LostBefore), None]);
        // A reboot is one by itself.
        assert_eq!(
            fates(&way, &[RECORD, Effect::Reboot, RECORD]),
            [Some(Fate::Works), Some(Fate::Works), None]
        );
    }

    #[test]
    fn power_that_was_lost_inside_is_not_lost_again() {
        let way = [Happened::Call(Call::Download, Fate::LostInside), Happened::Restart];
        let download = Effect::Module(Call::Download);
        assert_eq!(
            fates(&way, &[RECORD, download.clone(), download]),
            [Some(Fate::Works), Some(Fate::LostInside), None]
        );
    }
}
