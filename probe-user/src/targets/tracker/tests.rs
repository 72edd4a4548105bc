//! The tracker against real processes that the tests start. Discovery is scoped to a copy of an
//! interpreter that nobody else runs, so that no other process of the machine is ever taken.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use probe_common::event::{ProcessEvent, ProcessEventKind};

use super::events::SOON;
use super::*;
use crate::targets::Exit;

/// The kernel's table, without a kernel.
#[derive(Default)]
struct Memory(Mutex<HashMap<u32, u16>>);

impl TraceTable for Memory {
    fn set(&self, tgid: u32, service: u16) {
        self.0.lock().unwrap().insert(tgid, service);
    }

    fn get(&self, tgid: u32) -> u16 {
        self.0
            .lock()
            .unwrap()
            .get(&tgid)
            .copied()
            .unwrap_or(UNTRACED)
    }
}

impl Memory {
    /// Everything that is traced.
    fn traced(&self) -> BTreeSet<u32> {
        let table = self.0.lock().unwrap();
        table
            .iter()
            .filter(|(_, service)| **service != UNTRACED)
            .map(|(pid, _)| *pid)
            .collect()
    }
}

/// A process that ends with the test, and its output.
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of output: no sleeping, no guessing.
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.output.read_line(&mut line).unwrap() > 0,
            "the process ended"
        );
        line.trim().to_owned()
    }

    fn tell(&mut self, text: &str) {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The whole group: a shell that is killed alone leaves its children behind.
        let group = Pid::from_raw(self.child.id().try_into().unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A folder with an interpreter of its own, so that `exe` criteria and `exe_include` find only
/// what the test starts.
struct Lab {
    folder: tempfile::TempDir,
    python: PathBuf,
    home: String,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let report = "import sys; print(sys.executable); print(sys.base_prefix)";
        let output = Command::new("python3")
            .args(["-S", "-c", report])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        let (original, home) = (lines.next().unwrap(), lines.next().unwrap().to_owned());
        let python = folder.path().canonicalize().unwrap().join("python3");
        std::fs::copy(original, &python).unwrap();
        Self {
            folder,
            python,
            home,
        }
    }

    fn python(&self, code: &str) -> Running {
        Running::start(self.interpreter().arg("-c").arg(code))
    }

    fn interpreter(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg("-S")
            .env("PYTHONHOME", &self.home)
            .env("PYTHONUNBUFFERED", "1")
            .env("LD_LIBRARY_PATH", Path::new(&self.home).join("lib"))
            .current_dir(self.folder.path());
        command
    }

    /// Discovery that sees this folder's programs only.
    fn discovery(&self) -> Config {
        let folder = regex::escape(self.python.parent().unwrap().to_str().unwrap());
        config(&format!("[discovery]\nexe_include = ['^{folder}/']"))
    }
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

fn event(kind: ProcessEventKind, pid: u32, service: u16, status: u32) -> ProcessEvent {
    ProcessEvent {
        at_ns: 0,
        kind: kind as u32,
        tgid: pid,
        parent_tgid: 0,
        status,
        service: service.into(),
        reserved: 0,
    }
}

/// A shell that says the number of a child of it, and waits. The child ends with the test even
/// when the shell is killed: it reads from the pipe that the test holds.
fn family() -> (Running, u32) {
    let script = "exec 3<&0; cat <&3 >/dev/null & echo $!; wait";
    let mut shell = Running::start(Command::new("sh").args(["-c", script]));
    let child = shell.line().parse().unwrap();
    (shell, child)
}

const LISTEN: &str = "import socket,sys\ns=socket.create_server(('127.0.0.1',0))\n\
                      print(s.getsockname()[1])\nsys.stdin.readline()";

#[test]
fn a_configured_process_and_its_children_are_traced_and_nobody_else() {
    let (shell, child) = family();
    let table = Memory::default();
    let text = format!("[[service]]\nname='shop'\npids=[{}]", shell.pid());
    let mut tracker = Tracker::new(&config(&text));
    tracker.scan(&table);
    assert_eq!(table.traced(), BTreeSet::from([shell.pid(), child]));
    let services = tracker.services();
    assert_eq!(services.len(), 1);
    assert_eq!(
        (
            services[0].id,
            services[0].name.as_str(),
            services[0].processes
        ),
        (1, "shop", 2)
    );
    assert_eq!(services[0].roots, BTreeSet::from([shell.pid()]));
    assert_eq!(tracker.summary(), "tracing 1 service: shop (2 processes)");
    assert!(!tracker.wants_exec_events());
}

#[test]
fn a_process_that_ended_is_not_traced_any_more_even_without_an_event() {
    let (mut shell, child) = family();
    let table = Memory::default();
    let text = format!("[[service]]\nname='shop'\npids=[{}]", shell.pid());
    let mut tracker = Tracker::new(&config(&text));
    tracker.scan(&table);
    let keeps_child = shell.child.stdin.take();
    drop(shell);
    tracker.scan(&table);
    // The child lost its parent, not its service.
    assert_eq!(table.traced(), BTreeSet::from([child]));
    drop(keeps_child);
}

#[test]
fn a_web_server_is_discovered_named_and_its_workers_follow() {
    let lab = Lab::new();
    std::fs::create_dir(lab.folder.path().join("shop")).unwrap();
    let script = lab.folder.path().join("shop/server.py");
    let code = "import os,socket,sys\ns=socket.create_server(('127.0.0.1',0))\n\
                p=os.fork()\nif p==0: sys.stdin.readline(); os._exit(0)\n\
                print(s.getsockname()[1]); print(p); sys.stdin.readline()";
    std::fs::write(&script, code).unwrap();
    let mut server = Running::start(lab.interpreter().arg(&script));
    let port: u16 = server.line().parse().unwrap();
    let worker: u32 = server.line().parse().unwrap();

    let table = Memory::default();
    let mut tracker = Tracker::new(&lab.discovery());
    assert!(tracker.wants_exec_events());
    tracker.scan(&table);
    assert_eq!(table.traced(), BTreeSet::from([server.pid(), worker]));
    let services = tracker.services();
    assert_eq!(services.len(), 1);
    let service = services[0];
    assert_eq!((service.name.as_str(), service.kind), ("shop", Kind::Http));
    assert_eq!(service.ports, BTreeSet::from([port]));
    assert_eq!(service.roots, BTreeSet::from([server.pid()]));
    assert_eq!(
        service.found,
        format!("discovered: python3 listens on port {port}")
    );
    assert_eq!(
        tracker.summary(),
        format!("tracing 1 service: shop (2 processes, port {port})")
    );
}

#[test]
fn a_server_that_opens_its_port_later_is_found_then_and_keeps_its_id_over_a_restart() {
    let lab = Lab::new();
    let code = format!("import sys\nprint('up')\nsys.stdin.readline()\n{LISTEN}");
    let mut server = lab.python(&code);
    assert_eq!(server.line(), "up");
    let table = Memory::default();
    let mut tracker = Tracker::new(&lab.discovery());
    tracker.scan(&table);
    assert!(table.traced().is_empty());
    assert!(tracker.summary().starts_with("tracing nothing yet"));
    // The exec was a promising one: the next scan comes soon.
    assert_eq!(tracker.next_scan_in(), Duration::from_secs(10));
    tracker.on_event(&event(ProcessEventKind::Exec, server.pid(), 0, 0), &table);
    assert_eq!(tracker.next_scan_in(), SOON);
    server.tell("listen");
    server.line();
    tracker.scan(&table);
    assert_eq!(table.get(server.pid()), 1);
    assert_eq!(tracker.next_scan_in(), Duration::from_secs(10));

    drop(server);
    let mut next = lab.python(LISTEN);
    next.line();
    tracker.scan(&table);
    assert_eq!(table.get(next.pid()), 1);
    assert_eq!(tracker.services().len(), 1);
}

/// A crash loop that a supervisor hides: the service is there whenever somebody looks.
#[test]
fn a_service_that_comes_back_has_restarted() {
    let (shell, child) = family();
    let table = Memory::default();
    let text = format!("[[service]]\nname='shop'\npids=[{}]", shell.pid());
    let mut tracker = Tracker::new(&config(&text));
    tracker.scan(&table);
    for pid in [child, shell.pid()] {
        assert_eq!(tracker.services()[0].restarts, 0);
        tracker.on_event(&event(ProcessEventKind::Exit, pid, 1, 0), &table);
    }
    for pid in [4_194_305, 4_194_306] {
        tracker.on_event(&event(ProcessEventKind::Fork, pid, 1, 0), &table);
    }
    let service = tracker.services()[0];
    assert_eq!((service.restarts, service.processes), (1, 2));
}

#[test]
fn forks_and_exits_are_counted() {
    let (shell, child) = family();
    let table = Memory::default();
    let text = format!("[[service]]\nname='shop'\npids=[{}]", shell.pid());
    let mut tracker = Tracker::new(&config(&text));
    tracker.scan(&table);
    // A pid that no process can have.
    let ghost = 4_194_305;
    tracker.on_event(&event(ProcessEventKind::Fork, ghost, 1, 0), &table);
    assert_eq!(tracker.services()[0].processes, 3);
    let killed = std::process::ExitStatus::from_raw(9)
        .into_raw()
        .try_into()
        .unwrap();
    tracker.on_event(&event(ProcessEventKind::Exit, ghost, 1, killed), &table);
    tracker.on_event(&event(ProcessEventKind::Exit, child, 1, 3 << 8), &table);
    let service = tracker.services()[0];
    assert_eq!((service.starts, service.processes), (1, 1));
    assert_eq!(
        service.exits,
        [(Exit::Code(3), 1), (Exit::Signal(9), 1)].into()
    );
}

#[test]
fn an_exec_moves_a_child_to_the_service_that_names_the_program() {
    let lab = Lab::new();
    let mut shell = Running::start(
        Command::new("sh")
            .args(["-c", "echo up; read x; exec \"$0\" -S -c \"$1\""])
            .arg(&lab.python)
            .arg("import sys; print('python'); sys.stdin.readline()")
            .env("PYTHONHOME", &lab.home)
            .env("PYTHONUNBUFFERED", "1")
            .env("LD_LIBRARY_PATH", Path::new(&lab.home).join("lib")),
    );
    assert_eq!(shell.line(), "up");
    let text = format!(
        "[[service]]\nname='starter'\npids=[{}]\n[[service]]\nname='worker'\nexe='{}'",
        shell.pid(),
        lab.python.display()
    );
    // The first service names the process itself, so the second may not have it.
    let table = Memory::default();
    let mut tracker = Tracker::new(&config(&text));
    tracker.scan(&table);
    assert_eq!(table.get(shell.pid()), 1);

    // Named by its command line instead, it moves.
    let text = text.replacen(
        &format!("pids=[{}]", shell.pid()),
        "cmdline='^sh -c echo up; read x; exec'",
        1,
    );
    tracker.reload(&config(&text), &table);
    assert_eq!(table.get(shell.pid()), 1);
    shell.tell("go");
    assert_eq!(shell.line(), "python");
    tracker.on_event(&event(ProcessEventKind::Exec, shell.pid(), 1, 0), &table);
    assert_eq!(table.get(shell.pid()), 2);
    let counts: Vec<usize> = tracker
        .services()
        .iter()
        .map(|service| service.processes)
        .collect();
    assert_eq!(counts, [0, 1]);
    tracker.scan(&table);
    assert_eq!(table.traced(), BTreeSet::from([shell.pid()]));
}

#[test]
fn a_reload_keeps_ids_by_name_and_lets_go_of_what_was_removed() {
    let (first, first_child) = family();
    let (second, second_child) = family();
    let service = |name: &str, pid: u32| format!("[[service]]\nname='{name}'\npids=[{pid}]\n");
    let table = Memory::default();
    let both = service("a", first.pid()) + &service("b", second.pid());
    let mut tracker = Tracker::new(&config(&both));
    tracker.scan(&table);
    assert_eq!((table.get(first.pid()), table.get(second.pid())), (1, 2));

    tracker.reload(&config(&service("b", second.pid())), &table);
    assert_eq!(table.traced(), BTreeSet::from([second.pid(), second_child]));
    assert_eq!(table.get(second_child), 2);
    // Its counts are still in the kernel's tables, so it is still listed.
    assert_eq!(tracker.services().len(), 2);
    assert_eq!(tracker.summary(), "tracing 1 service: b (2 processes)");

    let swapped = service("c", second.pid()) + &service("a", first.pid());
    tracker.reload(&config(&swapped), &table);
    assert_eq!((table.get(first.pid()), table.get(first_child)), (1, 1));
    assert_eq!((table.get(second.pid()), table.get(second_child)), (3, 3));
}

/// Refuses to let go of anybody.
struct Holding<'a>(&'a Memory);

impl TraceTable for Holding<'_> {
    fn set(&self, tgid: u32, service: u16) {
        assert_ne!(service, UNTRACED, "{tgid} is not traced for a while");
        self.0.set(tgid, service);
    }

    fn get(&self, tgid: u32) -> u16 {
        self.0.get(tgid)
    }
}

