//! `thimble-sim ui`: the page with a server behind it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::browser::Browser;
use super::{Page, VIEWS};

/// A server that ends with the test.
struct Ui {
    child: Child,
    /// `http://127.0.0.1:41234/`, and what it shows first.
    address: String,
}

impl Ui {
    fn new(page: &Page, words: &[&str]) -> Self {
        let mut ui = Command::new(env!("CARGO_BIN_EXE_thimble-sim"));
        let ui = ui.current_dir(page.folder.path()).arg("ui").args(words).stdout(Stdio::piped());
        let mut child = ui.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    /// Host and port of the address.
    fn host(&self) -> &str {
        self.address.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.host()).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp
    }

    /// The answer to these bytes, as text.
    fn answer(&self, request: &str) -> String {
        let mut tcp = self.connect();
        tcp.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, target: &str) -> String {
        self.answer(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host()))
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn files() -> (Page, Ui) {
    let words = ["--device", "files", "--scripts", "scripts"];
    let page = Page::new(&["ArtifactInstall_Enter_00_stop"], &words);
    let ui = Ui::new(&page, &words);
    (page, ui)
}

#[test]
fn a_person_makes_things_go_wrong_and_sees_what_the_client_does() {
    let Some(mut browser) = Browser::start() else { return };
    let (page, ui) = files();
    browser.open(&format!("{}#path=", ui.address));
    assert!(browser.text("#way-title").starts_with("✔ updated"));
    let about = browser.text("#way-about");
    assert!(about.starts_with("In the end the server was told success. "), "{about}");
    assert!(about.ends_with("Nothing goes wrong on this way."), "{about}");

    // Power is lost while the module installs.
    choose_row(&mut browser, "ArtifactInstall");
    choose_other(&mut browser, "ArtifactInstall: power lost inside");
    browser.until("document.querySelector('#way-title').innerText.startsWith('↩ failed')");
    assert!(browser.text("#way-about").ends_with("On this way: ArtifactInstall: power lost inside."));

    // Then the module does not say whether it can roll back.
    choose_row(&mut browser, "SupportsRollback");
    choose_other(&mut browser, "SupportsRollback: does not end");
    browser.until("document.querySelector('#way-title').innerText.startsWith('✖ brick')");
    let brick = page.walk["ends"].as_array().unwrap().iter().find(|end| end["end"] == "brick").unwrap();
    let fragment = browser.fragment();
    assert!(fragment.starts_with(&format!("#path={}", brick["way"]["path"].as_str().unwrap())), "{fragment}");
    let told = page.run(&browser.text("#again code"));
    assert!(told.contains("\n  = brick: "), "{told}");

    // As much has gone wrong as may; what was injected can be taken back.
    choose_row(&mut browser, "Cleanup");
    assert!(browser.text("#step").contains("Nothing else can happen here"));

    // The address alone brings it back, also beside the nearest good way.
    browser.open(&format!("{}{}", ui.address, fragment.replace("&step", "&view=compare&step")));
    assert!(browser.text("#way-title").starts_with("✖ brick"));
    assert!(browser.text(".pair section:nth-child(2) tr.differs").contains("SupportsRollback"));
    browser.open(&format!("{}{fragment}", ui.address));
    choose_row(&mut browser, "SupportsRollback");
    choose_other(&mut browser, "SupportsRollback: nothing goes wrong");
    browser.until("document.querySelector('#way-title').innerText.startsWith('↩ failed')");

    // There and back in the browser's own history.
    browser.value("history.back()");
    browser.until("document.querySelector('#way-title').innerText.startsWith('✖ brick')");
    for view in VIEWS {
        browser.open(&format!("{}#path=1.1&view={view}", ui.address));
    }
    browser.open(&format!("{}#path=1.999", ui.address));
    assert!(browser.text("#way-title").contains("wrong: the path has choice 999 at step 1"));

    assert_eq!(browser.complaints, [] as [String; 0]);
    for url in &browser.requests {
        assert!(url.starts_with(&format!("http://{}/", ui.host())) || url.starts_with("data:"), "{url}");
    }
}

/// Clicks on the row that says this.
fn choose_row(browser: &mut Browser, what: &str) {
    mark(browser, "#view tr[data-step] button", what);
    browser.click("[data-test]");
    assert!(browser.text("#step h3").ends_with(what));
}

/// Clicks on something else that can happen there.
fn choose_other(browser: &mut Browser, what: &str) {
    mark(browser, "#step .inject", what);
    browser.click("[data-test]");
}

/// Marks the element with this text for a click.
fn mark(browser: &mut Browser, selector: &str, text: &str) {
    let found = browser.value(&format!(
        "(() => {{
           document.querySelectorAll('[data-test]').forEach(element => element.removeAttribute('data-test'));
           const all = [...document.querySelectorAll({})];
           const found = all.find(element => element.innerText === {});
           if (found) found.setAttribute('data-test', '');
           return found ? '' : all.map(element => element.innerText).join('; ');
         }})()",
        Value::from(selector),
        Value::from(text)
    ));
    assert_eq!(found, "", "{text} is not there");
}

