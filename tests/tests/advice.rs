//! Index advice against a real Postgres with a real HypoPG: what is missing is found, what is not
//! missing is not proposed, and nothing is ever run.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    postgres::{Cluster, Postgres},
    probe::{Config, Probe},
    site::{Site, need},
    waiting::{self, PATIENCE},
};
use serde_json::Value;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// A shop in which some indexes are missing, and decoys for which none is.
const SCHEMA: [&str; 12] = [
    "CREATE TABLE customers (id integer PRIMARY KEY, email text NOT NULL, city integer NOT NULL)",
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer_id integer NOT NULL, status varchar(10) NOT NULL, \
     kind integer NOT NULL, paid boolean NOT NULL, total integer NOT NULL, note text NOT NULL, \
     created_at timestamptz NOT NULL, deleted_at timestamptz)",
    "CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint NOT NULL, sku integer NOT NULL)",
    "CREATE TABLE small (id integer, name integer)",
    "CREATE TABLE journal (id bigint, entry integer NOT NULL)",
    "CREATE TABLE \"Odd Table\" (\"Id\" integer, \"order\" integer, pad text)",
    "INSERT INTO customers SELECT n, 'Mail' || n || '@example.org', n % 40 FROM generate_series(1, 30000) n",
    "INSERT INTO orders SELECT n, n % 30000 + 1, (ARRAY['new','open','done'])[n % 3 + 1], n % 500, \
     n % 2 = 0, n % 90, 'note ' || n, timestamptz '2024-01-01' + n * interval '7 s', \
     CASE WHEN n % 200 > 0 THEN now() END FROM generate_series(1, 100000) n",
    "INSERT INTO lines SELECT n, n % 100000, n % 700 FROM generate_series(1, 150000) n",
    "INSERT INTO small SELECT n, n FROM generate_series(1, 500) n",
    "INSERT INTO \"Odd Table\" SELECT n, n, repeat('x', 40) FROM generate_series(1, 40000) n",
    "CREATE INDEX orders_kind_created_at ON orders (kind, created_at)",
];

/// A role that may read and nothing else.
const ROLE: [&str; 3] = [
    "CREATE ROLE advisor LOGIN",
    "GRANT USAGE ON SCHEMA public TO advisor",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO advisor",
];

/// Statements for which an index is missing, and which one.
const MISSING: [(&str, &str); 9] = [
    (
        "SELECT * FROM orders WHERE customer_id = 17",
        "public.orders (customer_id",
    ),
    (
        "SELECT * FROM orders WHERE total = 5 AND created_at BETWEEN '2024-01-02' AND '2024-01-03'",
        "public.orders (total, created_at)",
    ),
    (
        "SELECT l.* FROM lines l JOIN orders o ON o.id = l.order_id WHERE o.id = 4711",
        "public.lines (order_id)",
    ),
    (
        "SELECT id, total FROM orders ORDER BY created_at DESC LIMIT 5",
        "public.orders (created_at)",
    ),
    (
        "SELECT * FROM customers WHERE lower(email) = 'mail7@example.org'",
        "public.customers ((lower(email)))",
    ),
    (
        "SELECT id FROM orders WHERE deleted_at IS NULL ORDER BY id DESC LIMIT 20 OFFSET 5",
        "public.orders (id) WHERE deleted_at IS NULL",
    ),
    (
        "UPDATE orders SET note = 'x' WHERE note = 'no such note'",
        "public.orders (note)",
    ),
    ("DELETE FROM lines WHERE sku = 9999", "public.lines (sku)"),
    (
        "SELECT \"Id\" FROM \"Odd Table\" WHERE \"order\" = 5",
        "public.\"Odd Table\" (\"order\")",
    ),
];

/// Statements for which no index helps, or for which there is one.
const DECOYS: [&str; 10] = [
    "SELECT * FROM small WHERE name = 7",
    "SELECT * FROM orders WHERE kind = 7",
    "SELECT * FROM orders WHERE kind = 7 AND created_at > '2024-01-05'",
    "SELECT count(*) FROM orders WHERE paid",
    "SELECT count(*) FROM orders WHERE status = 'open'",
    "SELECT * FROM customers WHERE id = 12",
    "SELECT count(*) FROM orders WHERE note LIKE '%nothing like it%'",
    "SELECT sum(total) FROM orders",
    "INSERT INTO journal SELECT n, n FROM generate_series(1, 20000) n",
    "SELECT count(*) FROM pg_class",
];

struct Shop {
    postgres: Postgres,
}

