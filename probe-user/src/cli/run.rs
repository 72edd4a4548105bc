//! `hostprobe run`: from the configuration to a daemon that serves until it is told to stop.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use aya::{Btf, EbpfLoader, programs::BtfTracePoint};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use probe_common::payload::PayloadLimits;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::exit;
use crate::{
    api,
    config::{Config, LogFormat, LogLevel, Sources},
    daemon::{
        Daemon, Events, attaching, decoding, findings, forward_kernel_log, measuring, model_calls,
        privileges, slow,
    },
    database::Databases,
    gemini::{Gemini, gateway::Gateway},
    host::Sampler,
    kernel::{
        loader::Wanted,
        object,
        probe::{KernelProbe, StartError},
        snapshot::ProbeState,
    },
    routes,
    store::Store,
    targets::Tracker,
    traffic,
    vitals::Vitals,
    wire::{http1, postgres},
};

/// How long open requests may take to end once the daemon is told to stop.
const GRACE: Duration = Duration::from_millis(500);

/// Answers of AI models that are read at once. Each may take some hundred kilobytes of a decompressor.
const MODEL_READERS: usize = 256;

/// Traces and serves until SIGTERM or SIGINT.
pub(super) fn run(config: &Config, sources: &Sources) -> anyhow::Result<ExitCode> {
    start_log(config);
    // Before anything is loaded: two probes on one port are a mistake, and cheap to find.
    let listener = match bind(config.listen) {
        Ok(listener) => listener,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error:#}");
            return Ok(ExitCode::from(exit::FAILURE));
        }
    };
    let tokens = match api::Tokens::load(&config.api.token_files) {
        Ok(tokens) => tokens,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
            return Ok(ExitCode::from(exit::FAILURE));
        }
    };
    let beacons = config.vitals.listen.filter(|_| config.vitals.enabled);
    let beacons = match beacons.map(bind_for_beacons).transpose() {
        Ok(listener) => listener,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error:#}");
            return Ok(ExitCode::from(exit::FAILURE));
        }
    };
    raise_descriptor_limit();
    let tracker = Tracker::new(config);
    let started = match KernelProbe::start(&wanted(config, tracker.wants_exec_events())) {
        Ok(started) => started,
        Err(error) => return Ok(cannot_start(&error)),
    };
    for probe in started.probe.probes() {
        match &probe.state {
            ProbeState::Active => info!(probe = probe.name, "active: {}", probe.what),
            ProbeState::Disabled(why) => warn!(probe = probe.name, "off: {why}"),
            ProbeState::Failed(why) => error!(probe = probe.name, "failed: {why}"),
        }
    }
    let stop = CancellationToken::new();
    let kernel = Arc::new(started.probe);
    let attaching = attaching::spawn(Arc::clone(&kernel));
    let measuring = measuring::spawn(&config.kernel, kernel.measuring());
    if config.privileges.drop {
        privileges::keep_only_what_tracing_needs();
    }
    // Threads inherit the capabilities of the one that makes them, so the runtime comes last.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .thread_name("hostprobe")
        .build()
        .context("cannot start the daemon's threads")?;
    let (found, findings) = tokio::sync::mpsc::channel(findings::WAITING);
    let (was_slow, slow_statements) = tokio::sync::mpsc::channel(slow::WAITING);
    let (called, calls) = tokio::sync::mpsc::channel(model_calls::WAITING);
    let outputs = decoding::Outputs {
        findings: found,
        slow: was_slow,
        calls: called,
    };
    let decoder = decoding::spawn(started.payload, limits(config), outputs);
    // The store outlives the decoder, so that what was decoded last is kept, too.
    let stop_store = CancellationToken::new();
    let store = match runtime.block_on(Store::open(&config.store, stop_store.clone())) {
        Ok(store) => store,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
            return Ok(ExitCode::from(exit::FAILURE));
        }
    };
    // Likewise, and it writes to the store.
    let stop_gemini = CancellationToken::new();
    let gemini = Gemini::open(&config.gemini, store.clone(), stop_gemini.clone());
    let gemini = match runtime.block_on(gemini) {
        Ok(gemini) => gemini,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
            return Ok(ExitCode::from(exit::FAILURE));
        }
    };
    let gateway = match Gateway::open(&config.gemini, gemini.clone()) {
        Ok(gateway) => gateway,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
            return Ok(ExitCode::from(exit::FAILURE));
        }
    };
    let sampler = config.host.enabled.then(|| Sampler::new(&config.host));
    let daemon = Daemon::new(
        kernel,
        attaching,
        tracker,
        decoder.decoder(),
        sampler,
        store.clone(),
        &config.sql,
    );
    let databases = {
        let _runtime = runtime.enter();
        Databases::watch(&config.databases, &stop)
    };
    let vitals = config
        .vitals
        .enabled
        .then(|| Vitals::new(&config.vitals, store.clone()));
    let vitals = vitals.transpose()?;
    let keeping_sums = vitals.clone().map(|vitals| {
        // Told to stop before the store is, so that the last window is kept, too.
        runtime.spawn(vitals.keep_sums(stop.clone()))
    });
    let daemon = daemon
        .with_databases(databases)
        .with_vitals(vitals)
        .with_browsers(&config.vitals)
        .with_gemini(gemini.clone())
        .with_gateway(gateway.clone())
        .with_tokens(tokens);
    let daemon = Arc::new(daemon);
    let observing = runtime.spawn(Arc::clone(&daemon).keep_model_calls(
        {
            let gemini = gemini.clone();
            move |call| gemini.observe(call)
        },
        calls,
    ));
    let keeping = runtime.spawn(Arc::clone(&daemon).keep_slow_statements(slow_statements));
    runtime.spawn(Arc::clone(&daemon).log_findings(findings, stop.clone()));
    let result = runtime.block_on(serve(
        config.clone(),
        sources.clone(),
        daemon,
        Listeners { listener, beacons },
        started.events,
        started.log,
        stop,
    ));
    drop(measuring);
    drop(decoder);
    if let Some(keeping) = keeping_sums {
        let _ = runtime.block_on(async { tokio::time::timeout(GRACE, keeping).await });
    }
    // Ends with the decoder, who had the other end of the channel.
    let _ = runtime.block_on(async { tokio::time::timeout(GRACE, keeping).await });
    let _ = runtime.block_on(async { tokio::time::timeout(GRACE, observing).await });
    if let Some(gateway) = gateway {
        let _ = runtime.block_on(async { tokio::time::timeout(GRACE, gateway.settled()).await });
    }
    stop_gemini.cancel();
    runtime.block_on(gemini.ended());
    stop_store.cancel();
    runtime.block_on(store.ended());
    runtime.shutdown_timeout(GRACE);
    result.map(|()| ExitCode::SUCCESS)
}

