//! What is seen and what keys do, over made-up answers and a made-up terminal.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use serde_json::{Value, json};

use super::{
    answer::Answer,
    app::{App, Column, Page, Wish},
    draw, once,
};

/// Two services after `seconds`, one of which waits for the other.
fn answer(seconds: u64) -> Answer {
    let counts = |calls: u64| {
        let mut counts = [0; 19];
        counts[11] = calls;
        counts
    };
    let request = |route: &str, status: u64, rate: u64| {
        json!({"method": "GET", "route": route, "status": status, "calls": rate * seconds, "aborted": 0,
               "sum_seconds": rate as f64 * seconds as f64 * 0.2, "counts": counts(rate * seconds)})
    };
    let statement = json!({"fingerprint": "00000000000000aa", "operation": "SELECT",
        "text": "SELECT *\n FROM items WHERE id = $1", "calls": 40 * seconds, "errors": 0, "rows": 1,
        "sum_seconds": 4.0 * seconds as f64, "counts": counts(40 * seconds)});
    let other = json!({"fingerprint": "other", "operation": null, "text": null, "calls": seconds,
        "errors": 0, "rows": 1, "sum_seconds": 0.5 * seconds as f64, "counts": []});
    let syscall = json!({"name": "recvfrom", "errors": {"EAGAIN": 9 * seconds, "ECONNRESET": seconds},
        "duration": {"count": 100 * seconds, "sum_seconds": 0.01 * seconds as f64, "counts": [0, 100 * seconds]}});
    let bounds: Vec<f64> = crate::traffic::BOUNDS_NS
        .iter()
        .map(|ns| *ns as f64 / 1e9)
        .collect();
    let side = |statements: Value| json!({"statements": statements});
    let overview = json!({
        "at_seconds": 1_790_000_000.0 + seconds as f64,
        "about": {"version": "0.1.0", "kernel": "6.1.0", "started_at_seconds": 1.0,
                  "summary": "2 services, 5 processes"},
        "bounds_seconds": [0.000001, 0.000002], "latency_bounds_seconds": bounds,
        "services": [
            {"name": "postgresql", "kind": "postgres", "processes": 3, "syscalls": [],
             "resources": {"cpu_seconds": 0.3 * seconds as f64, "resident_bytes": 512 << 20},
             "http": {"requests": []},
             "postgres": [{"database": "shop", "operation": "SELECT", "outcome": "ok", "sqlstate": null,
                "calls": 40 * seconds, "rows": 1, "sum_seconds": 4.0 * seconds as f64, "counts": counts(40 * seconds)}],
             "database": {"server": side(json!([statement, other])), "client": side(json!([]))}},
            {"name": "shop", "kind": "http", "processes": 2, "syscalls": [syscall],
             "http": {"active": 1, "users": 1, "requests": [request("/items/{id}", 200, 20), request("/", 503, 2)]},
             "postgres": [], "database": {"server": side(json!([])), "client": side(json!([statement]))}},
        ],
    });
    let shares =
        json!({"on_cpu": 20.0, "run_queue": 2.0, "database": 71.0, "unknown": 7.0, "idle": 0.0});
    let verdicts = json!({"window_seconds": 10.0, "host": [], "services": [
        {"name": "shop", "slow": true, "cause": "database", "shares": shares, "work": shares, "cpu": 0.2,
         "sentence": "shop waits 71 % on Postgres; on CPU 20 %, unknown 7 %; p95 of its requests 480 ms",
         "run_queue_p99_seconds": 0.0001, "disk_p99_seconds": null},
        {"name": "postgresql", "slow": false, "cause": null, "sentence": "postgresql is fine",
         "shares": {"idle": 100.0}, "work": {}},
    ]});
    Answer::parse(overview, verdicts).unwrap()
}

fn app() -> App {
    let mut app = App::new("127.0.0.1:9738");
    app.take(Ok(answer(10)));
    app.take(Ok(answer(15)));
    app
}

fn screen(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, app)).unwrap();
    terminal.backend().to_string()
}

fn press(app: &mut App, codes: &[KeyCode]) {
    for code in codes {
        assert_eq!(
            app.key(KeyEvent::new(*code, KeyModifiers::NONE)),
            Wish::Nothing,
            "{code}"
        );
    }
}