impl Shop {
    fn open(hypopg: bool) -> Result<Self> {
        need(
            "/usr/share/postgresql/15/extension/hypopg.control",
            "postgresql-15-hypopg",
        )?;
        let postgres = Cluster::create()?
            .with("autovacuum = off\nlog_statement = all")?
            .start()?;
        let connection = postgres.over_unix();
        postgres.psql(&connection, &SCHEMA)?;
        postgres.psql(&connection, &ROLE)?;
        postgres.psql(
            &connection,
            &["ANALYZE", "CREATE EXTENSION pg_stat_statements"],
        )?;
        if hypopg {
            postgres.psql(&connection, &["CREATE EXTENSION hypopg"])?;
        }
        Ok(Self { postgres })
    }

    fn probe(&self, site: &Site, role: &str, settings: &str) -> Result<Probe> {
        let config = Config::new()
            .with_payload()
            .service("shop", &[self.postgres.pid()])
            .with(&format!(
                "[[database]]\nname = \"shop\"\nurl = \"postgres://{role}@{}/postgres?sslmode=disable\"\n\
                 [advice]\ninterval_s = 1\nunused_after_days = 0\n{settings}",
                self.postgres.address()
            ));
        Probe::start(site, &config)
    }

    fn run(&self, statements: &[&str]) -> Result<String> {
        self.postgres.psql(&self.postgres.over_tcp(), statements)
    }
}

fn answer(probe: &Probe) -> Result<Value> {
    let response = probe.get("/api/advice", &[])?;
    ensure!(response.status == 200, "{}", response.body);
    Ok(serde_json::from_str(&response.body)?)
}

/// Waits until a round has looked at so many statements, and returns the answer.
fn looked_at(probe: &Probe, statements: usize) -> Result<Value> {
    let mut last = Value::Null;
    let found = waiting::until("a round has looked at all statements", PATIENCE, || {
        last = answer(probe)?;
        let count = last
            .pointer("/databases/0/looked_at")
            .and_then(Value::as_array);
        Ok((count.map_or(0, Vec::len) >= statements).then(|| last.clone()))
    });
    found.with_context(|| format!("the last answer: {last:#}"))
}

fn advice<'a>(answer: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = answer.get("advice").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter(|one| text(one, "/kind") == kind)
        .collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or(f64::NAN)
}

fn definitions<'a>(answer: &'a Value, kind: &str) -> BTreeSet<&'a str> {
    advice(answer, kind)
        .into_iter()
        .map(|one| text(one, "/index/definition"))
        .collect()
}

/// Numbers of rows written, of all tables, and a sum over their contents.
fn contents(shop: &Shop) -> Result<String> {
    shop.postgres.psql(
        &shop.postgres.over_unix(),
        &[
            "SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_user_tables",
            "SELECT count(*), sum(hashtext(o::text)) FROM orders o",
            "SELECT count(*), sum(hashtext(l::text)) FROM lines l",
        ],
    )
}

/// A missing index that is not found leaves the slow page slow; a superfluous one that is proposed
/// costs every write, and the trust in all the others.
#[test]
fn all_missing_indexes_are_found_and_none_of_the_decoys() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(true)?;
    let probe = shop.probe(&site, "advisor", "")?;
    let missing: Vec<&str> = MISSING.iter().map(|(statement, _)| *statement).collect();
    shop.run(&missing)?;
    shop.run(&DECOYS)?;
    let before = contents(&shop)?;
    // The one about the catalogue is not looked at, the two about the contents are.
    let answer = looked_at(&probe, MISSING.len() + DECOYS.len() - 1 + 2)?;
    ensure!(contents(&shop)? == before, "advice has changed data");
    let found = definitions(&answer, "missing_index");
    for (statement, index) in MISSING {
        ensure!(
            found.iter().any(|found| found.starts_with(index)),
            "for {statement}, {index} is missing in {found:?}: {answer:#}"
        );
    }
    for one in advice(&answer, "missing_index") {
        evidence_is_complete(one)?;
        let statements = one.pointer("/statements").and_then(Value::as_array);
        for statement in statements.into_iter().flatten() {
            let sql = text(statement, "/sql");
            for decoy in [
                "small",
                "kind =",
                "where paid",
                "status",
                "like",
                "sum(total)",
                "journal",
            ] {
                ensure!(!sql.contains(decoy), "a decoy is given an index: {one:#}");
            }
        }
    }
    ensure!(
        advice(&answer, "unproven_index").is_empty()
            && advice(&answer, "stale_statistics").is_empty(),
        "{answer:#}"
    );
    report_shows(&site, &probe, &answer)
}

