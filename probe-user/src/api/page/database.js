// Postgres beside its statements by kind: those that take most of the time, and the connections.
import { bar, make, replace } from "./elements.js";
import { between, duration, quantile, short } from "./numbers.js";
import { hints, patternOf, trendCell } from "./patterns.js";

const TOP_ROWS = 15;

/** Both ends of one connection may be traced: each has its own sections. */
const SIDES = [
  { side: "server", statements: "Top statements of ", connections: "Connections to " },
  { side: "client", statements: "Top statements sent by ", connections: "Database connections of " },
];

/** States, with the words for them and how much there is to worry about. */
const STATES = [
  ["active", "active"], ["idle", "idle"],
  ["idle_in_transaction", "idle in transaction", "warn"],
  ["idle_in_transaction_aborted", "idle in failed transaction", "bad"],
  ["connecting", "connecting"], ["replication", "replication"], ["unknown", "not known"],
];

const NAMES = { other: "all other statements", unknown: "statements whose text was not seen" };

/** The sections of both sides, which stay, so that focus does too. */
export function drawDatabase(parent, service, before, seconds, bounds) {
  for (const kind of SIDES) {
    const now = service.database[kind.side], old = before && before.database[kind.side];
    drawStatements(parent, kind, service.name, now, old, seconds, bounds);
    drawConnections(parent, kind, service.name, now, old, seconds, bounds);
  }
}

function sectionOf(parent, id, body) {
  const known = document.getElementById(id);
  if (known) return known;
  return parent.appendChild(make("section", { id, "aria-labelledby": id + "-title" },
    make("h2", { id: id + "-title" }), body(id + "-title")));
}

// ---- statements ----------------------------------------------------------------------------

function drawStatements(parent, kind, name, now, old, seconds, bounds) {
  const section = sectionOf(parent, "top-statements-" + kind.side, (title) =>
    make("div", { class: "scroll", role: "region", "aria-labelledby": title, tabindex: "0" }));
  section.hidden = now.statements.length === 0;
  if (section.hidden) return;
  replace(section.querySelector("h2"), kind.statements + name, " ",
    make("span", { class: "note" }, "most total time first, without literals"));
  const rows = now.statements.map((series) => ({
    ...statementRow(series, old, seconds), pattern: patternOf(name, kind.side, series.fingerprint),
  }));
  // A quiet window orders nothing: then the whole time since the start does.
  const quiet = rows.every((row) => row.recent.spent === 0);
  const spent = (row) => (quiet ? row.total.spent : row.recent.spent);
  const all = rows.reduce((sum, row) => sum + spent(row), 0);
  const isRest = (row) => Number(row.series.text === null);
  rows.sort((a, b) => isRest(a) - isRest(b) || spent(b) - spent(a) || b.total.spent - a.total.spent);
  replace(section.querySelector(".scroll"),
    statementTable(section.id, rows, (row) => (all > 0 ? spent(row) / all : 0), seconds, old, bounds));
}

function statementRow(series, old, seconds) {
  const past = old && old.statements.find((other) => other.fingerprint === series.fingerprint);
  // What was displaced and came back began at zero again.
  const valid = past && past.calls <= series.calls ? past : null;
  const since = (key) => series[key] - (valid ? valid[key] : 0);
  const histogram = (of) => ({ count: of.counts.reduce((sum, n) => sum + n, 0), sum_seconds: of.sum_seconds, counts: of.counts });
  return {
    series,
    recent: old && seconds > 0
      ? { calls: since("calls"), errors: since("errors"), rows: since("rows"), spent: Math.max(0, since("sum_seconds")),
        timing: between(histogram(series), valid && histogram(valid)) }
      : { calls: 0, errors: 0, rows: 0, spent: 0, timing: { count: 0, sum: 0, counts: [] } },
    total: { calls: series.calls, errors: series.errors, rows: series.rows, spent: series.sum_seconds,
      timing: between(histogram(series)) },
  };
}

