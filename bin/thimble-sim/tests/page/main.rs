//! The page of `thimble-sim explore --html`, clicked through in a headless Chromium.

mod browser;
mod run;
mod ui;

use std::fs;
use std::process::Command;

use browser::Browser;
use serde_json::Value;
use tempfile::TempDir;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

const VIEWS: [&str; 5] = ["lanes", "table", "compare", "states", "coverage"];

/// A page in a folder with a user's scripts, and the document of the same walk.
struct Page {
    folder: TempDir,
    walk: Value,
}

impl Page {
    fn new(scripts: &[&str], words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in scripts {
            fs::create_dir_all(folder.path().join("scripts")).unwrap();
            fs::write(folder.path().join("scripts").join(name), "#!/bin/sh\n").unwrap();
        }
        let mut explore = Command::new(env!("CARGO_BIN_EXE_thimble-sim"));
        let output = explore
            .current_dir(folder.path())
            .args(["explore", "--html", "page.html", "--json"])
            .args(words)
            .output()
            .unwrap();
        let walk = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Self { folder, walk }
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("page.html").display())
    }

    /// Runs a command that the page shows, in the folder where the page was made.
    fn run(&self, command: &str) -> String {
        let command = command.replacen("thimble-sim", env!("CARGO_BIN_EXE_thimble-sim"), 1);
        let output =
            Command::new("sh").arg("-c").arg(&command).current_dir(self.folder.path()).output().unwrap();
        assert!(output.stderr.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn example() -> Page {
    Page::new(
        &[
            "ArtifactInstall_Enter_00_stop",
            "ArtifactInstall_Enter_01_backup",
            "ArtifactCommit_Enter_00_health",
        ],
        &["--device", "files", "--scripts", "scripts"],
    )
}

#[test]
fn a_person_clicks_through_the_page() {
    let Some(mut browser) = Browser::start() else { return };
    let page = example();
    let ends = page.walk["ends"].as_array().unwrap();
    browser.open(&page.url());

    // The worst end is shown first, at the first thing that goes wrong.
    assert_eq!(browser.count("#ends ul:first-of-type a") as usize, ends.len());
    let worst = format!("✖ brick: {}", ends[0]["meaning"].as_str().unwrap());
    assert_eq!(ends[0]["end"], "brick");
    assert_eq!(browser.text("#way-title"), worst);
    let faults: Vec<usize> = rows_with_faults(&ends[0]["way"]);
    assert_eq!(browser.text("#position"), position(faults[0], &ends[0]["way"]));

    // Another end.
    browser.click("#ends li:nth-child(2) a");
    until_shown(&mut browser, &ends[1]);
    let path = ends[1]["way"]["path"].as_str().unwrap();
    assert_eq!(browser.fragment(), format!("#path={path}"));
    assert_eq!(browser.count("#ends a[aria-current]"), 1);

    // There and back by buttons and keys; rows that are left out are passed over.
    browser.click("#ends li:nth-child(1) a");
    until_shown(&mut browser, &ends[0]);
    browser.click("#step-fault");
    assert_eq!(browser.text("#position"), position(faults[1], &ends[0]["way"]));
    assert!(browser.value("document.querySelector('#step-fault').disabled").as_bool().unwrap());
    let shown = |browser: &mut Browser| browser.text("#view tr[aria-current=step]");
    let here = shown(&mut browser);
    browser.click("#step-back");
    assert_ne!(shown(&mut browser), here);
    browser.press("j");
    assert_eq!(shown(&mut browser), here);
    browser.press("k");
    browser.press("ArrowRight");
    assert_eq!(shown(&mut browser), here);
    browser.press("ArrowLeft");
    assert_ne!(shown(&mut browser), here);
    browser.press("f");
    assert_eq!(shown(&mut browser), here);
    browser.click("#view tr[data-step] button");
    assert_ne!(shown(&mut browser), here);
    browser.press("ArrowDown");
    assert_eq!(browser.value("document.activeElement.closest('tr').getAttribute('aria-current')"), "step");

    // Small steps on demand.
    let few = browser.count("#view tr[data-step]");
    browser.click("#details");
    assert_eq!(
        browser.count("#view tr[data-step]") as usize,
        ends[0]["way"]["rows"].as_array().unwrap().len()
    );
    browser.press("d");
    assert_eq!(browser.count("#view tr[data-step]"), few);

    // The command under the way tells the same way, and can be copied.
    let told = page.run(&browser.text("#again code"));
    assert!(told.ends_with("; the server was told failure\n") && told.contains("\n  = brick:"), "{told}");
    // So does the scenario, where scenarios have words for the way.
    let scenario = ends[0]["way"]["scenario"].as_str().unwrap();
    browser.click("#again summary");
    assert_eq!(browser.text("#again details code"), scenario);
    browser.click("#again .copy");
    browser.until("document.querySelector('#again .copy').innerText === 'Copied'");

    assert_eq!(browser.complaints, [] as [String; 0]);
    for url in &browser.requests {
        assert!(*url == page.url() || url.starts_with("data:"), "the page loads {url}");
    }
}

#[test]
fn views_compare_draw_and_count_what_was_walked() {
    let Some(mut browser) = Browser::start() else { return };
    let page = example();
    let ends = page.walk["ends"].as_array().unwrap();
    let way = &ends[0]["way"];
    browser.open(&page.url());

    browser.click("#views a[href*='view=compare']");
    browser.until("document.querySelector('.pair')");
    // Whoever goes on by keyboard goes on from there.
    assert_eq!(browser.value("document.activeElement.innerText"), "Compare");
    let differs = way["good"]["differs_at"].as_u64().unwrap() as usize;
    for (side, of) in [("section:nth-child(1)", way), ("section:nth-child(2)", &way["good"])] {
        let first = browser.text(&format!(".pair {side} tr.differs"));
        assert!(first.contains("first difference"), "{first}");
        assert!(first.contains(of["rows"][differs]["what"].as_str().unwrap()), "{first}");
    }
    let good = way["good"]["end"].as_str().unwrap();
    assert!(browser.text(".pair section:nth-child(2) .notice").contains(&format!(" {good}: ")), "{good}");

    // Where the end is clean, the way without any failure is the other one.
    let clean = ends.iter().position(|end| end["clean"] == true).unwrap();
    browser.click(&format!("#ends li:nth-child({}) a", clean + 1));
    until_shown(&mut browser, &ends[clean]);
    assert_eq!(browser.text(".pair section:nth-child(2) h3"), "When nothing goes wrong");
    let way = &ends[clean]["way"];
    let other = &page.walk["undisturbed"];
    let differs = (0..).find(|number| way["rows"][number] != other["rows"][number]).unwrap();
    let first = browser.text(".pair section:nth-child(2) tr.differs");
    assert!(first.contains(other["rows"][differs]["what"].as_str().unwrap()), "{first}");
    browser.click("#ends li:nth-child(1) a");
    until_shown(&mut browser, &ends[0]);

    browser.click("#views a[href*='view=states']");
    browser.until("document.querySelector('svg .state')");
    let states = page.walk["states"].as_array().unwrap();
    assert_eq!(browser.count("svg .state") as usize, states.len());
    let class = |browser: &mut Browser, state: &str| {
        let class = format!("document.querySelector('svg [data-state={state}]').getAttribute('class')");
        browser.value(&class).as_str().unwrap().to_owned()
    };
    // The way ends without a commit; nothing is without a payload on this device.
    assert!(class(&mut browser, "CheckRollback").contains("on"));
    assert_eq!(class(&mut browser, "Commit"), "state");
    assert_eq!(class(&mut browser, "EmptyPayload"), "state never");
    assert!(browser.count("svg > path.on") > 0 && browser.count("svg > path.never") > 0);
    browser.click("svg [data-state=CheckReboot] text");
    assert!(browser.text("#moves").contains("From CheckReboot"));
    let count = |to: &str| {
        let moves = page.walk["moves"].as_array().unwrap();
        moves.iter().find(|of| of["from"] == "CheckReboot" && of["to"] == to).unwrap()["count"].clone()
    };
    assert!(browser.text("#moves").contains(&format!("to CheckRollback\t{} times", count("CheckRollback"))));
    assert!(browser.text("#moves").contains("to CommitDoor\tnever met"));
    assert_eq!(count("CommitDoor"), 0);

    browser.click("#views a[href*='view=coverage']");
    browser.until("!document.querySelector('svg')");
    let rows =
        page.walk["situations"].as_array().unwrap().len() + page.walk["scripts"].as_array().unwrap().len();
    assert_eq!(browser.count("#view tbody tr") as usize, rows);

    // The address holds everything: another page that is opened with it shows the same.
    browser.click("#views a[href*='view=table'], #views a:nth-child(2)");
    browser.until("document.querySelector('table.wide')");
    browser.press("j");
    let (fragment, position) = (browser.fragment(), browser.text("#position"));
    assert!(fragment.contains("step=") && fragment.contains("view=table"), "{fragment}");
    browser.open(&format!("{}{fragment}", page.url()));
    assert_eq!(browser.text("#position"), position);
    assert_eq!(browser.count("table.wide tr[aria-current=step]"), 1);

    // What follows from something else is not in a file; there is a command for it.
    let other = &browser.text("#step .inject");
    browser.click("#step .inject");
    let command = browser.text("#injection code");
    assert!(command.starts_with("thimble-sim ui --device files --scripts scripts"), "{other}: {command}");
    browser.open(&format!("{}#path=1.1,2.1,3.1", page.url()));
    assert!(browser.text("#view").contains("--path '1.1,2.1,3.1'"));
    browser.open(&format!("{}#path=';reboot", page.url()));
    assert!(browser.text("#view").contains("The address names no path"));
    assert_eq!(browser.complaints, [] as [String; 0]);
}

#[test]
fn the_page_is_readable_on_a_phone_in_light_and_dark() {
    let Some(mut browser) = Browser::start() else { return };
    let page = example();
    for (width, scheme) in [(400, "light"), (400, "dark"), (1280, "light"), (1280, "dark"), (1000, "light")] {
        browser.size(width, 800);
        browser.scheme(scheme);
        for view in VIEWS {
            browser.open(&format!(
                "{}#path={}&view={view}",
                page.url(),
                page.walk["ends"][0]["way"]["path"].as_str().unwrap()
            ));
            let wide = browser.value("document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
            assert!(wide <= 0, "{view} is {wide} pixels too wide for {width}");
            assert_eq!(browser.value(PALE), Value::Array(Vec::new()), "{view}, {scheme}");
            // No column is so narrow that words break.
            let narrow = "[...document.querySelectorAll('.lanes th')].filter(th => th.offsetWidth > 0 && th.offsetWidth < 70).length";
            assert_eq!(browser.value(narrow), 0, "{view}, {width}");
        }
    }
    browser.scheme("light");
    let light = browser.value("getComputedStyle(document.body).backgroundColor");
    browser.scheme("dark");
    assert_ne!(browser.value("getComputedStyle(document.body).backgroundColor"), light);
    assert_eq!(browser.complaints, [] as [String; 0]);
}

/// Texts whose contrast with what is behind them is below 4.5, as WCAG counts it.
const PALE: &str = "(() => {
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = color => {
    const [r, g, b] = rgb(color).map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (rgb(color)[3] !== 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter(element => !element.closest('svg, script, noscript, :disabled') && element.getClientRects().length > 0)
    .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .map(element => {
      const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
      return {text: element.innerText.slice(0, 40), contrast: (a + 0.05) / (b + 0.05)};
    })
    .filter(({contrast}) => contrast < 4.5);
})()";

#[test]
fn hostile_names_are_texts() {
    let Some(mut browser) = Browser::start() else { return };
    let image = "<img src=x onerror=window.hit=1>";
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("it's </script><script>window.hit=1<!--.mender");
    let name = format!("</title></script><script>window.hit=1</script>{image}");
    fs::create_dir_all(artifact.parent().unwrap()).unwrap();
    fs::write(&artifact, ArtifactWriter::new(&name, "module", &["<b>board</b>"]).file("data", b"x").build())
        .unwrap();
    let script = "ArtifactInstall_Enter_00_<script>window.hit=1;<b>".to_owned();
    let words = ["--artifact", artifact.to_str().unwrap(), "--scripts", "scripts"];
    let page = Page::new(&[&script], &words);
    browser.open(&page.url());
    assert!(browser.text("h1").starts_with(&name));
    for view in VIEWS {
        browser.open(&format!("{}#path=&details=all&view={view}", page.url()));
        assert_eq!(
            browser.value(
                "[typeof window.hit, document.querySelectorAll('img, b').length, document.scripts.length]"
            ),
            serde_json::json!(["undefined", 0, 2])
        );
    }
    // The name of the script is on the page, and the command with the name of the file is one for a shell.
    assert!(browser.text("#view").contains(&script));
    let told = page.run(&browser.text("#again code"));
    assert!(told.contains(&script), "{told}");
    assert_eq!(browser.complaints, [] as [String; 0]);
}

/// Waits until the page shows the way to this end.
fn until_shown(browser: &mut Browser, end: &Value) {
    let text = |key: &str| end[key].as_str().unwrap();
    let title = Value::from(format!(" {}: {}", text("end"), text("meaning")));
    let about = Value::from(format!("In the end {}. ", text("server")));
    browser.until(&format!(
        "document.querySelector('#way-title').innerText.endsWith({title}) &&
         document.querySelector('#way-about').innerText.startsWith({about})"
    ));
}

fn rows_with_faults(way: &Value) -> Vec<usize> {
    let rows = way["rows"].as_array().unwrap();
    rows.iter().enumerate().filter(|(_, row)| !row["fault"].is_null()).map(|(number, _)| number).collect()
}

fn position(step: usize, way: &Value) -> String {
    format!("step {step} of {}", way["rows"].as_array().unwrap().len() - 1)
}
