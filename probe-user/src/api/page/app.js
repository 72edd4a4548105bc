// The live page. It asks for /api/overview every two seconds; all numbers there are totals since
// the probe started, and rates are made here, between the newest answer and one that is as old as
// the chosen window.
import { pollActivity } from "./activity.js";
import { bar, fact, make, replace } from "./elements.js";
import { followAdvice } from "./advice.js";
import { drawFindings } from "./findings.js";
import { drawHost } from "./host.js";
import { between, bytes, duration, quantile, short, uptime } from "./numbers.js";
import { drawDatabase } from "./database.js";
import { pollPatterns } from "./patterns.js";
import { askSlow, drawSlow } from "./slow.js";
import { drawTraffic, headline, trafficCalls } from "./traffic.js";
import { drawHints, verdictLines } from "./verdict.js";

const POLL_MS = 2000;
const KEEP_SECONDS = 320;
const SPARK_POINTS = 60;
const TOP_SYSCALLS = 20;

const history = [];
let selected = null;
let failures = 0;
let verdicts = { host: [], services: [] };

const $ = (id) => document.getElementById(id);

const sum = (object) => Object.values(object).reduce((total, n) => total + n, 0);
// Errors that a healthy program with non-blocking sockets sees all the time.
const EXPECTED = /^(EAGAIN|EINPROGRESS|ERESTART.*)$/;
const unexpected = (errors) =>
  sum(Object.fromEntries(Object.entries(errors).filter(([name]) => !EXPECTED.test(name))));

function totals(service) {
  let calls = 0, errors = 0;
  for (const syscall of service.syscalls) {
    calls += syscall.duration.count;
    errors += unexpected(syscall.errors);
  }
  return { calls, errors };
}

/** Everything that is drawn of one service. */
function view(service, then, seconds, bounds) {
  const before = then && then.services.find((other) => other.name === service.name);
  const per = (now, old) => (before && seconds > 0 ? Math.max(0, now - old) / seconds : 0);
  const now = totals(service), old = before ? totals(before) : null;
  const tcp = service.tcp, oldTcp = before && before.tcp;
  const unix = service.unix, oldUnix = before && before.unix;
  const both = (tcp, unix, key) => tcp[key] + unix[key];
  const rtt = between(tcp.rtt, oldTcp && oldTcp.rtt);
  const connect = between(tcp.connect, oldTcp && oldTcp.connect);
  return {
    calls: before ? per(now.calls, old.calls) : 0,
    errors: before ? per(now.errors, old.errors) : 0,
    accepts: before ? per(both(tcp, unix, "accepts"), both(oldTcp, oldUnix, "accepts")) : 0,
    received: before ? per(both(tcp, unix, "received_bytes"), both(oldTcp, oldUnix, "received_bytes")) : 0,
    sent: before ? per(both(tcp, unix, "sent_bytes"), both(oldTcp, oldUnix, "sent_bytes")) : 0,
    retransmits: before ? per(tcp.retransmits, oldTcp.retransmits) : 0,
    resets: before ? per(tcp.resets_received + tcp.resets_sent, oldTcp.resets_received + oldTcp.resets_sent) : 0,
    connectErrors: before
      ? per(sum(tcp.connect_errors) + sum(unix.connect_errors), sum(oldTcp.connect_errors) + sum(oldUnix.connect_errors)) : 0,
    open: tcp.open,
    // A quiet moment says nothing about the network: then the whole time since the start does.
    rtt: quantile(rtt.count ? rtt : between(tcp.rtt), 0.5, bounds),
    connect: quantile(connect.count ? connect : between(tcp.connect), 0.99, bounds),
    before,
  };
}

/** The answer to compare the newest with: the youngest that is at least as old as the window. */
function reference() {
  const newest = history[history.length - 1];
  const wanted = newest.at_seconds - Number($("window").value) + 0.5;
  let found = null;
  for (const old of history) {
    if (old === newest) break;
    if (!found || old.at_seconds <= wanted) found = old;
  }
  return found;
}

// ---- drawing -------------------------------------------------------------------------------