/// Where is listened.
struct Listeners {
    /// For everything.
    listener: TcpListener,
    /// For browsers alone.
    beacons: Option<TcpListener>,
}

async fn serve(
    config: Config,
    sources: Sources,
    daemon: Arc<Daemon>,
    listeners: Listeners,
    events: Events,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { listener, beacons } = listeners;
    let address = listener.local_addr().unwrap_or(config.listen);
    let listener =
        tokio::net::TcpListener::from_std(listener).context("cannot serve on the socket")?;
    tokio::spawn(Arc::clone(&daemon).follow_events(events, stop.clone()));
    if let Some(log) = log {
        tokio::spawn(forward_kernel_log(log, stop.clone()));
    }
    // The socket is bound but not accepting yet: who asks meanwhile waits, and gets numbers.
    daemon.scan().await;
    announce(address, &daemon.summary());
    tokio::spawn(Arc::clone(&daemon).scan_periodically(stop.clone()));
    tokio::spawn(Arc::clone(&daemon).tune_periodically(stop.clone()));
    tokio::spawn(Arc::clone(&daemon).judge_periodically(stop.clone()));
    daemon.advise(&config, &stop);
    daemon.watch_budgets(&stop);
    let window = Duration::from_secs(config.queries.window_s.into());
    let history = tokio::spawn(Arc::clone(&daemon).keep_history(window, stop.clone()));
    tokio::spawn(reload_on_hangup(
        config,
        sources,
        Arc::clone(&daemon),
        stop.clone(),
    ));
    tokio::spawn(stop_on_signal(stop.clone()));
    if let Some(beacons) = beacons {
        let address = beacons.local_addr()?;
        let beacons = tokio::net::TcpListener::from_std(beacons)
            .context("cannot take beacons on the socket")?;
        info!("browsers find /vitals.js at http://{address}/, and nothing else");
        tokio::spawn(api::serve_beacons(
            beacons,
            Arc::clone(&daemon) as _,
            stop.clone(),
        ));
    }
    tokio::select! {
        () = api::serve(listener, daemon, stop.clone()) => {},
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
    // Its last window is for the store.
    let _ = tokio::time::timeout(GRACE, history).await;
    info!("stopped");
    Ok(())
}

/// Each function of each TLS library that is followed takes a descriptor or two.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(
            "cannot raise the limit of open files; many TLS libraries may not be followed: {error}"
        );
    }
}

