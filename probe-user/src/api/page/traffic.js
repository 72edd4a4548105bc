// Requests and statements: the headline of a service's card, and a table per kind.
import { bar, fact, make, replace } from "./elements.js";
import { between, duration, quantile, short, together } from "./numbers.js";

const TOP_ROWS = 20;

const REQUEST = {
  quantile: 0.95,
  unit: "requests/s",
  problems: ({ status }, calls, aborted) => [
    ...(status >= 400 ? [[String(status), status >= 500 ? calls : calls - aborted, status >= 500]] : []),
    ...(status >= 500 ? [] : [["aborted", aborted, true]]),
    ...(status === null ? [["status not seen", calls - aborted, false]] : []),
  ],
  problemTitle: "not OK/s, by status",
};
const STATEMENT = {
  quantile: 0.99,
  unit: "calls/s",
  problems: ({ outcome, sqlstate }, calls) => [
    ...(outcome === "error" ? [[sqlstate, calls, true]] : []),
    ...(outcome === "unknown" ? [["answer not seen", calls, false]] : []),
  ],
  problemTitle: "errors/s, by SQLSTATE",
  rows: true,
};
/** A narrow screen may break a route where its segments begin. */
const breakable = (text) =>
  make("span", {}, ...text.split(/(?=\/)/).flatMap((part, i) => (i ? [make("wbr"), part] : [part])));
const statementCells = (series) => [series.operation,
  series.database || make("span", { class: "muted" }, "not seen")];

/** What can be told of a service; `names` are the columns that a row stands for. */
const KINDS = [
  { ...REQUEST, id: "requests", title: "Requests of ", headings: ["route"], card: "requests/s",
    note: ({ http }) => (http.users ? ` · ${short(http.users)} ${http.users === 1 ? "user" : "users"} in the last 5 min` : ""),
    db: (service) => service.db.routes,
    series: (service) => service.http.requests, names: (series) => [series.method, series.route],
    cells: (series) => [breakable(series.method + " " + series.route)] },
  { ...STATEMENT, id: "statements", title: "Statements of ", headings: ["operation", "database"], card: "statements/s",
    series: (service) => service.postgres, names: (series) => [series.operation, series.database], cells: statementCells },
  { ...REQUEST, id: "requests-made", title: "Requests made by ", headings: ["server"], card: "HTTP out/s", client: true,
    series: (service) => service.http_client, names: (series) => [series.method, series.server],
    cells: (series) => [series.method + " " + series.server] },
  { ...STATEMENT, id: "statements-sent", title: "Statements sent by ", headings: ["operation", "database"],
    card: "SQL out/s", client: true,
    series: (service) => service.db_client, names: (series) => [series.operation, series.database], cells: statementCells },
];

const has = (kind, service) =>
  kind.series(service).length > 0 || (kind.id === "requests" && service.http.active > 0);

/** The kinds that a card begins with: what a service answers, else what it asks of others. */
function headlineKinds(service) {
  const answered = KINDS.filter((kind) => !kind.client && has(kind, service));
  return answered.length ? answered : KINDS.filter((kind) => kind.client && has(kind, service));
}

// ---- from series to rows -------------------------------------------------------------------

/** Not every statement is timed: the buckets may hold fewer than the calls. */
const timing = (series) =>
  ({ count: series.counts.reduce((sum, n) => sum + n, 0), sum_seconds: series.sum_seconds, counts: series.counts });

const NOTHING = { count: 0, sum: 0, counts: [] };

function emptyRow(series) {
  return { series, calls: 0, rows: 0, errors: 0, problems: new Map(), recent: NOTHING,
    total: { calls: 0, rows: 0, timing: NOTHING } };
}

/** Adds what a series counted, in all and since the older answer. */
function add(row, kind, now, old) {
  const since = (key) => Math.max(0, (now[key] || 0) - (old ? old[key] || 0 : 0));
  row.calls += since("calls");
  row.rows += since("rows");
  row.recent = together(row.recent, between(timing(now), old && timing(old)));
  row.total.calls += now.calls;
  row.total.rows += now.rows || 0;
  row.total.timing = together(row.total.timing, between(timing(now)));
  for (const [name, count, bad] of kind.problems(now, since("calls"), since("aborted"))) {
    if (count <= 0) continue;
    row.problems.set(name, { bad, count: count + (row.problems.get(name)?.count || 0) });
    if (bad) row.errors += count;
  }
}