function statementTable(id, rows, share, seconds, old, bounds) {
  const heading = (text, attributes) => make("th", { scope: "col", ...attributes }, text);
  const named = rows.filter((row) => row.series.text !== null), rest = rows.filter((row) => row.series.text === null);
  const hidden = named.slice(TOP_ROWS);
  const rate = (count) => (old && seconds > 0 ? count / seconds : 0);
  const line = (row) => {
    const shown = row.recent.calls ? row.recent : row.total;
    const part = share(row);
    return make("tr", {},
      make("th", { scope: "row", class: "text sql" }, statementName(row.series), ...hints(row.pattern), bar(part)),
      make("td", {}, part > 0 ? (100 * part).toFixed(part < 0.0995 ? 1 : 0) + " %" : "–"),
      trendCell(row.pattern),
      make("td", {}, short(rate(row.recent.calls))),
      make("td", { class: row.recent.errors > 0 ? "bad" : "muted" }, short(rate(row.recent.errors))),
      make("td", {}, duration(shown.calls ? shown.spent / shown.calls : null)),
      make("td", {}, duration(quantile(shown.timing, 0.95, bounds))),
      make("td", {}, short(shown.calls ? shown.rows / shown.calls : 0)));
  };
  const table = make("table", { "aria-labelledby": id + "-title" },
    make("thead", {}, make("tr", {}, heading("statement", { class: "text" }), heading("of time"),
      heading("trend", { title: "Time of the last hour against the hour before" }),
      heading("calls/s"), heading("errors/s"), heading("mean"), heading("p95"), heading("rows/call"))),
    make("tbody", {}, ...[...named.slice(0, TOP_ROWS), ...rest].map(line)));
  if (hidden.length) {
    table.append(make("tfoot", {}, make("tr", {}, make("td", { colspan: "8", class: "muted" },
      `and ${hidden.length} more in /metrics`))));
  }
  return table;
}

function statementName({ text, fingerprint }) {
  if (text === null) return make("span", { class: "muted" }, NAMES[fingerprint] || fingerprint);
  return make("code", { class: "statement", title: `${text}\n\nfingerprint ${fingerprint}` }, text);
}

// ---- connections ---------------------------------------------------------------------------

function drawConnections(parent, kind, name, now, old, seconds, bounds) {
  const section = sectionOf(parent, "connections-" + kind.side, () => make("div", { class: "panel" }));
  const open = Object.values(now.connections).reduce((sum, n) => sum + n, 0);
  section.hidden = Object.keys(now.connections).length === 0;
  if (section.hidden) return;
  replace(section.querySelector("h2"), kind.connections + name, " ",
    make("span", { class: "note" }, `${short(open)} open that were used since the start`));
  const rate = (count, past) => (old && seconds > 0 ? Math.max(0, count - past) / seconds : 0);
  const connect = between(now.connect, old && old.connect);
  const shown = connect.count ? connect : between(now.connect);
  const facts = [
    ["connects/s", short(rate(now.connect.count, old ? old.connect.count : 0))],
    ["connect p95", duration(quantile(shown, 0.95, bounds))],
    ["commits/s", short(rate(now.committed, old ? old.committed : 0))],
    ["rollbacks/s", short(rate(now.rolled_back, old ? old.rolled_back : 0))],
    ["cancels", short(now.cancels)],
    ["refused", reasons(now.connection_errors), true],
    ["session errors", reasons(now.session_errors), true],
  ].filter(([, value]) => value !== "");
  replace(section.querySelector(".panel"),
    stateBar(now.connections, open),
    make("div", { class: "states" }, ...STATES
      .filter(([state]) => now.connections[state] > 0)
      .map(([state, text, kind]) => make("span", { class: "state " + state + (kind ? " " + kind : "") },
        make("strong", {}, short(now.connections[state])), " " + text))),
    make("div", { class: "more" }, ...facts.map(([label, value, bad]) =>
      make("span", {}, label + " ", make("strong", { class: bad ? "bad" : null }, value)))));
}

const reasons = (counts) =>
  Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name.replaceAll("_", " ")} ${short(n)}`).join(", ");

/** Shares through the style object, as elsewhere. */
function stateBar(connections, open) {
  const parts = STATES.filter(([state]) => connections[state] > 0).map(([state]) => {
    const part = make("span", { class: state });
    part.style.width = ((100 * connections[state]) / open).toFixed(1) + "%";
    return part;
  });
  return make("div", { class: "statebar", "aria-hidden": "true" }, ...parts);
}