/// What the API answers, people read in the terminal.
fn report_shows(site: &Site, probe: &Probe, answer: &Value) -> Result<()> {
    let mut command = site.hostprobe("report");
    let address = probe.address().to_string();
    command.args([
        "advice",
        "--database",
        "shop",
        "--statements",
        "--address",
        &address,
    ]);
    let output = command.output()?;
    let shown = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{shown}");
    let flowing = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for one in advice(answer, "missing_index") {
        let statement = text(one, "/statement");
        ensure!(
            flowing.contains(statement),
            "{statement} is missing in {shown}"
        );
    }
    let mut command = site.hostprobe("report");
    command.args(["advice", "--database", "shpo", "--address", &address]);
    let output = command.output()?;
    let error = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1) && error.contains("allowed are shop"),
        "{error}"
    );
    Ok(())
}

fn evidence_is_complete(one: &Value) -> Result<()> {
    let complete = text(one, "/statement").starts_with("CREATE INDEX CONCURRENTLY ")
        && number(one, "/gain/cost_after") <= 0.5 * number(one, "/gain/cost_before")
        && number(one, "/table/rows") > 10_000.0
        && number(one, "/index/bytes") > 0.0
        && number(one, "/write_cost/existing_indexes") >= 0.0
        && text(one, "/statements/0/fingerprint").len() == 16
        && number(one, "/statements/0/calls") >= 1.0
        && number(one, "/statements/0/total_seconds") > 0.0
        && text(one, "/statements/0/plan_before").contains(" on ")
        && text(one, "/statements/0/plan_after").contains("the proposed index");
    ensure!(complete, "evidence is missing: {one:#}");
    Ok(())
}

/// What the index is for must be over once it is there, also for a probe that starts then.
#[test]
fn the_advice_goes_away_once_the_index_exists() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(true)?;
    let probe = shop.probe(&site, "advisor", "")?;
    let query = "SELECT * FROM orders WHERE customer_id = 17";
    shop.run(&[query])?;
    let answer = looked_at(&probe, 1)?;
    let [one] = advice(&answer, "missing_index")[..] else {
        bail!("{answer:#}");
    };
    let create = text(one, "/statement").to_owned();
    shop.run(&[&create])?;
    let gone = |probe: &Probe| {
        waiting::until("the advice is gone", PATIENCE, || {
            let answer = looked_at(probe, 1)?;
            Ok(definitions(&answer, "missing_index")
                .is_empty()
                .then_some(()))
        })
    };
    gone(&probe)?;
    drop(probe);
    let again = shop.probe(&site, "advisor", "")?;
    shop.run(&[query])?;
    gone(&again)
}

/// Whoever lacks HypoPG must know that nothing is proven, and what to do.
#[test]
fn without_hypopg_nothing_is_proven_and_the_reason_is_told() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(false)?;
    // The other way to give the right to read.
    shop.run(&[
        "CREATE ROLE reader LOGIN",
        "GRANT pg_read_all_data TO reader",
    ])?;
    let probe = shop.probe(&site, "reader", "")?;
    shop.run(&[
        "SELECT * FROM orders WHERE customer_id = 17",
        "SELECT count(*) FROM orders WHERE paid",
    ])?;
    let answer = looked_at(&probe, 2)?;
    ensure!(advice(&answer, "missing_index").is_empty(), "{answer:#}");
    ensure!(
        definitions(&answer, "unproven_index") == BTreeSet::from(["public.orders (customer_id)"]),
        "{answer:#}"
    );
    let reason = text(&answer, "/databases/0/hypopg/reason");
    ensure!(reason.contains("CREATE EXTENSION hypopg"), "{reason:?}");
    probe.eventually(|metrics| {
        let rounds = metrics.count("hostprobe_advice_rounds_total", &[("database", "shop")]);
        let hypopg = metrics.count("hostprobe_advice_hypopg", &[("database", "shop")]);
        let kind = [("database", "shop"), ("kind", "unproven_index")];
        let unproven = metrics.count("hostprobe_advice", &kind);
        ensure!(
            rounds > 0 && hypopg == 0 && unproven == 1,
            "{rounds} {hypopg} {unproven}"
        );
        Ok(())
    })
}

/// A role without rights, a statement that can't be planned: each has its reason.
#[test]
fn what_cannot_be_planned_says_why() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(true)?;
    shop.run(&[
        "CREATE ROLE stranger LOGIN",
        "CREATE SCHEMA hidden",
        "CREATE TABLE hidden.things (id integer)",
    ])?;
    let probe = shop.probe(&site, "stranger", "")?;
    shop.run(&[
        "SELECT * FROM orders WHERE customer_id = 17",
        "SET search_path = hidden; SELECT * FROM things WHERE id = 1",
    ])?;
    let answer = looked_at(&probe, 2)?;
    let all = answer
        .pointer("/databases/0/looked_at")
        .and_then(Value::as_array);
    let outcome = |table: &str| {
        let found = all
            .into_iter()
            .flatten()
            .find(|one| text(one, "/sql").contains(table));
        found.map_or("", |one| text(one, "/outcome"))
    };
    ensure!(
        outcome("orders").contains("permission denied") && outcome("orders").contains("grant"),
        "{answer:#}"
    );
    ensure!(outcome("things").contains("search_path"), "{answer:#}");
    ensure!(
        definitions(&answer, "missing_index").is_empty(),
        "{answer:#}"
    );
    Ok(())
}

