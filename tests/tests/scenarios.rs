//! Every scenario in `tests/scenarios`, against its transcript. `BLESS=1` writes what happened into the files: read
//! the difference before it is committed, it is the specification.

use std::fs;
use std::path::Path;

use thimble_hal_sim::scenario;

#[test]
fn scenarios_happen_as_written() {
    let bless = std::env::var_os("BLESS").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut wrong = String::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy();
        let parts = scenario::parse(&fs::read_to_string(path).unwrap());
        let happened = match scenario::run(&parts) {
            Ok(happened) => happened,
            Err(error) => {
                wrong += &format!("== {name}: {error}\n");
                continue;
            }
        };
        if happened == parts {
            continue;
        }
        if bless {
            fs::write(path, scenario::print(&happened)).unwrap();
        }
        wrong += &format!(
            "== {name}\n{}\n-- but this was expected:\n{}\n",
            scenario::print(&happened),
            scenario::print(&parts)
        );
    }
    println!("{} scenarios", paths.len());
    assert!(paths.len() >= 60, "scenarios are missing");
    assert!(wrong.is_empty(), "{wrong}");
}
