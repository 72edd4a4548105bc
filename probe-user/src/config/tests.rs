//! What an operator relies on: the documented defaults are the defaults, a mistake is named with
//! its place, and what is printed can be loaded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

fn sources(file: &Path, environment: &[(&str, &str)], settings: &[&str]) -> Sources {
    Sources {
        file: Some(file.to_owned()),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        settings: settings
            .iter()
            .map(|argument| Setting::parse(argument).unwrap())
            .collect(),
    }
}

/// Writes the text to a file and loads it, with overlays.
fn load(
    text: &str,
    environment: &[(&str, &str)],
    settings: &[&str],
) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&sources(&file, environment, settings)).map_err(|error| {
        let text = error.to_string();
        let folder = format!("{}/", folder.path().display());
        text.lines().map(|line| line.replace(&folder, "")).collect()
    })
}

fn problems(text: &str) -> Vec<String> {
    load(text, &[], &[]).unwrap_err()
}

const EXAMPLE: &str = include_str!("../../../deploy/hostprobe.example.toml");

/// Lines that begin with `prefix` and then look like TOML.
fn uncommented(prefixes: &[&str]) -> String {
    let is_toml = |text: &str| {
        let key = text.split_once(" = ").map_or("", |(key, _)| key);
        text.starts_with('[')
            || (!key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    EXAMPLE
        .lines()
        .filter_map(|line| {
            let text = prefixes
                .iter()
                .find_map(|prefix| line.strip_prefix(prefix))?;
            is_toml(text).then(|| format!("{text}\n"))
        })
        .collect()
}

fn paths(prefix: &str, table: &toml::Table, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            toml::Value::Table(inner) => paths(&path, inner, into),
            toml::Value::Array(list) if list.first().is_some_and(toml::Value::is_table) => {
                for inner in list.iter().filter_map(toml::Value::as_table) {
                    paths(&path, inner, into);
                }
            }
            _ => {}
        }
        into.insert(path);
    }
}

fn paths_of(text: &str) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    paths("", &text.parse().unwrap(), &mut set);
    set
}

#[test]
fn the_example_file_is_valid_as_it_is_and_changes_nothing() {
    assert_eq!(load(EXAMPLE, &[], &[]).unwrap(), Config::default());
}

#[test]
fn the_defaults_in_the_example_file_are_the_defaults_and_none_is_missing() {
    let text = uncommented(&["# "]);
    assert_eq!(load(&text, &[], &[]).unwrap(), Config::default());
    let defaults = Config::default().to_toml().unwrap();
    assert_eq!(paths_of(&text), paths_of(&defaults));
}

#[test]
fn the_example_file_shows_every_key_and_every_key_has_its_words() {
    let text = uncommented(&["#   ", "# "]);
    assert!(load(&text, &[], &[]).is_ok());
    let shown = paths_of(&text);
    let known: BTreeSet<String> = keys::KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(shown, known);
    // And the structures know the same keys.
    let config = load(&text, &[], &[]).unwrap();
    assert_eq!(paths_of(&config.to_toml().unwrap()), known);
}

