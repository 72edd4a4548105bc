//! Chromium without a window, driven over its DevTools protocol by two pipes: no port, no library.
//!
//! <https://chromedevtools.github.io/devtools-protocol/>; messages end with a zero byte.

use std::{
    io::{BufRead, BufReader, PipeReader, PipeWriter, Write},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    process::Process,
    site::need,
    waiting::{self, PATIENCE},
};

/// How the tests want it: as root, nothing from elsewhere, and the back-forward cache as users have it.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    // Chromium refuses to be root with its sandbox; it opens our own pages alone.
    "--no-sandbox",
    "--disable-gpu",
    // Containers have a small /dev/shm.
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--metrics-recording-only",
    "--password-store=basic",
    // No name leads out of this host.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    // It turns the back-forward cache off when it finds little memory.
    "--enable-features=BackForwardCache:enable_same_site/true",
    "--disable-features=BackForwardCacheMemoryControls,Translate,OptimizationHints,MediaRouter",
    "--window-size=1200,900",
];

/// A running browser with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    commands: PipeWriter,
    messages: Receiver<Value>,
    last_id: u64,
    /// Events that nobody has asked for yet.
    events: Vec<Value>,
    _profile: TempDir,
}

/// A tab.
#[derive(Debug)]
pub struct Tab {
    target: String,
    session: String,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// Chromium is not installed (Debian's package `chromium`) or does not start.
    pub fn start() -> Result<Self> {
        let profile = TempDir::new()?;
        let chromium = need("chromium", "chromium")?;
        // It reads commands from descriptor 3 and answers on 4; what it prints goes to its log.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "sh"])
            .arg(chromium)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .env_remove("DISPLAY");
        let (input, commands) = std::io::pipe()?;
        let (answers, output) = std::io::pipe()?;
        let log = std::fs::File::create(profile.path().join("chromium.log"))?;
        let pipes = [Stdio::from(output), Stdio::from(log)];
        let process = Process::spawn_in_terminal("chromium", command, Stdio::from(input), pipes)?;
        let mut browser = Self {
            process,
            commands,
            messages: messages(answers),
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        browser
            .ask(None, "Browser.getVersion", json!({}))
            .with_context(|| format!("chromium's log:\n{}", browser.log()))?;
        Ok(browser)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self._profile.path().join("chromium.log")).unwrap_or_default()
    }

    /// Opens a tab with this address and waits until it is loaded.
    ///
    /// # Errors
    /// The page can't be loaded.
    pub fn open(&mut self, address: &str) -> Result<Tab> {
        let tab = self.tab()?;
        self.go(&tab, address)?;
        Ok(tab)
    }