/** The calls of the newest answers: requests or statements where there are any, else syscalls. */
function spark(service) {
  const name = service.name;
  const calls = trafficCalls(service) === null ? (one) => totals(one).calls : (one) => trafficCalls(one) || 0;
  const points = [];
  for (let i = Math.max(1, history.length - SPARK_POINTS); i < history.length; i++) {
    const now = history[i].services.find((service) => service.name === name);
    const old = history[i - 1].services.find((service) => service.name === name);
    const seconds = history[i].at_seconds - history[i - 1].at_seconds;
    points.push(now && old && seconds > 0 ? Math.max(0, calls(now) - calls(old)) / seconds : 0);
  }
  const top = Math.max(1, ...points);
  const x = (i) => ((SPARK_POINTS - points.length + i) * 100) / (SPARK_POINTS - 1);
  const line = points.map((n, i) => `${x(i).toFixed(1)} ${(29 - (n / top) * 27).toFixed(1)}`).join("L");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  if (points.length > 1) {
    for (const [kind, d] of [["area", `M${x(0)} 30L${line}L100 30Z`], ["line", `M${line}`]]) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", d);
      svg.append(path);
    }
  }
  return svg;
}

function cardContent(service, shown, first) {
  const kind = [service.kind, service.ports.length ? ":" + service.ports.join(" :") : ""].filter(Boolean).join(" ");
  const processes = service.processes === 1 ? "1 process" : service.processes + " processes";
  return [
    make("span", { class: "head" },
      make("span", { class: "name" }, service.name),
      make("span", { class: "kind", title: service.found_by }, kind),
      make("span", { class: "procs" }, processes)),
    spark(service),
    ...verdictLines(verdicts.services.find((verdict) => verdict.name === service.name)),
    ...(first.length ? [make("span", { class: "facts first" }, ...first)] : []),
    make("span", { class: "facts" },
      fact("syscalls/s", short(shown.calls)),
      fact("errors/s", short(shown.errors), shown.errors > 0),
      fact("accepts/s", short(shown.accepts)),
      fact("open conns", short(shown.open)),
      fact("in", bytes(shown.received) + "/s"),
      fact("out", bytes(shown.sent) + "/s"),
      fact("RTT p50", duration(shown.rtt)),
      fact("connect p99", duration(shown.connect))),
  ];
}

function drawCards(now, then, seconds) {
  const cards = $("cards");
  if (now.services.length === 0) {
    replace(cards, make("p", { class: "empty" },
      make("strong", {}, "No service yet. "),
      "Start Postgres or a web server and it appears here by itself; or name one in the configuration with ",
      make("code", {}, "[[service]]"), " and reload. ", make("code", {}, "hostprobe check"), " says what this host allows."));
    return;
  }
  cards.querySelectorAll(":scope > :not(button)").forEach((other) => other.remove());
  const existing = new Map([...cards.children].map((card) => [card.dataset.service, card]));
  if (!now.services.some((service) => service.name === selected)) selected = busiest(now, then, seconds);
  for (const service of now.services) {
    let card = existing.get(service.name);
    existing.delete(service.name);
    if (!card) {
      card = make("button", { class: "card", type: "button" });
      card.dataset.service = service.name;
      card.addEventListener("click", () => { selected = service.name; draw(); });
    }
    cards.append(...(card.parentNode ? [] : [card]));
    card.setAttribute("aria-pressed", String(service.name === selected));
    const shown = view(service, then, seconds, now.bounds_seconds);
    const first = headline(service, shown.before, seconds, now.latency_bounds_seconds);
    replace(card, ...cardContent(service, shown, first));
  }
  existing.forEach((card) => card.remove());
}

function busiest(now, then, seconds) {
  const ranked = now.services.map((service) =>
    [view(service, then, seconds, now.bounds_seconds).calls, totals(service).calls, service.name]);
  ranked.sort((a, b) => b[0] - a[0] || b[1] - a[1]);
  return ranked[0][2];
}