#[test]
fn what_is_printed_loads_as_the_same_configuration() {
    let text = uncommented(&["#   ", "# "]);
    let config = load(
        &text,
        &[("HOSTPROBE_DISCOVERY__EXE_EXCLUDE", r#"["a\\.b"]"#)],
        &[],
    )
    .unwrap();
    let again = load(&config.to_toml().unwrap(), &[], &[]).unwrap();
    assert_eq!(config, again);
}

#[test]
fn discovery_is_on_exactly_when_no_service_is_configured() {
    let discovers = |text: &str| load(text, &[], &[]).unwrap().discovery_enabled();
    assert!(discovers(""));
    assert!(!discovers("[[service]]\nname='a'\npids=[7]"));
    assert!(discovers(
        "[discovery]\nenabled=true\n[[service]]\nname='a'\npids=[7]"
    ));
    assert!(!discovers("[discovery]\nenabled=false"));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text = "listen = '127.0.0.1:1'\n[kernel]\nmax_sockets = 1\n[log]\nlevel = 'error'";
    let environment = [
        ("HOSTPROBE_KERNEL__MAX_SOCKETS", "2"),
        ("HOSTPROBE_LOG__LEVEL", "debug"),
        ("HOSTPROBE_SERVICE", "[{ name = 'a', pids = [7] }]"),
        ("HOME", "/root"),
    ];
    let settings = [
        "kernel.max_sockets=3",
        "listen=[::1]:9",
        "kernel.probes.process=false",
    ];
    let config = load(text, &environment, &settings).unwrap();
    assert_eq!(config.kernel.max_sockets, 3);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.listen.to_string(), "[::1]:9");
    assert!(!config.kernel.probes.process);
    assert_eq!(config.services[0].pids, [7]);
}

#[test]
fn a_text_that_happens_to_look_like_toml_still_is_a_text() {
    let config = load(
        "discovery.enabled = true\n[[service]]\nname='a'\npids=[2]",
        &[
            ("HOSTPROBE_DISCOVERY__CGROUP", "/1"),
            ("HOSTPROBE_DISCOVERY__USER", "1000"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.discovery.user, Some(UserSpec::Uid(1000)));
    let problems = load("", &[("HOSTPROBE_LOG__FORMAT", "true")], &[]).unwrap_err();
    assert_eq!(
        problems,
        [
            "environment variable HOSTPROBE_LOG__FORMAT: `log.format` = \"true\": \
          allowed are \"text\", \"json\""
        ]
    );
}

#[test]
fn the_environment_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("elsewhere.toml");
    std::fs::write(&file, "[log]\nformat = 'json'").unwrap();
    let mut sources = sources(&file, &[("HOSTPROBE_CONFIG", file.to_str().unwrap())], &[]);
    sources.file = None;
    assert_eq!(Config::load(&sources).unwrap().log.format, LogFormat::Json);
}

#[test]
fn a_missing_file_says_which_and_what_to_do() {
    let error = Config::load(&sources(Path::new("/nonexistent/x.toml"), &[], &[])).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot read the configuration /nonexistent/x.toml: "),
        "{text}"
    );
}

#[test]
fn a_wrong_value_is_named_with_line_key_value_and_what_is_allowed() {
    assert_eq!(
        problems("\n[kernel]\nprogram_stats = \"maybe\"\n"),
        ["config.toml: line 3: `kernel.program_stats` = \"maybe\": \
          allowed are \"sampled\", \"always\", \"off\""]
    );
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = problems(
        "listen = 'here'\nlisten_on = 1\n[log]\nlevel = 3\n[kernel]\nmax_sockets = 0\n\
         event_ring_bytes = 5000\nmax_socket = 1\n[kernal]\nx = 1",
    );
    let expected = [
        "config.toml: line 9: `kernal`: there is no such key; did you mean `kernel`?",
        "config.toml: line 8: `kernel.max_socket`: there is no such key; \
         did you mean `kernel.max_sockets`?",
        "config.toml: line 2: `listen_on`: there is no such key; did you mean `listen`?",
        "config.toml: line 1: `listen` = \"here\": allowed is an IP address with a port, such as \
         \"127.0.0.1:9738\" or \"[::]:9738\"",
        "config.toml: line 4: `log.level` = 3: \
         allowed are \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        "config.toml: line 6: `kernel.max_sockets` = 0: allowed is a whole number from 1 to 16777216",
        "config.toml: line 7: `kernel.event_ring_bytes` = 5000: allowed is a power of two that is \
         a multiple of the page size, at most 1073741824",
    ];
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, BTreeSet::from(expected));
}