fn names(app: &App) -> Vec<String> {
    app.rows().into_iter().map(|row| row.name).collect()
}

/// The one view that everybody sees first, in the smallest terminal that everybody has.
#[test]
fn the_first_page_fits_80_columns_and_says_everything() {
    let mut app = app();
    press(&mut app, &[KeyCode::Down]);
    let text = screen(&app, 80, 24);
    for part in [
        "hostprobe 0.1.0 on 127.0.0.1:9738, Linux 6.1.0",
        "SERVICE",
        "REQ/S",
        "ERR/S",
        "P50",
        "P99",
        "CPU",
        "RSS",
        "RUNQ99",
        "DISK99",
        "CAUSE",
        "shop",
        "22",
        "2.0",
        "100µs",
        "Postgres",
        "shop waits 71 % on Postgres; on CPU 20 %",
        "SELECT * FROM items WHERE id = $1",
        "q quit",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains('…'), "nothing is cut:\n{text}");
}

#[test]
fn any_size_of_terminal_is_drawn() {
    let mut app = app();
    for page in 0..3 {
        for width in [1, 7, 39, 40, 41, 60, 79, 80, 200] {
            for height in [1, 5, 8, 9, 12, 24, 60] {
                screen(&app, width, height);
            }
        }
        match page {
            0 => press(&mut app, &[KeyCode::Enter]),
            _ => press(&mut app, &[KeyCode::Char('?')]),
        }
    }
}

/// A number that is cut on its left is another number.
#[test]
fn a_narrow_terminal_has_fewer_columns_and_whole_numbers() {
    let text = screen(&app(), 60, 24);
    assert!(text.contains("REQ/S") && text.contains("CAUSE"), "{text}");
    assert!(!text.contains("RSS"), "{text}");
    let line = text.lines().find(|line| line.contains("SERVICE")).unwrap();
    for word in line.trim_matches('"').split_whitespace() {
        let known = Column::ALL.iter().any(|column| column.heading() == word);
        assert!(known, "{word} is cut:\n{text}");
    }
}

#[test]
fn keys_sort_filter_open_and_go_back() {
    let mut app = app();
    assert_eq!(names(&app), ["postgresql", "shop"], "most requests first");
    press(&mut app, &[KeyCode::Char('s')]);
    assert_eq!(
        (app.sort, names(&app)),
        (Column::Errors, vec!["shop".into(), "postgresql".into()])
    );
    press(&mut app, &[KeyCode::Char('r')]);
    assert_eq!(names(&app), ["postgresql", "shop"]);
    press(
        &mut app,
        &[
            KeyCode::Char('r'),
            KeyCode::Char('/'),
            KeyCode::Char('q'),
            KeyCode::Char('L'),
        ],
    );
    assert_eq!(
        names(&app),
        ["postgresql"],
        "while it is typed, q is a letter"
    );
    press(&mut app, &[KeyCode::Enter, KeyCode::Esc]);
    assert_eq!(names(&app).len(), 2);
    press(&mut app, &[KeyCode::Home, KeyCode::Enter]);
    let text = screen(&app, 80, 24);
    for part in ["routes 2", "GET /items/{id}", "20", "syscalls 1"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    press(&mut app, &[KeyCode::Tab]);
    assert!(screen(&app, 80, 24).contains("SELECT * FROM items"));
    press(&mut app, &[KeyCode::Tab]);
    assert!(screen(&app, 80, 24).contains("recvfrom"));
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.page, Page::Services);
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.key(control), Wish::Quit);
    let quit = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    assert_eq!(app.key(quit), Wish::Quit);
}

#[test]
fn a_database_opens_with_its_statements() {
    let mut app = app();
    press(&mut app, &[KeyCode::Home, KeyCode::Enter]);
    let text = screen(&app, 80, 24);
    assert!(
        text.contains("SELECT * FROM items") && text.contains("(other statements)"),
        "{text}"
    );
}