#[test]
fn routes_are_told_by_service_id_and_changing_them_leaves_the_processes_alone() {
    let (process, child) = family();
    let service = |routes: &str| {
        let pid = process.pid();
        config(&format!(
            "[[service]]\nname='plain'\npids=[{}]\n[[service]]\nname='a'\npids=[{pid}]\n{routes}",
            std::process::id()
        ))
    };
    let table = Memory::default();
    let mut tracker = Tracker::new(&service(""));
    tracker.scan(&table);
    assert!(tracker.routes().is_empty());
    assert_eq!(table.get(child), 2);

    tracker.reload(&service("routes=['/items/{id}']"), &Holding(&table));
    let routes = tracker.routes();
    assert_eq!(routes.keys().collect::<Vec<_>>(), [&2]);
    let mut router = crate::routes::Router::with_templates(
        Arc::clone(&routes[&2]),
        crate::routes::Limits::default(),
    );
    assert_eq!(
        &*router.route("GET", Some("/items/x"), Some(500)),
        "/items/{id}"
    );
    assert_eq!(table.get(child), 2);
}

#[test]
fn a_server_below_another_one_is_its_own_service_unless_it_shares_the_socket() {
    let lab = Lab::new();
    // An "editor" that listens, with an unrelated server in its terminal.
    let inner = lab.folder.path().join("inner.py");
    std::fs::write(&inner, LISTEN).unwrap();
    let editor = lab.folder.path().join("editor.py");
    let code = format!(
        "import os,socket,subprocess,sys\ns=socket.create_server(('127.0.0.1',0))\n\
         p=subprocess.Popen([sys.executable,'-S','{}'],stdin=subprocess.PIPE,stdout=subprocess.PIPE)\n\
         p.stdout.readline(); print(p.pid); sys.stdin.readline(); p.kill(); p.wait()",
        inner.display()
    );
    std::fs::write(&editor, code).unwrap();
    let mut outer = Running::start(lab.interpreter().arg(&editor));
    let inner: u32 = outer.line().parse().unwrap();
    let table = Memory::default();
    let mut tracker = Tracker::new(&lab.discovery());
    tracker.scan(&table);
    let names: Vec<&str> = tracker
        .services()
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["editor", "inner"]);
    assert_ne!(table.get(inner), table.get(outer.pid()));
    outer.tell("end");
    outer.child.wait().unwrap();
}