#[test]
fn services_are_checked_one_by_one() {
    let found = problems(
        "[[service]]\nname = 'a'\n[[service]]\nname = 'b'\nexe = 'x'\ncmdline = '(['\n\
         [[service]]\nname = 'b'\nports = [80, 0]\n[[service]]\nexe = 'x'\n\
         [[service]]\nname = 'other'\npids = [1]\nprots = [3]\n[[service]]\nname='c'\npids=[70000, 'x']",
    );
    let with = |start: &str| {
        let hits: Vec<_> = found
            .iter()
            .filter(|line| line.starts_with(start))
            .collect();
        assert_eq!(hits.len(), 1, "{start}: {found:#?}");
        hits[0].clone()
    };
    assert!(with("config.toml: line 1: `service[0]`:").contains("doesn't say which processes"));
    let regex = with("config.toml: line 6: `service[1].cmdline` = \"([\":");
    assert!(
        regex.contains("allowed is a regular expression (unclosed character class)"),
        "{regex}"
    );
    assert!(
        with("config.toml: line 8: `service[2].name` = \"b\":").contains("service[1] has this")
    );
    with("config.toml: line 9: `service[2].ports` = [80, 0]:");
    with("config.toml: line 10: `service[3].name`: allowed are 1 to 64");
    with("config.toml: line 13: `service[4].name` = \"other\":");
    with("config.toml: line 14: `service[4].pids` = [1]:");
    assert!(with("config.toml: line 15: `service[4].prots`:").contains("`service.ports`"));
    with("config.toml: line 18: `service[5].pids[1]` = \"x\":");
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn a_route_that_cannot_be_matched_is_named_with_what_is_allowed() {
    let found = problems(
        "[[service]]\nname = 'a'\npids = [7]\nroutes = ['/ok/{id}', 'items', '/x-{id}']\n\
         [[service]]\nname = 'b'\npids = [8]\nroutes = ['/a/{x}', 'GET /b', '/a/{y}']",
    );
    let expected = [
        "config.toml: line 4: `service[0].routes[1]` = \"items\": route \"items\" is no path: write it \
         as \"/users/{id}\" or \"GET /users/{id}\"; allowed is a list of paths, each with or without \
         a method before it, such as \"/items/{id}\" or \"GET /files/*\"",
        "config.toml: line 4: `service[0].routes[2]` = \"/x-{id}\": segment \"x-{id}\" of route \
         \"/x-{id}\" cannot be matched: a parameter is a whole segment, and \"*\" the last one; \
         allowed is a list of paths, each with or without a method before it, such as \
         \"/items/{id}\" or \"GET /files/*\"",
    ];
    assert_eq!(found[..2], expected);
    assert!(
        found[2].starts_with("config.toml: line 8: `service[1].routes`")
            && found[2].ends_with("match the same requests: remove one of them"),
        "{found:#?}"
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn bounds_of_memory_have_bounds() {
    let found = problems(
        "[http]\nmax_routes = 0\n[sql]\ntop_fingerprints = 10001\n[wire]\nmax_series = 0\n\
         http_head_bytes = 1000\nhttp_pipeline = 0\nsql_bytes = 2000000\npostgres_pipeline = 0\n\
         postgres_statements = 70000\npostgres_portals = 0",
    );
    assert_eq!(found.len(), 9, "{found:#?}");
    assert!(
        found
            .iter()
            .all(|line| line.contains(": allowed is a whole number"))
    );
}

#[test]
fn unknown_variables_and_flags_are_named() {
    let environment = [("HOSTPROBE_LOGLEVEL", "debug"), ("HOSTPROBE_KERNEL", "{}")];
    let found = load("", &environment, &["kernel.max=1"]).unwrap_err();
    assert!(
        found[0].starts_with("environment variable HOSTPROBE_LOGLEVEL: `loglevel`: there is no")
    );
    assert!(found[1].contains("a whole section can't be set here"));
    assert!(found[2].starts_with("--set: `kernel.max`: there is no such key"));
}

/// Whoever has just run the tests in this shell starts the probe in it, too.
#[test]
fn variables_of_the_tests_are_no_unknown_settings() {
    let environment = [("HOSTPROBE_BIN", "/x"), ("HOSTPROBE_REPO", "/y")];
    assert!(load("", &environment, &[]).is_ok());
}

#[test]
fn broken_toml_is_reported_with_its_line() {
    let found = problems("[log]\nlevel = \n");
    assert!(
        found[0].starts_with("config.toml: line 2: not TOML: "),
        "{found:?}"
    );
}

#[test]
fn a_scope_without_discovery_is_a_mistake() {
    let found = problems("[discovery]\nuser = 'x'\n[[service]]\nname='a'\npids=[7]");
    assert!(
        found[0].contains("`discovery.user` = \"x\": has no effect"),
        "{found:?}"
    );
}

/// Two executions are no loop, and a threshold that nothing reaches is a way to switch it off that
/// nobody sees.
#[test]
fn thresholds_of_loops_have_a_range() {
    let found = problems("[n_plus_one]\nmin_count = 2\nmin_ms = 60001\nmax_gap_ms = 0\n");
    let expected = [
        "config.toml: line 2: `n_plus_one.min_count` = 2: allowed is a whole number from 3 to 1000",
        "config.toml: line 3: `n_plus_one.min_ms` = 60001: \
         allowed is a whole number of milliseconds from 0 to 60000",
        "config.toml: line 4: `n_plus_one.max_gap_ms` = 0: \
         allowed is a whole number of milliseconds from 1 to 10000",
    ];
    assert_eq!(found, expected);
    let mut new = Config::default();
    new.n_plus_one.enabled = false;
    assert_eq!(Config::default().needs_restart(&new), ["n_plus_one"]);
}

/// What could only fail at run time is named before, and the password is not.
#[test]
fn a_store_that_cannot_be_is_named_without_its_password() {
    let found = problems(
        "[store]\nurl = 'sqlite://relative.db'\nretention_days = 0\nmax_bytes = 1000\nqueue = 0\n\
         flush_ms = 501\npassword_file = 'x'",
    );
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(
        found[0].starts_with("config.toml: line 2: `store.url`: allowed are \"sqlite:///var"),
        "{found:?}"
    );
    let found = problems("[store]\nurl = 'postgres://a:secret@b/c?sslmode=require&wrong=1'");
    assert!(
        found[0].contains("parameter `wrong` is not known"),
        "{found:?}"
    );
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
}

#[test]
fn only_targets_change_without_a_restart() {
    let old = Config::default();
    let mut new = old.clone();
    new.discovery.user = Some(UserSpec::Name("x".into()));
    new.services.push(Service::default());
    assert!(old.needs_restart(&new).is_empty());
    new.listen.set_port(1);
    new.kernel.max_sockets = 5;
    new.http.max_routes = 7;
    new.sql.top_fingerprints = 7;
    new.wire.sql_bytes = 7_000;
    assert_eq!(
        old.needs_restart(&new),
        ["listen", "kernel", "http", "sql", "wire"]
    );
}

#[test]
fn a_section_given_as_a_value_does_not_panic() {
    assert_eq!(
        problems("log = 3\nservice = 4"),
        [
            "config.toml: line 1: `log` = 3: allowed is a table, written as a [section]",
            "config.toml: line 2: `service` = 4: allowed is a list of tables, each written as [[service]]"
        ]
    );
    assert_eq!(problems("service = [3]").len(), 1);
    assert!(!problems("\"log.level\" = 3").is_empty());
    assert_eq!(
        Origin::File {
            path: PathBuf::from("a"),
            line: 2
        }
        .to_string(),
        "a: line 2"
    );
}

/// A wrong address must not put its password into the log of the start.
#[test]
fn databases_are_checked_and_their_passwords_never_shown() {
    let found = problems(
        "[[database]]\nname = 'a'\nurl = 'mysql://u:secret@h/d'\ninterval_s = 0\n\
         [[database]]\nname = 'a'\nurl = 'postgres://u:secret@h/d?sslmod=require&sslmode=maybe'\n\
         password_file = 'here'\n[[database]]\nname = 'b'\npgbouncer_url = 'secret'",
    );
    let expected = [
        "config.toml: line 3: `database[0].url`: allowed is an address such as \
         \"postgres://hostprobe@127.0.0.1:5432/shop?sslmode=require\" or \
         \"postgres:///shop?host=/run/postgresql\"",
        "config.toml: line 11: `database[2].pgbouncer_url`: allowed is the address of a PgBouncer's \
         admin console, such as \"postgres://stats@127.0.0.1:6432/pgbouncer\"",
        "config.toml: line 4: `database[0].interval_s` = 0: \
         allowed is a whole number of seconds from 1 to 3600",
        "config.toml: line 7: `database[1].url`: parameter `sslmod` is not known; allowed are \
         application_name, dbname, host, hostaddr, options, password, port, sslcert, sslkey, \
         sslmode, sslrootcert, user",
        "config.toml: line 7: `database[1].url`: unknown value \"maybe\" for `ssl_mode`",
        "config.toml: line 8: `database[1].password_file` = \"here\": allowed is the absolute path of \
         a file with the password, such as \"/etc/hostprobe/shop.password\"",
        "config.toml: line 6: `database[1].name` = \"a\": database[0] has this name already; \
         each needs its own",
    ];
    assert_eq!(found, expected);
    let text = load(
        "",
        &[("HOSTPROBE_DATABASE", "postgres://u:secret@h/d")],
        &[],
    )
    .unwrap_err();
    assert!(!text.concat().contains("secret"), "{text:?}");
    let text = "[[database]]\nname = 'a'\nurl = 'postgres://u:secret@h/d'";
    let config = load(text, &[], &[]).unwrap();
    assert!(!config.to_toml().unwrap().contains("secret"));
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(Config::default().needs_restart(&config), ["database"]);
}

/// A limit that is not what its author meant is no limit.
#[test]
fn limits_of_gemini_say_what_they_count() {
    let found = problems(
        "[gemini]\ntimezone = 'Mars/Base'\nlease_s = 0\nhosts = ['a/b']\nfeature_header = 'a b'\n\
         prices = 'here'\n[[gemini.limit]]\nper = 'week'\ntokens = 5\n",
    );
    let expected = [
        "config.toml: line 8: `gemini.limit[0].per` = \"week\": allowed are \"minute\", \"day\", \"month\"",
        "config.toml: line 2: `gemini.timezone` = \"Mars/Base\": allowed is the name of a time zone \
         that this host knows, such as \"UTC\" or \"America/Los_Angeles\"",
        "config.toml: line 3: `gemini.lease_s` = 0: allowed is a whole number of seconds from 1 to 3600",
        "config.toml: line 6: `gemini.prices` = \"here\": allowed is the absolute path",
        "config.toml: line 4: `gemini.hosts` = [\"a/b\"]: allowed is a list of up to 16 host names",
        "config.toml: line 5: `gemini.feature_header` = \"a b\": allowed is the name of a header",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    let found = problems(
        "[[gemini.limit]]\nmodel = 'a*b'\n[[gemini.limit]]\nusd = -1\nfeature = ''\n\
         [[gemini.limit]]\ntokens = 1\n[[gemini.limit]]\nper = 'day'\ncalls = 1\n",
    );
    for (found, part) in found.iter().zip([
        "`gemini.limit[0].model` = \"a*b\"",
        "`gemini.limit[0]`: limits nothing",
        "`gemini.limit[1].feature` = \"\"",
        "`gemini.limit[1].usd` = -1",
        "gemini.limit[2] is called `day` as well",
    ]) {
        assert!(found.contains(part), "{part} is not in {found}");
    }
    assert_eq!(found.len(), 5);
    let config = load(
        "[gemini]\ntimezone = 'Europe/Berlin'\n[[gemini.limit]]\nper = 'month'\nusd = 2.5\nfeature = 'a'\n\
         [api]\ntoken_files = ['/a']\n",
        &[],
        &[],
    )
    .unwrap();
    assert_eq!(config.gemini.limits[0].label(), "month for a");
    assert_eq!(Config::default().needs_restart(&config), ["gemini", "api"]);
    assert!(
        problems("[api]\ntoken_files = ['tokens']")
            .concat()
            .contains("absolute paths")
    );
}
