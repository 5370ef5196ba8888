//! Headless Chromium, driven through its DevTools protocol over one WebSocket: open pages, evaluate JavaScript, press
//! keys. Owns the browser's process and its profile; ends both when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::{PATIENCE, eventually};

/// Names under which Chromium is installed.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A running browser.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    next_id: u64,
    _profile: TempDir,
}

/// One tab of it.
#[derive(Clone, Debug)]
pub struct Tab {
    session: String,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::Builder::new().prefix("halley-browser-").tempdir().expect("a profile folder");
        let mut child = PROGRAMS
            .iter()
            .find_map(|program| launch(program, profile.path()).ok())
            .expect("chromium is missing: install it, on Debian with `apt-get install chromium`");
        // The browser writes the address of its DevTools to standard error, and goes on writing there.
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned))
            .expect("chromium starts");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("a WebSocket address");
        let stream = TcpStream::connect(address).expect("the DevTools accept");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let (socket, _) = tungstenite::client(url, stream).expect("the DevTools upgrade");
        Browser { child, socket, next_id: 0, _profile: profile }
    }

    /// Opens a page in a new tab and waits until it is loaded.
    pub fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", &attach);
        let tab = Tab { session: session["sessionId"].as_str().expect("a session").to_owned() };
        self.call(Some(&tab), "Page.enable", &json!({}));
        self.call(Some(&tab), "Page.navigate", &json!({ "url": url }));
        eventually("the page is loaded", || {
            let state = self.evaluate(&tab, "location.href !== 'about:blank' && document.readyState === 'complete'");
            state.as_bool().filter(|loaded| *loaded)
        });
        tab
    }

    /// The value of a JavaScript expression.
    pub fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call(Some(tab), "Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, tab: &Tab, expression: &str) {
        eventually(expression, || self.evaluate(tab, expression).as_bool().filter(|done| *done));
    }

    /// Types text into whatever has the focus.
    pub fn type_text(&mut self, tab: &Tab, text: &str) {
        self.call(Some(tab), "Input.insertText", &json!({ "text": text }));
    }

    /// Presses and releases a key: `Tab`, `Enter` or `ArrowDown`.
    pub fn press(&mut self, tab: &Tab, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "ArrowDown" => ("ArrowDown", 40, ""),
            other => panic!("a key the driver does not know: {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call(Some(tab), "Input.dispatchKeyEvent", &event);
        }
    }

    /// One command and its answer; events meanwhile are not of interest.
    fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: &Value) -> Value {
        self.next_id += 1;
        let mut command = json!({ "id": self.next_id, "method": method, "params": parameters });
        if let Some(tab) = tab {
            command["sessionId"] = tab.session.clone().into();
        }
        self.socket.send(Message::text(command.to_string())).expect("the browser takes commands");
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{method} is not answered within {PATIENCE:?}");
            let Message::Text(text) = self.socket.read().expect("the browser answers") else { continue };
            let mut answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == self.next_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
        }
    }
}

fn launch(program: &str, profile: &std::path::Path) -> std::io::Result<Child> {
    Command::new(program)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends its own helpers too; killed, it might leave them.
        let close = json!({ "id": 0, "method": "Browser.close" });
        let asked = self.socket.send(Message::text(close.to_string())).is_ok();
        for _ in 0..100 {
            if asked && self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