function drawDetail(now, then, seconds) {
  const service = now.services.find((service) => service.name === selected);
  $("detail").hidden = $("traffic").hidden = !service;
  if (!service) return;
  const shown = view(service, then, seconds, now.bounds_seconds);
  drawTraffic($("traffic"), service, shown.before, seconds, now.latency_bounds_seconds);
  drawDatabase($("traffic"), service, shown.before, seconds, now.latency_bounds_seconds);
  $("detail-title").textContent = "Syscalls of " + service.name;
  const facts = [
    ["found by", service.found_by || "–"],
    ["starts", short(service.starts)],
    ["exits", exits(service.exits)],
    ["retransmits/s", short(shown.retransmits)],
    ["resets/s", short(shown.resets)],
    ["failed connects/s", short(shown.connectErrors)],
    ["connect errors since start", errorText({ ...service.unix.connect_errors, ...service.tcp.connect_errors }) || "none"],
  ];
  replace($("detail-facts"), ...facts.map(([label, value]) => make("span", {}, label + " ", make("strong", {}, value))));
  const rows = service.syscalls.map((syscall) => {
    const old = shown.before && shown.before.syscalls.find((other) => other.name === syscall.name);
    const recent = between(syscall.duration, shown.before && old ? old.duration : null);
    const rate = shown.before && seconds > 0 ? (old ? recent.count : syscall.duration.count) / seconds : 0;
    const shownOver = recent.count ? recent : between(syscall.duration);
    return {
      name: syscall.name, rate, errors: syscall.errors, total: syscall.duration.count,
      mean: shownOver.count ? shownOver.sum / shownOver.count : null,
      p99: quantile(shownOver, 0.99, now.bounds_seconds),
    };
  });
  rows.sort((a, b) => b.rate - a.rate || b.total - a.total);
  if (rows.length === 0) {
    replace($("syscalls"), make("p", { class: "empty" }, make("strong", {}, "No syscall seen yet. "),
      "The service is known but has done nothing since it is watched: send it a request."));
    return;
  }
  const top = Math.max(1e-9, ...rows.map((row) => row.rate));
  replace($("syscalls"), syscallTable(rows.slice(0, TOP_SYSCALLS), top, rows.length));
}

function syscallTable(rows, top, count) {
  const heading = (text, kind, title) => make("th", { scope: "col", class: kind, title }, text);
  const body = rows.map((row) => make("tr", {},
    make("th", { scope: "row" }, row.name, bar(row.rate / top)),
    make("td", {}, short(row.rate)),
    make("td", {}, duration(row.mean)),
    make("td", {}, duration(row.p99)),
    make("td", { class: "total" }, short(row.total)),
    make("td", { class: "errors" }, ...errorSpans(row.errors))));
  const table = make("table", {},
    make("thead", {}, make("tr", {}, heading("syscall"), heading("calls/s"),
      heading("mean", null, "Waiting included"), heading("p99", null, "Waiting included"),
      heading("calls", "total", "Since the probe started"), heading("errors", "errors", "Since the probe started"))),
    make("tbody", {}, ...body));
  if (count > rows.length) {
    table.append(make("tfoot", {}, make("tr", {}, make("td", { colspan: "6", class: "muted" },
      `and ${count - rows.length} more in /metrics`))));
  }
  return table;
}

const errorSpans = (errors) =>
  Object.entries(errors).sort((a, b) => b[1] - a[1])
    .map(([name, n]) => make("span", { class: EXPECTED.test(name) ? "muted" : null }, `${name} ${short(n)}`));
