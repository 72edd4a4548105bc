//! A real Prometheus, a real Alertmanager, and the place that alerts are sent to.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http,
    probe::free_address,
    process::{Process, run},
    site::{need, repository},
    waiting::{self, PATIENCE},
};

/// Where the rules are that packages install.
pub fn rules() -> PathBuf {
    repository().join("deploy/prometheus")
}

/// What it scrapes and where it sends alerts.
#[derive(Debug, Default)]
pub struct Setup {
    /// Under the job `hostprobe`.
    pub targets: Vec<SocketAddr>,
    /// Files with rules.
    pub rules: Vec<PathBuf>,
    /// The Alertmanager.
    pub alertmanager: Option<SocketAddr>,
}

impl Setup {
    fn config(&self) -> Result<String> {
        let mut text =
            String::from("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n");
        for file in &self.rules {
            writeln!(text, "- {}", file.display())?;
        }
        if let Some(address) = self.alertmanager {
            writeln!(
                text,
                "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}"
            )?;
        }
        let targets: Vec<String> = self.targets.iter().map(|to| format!("'{to}'")).collect();
        writeln!(
            text,
            "scrape_configs:\n- job_name: hostprobe\n  static_configs: [{{targets: [{}]}}]",
            targets.join(", ")
        )?;
        Ok(text)
    }
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, the name among them.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A running Prometheus, which scrapes and evaluates each second.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It is not installed, or refuses its configuration or the rules.
    pub fn start(setup: &Setup) -> Result<Self> {
        let directory = TempDir::new()?;
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, setup.config()?)?;
        let address = free_address()?;
        let mut command = Command::new(need("prometheus", "prometheus")?);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::spawn("prometheus", command)?;
        wait_ready("prometheus", &mut process, address)?;
        Ok(Self {
            process,
            address,
            _directory: directory,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an expression is now.
    ///
    /// # Errors
    /// It is no expression, or its value is no vector.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let encoded: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let answer = http::get(self.address, &path, &[])
            .with_context(|| self.process.output().unwrap_or_default())?;
        ensure!(answer.status == 200, "{expression}: {}", answer.body);
        let json: Value = serde_json::from_str(&answer.body)?;
        let result = json["data"]["result"].as_array().context("no vector")?;
        result.iter().map(sample).collect()
    }

    /// The same, once there is something.
    ///
    /// # Errors
    /// As [`Self::query`], or there never is.
    pub fn query_until_data(&self, expression: &str) -> Result<Vec<Sample>> {
        waiting::until(&format!("{expression} has a value"), PATIENCE, || {
            let samples = self.query(expression)?;
            Ok((!samples.is_empty()).then_some(samples))
        })
    }
}

fn sample(element: &Value) -> Result<Sample> {
    let labels = element["metric"].as_object().context("no labels")?;
    let value = element["value"][1].as_str().context("no value")?;
    Ok(Sample {
        labels: labels
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        value: value.parse()?,
    })
}

/// A running Alertmanager that sends everything to one place at once.
#[derive(Debug)]
pub struct Alertmanager {
    _process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Alertmanager {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start(webhook: SocketAddr) -> Result<Self> {
        let program = need("prometheus-alertmanager", "prometheus-alertmanager")?;
        let directory = TempDir::new()?;
        let file = directory.path().join("alertmanager.yml");
        std::fs::write(
            &file,
            format!(
                "route: {{receiver: people, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
                 receivers: [{{name: people, webhook_configs: [{{url: 'http://{webhook}/'}}]}}]\n"
            ),
        )?;
        check_alertmanager_config(&file)?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            // No gossip with others.
            .arg("--cluster.listen-address=");
        let mut process = Process::spawn("alertmanager", command)?;
        wait_ready("alertmanager", &mut process, address)?;
        Ok(Self {
            _process: process,
            address,
            _directory: directory,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Has `amtool` read a configuration.
///
/// # Errors
/// It finds a mistake, or is not installed.
pub fn check_alertmanager_config(file: &Path) -> Result<()> {
    let mut command = Command::new(need("amtool", "prometheus-alertmanager")?);
    command.arg("check-config").arg(file);
    run("amtool check-config", command).map(drop)
}

fn wait_ready(name: &str, process: &mut Process, address: SocketAddr) -> Result<()> {
    waiting::until(&format!("{name} is ready"), PATIENCE, || {
        if let Some(status) = process.ended()? {
            bail!("{name} ended with {status}:\n{}", process.output()?);
        }
        let answer = http::get(address, "/-/ready", &[]);
        Ok(answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(()))
    })
}

/// Takes what an Alertmanager sends.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    alerts: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    /// Listens on a loopback port until the test ends.
    ///
    /// # Errors
    /// There is no loopback interface.
    pub fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let alerts = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&alerts);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let body = connection.map_err(Into::into).and_then(take);
                let sent = body.and_then(|body| Ok(serde_json::from_slice::<Value>(&body)?));
                match sent {
                    Ok(mut sent) => {
                        let sent = sent["alerts"].as_array_mut().map(std::mem::take);
                        taken.lock().unwrap().extend(sent.unwrap_or_default());
                    }
                    Err(error) => eprintln!("the webhook was sent something else: {error:#}"),
                }
            }
        });
        Ok(Self { address, alerts })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All alerts of this name that came so far, as Alertmanager's documentation of webhooks shows
    /// them.
    pub fn received(&self, name: &str) -> Vec<Value> {
        let alerts = self.alerts.lock().unwrap();
        let of_that_name = alerts
            .iter()
            .filter(|alert| alert["labels"]["alertname"] == name);
        of_that_name.cloned().collect()
    }
}

/// Reads one request, answers it, and hands out its body.
fn take(mut stream: TcpStream) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "it ended within the request");
        bytes.extend_from_slice(&buffer[..read]);
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = request.parse(&bytes)? else {
            continue;
        };
        let length = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .context("no length")?;
        let length: usize = std::str::from_utf8(length.value)?.parse()?;
        if bytes.len() >= head + length {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return Ok(bytes.split_off(head));
        }
    }
}
