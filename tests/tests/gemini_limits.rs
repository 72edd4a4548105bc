//! Limits of Gemini with the real binary: no client gets more than there is, whoever asks at once, and
//! what was counted outlives the daemon.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, ensure};
use end_to_end::{
    http::{self, Connection, Response},
    postgres::Cluster,
    probe::{Config, Probe, run_to_end},
    process::run,
    site::Site,
    store::Kept,
    waiting::{PATIENCE, eventually},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// At once.
const CLIENTS: usize = 64;
/// Tokens of a day, and of one reservation: a hundred fit.
const TOKENS: u64 = 10_000;
const EACH: u64 = 100;
const FIT: u64 = TOKENS / EACH;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// A daemon that traces this process, with these lines of configuration.
fn config(store: &str, gemini: &str) -> Config {
    Config::new()
        .with(&format!("[store]\n{store}\n{gemini}"))
        .service("test", &[std::process::id()])
}

fn limits() -> String {
    // A month does not end while a test runs; a day may.
    format!(
        "[[gemini.limit]]\nname = \"tokens\"\nper = \"month\"\ntokens = {TOKENS}\n\
         [[gemini.limit]]\nname = \"calls\"\nper = \"month\"\ncalls = 1000000\nmodel = \"gemini-2.5-*\"\n"
    )
}

fn json_of(response: &Response) -> Result<Value> {
    serde_json::from_str(&response.body).with_context(|| response.body.clone())
}

fn member(answer: &Value, pointer: &str) -> Result<Value> {
    let found = answer.pointer(pointer).cloned();
    found.with_context(|| format!("{pointer} is not in {answer}"))
}

/// The daemon whose turn it is.
fn in_turn(daemons: &[SocketAddr], turn: usize) -> Result<SocketAddr> {
    let daemon = daemons.iter().cycle().nth(turn);
    daemon.copied().context("there is no daemon")
}

fn reserve(client: &mut Connection, tokens: u64) -> Result<(u16, Value)> {
    let want = json!({"model": "gemini-2.5-flash", "feature": "test", "tokens": tokens});
    let answer = client.post("/api/gemini/reserve", &want.to_string())?;
    Ok((answer.status, json_of(&answer)?))
}

fn commit(client: &mut Connection, reservation: &Value, tokens: u64) -> Result<Value> {
    let usage = json!({"promptTokenCount": tokens, "totalTokenCount": tokens});
    let body = json!({"reservation": reservation, "usage": usage});
    let answer = client.post("/api/gemini/commit", &body.to_string())?;
    ensure!(answer.status == 200, "{answer:?}");
    json_of(&answer)
}

/// All clients ask the daemons in turn until they are refused; what they were promised.
fn ask_until_refused(daemons: &[SocketAddr]) -> Result<Vec<Value>> {
    let together = Barrier::new(CLIENTS);
    let refused = AtomicU64::new(0);
    let granted: Result<Vec<Vec<Value>>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (together, refused) = (&together, &refused);
                scope.spawn(move || -> Result<Vec<Value>> {
                    let daemon = in_turn(daemons, number)?;
                    let client = Connection::open(daemon);
                    together.wait();
                    let mut client = client?;
                    let mut granted = Vec::new();
                    loop {
                        let (status, answer) = reserve(&mut client, EACH)?;
                        match status {
                            200 => granted.push(member(&answer, "/reservation")?),
                            429 => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                ensure!(member(&answer, "/limit/name")? == "tokens", "{answer}");
                                return Ok(granted);
                            }
                            other => anyhow::bail!("{other}: {answer}"),
                        }
                    }
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| {
            let ended = client.join();
            ended.map_err(|_| anyhow::anyhow!("a client panicked"))?
        });
        joined.collect()
    });
    ensure!(
        refused.into_inner() == CLIENTS as u64,
        "not all were refused"
    );
    Ok(granted?.into_iter().flatten().collect())
}

fn number(kept: Kept<'_>, sql: &str) -> Result<u64> {
    kept.number(sql)
}

const USED: &str = "SELECT used FROM gemini_use WHERE limit_key = 'month/tokens'";
const HELD: &str = "SELECT held FROM gemini_use WHERE limit_key = 'month/tokens'";
const RECORDED: &str = "SELECT CAST(COALESCE(SUM(counted_tokens), 0) AS BIGINT) FROM gemini_calls";