/// A daemon that restarts must neither end the view nor make rates of a billion a second.
#[test]
fn a_daemon_that_goes_and_comes_back_is_told_and_followed() {
    let mut app = App::new("127.0.0.1:9738");
    app.take(Err("cannot reach hostprobe at 127.0.0.1:9738".into()));
    let text = screen(&app, 80, 24);
    assert!(
        text.contains("cannot reach hostprobe") && text.contains("no answer"),
        "{text}"
    );
    app.take(Ok(answer(100)));
    app.take(Ok(answer(101)));
    app.take(Err("cannot reach hostprobe".into()));
    let text = screen(&app, 80, 24);
    assert!(
        text.contains("trying again") && text.contains("shop"),
        "what was seen stays:\n{text}"
    );
    let mut restarted = answer(1);
    restarted.overview.about.started_at_seconds = 1_790_000_100.0;
    restarted.overview.at_seconds += 200.0;
    app.take(Ok(restarted));
    assert!(app.rows().iter().all(|row| row.answered.calls == 0.0));
    assert!(app.lost.is_none());
}

#[test]
fn the_picture_is_held_while_it_is_paused() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('p')]);
    app.take(Ok(answer(60)));
    assert!((app.newest().unwrap().overview.at_seconds - 1_790_000_015.0).abs() < 1e-6);
    assert!(screen(&app, 80, 24).contains("paused"));
    press(&mut app, &[KeyCode::Char('p')]);
    app.take(Ok(answer(60)));
    assert!((app.newest().unwrap().overview.at_seconds - 1_790_000_060.0).abs() < 1e-6);
}

#[test]
fn scripts_get_numbers_and_people_a_table() {
    let document = once::document(&answer(15), &answer(10));
    assert_eq!(document["rates_over_seconds"], 5.0);
    let shop = &document["services"][1];
    assert_eq!(shop["requests_per_second"], 22.0);
    assert_eq!(shop["errors_per_second"], 2.0);
    assert_eq!(shop["cause"], "database");
    assert_eq!(shop["routes"][0]["name"], "GET /items/{id}");
    assert_eq!(
        shop["syscalls"][0]["errors_per_second"], 1.0,
        "EAGAIN is no error"
    );
    assert_eq!(shop["statements"][0]["calls_per_second"], 40.0);
    let table = once::table(&answer(15), &answer(10));
    assert!(
        table.contains("SERVICE") && table.contains("\nshop waits 71 % on Postgres"),
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
}

/// The test that comes next is also the program in its terminal, when it finds this in its environment.
const IN_TERMINAL: &str = "TOP_PANICS_IN_THIS_TERMINAL";

/// A mistake in what is drawn must not leave a terminal in which nobody sees what they type, nor hide what the
/// mistake was on a screen that is gone.
#[test]
fn a_panic_gives_the_terminal_back() {
    use std::{fs::File, io::Read as _, process::Command};

    use nix::{
        pty::openpty,
        sys::termios::{LocalFlags, tcgetattr},
    };

    if std::env::var_os(IN_TERMINAL).is_some() {
        let (mut terminal, _restore) = super::screen::take_over().unwrap();
        terminal
            .draw(|_| panic!("a mistake in what is drawn"))
            .unwrap();
    }
    let pty = openpty(None, None).unwrap();
    let modes = || {
        let wanted = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        tcgetattr(&pty.slave).unwrap().local_flags & wanted
    };
    let before = modes();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "cli::top::tests::a_panic_gives_the_terminal_back",
        ])
        .args(["--nocapture", "--test-threads=1"])
        .env(IN_TERMINAL, "1")
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave.try_clone().unwrap());
    let mut running = child.spawn().unwrap();
    // It holds the terminal, too, and would keep it open.
    drop(child);
    let mut master = File::from(pty.master.try_clone().unwrap());
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // A terminal whose other end is closed answers with an error instead of an end.
        let _ = master.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = running.wait().unwrap();
    assert_eq!(modes(), before, "the terminal stays raw");
    drop(pty);
    let text = reader.join().unwrap();
    assert!(!status.success(), "nothing panicked:\n{text}");
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("{what:?} is not in {text:?}"))
    };
    assert!(at("\x1b[?1049h") < at("\x1b[?1049l"), "{text:?}");
    assert!(
        at("\x1b[?1049l") < at("a mistake in what is drawn"),
        "{text:?}"
    );
}
