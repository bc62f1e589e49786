//! A headless Chromium on a host of the lab, driven by the DevTools protocol over a pipe.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use fairway_lab::{Place, Process, SCRATCH};
use serde_json::{Value, json};

/// How long the browser may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages on the pipe end with a byte 0.
const END: u8 = 0;

/// The browser reads from descriptor 3 and writes to 4. Its sandbox does not start as root, and no part of it is to
/// speak to other hosts by itself.
const START: &str = "exec chromium --headless=new --no-sandbox --remote-debugging-pipe --disable-gpu \
    --disable-dev-shm-usage --no-first-run --disable-background-networking --disable-component-update \
    --disable-sync --disable-extensions --force-device-scale-factor=1 --hide-scrollbars \
    --user-data-dir=\"$HOME\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>\"$HOME/log\"";

/// Before each page: what its policy forbids is kept.
const WATCH: &str = "window.violations = []; addEventListener('securitypolicyviolation', \
    (it) => window.violations.push(`${it.violatedDirective} ${it.blockedURI}`));";

/// A key with the numbers that the protocol wants.
const KEYS: [(&str, &str, u32); 9] = [
    ("Tab", "", 9),
    ("Enter", "\r", 13),
    (" ", " ", 32),
    ("Escape", "", 27),
    ("ArrowRight", "", 39),
    ("ArrowLeft", "", 37),
    ("ArrowDown", "", 40),
    ("/", "/", 191),
    ("0", "0", 48),
];

/// A browser with one page.
pub struct Browser {
    _process: Process,
    input: ChildStdin,
    output: Receiver<Value>,
    number: u64,
    session: String,
    /// What the page asked for, by address.
    pub requests: Vec<String>,
    /// Errors of the console, and exceptions.
    pub errors: Vec<String>,
}

impl Browser {
    /// Starts a browser in a place; its files are in the lab's memory.
    pub fn start(place: &Place) -> Self {
        let home = tempfile::tempdir_in(SCRATCH).unwrap().keep();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", START]).env("HOME", &home).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = place.spawn(&mut command).unwrap();
        let input = process.stdin.take().unwrap();
        let mut reader = BufReader::new(process.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while reader.read_until(END, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                if serde_json::from_slice(&message).map_or(true, |value| sender.send(value).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let (requests, errors) = (Vec::new(), Vec::new());
        let mut browser =
            Self { _process: process, input, output, number: 0, session: String::new(), requests, errors };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }));
        browser
    }

    /// Sends a command, and returns its result.
    ///
    /// # Panics
    /// When the browser refuses, or does not answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(END);
        self.input.write_all(&bytes).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) if answer["id"] == self.number => {
                    assert_eq!(answer["error"], Value::Null, "{method} {message}");
                    return answer["result"].clone();
                }
                Ok(event) => self.hear(&event),
                Err(RecvTimeoutError::Timeout) => panic!("the browser does not answer {method}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the browser has ended"),
            }
        }
    }

    fn hear(&mut self, event: &Value) {
        let what = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requests.push(what["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            Some("Runtime.exceptionThrown") => self.errors.push(what["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if what["type"] == "error" => self.errors.push(what.to_string()),
            Some("Log.entryAdded") if what["entry"]["level"] == "error" => {
                self.errors.push(what["entry"].to_string());
            }
            _ => {}
        }
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) {
        let result = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(result["errorText"], Value::Null, "{url}");
    }

    /// The value of an expression, or of the promise that it is.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert_eq!(result["exceptionDetails"], Value::Null, "{expression}");
        result["result"]["value"].clone()
    }

    /// A value as text; what is none is empty.
    pub fn text(&mut self, expression: &str) -> String {
        match self.value(expression) {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// Waits until an expression is true. While the page loads, what it looks at may be missing.
    pub fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        let tried =
            format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        while self.value(&tried) != Value::Bool(true) {
            if Instant::now() > deadline {
                let page = self.text("document.body.innerText");
                panic!("never true: {expression}\n{page}\n{:?}", self.errors);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sets the size of the window, and the theme.
    pub fn look(&mut self, width: u32, height: u32, theme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.call("Emulation.setEmulatedMedia", theme);
    }

    /// Clicks into the middle of the first element of a selector.
    pub fn click(&mut self, selector: &str) {
        let script = format!(
            "(() => {{ const it = document.querySelector({}); it.scrollIntoView({{ block: 'nearest' }}); \
             const area = it.getBoundingClientRect(); \
             return [area.x + area.width / 2, area.y + area.height / 2]; }})()",
            json!(selector)
        );
        let at = self.value(&script);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let (key, text, code) = KEYS.into_iter().find(|(name, ..)| *name == key).unwrap();
        let event = |kind: &str| json!({ "type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", event(if text.is_empty() { "rawKeyDown" } else { "keyDown" }));
        let up = json!({ "type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", up);
    }

    /// Presses a key until an expression is true.
    pub fn press_until(&mut self, key: &str, expression: &str) {
        for _ in 0..60 {
            if self.value(&format!("Boolean({expression})")) == Value::Bool(true) {
                return;
            }
            self.press(key);
        }
        let focused = self.text("document.activeElement.outerHTML.slice(0, 300)");
        panic!("{key} does not lead to: {expression}; the focus is at {focused}");
    }

    /// Types a text where the focus is.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// A screenshot as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        use base64::Engine as _;
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// Asserts that the page did nothing wrong: no error, nothing that its policy forbids, no request to another address.
    pub fn assert_content(&mut self, origin: &str) {
        assert_eq!(self.value("window.violations"), json!([]));
        let foreign: Vec<&String> =
            self.requests.iter().filter(|url| !url.starts_with(&format!("{origin}/"))).collect();
        assert!(foreign.is_empty() && !self.requests.is_empty(), "requests to others: {foreign:?}");
        assert!(self.errors.is_empty(), "{:#?}", self.errors);
    }
}