/// The whole of it: ask at once, settle at once, ask again for what was not used.
fn exactly_what_fits(daemons: &[SocketAddr], kept: Kept<'_>) -> Result<()> {
    let granted = ask_until_refused(daemons)?;
    ensure!(granted.len() as u64 == FIT, "{} of {FIT}", granted.len());
    ensure!(number(kept, HELD)? == TOKENS && number(kept, USED)? == 0);
    // Each takes 40 of its 100, and settles twice, at either daemon.
    thread::scope(|scope| -> Result<()> {
        let settled: Vec<_> = granted
            .iter()
            .enumerate()
            .map(|(index, reservation)| {
                scope.spawn(move || -> Result<()> {
                    for again in 0..2 {
                        let daemon = in_turn(daemons, index + again)?;
                        let mut client = Connection::open(daemon)?;
                        let answer = commit(&mut client, reservation, 40)?;
                        let state = if again == 0 {
                            "recorded"
                        } else {
                            "already_settled"
                        };
                        ensure!(member(&answer, "/state")? == state, "{answer}");
                    }
                    Ok(())
                })
            })
            .collect();
        for one in settled {
            one.join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    ensure!(number(kept, HELD)? == 0 && number(kept, USED)? == FIT * 40);
    let again = ask_until_refused(daemons)?.len() as u64;
    let left = (TOKENS - FIT * 40) / EACH;
    ensure!(again == left, "{again} of {left}");
    ensure!(number(kept, RECORDED)? == number(kept, USED)?);
    Ok(())
}

/// Several hosts on one store must not spend more than one budget.
#[test]
fn many_clients_of_two_daemons_on_one_postgres_get_exactly_what_fits() -> Result<()> {
    let site = site()?;
    let store = Cluster::create()?.start()?;
    let config = config(&format!("url = \"{}\"", store.url_over_tcp()), &limits());
    let first = Probe::start(&site, &config)?;
    let second = Probe::start(&site, &config)?;
    exactly_what_fits(&[first.address(), second.address()], Kept::Postgres(&store))?;
    first.stop()?;
    second.stop()
}

#[test]
fn many_clients_of_one_daemon_on_sqlite_get_exactly_what_fits() -> Result<()> {
    let site = site()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("x.db");
    let config = config(&format!("url = \"sqlite://{}\"", file.display()), &limits());
    let probe = Probe::start(&site, &config)?;
    exactly_what_fits(&[probe.address()], Kept::Sqlite(&file))?;
    probe.stop()
}

/// Neither the OOM killer nor a client that vanished may lock others out, or forget what was spent.
#[test]
fn kill_9_keeps_what_was_used_and_frees_what_was_held_by_its_lease() -> Result<()> {
    let site = site()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("x.db");
    let url = format!("url = \"sqlite://{}\"", file.display());
    let lease = |seconds: u32| {
        config(
            &url,
            &format!("[gemini]\nlease_s = {seconds}\n{}", limits()),
        )
    };
    let probe = Probe::start(&site, &lease(20))?;
    let mut client = Connection::open(probe.address())?;
    let (_, used) = reserve(&mut client, 3_000)?;
    commit(&mut client, &used["reservation"], 3_000)?;
    let (status, _) = reserve(&mut client, 7_000)?;
    ensure!(status == 200);
    probe.kill()?;
    let kept = Kept::Sqlite(&file);
    ensure!(number(kept, USED)? == 3_000 && number(kept, HELD)? == 7_000);
    let probe = Probe::start(&site, &lease(20))?;
    let mut client = Connection::open(probe.address())?;
    let (status, answer) = reserve(&mut client, 7_000)?;
    // Unless starting took longer than the lease.
    if status == 429 {
        ensure!(answer["limit"]["used"] == 3_000, "{answer}");
    }
    let granted = eventually(PATIENCE, || {
        let (status, answer) = reserve(&mut client, 7_000)?;
        ensure!(status == 200, "{answer}");
        Ok(answer)
    });
    if status == 429 {
        granted?;
    }
    ensure!(number(kept, USED)? == 3_000 && number(kept, HELD)? == 7_000);
    probe.stop()
}

/// While its store is away a limit holds by refusing, or the app goes on, as the operator wants.
#[test]
fn a_store_that_is_down_refuses_or_allows_as_configured() -> Result<()> {
    let site = site()?;
    let cluster = Cluster::create()?;
    let url = format!(
        "url = \"postgresql://postgres@{}/postgres\"",
        cluster.address()
    );
    let refusing = Probe::start(&site, &config(&url, &limits()))?;
    let allow = format!("[gemini]\nwhen_store_is_down = \"allow\"\n{}", limits());
    let allowing = Probe::start(&site, &config(&url, &allow))?;
    let want = json!({"model": "gemini-2.5-flash", "tokens": 5}).to_string();
    let ask = |probe: &Probe| http::post(probe.address(), "/api/gemini/reserve", &[], &want);
    let refused = ask(&refusing)?;
    ensure!(refused.status == 503, "{refused:?}");
    ensure!(refused.header("retry-after").is_some(), "{refused:?}");
    ensure!(refused.header("content-type") == Some("application/problem+json"));
    let allowed = ask(&allowing)?;
    ensure!(allowed.status == 200, "{allowed:?}");
    let postgres = cluster.start()?;
    eventually(PATIENCE, || {
        let granted = ask(&refusing)?;
        ensure!(granted.status == 200, "{granted:?}");
        Ok(())
    })?;
    // What was allowed meanwhile is counted when it is settled.
    let mut client = Connection::open(allowing.address())?;
    let body = json!({
        "reservation": json_of(&allowed)?["reservation"],
        "model": "gemini-2.5-flash",
        "usage": {"prompt_tokens": 5},
    });
    eventually(PATIENCE, || {
        let settled = client.post("/api/gemini/commit", &body.to_string())?;
        ensure!(settled.status == 200, "{settled:?}");
        Ok(())
    })?;
    ensure!(number(Kept::Postgres(&postgres), RECORDED)? == 5);
    refusing.stop()?;
    allowing.stop()
}

#[test]
fn who_writes_through_a_proxy_needs_a_token_that_can_be_replaced() -> Result<()> {
    let site = site()?;
    let folder = TempDir::new()?;
    let tokens = folder.path().join("tokens");
    let write = |text: &str| -> Result<()> {
        fs::write(&tokens, text)?;
        Ok(fs::set_permissions(
            &tokens,
            fs::Permissions::from_mode(0o600),
        )?)
    };
    write("# of the app\na-token-of-the-app\nanother-token-of-it\n")?;
    let store = format!(
        "url = \"sqlite://{}\"",
        folder.path().join("x.db").display()
    );
    let api = format!("[api]\ntoken_files = [\"{}\"]", tokens.display());
    let probe = Probe::start(&site, &config(&store, &api))?;
    let call = json!({"model": "gemini-2.5-flash", "usage": {"prompt_tokens": 5}}).to_string();
    let status = |headers: &[(&str, &str)]| -> Result<u16> {
        let answer = http::post(probe.address(), "/api/gemini/usage", headers, &call)?;
        let problem = answer.header("content-type") == Some("application/problem+json");
        ensure!(problem == (answer.status != 200), "{answer:?}");
        Ok(answer.status)
    };
    let from = ("X-Forwarded-For", "192.0.2.7");
    ensure!(status(&[])? == 200);
    ensure!(status(&[from])? == 401);
    ensure!(status(&[from, ("Authorization", "Bearer a-token-of-the-ap")])? == 401);
    ensure!(status(&[from, ("Authorization", "Bearer a-token-of-the-app")])? == 200);
    ensure!(status(&[from, ("Authorization", "Bearer another-token-of-it")])? == 200);
    write("a-third-token-of-the-app\n")?;
    ensure!(status(&[from, ("Authorization", "Bearer a-token-of-the-app")])? == 401);
    ensure!(status(&[from, ("Authorization", "Bearer a-third-token-of-the-app")])? == 200);
    let log = probe.log();
    ensure!(!log.contains("token-of"), "{log}");
    // A file that everybody may read is no secret.
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644))?;
    let path = probe.config_path();
    let mut command = site.hostprobe("run");
    command.arg("--config").arg(&path);
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--set",
        "kernel.probes.payload=false",
    ]);
    let (ended, output) = run_to_end(command, PATIENCE)?;
    ensure!(
        ended.code() == Some(1) && output.contains("chmod"),
        "{ended}: {output}"
    );
    probe.stop()
}

/// Before the start, an operator sees which limits would hold, and where they would be counted.
#[test]
fn check_says_limits_zone_and_store() -> Result<()> {
    let site = site()?;
    let folder = TempDir::new()?;
    let path = folder.path().join("hostprobe.toml");
    let zone = "[gemini]\ntimezone = \"America/Los_Angeles\"";
    fs::write(
        &path,
        format!("[store]\nurl = \"none\"\n{zone}\n{}", limits()),
    )?;
    let mut command = site.hostprobe("check");
    command.arg("--config").arg(&path);
    let text = run("check", command)?;
    for part in [
        "America/Los_Angeles",
        "10000 tokens a month",
        "1000000 calls a month",
        "gemini-2.5-*",
        "in memory",
    ] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    fs::write(
        &path,
        "[gemini]\ntimezone = \"Mars/Base\"\n[[gemini.limit]]\nper = \"week\"\n",
    )?;
    let mut command = site.hostprobe("check");
    command.arg("--config").arg(&path);
    let (ended, text) = run_to_end(command, PATIENCE)?;
    ensure!(!ended.success());
    for part in [
        "gemini.timezone",
        "Mars/Base",
        "gemini.limit[0].per",
        "\"minute\"",
    ] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    Ok(())
}