    /// Opens an empty tab.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn tab(&mut self) -> Result<Tab> {
        let blank = json!({ "url": "about:blank" });
        let target = text(self.ask(None, "Target.createTarget", blank)?, "targetId")?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(
            self.ask(None, "Target.attachToTarget", attach)?,
            "sessionId",
        )?;
        let tab = Tab { target, session };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.command(&tab, &format!("{domain}.enable"), json!({}))?;
        }
        Ok(tab)
    }

    /// Goes to an address, as a user who types it in, and waits until the page is loaded.
    ///
    /// # Errors
    /// The page can't be loaded.
    pub fn go(&mut self, tab: &Tab, address: &str) -> Result<()> {
        self.forget(tab, "Page.loadEventFired");
        let answer = self.command(tab, "Page.navigate", json!({ "url": address }))?;
        if let Some(error) = answer.get("errorText").and_then(Value::as_str) {
            bail!("{address} can't be loaded: {error}");
        }
        self.event(tab, "Page.loadEventFired")?;
        Ok(())
    }

    /// Goes back by one page, and waits until the browser shows it; whether it came from the
    /// back-forward cache.
    ///
    /// # Errors
    /// There is no page to go back to.
    pub fn back(&mut self, tab: &Tab) -> Result<bool> {
        let history = self.command(tab, "Page.getNavigationHistory", json!({}))?;
        let current = history["currentIndex"].as_u64().context("no index")?;
        let before = usize::try_from(current)?
            .checked_sub(1)
            .context("the first page")?;
        let entry = &history["entries"][before]["id"];
        self.forget(tab, "Page.frameNavigated");
        self.command(
            tab,
            "Page.navigateToHistoryEntry",
            json!({ "entryId": entry }),
        )?;
        let navigated = self.event(tab, "Page.frameNavigated")?;
        Ok(navigated["type"] == "BackForwardCacheRestore")
    }

    /// Value of an expression in the page; a promise is waited for.
    ///
    /// # Errors
    /// It throws.
    pub fn evaluate(&mut self, tab: &Tab, expression: &str) -> Result<Value> {
        let given =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.command(tab, "Runtime.evaluate", given)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("`{expression}` threw: {thrown}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression in the page is true.
    ///
    /// # Errors
    /// It throws, or stays false.
    pub fn wait_for(&mut self, tab: &Tab, expression: &str) -> Result<()> {
        waiting::until(expression, PATIENCE, || {
            let value = self.evaluate(tab, expression)?;
            Ok((value == true).then_some(()))
        })
    }

    /// Presses and lets go of the left button in the middle of an element, as a user.
    ///
    /// # Errors
    /// There is no such element.
    pub fn click(&mut self, tab: &Tab, selector: &str) -> Result<()> {
        let place = format!(
            "(() => {{ const box = document.querySelector('{selector}').getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let place = self.evaluate(tab, &place)?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1,
            });
            self.command(tab, "Input.dispatchMouseEvent", event)?;
        }
        Ok(())
    }

    /// Takes the network away from a tab, or gives it back.
    ///
    /// # Errors
    /// The tab is gone.
    pub fn set_offline(&mut self, tab: &Tab, offline: bool) -> Result<()> {
        let conditions = json!({
            "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
        });
        self.command(tab, "Network.emulateNetworkConditions", conditions)?;
        Ok(())
    }

    /// Has a header sent with each request of a tab.
    ///
    /// # Errors
    /// The tab is gone.
    pub fn set_header(&mut self, tab: &Tab, name: &str, value: &str) -> Result<()> {
        let headers = json!({ "headers": { name: value } });
        self.command(tab, "Network.setExtraHTTPHeaders", headers)?;
        Ok(())
    }

    /// Runs a script in each new document of a tab, before the page's own.
    ///
    /// # Errors
    /// The tab is gone.
    pub fn prepare(&mut self, tab: &Tab, script: &str) -> Result<()> {
        let given = json!({ "source": script });
        self.command(tab, "Page.addScriptToEvaluateOnNewDocument", given)?;
        Ok(())
    }

    /// Closes a tab as its user does.
    ///
    /// # Errors
    /// It is gone.
    pub fn close(&mut self, tab: Tab) -> Result<()> {
        let target = json!({ "targetId": tab.target });
        self.ask(None, "Target.closeTarget", target)?;
        Ok(())
    }

    /// What the browser itself complains of in a tab's console, such as violations of the page's
    /// Content-Security-Policy, since the tab was opened.
    pub fn complaints(&mut self, tab: &Tab) -> Result<Vec<String>> {
        // An answer comes after all events before it.
        self.evaluate(tab, "0")?;
        let of_tab = |event: &&Value| event["sessionId"] == tab.session.as_str();
        let texts = self.events.iter().filter(of_tab).filter_map(|event| {
            let method = event["method"].as_str()?;
            let text = match method {
                "Log.entryAdded" => &event["params"]["entry"]["text"],
                "Runtime.exceptionThrown" => &event["params"]["exceptionDetails"]["text"],
                _ => return None,
            };
            Some(text.as_str()?.to_owned())
        });
        Ok(texts.collect())
    }

    fn command(&mut self, tab: &Tab, method: &str, given: Value) -> Result<Value> {
        self.ask(Some(&tab.session), method, given)
    }

    fn ask(&mut self, session: Option<&str>, method: &str, given: Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": given });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .with_context(|| format!("{method}: chromium is gone; its log:\n{}", self.log()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self
                .receive(deadline)
                .with_context(|| format!("waiting for the answer to {method}"))?;
            if message["id"] == id {
                ensure!(
                    message.get("error").is_none(),
                    "{method} failed: {}",
                    message["error"]
                );
                return Ok(message["result"].clone());
            }
            self.events.push(message);
        }
    }

    /// The next event of this name, which may have come already.
    fn event(&mut self, tab: &Tab, method: &str) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        let is_it =
            |event: &Value| event["method"] == method && event["sessionId"] == tab.session.as_str();
        loop {
            if let Some(at) = self.events.iter().position(is_it) {
                return Ok(self.events.remove(at)["params"].take());
            }
            let message = self
                .receive(deadline)
                .with_context(|| format!("waiting for {method}"))?;
            self.events.push(message);
        }
    }

    fn forget(&mut self, tab: &Tab, method: &str) {
        self.events.retain(|event| {
            event["method"] != method || event["sessionId"] != tab.session.as_str()
        });
    }

    fn receive(&mut self, deadline: Instant) -> Result<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.messages.recv_timeout(left) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => {
                bail!("chromium says nothing; its log:\n{}", self.log())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("chromium is gone; its log:\n{}", self.log())
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers go with it; it is killed if it does not.
        let ended = self.ask(None, "Browser.close", json!({})).is_ok();
        if ended {
            let _ = self.process.wait_ended(Duration::from_secs(20));
        }
    }
}

/// Reads messages on a thread of its own, which ends with the browser.
fn messages(answers: PipeReader) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for message in BufReader::new(answers).split(0) {
            let Some(message) = message
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
            else {
                return;
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

fn text(value: Value, member: &str) -> Result<String> {
    let text = value[member].as_str();
    Ok(text
        .with_context(|| format!("{value} has no {member}"))?
        .to_owned())
}