/** Rows by what `name` makes of a series, so that statuses and outcomes come together. */
function collect(kind, service, before, name) {
  const identity = (series) => JSON.stringify([...kind.names(series), series.status, series.outcome, series.sqlstate]);
  const older = new Map((before ? kind.series(before) : []).map((series) => [identity(series), series]));
  const rows = new Map();
  for (const series of kind.series(service)) {
    const key = name(series);
    if (!rows.has(key)) rows.set(key, emptyRow(series));
    add(rows.get(key), kind, series, older.get(identity(series)));
  }
  return [...rows.values()];
}

/** The time that each row waited for the database, and its statements; all that is certain. */
function addDb(kind, rows, service, before) {
  const identity = ({ method, route }) => JSON.stringify([method, route]);
  const byRow = new Map(rows.map((row) => [identity(row.series), row]));
  const older = new Map((before ? kind.db(before) : []).map((db) => [identity(db), db]));
  for (const db of kind.db(service)) {
    const row = byRow.get(identity(db));
    if (!row) continue;
    const old = older.get(identity(db)) || { statements: 0, seconds: 0 };
    row.db = { statements: db.statements - old.statements, seconds: db.seconds - old.seconds };
    row.total.db = db;
  }
}

/** Of a request: its share of the duration that was the database's, and its statements. */
function dbCell(row) {
  const recent = row.recent.count > 0;
  const db = recent ? row.db : row.total.db;
  const { count, sum } = recent ? row.recent : row.total.timing;
  if (!db || !db.statements || !count) return make("td", { class: "muted" }, "–");
  const share = sum > 0 ? Math.min(100, Math.round((100 * db.seconds) / sum)) + " %" : "";
  return make("td", { title: `${short(db.statements / count)} statements a request; ${share} of its time` },
    duration(db.seconds / count), " ", make("span", { class: "muted" }, "× " + short(db.statements / count)));
}

/** What could not be told, so that nobody takes the column for the whole. */
function unattributedNote(service) {
  const sum = (list) => list.reduce((total, one) => total + one.statements, 0);
  const missing = sum(service.db.unattributed), all = missing + sum(service.db.routes);
  if (!missing) return [];
  const reasons = service.db.unattributed.filter((one) => one.statements > 0)
    .sort((a, b) => b.statements - a.statements).map((one) => `${one.reason.replaceAll("_", " ")} ${short(one.statements)}`);
  const percent = (100 * missing) / all;
  return [" ", make("span", { class: "note", title: reasons.join(", ") },
    `· ${percent < 1 ? "under 1" : Math.round(percent)} % of the statements belong to no route for certain`)];
}

/** A quiet moment says nothing: then the whole time since the start does. */
const observed = (row) => (row.recent.count ? row.recent : row.total.timing);

// ---- drawing -------------------------------------------------------------------------------

/** All calls that the card's curve shows; null when nothing was decoded of the service. */
export function trafficCalls(service) {
  const kind = headlineKinds(service)[0];
  return kind ? kind.series(service).reduce((sum, series) => sum + series.calls, 0) : null;
}

/** The first facts of a card; none when nothing was decoded of the service. */
export function headline(service, before, seconds, bounds) {
  return headlineKinds(service).flatMap((kind) => {
    const row = collect(kind, service, before, () => "all")[0] || emptyRow({});
    const per = (count) => (before && seconds > 0 ? count / seconds : 0);
    return [
      fact(kind.card, short(per(row.calls))),
      fact("p95", duration(quantile(observed(row), 0.95, bounds))),
      fact("failed/s", short(per(row.errors)), per(row.errors) > 0),
      kind.rows ? fact("rows/s", short(per(row.rows)))
        : kind.client ? fact("servers", short(new Set(service.http_client.map((series) => series.server)).size))
          : fact("in progress", short(service.http.active)),
    ];
  });
}

