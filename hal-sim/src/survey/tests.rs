use super::{survey as survey_with, *};
use crate::whole::Kind;

fn survey(task: &Task) -> Survey {
    survey_with(task, &mut |_| ())
}

fn task(profile: Profile, scripts: &[&str]) -> Task {
    Task {
        profile,
        config: Config::default(),
        scripts: scripts.iter().map(|name| (*name).to_owned()).collect(),
        standalone: false,
        budget: Budget { failures: 1, losses: 1 },
        limits: Limits { configurations: 1_000_000, frontier: 100_000 },
        shard: Shard::WHOLE,
    }
}

#[test]
fn ends_are_told_worst_first_beside_the_nearest_good_way() {
    let survey = survey(&task(Profile::FILES, &["ArtifactInstall_Enter_00_a", "ArtifactInstall_Enter_01_b"]));
    assert!(survey.complete && survey.wrongs.is_empty(), "{survey:#?}");
    assert_eq!(survey.missed().collect::<Vec<_>>(), []);
    let kinds: Vec<Kind> = survey.ends.iter().map(|end| end.ending.kind).collect();
    assert!(kinds.is_sorted() && kinds.contains(&Kind::Inconsistent) && kinds.contains(&Kind::Updated));
    for End { ending, count, way } in &survey.ends {
        assert!(*count > 0);
        assert_eq!(way.told.end.as_ref(), Ok(ending), "a path leads where it was found to lead");
        assert_eq!(way.good.is_none(), ending.kind.is_clean());
        let is_told = way.scenario.as_ref().is_some_and(|text| text.contains("\nrun\n----\n"));
        assert!(is_told || ending.kind.is_clean(), "{ending:?}: {way:#?}");
        if let Some(good) = &way.good {
            assert!(good.told.end.as_ref().is_ok_and(|end| end.kind.is_clean()));
            let (bad, good) = (&way.told.rows, (&good.told.rows, good.differs_at));
            assert_eq!(bad.get(..good.1), good.0.get(..good.1));
            assert_ne!(bad.get(good.1), good.0.get(good.1));
        }
    }
    let ran: Vec<(&str, bool)> =
        survey.scripts.iter().map(|script| (script.name.as_str(), script.works > 0)).collect();
    assert_eq!(ran, [("ArtifactInstall_Enter_00_a", true), ("ArtifactInstall_Enter_01_b", true)]);
}

#[test]
fn scripts_that_never_run_are_known() {
    let by_hand = Task { standalone: true, ..task(Profile::FILES, &["Sync_Enter_00", "no-script"]) };
    let survey = survey(&by_hand);
    assert_eq!(survey.scripts, [Script { name: "Sync_Enter_00".into(), works: 0, fails: 0 }]);
}

#[test]
fn all_parts_together_are_everything() {
    let all = survey(&task(Profile::SLOTS, &["ArtifactReboot_Enter_00"]));
    for seed in [0, 7] {
        let mut ends = BTreeMap::new();
        for number in 0..3 {
            let shard = Shard { number, of: 3, seed };
            let part = survey(&Task { shard, ..task(Profile::SLOTS, &["ArtifactReboot_Enter_00"]) });
            assert!(part.complete && part.wrongs.is_empty());
            assert!(part.counts.configurations < all.counts.configurations);
            for End { ending, way, .. } in part.ends {
                assert_eq!(way.told.end, Ok(ending));
                ends.insert(ending, ());
            }
        }
        assert!(ends.keys().eq(all.ends.iter().map(|end| &end.ending)));
    }
}

#[test]
fn the_digest_is_that_of_what_happens() {
    let digest = |scripts: &[&str]| survey(&task(Profile::FILES, scripts)).digest;
    assert_eq!(digest(&["Download_Enter_00"]), digest(&["Download_Enter_07_other-name"]));
    assert_ne!(digest(&["Download_Enter_00"]), digest(&["Download_Leave_00"]));
}

#[test]
fn a_walk_that_is_too_long_says_so() {
    let limits = Limits { configurations: 100, frontier: 10 };
    let survey = survey(&Task { limits, ..task(Profile::FILES, &[]) });
    assert!(!survey.complete);
    assert_eq!(survey.missed().count(), 0, "nothing is due in a part");
}

#[test]
fn a_configuration_takes_what_is_promised_while_it_is_kept_whole() {
    assert!(size_of::<Part<'_>>() <= KEPT_WHOLE, "{}", size_of::<Part<'_>>());
}
