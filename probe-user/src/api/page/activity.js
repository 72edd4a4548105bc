// What Postgres and PgBouncer say themselves, for each database that is asked.
import { make, replace } from "./elements.js";
import { bytes, duration, short } from "./numbers.js";

const CHAINS = 5;
const LONG_SECONDS = 5;

/** Postgres' own words, and the classes that the state bar has for them. */
const STATES = [
  ["active", "active", ""], ["idle", "idle", ""],
  ["idle in transaction", "idle_in_transaction", "warn"],
  ["idle in transaction (aborted)", "idle_in_transaction_aborted", "bad"],
];
const stateClass = (state) => (STATES.find(([name]) => name === state) || ["", "unknown"])[1];

/** Asks at most as often as the page draws; a failure leaves what was there. */
export async function pollActivity(section) {
  const response = await fetch("/api/database", { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!response.ok) return;
  drawActivity(section, (await response.json()).databases);
}

/** One panel for each database; nothing is drawn when none is configured. */
export function drawActivity(section, databases) {
  section.hidden = databases.length === 0;
  if (section.hidden) return;
  replace(section.querySelector(".columns"), ...databases.map(panel));
}

function panel(database) {
  const server = database.server;
  const about = server ? `Postgres ${server.version}${server.standby ? " · standby" : ""} · ${server.datname}` : "Postgres";
  return make("div", { class: "panel asked" },
    make("div", { class: "row" },
      make("strong", {}, database.name), make("span", { class: "muted" }, about),
      make("span", { class: "badge end " + (database.up ? "good" : "bad") }, database.up ? "answers" : "no answer")),
    ...problem(database),
    ...(server && database.up ? content(server) : []),
    ...(database.pgbouncer ? pooler(database.pgbouncer) : []));
}

const problem = (link) =>
  link.problem ? [make("p", { class: "why" }, `${link.problem.step}: ${link.problem.message}. `, make("span", { class: "muted" }, link.problem.hint + "."))] : [];

function content(server) {
  return [
    ...(server.connections ? connections(server.connections, server.sessions) : []),
    ...(server.sessions ? activity(server.sessions) : []),
    ...(server.locks ? locks(server.locks) : []),
    facts(server),
    ...server.missing.map((missing) => make("p", { class: "missing muted" },
      `Not known: ${missing.cost}, because ${missing.why}. `, make("code", {}, missing.remedy))),
  ];
}

/** All connections as one bar: by state, and what is left. */
function connections(limits, sessions) {
  const states = sessions ? Object.entries(sessions.by_state).sort((a, b) => order(a[0]) - order(b[0])) : [["unknown", limits.used]];
  const parts = states.map(([state, count]) => {
    const part = make("span", { class: stateClass(state) });
    part.style.width = (100 * count / Math.max(1, limits.usable)).toFixed(1) + "%";
    return part;
  });
  const kind = { enough: "", tight: "warn", none: "bad" }[limits.headroom];
  return [
    make("div", { class: "statebar", "aria-hidden": "true" }, ...parts),
    make("div", { class: "states" },
      make("span", { class: kind ? "state " + kind : "" }, make("strong", {}, `${short(limits.used)} of ${short(limits.usable)}`), " connections"),
      ...states.map(([state, count]) => make("span", { class: "state " + stateClass(state) + " " + alarm(state) },
        make("strong", {}, short(count)), " " + state))),
    ...(kind ? [make("p", { class: limits.headroom === "none" ? "why" : "tight" }, limits.verdict + ".")] : []),
  ];
}

const order = (state) => {
  const index = STATES.findIndex(([name]) => name === state);
  return index < 0 ? STATES.length : index;
};
const alarm = (state) => (STATES.find(([name]) => name === state) || ["", "", ""])[2];

function activity(sessions) {
  const waits = Object.entries(sessions.waits).sort((a, b) => b[1] - a[1]).slice(0, 4)
    .map(([name, count]) => `${name} ${short(count)}`).join(", ");
  const age = (label, seconds, limit) =>
    make("span", {}, label + " ", make("strong", { class: seconds > limit ? "bad" : null }, seconds === null ? "none" : duration(Math.max(seconds, 0.001))));
  return [make("div", { class: "more" },
    age("longest transaction", sessions.longest_transaction_seconds, 60),
    age("longest statement", sessions.longest_statement_seconds, 30),
    age("oldest idle in transaction", sessions.oldest_idle_in_transaction_seconds, LONG_SECONDS),
    make("span", {}, "active ones wait for ", make("strong", {}, waits || "nothing")))];
}

function locks(locks) {
  if (locks.waiting === 0) return [];
  const more = locks.chains.length - CHAINS;
  return [make("ul", { class: "blockers" },
    ...locks.chains.slice(0, CHAINS).map((chain) => make("li", { class: "why" }, chain.sentence)),
    ...(more > 0 ? [make("li", { class: "muted" }, `and ${more} more in `, make("a", { href: "/api/database" }, "/api/database"))] : []))];
}

function facts(server) {
  const size = server.counters.reduce((sum, counts) => sum + (counts.size_bytes || 0), 0);
  const hit = server.counters.reduce((sum, counts) => sum + counts.blocks_hit, 0);
  const read = server.counters.reduce((sum, counts) => sum + counts.blocks_read, 0);
  const behind = server.replication && server.replication.behind_seconds;
  const followers = server.replication ? server.replication.followers.length : 0;
  const unused = server.replication ? server.replication.slots.filter((slot) => !slot.active) : [];
  const worst = server.tables[0];
  const list = [
    ["size", bytes(size)],
    ["found in buffers", hit + read > 0 ? ((100 * hit) / (hit + read)).toFixed(1) + " %" : "–"],
    ["deadlocks", short(server.counters.reduce((sum, counts) => sum + counts.deadlocks, 0))],
    ...(server.standby ? [["behind", behind === null ? "not known" : duration(Math.max(behind, 0.001))]] : []),
    ...(followers > 0 ? [["followers", short(followers)]] : []),
    ...unused.map((slot) => ["unused slot " + slot.name + " keeps", bytes(slot.kept_bytes || 0)]),
    ...(worst ? [["most dead rows", `${worst.schema}.${worst.name} ${short(worst.dead_rows)}`]] : []),
  ];
  return make("div", { class: "more" }, ...list.map(([label, value]) => make("span", {}, label + " ", make("strong", {}, value))));
}

function pooler(console) {
  const title = make("div", { class: "row pooler" },
    make("span", { class: "muted" }, "PgBouncer " + (console.version || "")),
    make("span", { class: "badge end " + (console.up ? "good" : "bad") }, console.up ? "answers" : "no answer"));
  if (!console.up) return [title, ...problem(console)];
  const pools = console.pools.filter((pool) => pool.datname !== "pgbouncer");
  return [title, ...pools.map((pool) => make("div", { class: "more" },
    make("span", {}, make("strong", {}, `${pool.datname} as ${pool.user}`)),
    make("span", {}, "clients ", make("strong", {}, short(pool.clients_active || 0))),
    make("span", {}, "waiting ", make("strong", { class: pool.clients_waiting > 0 ? "bad" : null }, short(pool.clients_waiting || 0)),
      ...(pool.maxwait_seconds > 0 ? [" for up to ", make("strong", { class: "bad" }, duration(pool.maxwait_seconds))] : [])),
    make("span", {}, "server connections ", make("strong", {}, short(pool.servers_active || 0)), " active, ",
      make("strong", {}, short((pool.servers_idle || 0) + (pool.servers_used || 0))), " free")))];
}