/// Tells people where to look.
fn announce(address: SocketAddr, summary: &str) {
    // An unspecified address is no place to point a browser at.
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("localhost:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("localhost:{}", v6.port()),
        other => other.to_string(),
    };
    info!("{summary}");
    let _ = writeln!(
        std::io::stdout(),
        "hostprobe is {summary}\n\n  page     http://{host}/\n  metrics  http://{host}/metrics\n"
    );
}

fn bind_for_beacons(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        anyhow::anyhow!(
            "cannot listen on {address} for browsers: {error}; choose another address with vitals.listen"
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: another process does already; stop it, or choose another port with --listen"
        ),
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "cannot listen on {address}: no right to use this port; choose one above 1023 with --listen"
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}; choose another with --listen"),
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn cannot_start(error: &StartError) -> ExitCode {
    let _ = writeln!(
        std::io::stderr(),
        "hostprobe: {error}\nhostprobe: `hostprobe check` says what this host allows"
    );
    ExitCode::from(exit::FAILURE)
}

/// What the configuration wants of the kernel side. `all_execs`: see [`Wanted`].
pub(super) fn wanted(config: &Config, all_execs: bool) -> Wanted {
    let switches = [
        ("process", config.kernel.probes.process),
        ("syscalls", config.kernel.probes.syscalls),
        ("sockets", config.kernel.probes.sockets),
        ("payload", config.kernel.probes.payload),
        ("tls", config.kernel.probes.tls),
        ("scheduler", config.kernel.probes.scheduler),
        ("block", config.kernel.probes.block),
    ];
    let disabled: BTreeMap<&'static str, String> = switches
        .into_iter()
        .filter(|(_, on)| !on)
        .map(|(name, _)| (name, format!("switched off by kernel.probes.{name}")))
        .collect();
    Wanted {
        disabled,
        max_sockets: config.kernel.max_sockets,
        max_syscall_series: config.kernel.max_syscall_series,
        event_ring_bytes: config.kernel.event_ring_bytes,
        max_streams: config.kernel.max_streams,
        payload_ring_bytes: config.kernel.payload_ring_bytes,
        payload: PayloadLimits {
            head_bytes: config.kernel.payload_head_bytes,
            tail_bytes: config.kernel.payload_tail_bytes,
            // The reader comes by itself while little happens; each wake-up takes time from whom it
            // watches. Half of the ring is left for what comes until it runs.
            wake_bytes: config.kernel.payload_ring_bytes / 2 / processors(),
            whole_answers: u32::from(!config.gemini.hosts.is_empty()),
        },
        all_execs,
        log_level: match config.log.kernel_level {
            LogLevel::Off => 0,
            LogLevel::Error => 1,
            LogLevel::Warn => 2,
            LogLevel::Info => 3,
            LogLevel::Debug => 4,
            LogLevel::Trace => 5,
        },
    }
}

