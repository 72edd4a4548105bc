// The latest slow statements, from /api/slow-queries.
import { make, replace } from "./elements.js";
import { duration, short } from "./numbers.js";

const SHOWN = 10;
const PATH = "/api/slow-queries?limit=" + SHOWN;

/** The answer, or null when there is none this time: the numbers above go on. */
export async function askSlow() {
  try {
    const response = await fetch(PATH, { cache: "no-store", signal: AbortSignal.timeout(8000) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Today the time alone, before that the day with it. */
function when(at) {
  const time = new Date(at), today = new Date().toDateString() === time.toDateString();
  const clock = time.toLocaleTimeString("en-GB");
  return today ? clock : time.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) + " " + clock;
}

function row(query) {
  const seen = query.side === "client" ? "sent by" : "run by";
  const place = query.route === null ? "" : `${query.method} ${query.route}`;
  const sql = query.fingerprint === null ? make("span", { class: "muted" }, "prepared before the probe came")
    : make("code", { class: "statement", title: `${query.text || query.sql}\n\nfingerprint ${query.fingerprint}` }, query.sql);
  const who = [query.database, query.user && "as " + query.user, query.application_name, query.client && "from " + query.client];
  return make("tr", {},
    make("td", { title: query.at }, when(query.at)),
    make("td", { title: query.shared_latency ? "together with others that were sent with it" : null },
      (query.shared_latency ? "≤ " : "") + duration(query.duration_seconds)),
    make("td", {}, duration(query.ttfb_seconds)),
    make("td", { class: "text", title: seen + " this service" }, query.service),
    make("td", { class: "text", title: who.filter(Boolean).join(" ") }, query.database || "–"),
    make("td", { class: "text" }, place || "–"),
    make("th", { scope: "row", class: "text sql" }, sql),
    make("td", {}, query.rows === null ? "–" : short(query.rows)),
    make("td", { class: query.sqlstate === null ? "muted" : "bad" }, query.sqlstate || "–"));
}

/** Nothing is drawn while there are none. */
export function drawSlow(section, answer) {
  if (answer === null) return;
  const queries = answer.slow_queries;
  section.hidden = queries.length === 0;
  if (section.hidden) return;
  const heading = (text, attributes) => make("th", { scope: "col", ...attributes }, text);
  const text = { class: "text" };
  const table = make("table", { "aria-labelledby": "slow-title" },
    make("thead", {}, make("tr", {}, heading("ended"), heading("took"), heading("first byte"), heading("service", text),
      heading("database", text), heading("route", text), heading("statement", text), heading("rows"), heading("error"))),
    make("tbody", {}, ...queries.map(row)));
  if (answer.next !== null || answer.source === "memory") {
    table.append(make("tfoot", {}, make("tr", {}, make("td", { colspan: "9", class: "muted" },
      ...(answer.next === null ? [] : ["more in ", make("a", { href: "/api/slow-queries" }, "/api/slow-queries"), " and with hostprobe slow. "]),
      answer.source === "memory" ? `Only the latest are remembered: ${answer.source_reason}.` : ""))));
  }
  replace(section.querySelector(".scroll"), table);
}