#[test]
fn the_server_answers_this_machine_only_and_only_what_it_is_for() {
    let (page, ui) = files();
    assert!(ui.address.starts_with("http://127.0.0.1:"), "{}", ui.address);
    let host = ui.host();

    let answer = ui.get("/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with("<!DOCTYPE html>"));
    for field in [
        "Content-Security-Policy: default-src 'none'; script-src 'sha256-",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
    ] {
        assert!(head.contains(&format!("\r\n{field}")), "{head}");
    }
    assert!(head.contains("connect-src 'self'") && head.contains("frame-ancestors 'none'"), "{head}");
    assert!(!head.contains("Access-Control-"), "{head}");

    let document = |target: &str| -> Value {
        let answer = ui.get(target);
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
    };
    assert_eq!(document("/document")["digest"], page.walk["digest"]);
    let worst = &page.walk["ends"][0];
    let way = document(&format!("/path?at={}", worst["way"]["path"].as_str().unwrap()));
    assert_eq!((&way["end"], &way["good"]), (&worst["end"], &worst["way"]["good"]));
    assert!(way["rows"][0]["others"].is_array());
    assert_eq!(
        document("/path?at=9.999")["wrong"].as_str().unwrap(),
        "the path has choice 999 at step 9, where there are 2"
    );

    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", host.split_once(':').unwrap().1), 403),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 403),
        (format!("GET /document HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\n\r\n"), 403),
        (format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"), 405),
        (format!("GET /../../../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (format!("GET /path?at=x HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        (format!("GET /path HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(20_000)), 431),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let answer = ui.answer(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {answer}");
        assert!(answer.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{answer}");
    }

    // Whoever connects and says nothing keeps nobody else waiting.
    let idle: Vec<TcpStream> = (0..8).map(|_| ui.connect()).collect();
    assert!(ui.get("/document").starts_with("HTTP/1.1 200 OK\r\n"));
    drop(idle);
}

#[test]
fn a_path_is_shown_first_and_a_device_is_wanted() {
    let page = Page::new(&["ArtifactInstall_Enter_00_stop"], &["--device", "files", "--scripts", "scripts"]);
    let ui = Ui::new(&page, &["--device", "files", "--path", "14.1"]);
    assert!(ui.address.ends_with("/#path=14.1"), "{}", ui.address);
    let port = ui.host().split_once(':').unwrap().1;
    let taken = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .args(["ui", "--device", "files", "--port", port])
        .output()
        .unwrap();
    assert_eq!((taken.status.code(), taken.stdout.as_slice()), (Some(2), &b""[..]));
    assert!(String::from_utf8_lossy(&taken.stderr).starts_with(&format!("thimble-sim: port {port}: ")));
    let none = Command::new(env!("CARGO_BIN_EXE_thimble-sim")).arg("ui").output().unwrap();
    assert_eq!(none.status.code(), Some(2));
    let told = "thimble-sim: ui is about one device: say --device, --artifact or --scripts as well; see thimble-sim ui --help\n";
    assert_eq!(String::from_utf8_lossy(&none.stderr), told);
}