/// Processors that may fill the ring at once.
fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn limits(config: &Config) -> traffic::Limits {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let (wire, routes) = (&config.wire, size(config.http.max_routes));
    traffic::Limits {
        streams: size(config.kernel.max_streams),
        series: size(wire.max_series),
        fingerprints: size(config.sql.top_fingerprints),
        routes: routes::Limits {
            routes,
            // What was folded is still a series.
            routes_ever: routes.saturating_mul(5),
            ..routes::Limits::default()
        },
        http: http1::Limits {
            head_bytes: size(wire.http_head_bytes),
            pipeline_depth: size(wire.http_pipeline),
            ..http1::Limits::default()
        },
        postgres: postgres::Limits {
            sql_bytes: size(wire.sql_bytes),
            pipeline: size(wire.postgres_pipeline),
            statements: size(wire.postgres_statements),
            portals: size(wire.postgres_portals),
            ..postgres::Limits::default()
        },
        capture_literals: config.sql.capture_literals,
        models: (!config.gemini.hosts.is_empty()).then(|| traffic::ModelSettings {
            hosts: config.gemini.hosts.clone(),
            feature_header: config.gemini.feature_header.clone(),
            readers: MODEL_READERS,
        }),
        n_plus_one: traffic::NPlusOneSettings {
            enabled: config.n_plus_one.enabled,
            min_count: config.n_plus_one.min_count,
            min_ns: ns(Duration::from_millis(config.n_plus_one.min_ms.into())),
            max_gap_ns: ns(Duration::from_millis(config.n_plus_one.max_gap_ms.into())),
            cooldown_ns: ns(Duration::from_secs(config.n_plus_one.cooldown_s.into())),
        },
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn start_log(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(config.log.level.as_str()))
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // Fails only when a logger is set already, as in tests.
    let _ = match config.log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        error!("cannot watch for signals; only SIGKILL will stop the probe");
        return;
    };
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
        () = stop.cancelled() => return,
    };
    info!("{name}: stopping");
    stop.cancel();
}

async fn reload_on_hangup(
    mut config: Config,
    sources: Sources,
    daemon: Arc<Daemon>,
    stop: CancellationToken,
) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            error!("cannot watch for SIGHUP, the configuration will not be reloaded: {error}");
            return;
        }
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = stop.cancelled() => return,
        }
        match Config::load(&sources) {
            Ok(new) => {
                let later = config.needs_restart(&new);
                if !later.is_empty() {
                    warn!(
                        "{} changed and will take effect at the next start",
                        later.join(", ")
                    );
                }
                daemon.reload(new.clone()).await;
                info!("reloaded: {}", daemon.summary());
                config = new;
            }
            Err(error) => error!("the configuration stays as it was: {error}"),
        }
    }
}

/// Attaches empty programs until a signal comes.
pub(super) fn bench_floor() -> anyhow::Result<ExitCode> {
    let bytes = object::bytes().context("this binary was built without its kernel object")?;
    let btf = Btf::from_sys_fs()?;
    let mut ebpf = EbpfLoader::new().btf(Some(&btf)).load(bytes)?;
    for (name, hook) in [
        ("bench_empty_enter", "sys_enter"),
        ("bench_empty_exit", "sys_exit"),
        ("bench_empty_switch", "sched_switch"),
        ("bench_empty_wakeup", "sched_wakeup"),
    ] {
        let program: &mut BtfTracePoint = ebpf
            .program_mut(name)
            .with_context(|| format!("the kernel object has no program {name}"))?
            .try_into()?;
        program.load(hook, &btf)?;
        program.attach()?;
    }
    super::print("ready\n")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = CancellationToken::new();
    runtime.block_on(stop_on_signal(stop));
    Ok(ExitCode::SUCCESS)
}