#[test]
fn the_probe_itself_and_pid_1_are_never_traced() {
    let own = std::process::id();
    let table = Memory::default();
    // As when the probe was started from a traced process, which marks its children.
    table.set(own, 1);
    let mut tracker = Tracker::new(&config(&format!("[[service]]\nname='x'\npids=[{own}]")));
    tracker.scan(&table);
    assert_eq!((table.get(own), table.get(1)), (0, 0));
    assert!(
        table.traced().is_empty(),
        "its children are not a service either"
    );
}

#[test]
fn a_mark_left_by_the_kernel_on_a_child_that_was_not_seen_is_kept() {
    let (shell, child) = family();
    let table = Memory::default();
    let (other, _) = family();
    let text = format!("[[service]]\nname='shop'\npids=[{}]", other.pid());
    let mut tracker = Tracker::new(&config(&text));
    table.set(child, 1);
    table.set(shell.pid(), 77);
    tracker.scan(&table);
    assert_eq!(table.get(child), 1);
    assert_eq!(
        table.get(shell.pid()),
        0,
        "a mark for a service that doesn't exist is removed"
    );
}

#[test]
fn a_number_that_another_process_got_is_not_traced() {
    let (shell, child) = family();
    let table = Memory::default();
    let (other, _) = family();
    let text = format!("[[service]]\nname='shop'\npids=[{}]", other.pid());
    let mut tracker = Tracker::new(&config(&text));
    tracker.scan(&table);
    // As if the number had been a member's before, and nobody had told of its end.
    table.set(child, 1);
    let start_time = process::start_time(child).unwrap();
    let former = Member {
        service: 1,
        start_time: Some(start_time - 1),
        root: None,
    };
    tracker.members.insert(child, former);
    tracker.scan(&table);
    assert_eq!((table.get(child), table.get(shell.pid())), (0, 0));
}