const errorText = (errors) =>
  Object.entries(errors).sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name} ${short(n)}`).join(", ");
const exits = (list) =>
  list.map((exit) => `${exit.signal || "code " + exit.code} × ${exit.count}`).join(", ") || "none";

function drawProbes(now) {
  const good = { active: "good", disabled: "", failed: "bad" };
  const items = now.probes.map((probe) => make("li", {},
    make("div", { class: "row" }, make("strong", {}, probe.name),
      make("span", { class: "badge end " + good[probe.state] }, probe.state)),
    make("div", { class: "what" }, probe.what),
    ...(probe.reason ? [make("div", { class: "why " + probe.state }, probe.reason)] : [])));
  replace($("probes"), ...(items.length ? items : [make("li", {}, "No probe is known. ",
    make("code", {}, "hostprobe check"), " says why.")]));
}

/** What the decoders missed, in the words of a reader; a guess that was avoided is no loss. */
const STREAM_LOSSES = [
  ["records_lost", "socket data lost before it was decoded", "bad"],
  ["evicted", "connections dropped to decode others", "bad"],
  ["desynchronised", "connections that lost their place", "bad"],
  ["uncertain", "requests and statements not well enough seen to name or time", ""],
];

function drawLosses(now) {
  const lost = [
    ...now.losses.map((loss) => [loss.cause.replaceAll("_", " "), loss.count, "bad"]),
    ...STREAM_LOSSES.map(([key, text, kind]) => [text, now.streams[key], kind]),
  ].filter(([, count]) => count > 0).sort((a, b) => (b[2] === "bad") - (a[2] === "bad") || b[1] - a[1]);
  const parts = [];
  if (!lost.some(([, , kind]) => kind === "bad")) {
    parts.push(make("p", { class: "allgood" }, "Nothing lost: all that the active probes saw is counted."));
  }
  if (lost.length) {
    parts.push(make("ul", { class: "list" }, ...lost.map(([text, count, kind]) => make("li", {},
      make("div", { class: "row" }, text, make("span", { class: "badge end " + kind }, short(count)))))));
  }
  replace($("losses"), ...parts);
}

function drawCost(now, then, seconds) {
  const rows = now.programs.map((program) => {
    const old = then && then.programs.find((other) => other.name === program.name);
    const past = old && program.runs > old.runs ? old : { runs: 0, run_seconds: 0, measured_seconds: 0 };
    const runs = program.runs - past.runs, spent = program.run_seconds - past.run_seconds;
    const measured = program.measured_seconds - past.measured_seconds;
    return make("tr", {}, make("th", { scope: "row" }, program.name),
      make("td", {}, runs > 0 ? Math.round((spent / runs) * 1e9) + " ns" : "–"),
      make("td", {}, measured > 0 ? ((100 * spent) / measured).toFixed(2) + " %" : "–"));
  });
  const own = now.own_process, oldOwn = then && then.own_process;
  const cpu = own && oldOwn && seconds > 0
    ? ((100 * Math.max(0, own.cpu_seconds - oldOwn.cpu_seconds)) / seconds).toFixed(1) + " %" : "–";
  const heading = (text) => make("th", { scope: "col" }, text);
  const daemon = own ? [make("tr", {}, make("th", { scope: "row" }, "daemon, " + bytes(own.resident_memory_bytes)),
    make("td", {}, "–"), make("td", {}, cpu))] : [];
  replace($("cost"), make("table", {},
    make("thead", {}, make("tr", {}, heading("program"), heading("per run"), heading("of one CPU"))),
    make("tbody", {}, ...rows, ...daemon)));
}

function draw() {
  const now = history[history.length - 1];
  if (!now) return;
  const then = reference();
  const seconds = then ? now.at_seconds - then.at_seconds : 0;
  $("version").textContent = `${now.about.version} · Linux ${now.about.kernel} · up ${uptime(now.about.uptime_seconds)}`;
  $("summary").textContent = now.about.ready ? now.about.summary : "Not ready: " + now.about.not_ready_because;
  drawCards(now, then, seconds);
  drawFindings($("findings"), now.findings);
  drawDetail(now, then, seconds);
  drawHost($("host"), now, then, seconds);
  drawProbes(now);
  drawLosses(now);
  drawHints($("hints"), verdicts.host);
  drawCost(now, then, seconds);
}

// ---- polling -------------------------------------------------------------------------------

function connection(text, kind) {
  const badge = $("connection");
  if (badge.textContent !== text) badge.textContent = text;
  badge.className = "badge " + kind;
}

async function poll() {
  try {
    const slow = askSlow();
    const ask = (path) => fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
    const [response, judged] = await Promise.all([ask("/api/overview"), ask("/api/verdict")]);
    const answer = await response.json();
    if (judged.ok) verdicts = await judged.json();
    if (!response.ok) {
      $("summary").textContent = answer.detail;
      throw new Error(answer.detail);
    }
    const last = history[history.length - 1];
    // Another start time is another daemon: its totals began at zero.
    if (last && last.about.started_at_seconds !== answer.about.started_at_seconds) history.length = 0;
    history.push(answer);
    while (answer.at_seconds - history[0].at_seconds > KEEP_SECONDS) history.shift();
    failures = 0;
    connection("live", "good");
    draw();
    drawSlow($("slow"), await slow);
    // Beside it: databases that are slow to answer must not hold the page up.
    pollActivity($("activity")).catch(() => {});
    pollPatterns().catch(() => {});
  } catch (error) {
    failures += 1;
    connection(failures > 1 ? "no answer: is hostprobe running?" : "waiting", failures > 1 ? "bad" : "");
  }
  setTimeout(poll, document.hidden ? POLL_MS * 5 : POLL_MS);
}

$("window").addEventListener("change", draw);
document.addEventListener("visibilitychange", draw);
poll();
followAdvice($("advice"));
