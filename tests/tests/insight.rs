//! From a slow page to the index that mends it, as somebody on call would go: which statement, on
//! which page, and what to do about it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, run_to_end},
    site::Site,
    waiting,
    web::WebApp,
};
use serde_json::Value;

/// The first look at plans comes seconds after the first statements.
const PATIENCE: Duration = Duration::from_secs(60);

/// The statement behind the slow page, without literals.
const STATEMENT: &str = "from orders where customer_id";

fn database() -> Result<Postgres> {
    let postgres = Cluster::create()?.start()?;
    postgres.psql(&postgres.over_unix(), &["CREATE DATABASE shop"])?;
    postgres.psql_in(
        "shop",
        &postgres.over_unix(),
        &[
            "CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL)",
            "INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 5000) n",
            "CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id integer NOT NULL, \
             placed_at timestamptz NOT NULL, total numeric NOT NULL)",
            "INSERT INTO orders (customer_id, placed_at, total) \
             SELECT 1 + n % 5000, now() - n * interval '1 minute', n % 100 \
             FROM generate_series(1, 300000) n",
            "CREATE EXTENSION hypopg",
        ],
    )?;
    // In a session of its own: what one has changed is counted when it ends, and would be taken for
    // changes after the analysis.
    postgres.psql_in("shop", &postgres.over_unix(), &["VACUUM ANALYZE"])?;
    Ok(postgres)
}

fn app(postgres: &Postgres) -> Result<WebApp> {
    let database = postgres.address();
    WebApp::gunicorn(
        ("customers", "app:app"),
        &["--workers", "1", "--worker-class", "sync"],
        (&database.ip().to_string(), database.port()),
    )
}

fn json(probe: &Probe, path: &str) -> Result<Value> {
    let response = probe.get(path, &[])?;
    ensure!(
        response.status == 200,
        "{path} answered {}: {}",
        response.status,
        response.body
    );
    Ok(serde_json::from_str(&response.body)?)
}

/// What `hostprobe VERB...` prints when it asks this probe.
fn hostprobe(site: &Site, probe: &Probe, arguments: &[&str]) -> Result<String> {
    let (verb, rest) = arguments.split_first().context("no verb")?;
    let mut command = site.hostprobe(verb);
    command
        .args(rest)
        .args(["--address", &probe.address().to_string()]);
    let (status, output) = run_to_end(command, PATIENCE)?;
    ensure!(
        status.success(),
        "{arguments:?} ended with {status}:\n{output}"
    );
    Ok(output)
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>> {
    let list = value.get(name).and_then(Value::as_array);
    list.with_context(|| format!("no list {name} in {value}"))
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    let text = value.get(name).and_then(Value::as_str);
    text.with_context(|| format!("no text {name} in {value}"))
}

/// Of these, the first about the slow page's statement.
fn about_the_statement<'v>(of: &'v [Value], what: &str) -> Result<&'v Value> {
    of.iter()
        .find(|one| one.to_string().contains(STATEMENT))
        .with_context(|| format!("{what} does not name the statement: {of:?}"))
}

/// Whoever is called because a page is slow gets from there to the index without reading code:
/// statement, route, index; and sees the finding go once the index is there.
#[test]
fn a_slow_page_leads_to_its_statement_and_the_index_that_mends_it() -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    let postgres = database()?;
    let app = app(&postgres)?;
    let url = format!(
        "postgres://postgres@{}/shop?sslmode=disable",
        postgres.address()
    );
    let config = Config::new()
        .with_payload()
        .with("[sql]\nslow_ms = 1\n[advice]\ninterval_s = 1")
        .with(&format!(
            "[[database]]\nname = \"shop\"\nurl = \"{url}\"\ninterval_s = 1"
        ))
        .service("web", &[app.pid()])
        .service("db", &[postgres.pid()]);
    let probe = Probe::start(&site, &config)?;
    let visit = |customers: std::ops::Range<u32>| {
        customers.into_iter().try_for_each(|number| {
            for path in [
                format!("/customers/{number}"),
                format!("/customers/{number}/orders"),
            ] {
                let answer = http::get(app.address(), &path, &[])?;
                ensure!(answer.status == 200, "{path} answered {}", answer.status);
            }
            Ok(())
        })
    };
    visit(1..41)?;

    // In the terminal.
    let slow = waiting::eventually(PATIENCE, || {
        let slow = hostprobe(&site, &probe, &["slow", "--json", "--service", "web"])?;
        ensure!(slow.contains(STATEMENT), "hostprobe slow prints {slow}");
        Ok(slow)
    })?;
    ensure!(
        slow.contains("/customers/{id}/orders"),
        "no route in {slow}"
    );
    let table = hostprobe(&site, &probe, &["slow", "--service", "web"])?;
    ensure!(
        table.contains("GET /customers/{id}/orders "),
        "no route in\n{table}"
    );

    // Among all statements it is the one that takes the time.
    let queries = json(&probe, "/api/queries?service=web&side=client&sort=total")?;
    let first = list(&queries, "queries")?
        .first()
        .context("no statements")?;
    ensure!(
        text(first, "sql")?.contains(STATEMENT),
        "the first is {first}"
    );
    let routes = list(first, "routes")?.first().context("no routes")?;
    ensure!(
        text(routes, "route")? == "/customers/{id}/orders",
        "{routes}"
    );

    // The index that mends it.
    let advice = waiting::eventually(PATIENCE, || {
        let answer = json(&probe, "/api/advice?kind=missing_index")?;
        let advice = about_the_statement(list(&answer, "advice")?, "/api/advice");
        Ok(advice.with_context(|| format!("it says {answer}"))?.clone())
    })?;
    let create = text(&advice, "statement")?;
    ensure!(
        create.contains("CREATE INDEX CONCURRENTLY") && create.contains("(customer_id"),
        "{create}"
    );
    let report = hostprobe(&site, &probe, &["report", "advice"])?;
    ensure!(report.contains("CREATE INDEX CONCURRENTLY"), "{report}");

    postgres.psql_in("shop", &postgres.over_unix(), &[create])?;
    visit(41..61)?;
    waiting::eventually(PATIENCE, || {
        let advice = json(&probe, "/api/advice?kind=missing_index")?;
        let left = list(&advice, "advice")?;
        ensure!(
            about_the_statement(left, "").is_err(),
            "the index exists, and is still missed: {left:?}"
        );
        Ok(())
    })
}
