//! A headless Chromium, driven through a pipe by the DevTools protocol: clicks and keys as a person's, and what a page does with them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    calls: u64,
    /// The page; empty for the browser itself.
    session: String,
    /// What the page complained about: exceptions, errors and warnings.
    pub(crate) complaints: Vec<String>,
    /// What was loaded.
    pub(crate) requests: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; `None`, and a word about it, where there is none.
    pub(crate) fn start() -> Option<Self> {
        if !Command::new("chromium").arg("--version").output().is_ok_and(|output| output.status.success()) {
            println!("left out: there is no chromium here (Debian package chromium)");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        // The protocol is spoken on descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 < /dev/null > /dev/null 2>&1", "sh"])
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--disable-breakpad", "--mute-audio"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let messages = BufReader::new(child.stdout.take().unwrap()).split(0);
        let (sender, from) = channel();
        thread::spawn(move || {
            for message in messages.map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let (complaints, requests) = (Vec::new(), Vec::new());
        let mut browser = Self {
            child,
            to,
            from,
            calls: 0,
            session: String::new(),
            complaints,
            requests,
            _profile: profile,
        };
        let targets = browser.call("Target.getTargets", json!({}));
        let pages = targets["targetInfos"].as_array().unwrap().iter().find(|target| target["type"] == "page");
        let attach = json!({ "targetId": pages.unwrap()["targetId"], "flatten": true });
        browser.session =
            browser.call("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        browser.size(1280, 900);
        Some(browser)
    }

    /// Calls a method of the protocol, and notes what happens meanwhile.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if !self.session.is_empty() {
            call["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{call}\0").as_bytes()).unwrap();
        loop {
            let mut message =
                self.from.recv_timeout(SILENCE).unwrap_or_else(|_| panic!("no answer to {call}"));
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{call}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Log.entryAdded" => self.complaints.push(params.to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" || params["type"] == "warning" => {
                self.complaints.push(params.to_string());
            }
            "Network.requestWillBeSent" => {
                self.requests.push(params["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }

    /// Opens a page anew, and waits until it shows something.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        self.call("Page.navigate", json!({ "url": url }));
        self.until("document.readyState === 'complete' && document.querySelector('#view *')");
    }

    /// The value of an expression on the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    /// The text of an element.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    /// How many elements there are.
    pub(crate) fn count(&mut self, selector: &str) -> u64 {
        self.value(&format!("document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
    }

    /// What stands behind `#` in the address.
    pub(crate) fn fragment(&mut self) -> String {
        self.value("location.hash").as_str().unwrap().to_owned()
    }

    /// Waits until this is true on the page.
    pub(crate) fn until(&mut self, condition: &str) {
        let wait = format!(
            "new Promise((done, fail) => {{
               setTimeout(() => fail(new Error('it does not become so')), 30000);
               const look = () => {{ if ({condition}) done(true); else setTimeout(look, 10); }};
               look();
             }})"
        );
        self.value(&wait);
    }

    /// Clicks in the middle of an element, as a person does who has scrolled there.
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.value(&format!(
            "(() => {{
               const element = document.querySelector({selector});
               element.scrollIntoView({{block: 'center'}});
               const {{left, top, width, height}} = element.getClientRects()[0];
               const [x, y] = [left + width / 2, top + height / 2];
               const there = document.elementFromPoint(x, y);
               return {{x, y, free: element.contains(there) || there.contains(element)}};
             }})()",
            selector = json!(selector)
        ));
        assert_eq!(place["free"], true, "something lies over {selector}");
        for event in ["mousePressed", "mouseReleased"] {
            let params =
                json!({ "type": event, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    /// Presses a key, by its name in the standard: `j`, `ArrowRight`.
    pub(crate) fn press(&mut self, key: &str) {
        for event in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({ "type": event, "key": key }));
        }
    }

    /// The size of the window, in pixels.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    /// The user wants dark pages, or light ones.
    pub(crate) fn scheme(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It waits for its own processes before it closes its end.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.from.recv_timeout(SILENCE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
