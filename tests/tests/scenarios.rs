//! Every scenario in `tests/scenarios`, against its timeline. `thimble-sim test --update tests/scenarios` writes what
//! happened into the files: read the difference before it is committed, it is the specification.

use std::path::Path;

use thimble_hal_sim::scenario::suite::{Outcome, check, find};

#[test]
fn scenarios_happen_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let paths = find(&[folder]).unwrap();
    let mut wrong = String::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy();
        match check(path, false) {
            Outcome::Good => {}
            Outcome::Failed { complaints, diff } => wrong += &format!("{}\n{diff}\n", complaints.told(&name)),
            Outcome::Nonsense(complaints) => wrong += &format!("{}\n", complaints.told(&name)),
            Outcome::Unreadable(why) => wrong += &format!("{name}: {why}\n"),
            Outcome::Updated => unreachable!("nothing is to be updated"),
        }
    }
    println!("{} scenarios", paths.len());
    assert!(paths.len() >= 60, "scenarios are missing");
    assert!(wrong.is_empty(), "{wrong}");
}