/** A table for each kind that the service has, in sections that stay, so that focus does too. */
export function drawTraffic(parent, service, before, seconds, bounds) {
  for (const kind of KINDS) {
    const section = document.getElementById(kind.id) || parent.appendChild(emptySection(kind));
    const rows = collect(kind, service, before, (series) => JSON.stringify(kind.names(series)));
    section.hidden = rows.length === 0;
    if (section.hidden) continue;
    replace(section.querySelector("h2"), kind.title + service.name, " ",
      make("span", { class: "note" }, "most total time first" + (kind.note ? kind.note(service) : "")),
      ...(kind.db ? unattributedNote(service) : []));
    if (kind.db) addDb(kind, rows, service, before);
    // Comparing means sorting by one thing: what a quiet window can't order, the whole time does.
    rows.sort((a, b) => b.recent.sum - a.recent.sum || b.total.timing.sum - a.total.timing.sum);
    const rate = (count) => (before && seconds > 0 ? count / seconds : 0);
    const columns = kind.db && kind.db(service).length > 0 ? { ...kind, withDb: true } : kind;
    replace(section.querySelector(".scroll"), table(columns, rows, rate, bounds));
  }
}

function emptySection(kind) {
  const title = kind.id + "-title";
  return make("section", { id: kind.id, "aria-labelledby": title },
    make("h2", { id: title }),
    make("div", { class: "scroll", role: "region", "aria-labelledby": title, tabindex: "0" }));
}

function table(kind, rows, rate, bounds) {
  const quiet = rows[0].recent.sum === 0;
  const spent = (row) => (quiet ? row.total.timing.sum : row.recent.sum);
  const top = Math.max(1e-12, spent(rows[0]));
  const heading = (text, attributes) => make("th", { scope: "col", ...attributes }, text);
  const percent = "p" + Math.round(kind.quantile * 100);
  const headings = [
    ...kind.headings.map((text) => heading(text, { class: "text" })),
    heading(kind.unit), heading("errors/s"), heading("mean"), heading(percent),
    ...(kind.withDb ? [heading("database", { title: "Time and statements a request, where that is certain" })] : []),
    kind.rows ? heading("rows/call") : heading("calls", { class: "total", title: "Since the probe started" }),
    heading(kind.problemTitle, { class: "errors" }),
  ];
  const element = make("table", { "aria-labelledby": kind.id + "-title" },
    make("thead", {}, make("tr", {}, ...headings)),
    make("tbody", {}, ...rows.slice(0, TOP_ROWS).map((row) => tableRow(kind, row, spent(row) / top, rate, bounds))));
  if (rows.length > TOP_ROWS) {
    element.append(make("tfoot", {}, make("tr", {}, make("td", { colspan: String(headings.length), class: "muted" },
      `and ${rows.length - TOP_ROWS} more in /metrics`))));
  }
  return element;
}

function tableRow(kind, row, share, rate, bounds) {
  const shown = observed(row);
  const [first, ...others] = kind.cells(row.series);
  const per = row.calls ? row.rows / row.calls : row.total.calls ? row.total.rows / row.total.calls : 0;
  return make("tr", {},
    make("th", { scope: "row", class: "text" }, first, bar(share)),
    ...others.map((cell) => make("td", { class: "text" }, cell)),
    make("td", {}, short(rate(row.calls))),
    make("td", { class: rate(row.errors) > 0 ? "bad" : "muted" }, short(rate(row.errors))),
    make("td", {}, duration(shown.count ? shown.sum / shown.count : null)),
    make("td", {}, duration(quantile(shown, kind.quantile, bounds))),
    ...(kind.withDb ? [dbCell(row)] : []),
    kind.rows ? make("td", {}, short(per)) : make("td", { class: "total" }, short(row.total.calls)),
    make("td", { class: "errors" }, ...problems(row, rate)));
}

/** Errors first, then what only the caller did wrong. */
const problems = (row, rate) =>
  [...row.problems].filter(([, { count }]) => rate(count) > 0)
    .sort(([, a], [, b]) => b.bad - a.bad || b.count - a.count)
    .map(([name, { count, bad }]) => make("span", { class: bad ? "bad" : "muted" }, `${name} ${short(rate(count))}`));