/// Indexes that cost writes for nothing are told of, those that keep rows unique are not.
#[test]
fn indexes_that_are_not_worth_their_cost_are_found() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(true)?;
    shop.run(&[
        "CREATE INDEX lines_sku ON lines (sku)",
        "CREATE INDEX lines_sku_again ON lines (sku)",
        "CREATE INDEX orders_kind ON orders (kind)",
        "CREATE UNIQUE INDEX orders_unique ON orders (id, kind)",
        "CREATE TABLE never (id integer)",
        "INSERT INTO never SELECT n % 9000 FROM generate_series(1, 20000) n",
    ])?;
    // Fails for lack of uniqueness, and leaves its index behind.
    shop.run(&["CREATE UNIQUE INDEX CONCURRENTLY never_unique ON never (id)"])?;
    let probe = shop.probe(&site, "advisor", "")?;
    let answer = waiting::until("a round is over", PATIENCE, || {
        let answer = answer(&probe)?;
        Ok((text(&answer, "/databases/0/state") == "done").then_some(answer))
    })?;
    let names = |kind: &str| -> BTreeSet<String> {
        let all = advice(&answer, kind).into_iter();
        all.map(|one| text(one, "/index/name").to_owned()).collect()
    };
    let expect = |names: &[&str]| names.iter().map(|name| format!("public.{name}")).collect();
    ensure!(
        names("invalid_index") == expect(&["never_unique"]),
        "{answer:#}"
    );
    ensure!(
        names("duplicate_index") == expect(&["lines_sku_again"]),
        "{answer:#}"
    );
    ensure!(
        names("redundant_index") == expect(&["orders_kind"]),
        "{answer:#}"
    );
    ensure!(
        names("unused_index") == expect(&["lines_sku", "orders_kind_created_at"]),
        "{answer:#}"
    );
    Ok(())
}

/// Old statistics make every estimate worthless: the advice must be to renew them, not an index.
#[test]
fn tables_that_were_never_analysed_come_first() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(true)?;
    shop.run(&[
        "CREATE TABLE fresh (id integer, pad text)",
        "INSERT INTO fresh SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n",
        "GRANT SELECT ON fresh TO advisor",
    ])?;
    let probe = shop.probe(&site, "advisor", "")?;
    shop.run(&["SELECT * FROM fresh WHERE id = 7"])?;
    let stale = waiting::until("old statistics are told of", PATIENCE, || {
        let answer = answer(&probe)?;
        Ok((!advice(&answer, "stale_statistics").is_empty()).then_some(answer))
    })?;
    ensure!(
        text(&stale, "/advice/0/statement") == "ANALYZE public.fresh;"
            && definitions(&stale, "missing_index").is_empty(),
        "{stale:#}"
    );
    shop.run(&["ANALYZE fresh"])?;
    waiting::until("the index is found", PATIENCE, || {
        let answer = answer(&probe)?;
        Ok(definitions(&answer, "missing_index")
            .contains("public.fresh (id)")
            .then_some(()))
    })
}

/// Whoever gives a performance tool a login relies on this: it plans, and runs nothing.
#[test]
fn nothing_but_plans_is_asked_of_the_server() -> Result<()> {
    let site = site()?;
    let shop = Shop::open(true)?;
    let probe = shop.probe(&site, "advisor", "")?;
    shop.run(&[
        "SELECT * FROM orders WHERE customer_id = 17",
        "UPDATE orders SET note = 'x' WHERE note = 'no such note'",
        "DELETE FROM lines WHERE sku = 9999",
    ])?;
    looked_at(&probe, 3)?;
    let log = shop.postgres.log()?;
    // By pg_stat_statements, the statements themselves ran once each, by those who sent them.
    let calls = shop.run(&[
        "SELECT max(calls) FROM pg_stat_statements WHERE query ~ '^(SELECT \\* FROM orders|UPDATE orders|DELETE FROM lines)'",
    ])?;
    ensure!(calls == "1", "{calls}");
    for forbidden in ["EXPLAIN ANALYZE", "EXPLAIN (ANALYZE", "ANALYZE, "] {
        ensure!(!log.contains(forbidden), "{forbidden} in the server's log");
    }
    // Not one index, hypothetical or real, is left.
    let indexes =
        shop.run(&["SELECT count(*) FROM pg_indexes WHERE tablename IN ('orders', 'lines')"])?;
    ensure!(indexes == "3", "{indexes} indexes");
    Ok(())
}
