// What the statements of the last hour are like, beside their numbers of now: the trend against the
// hour before, the routes that run them, and what stands out.
import { make } from "./elements.js";
import { duration, short } from "./numbers.js";

const EVERY_MS = 10_000;
/** Less change than this is noise. */
const STEADY = 0.1;
/** From here on more time is worth a colour. */
const MUCH = 0.5;

const known = new Map();
let missing = "not asked yet", asked = 0;

const key = (service, side, fingerprint) => [service, side, fingerprint].join("\n");

/** Asks now and then: an hour does not change within seconds. */
export async function pollPatterns() {
  if (Date.now() - asked < EVERY_MS) return;
  asked = Date.now();
  const response = await fetch("/api/queries?window=1h&limit=1000", { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!response.ok) return;
  const answer = await response.json();
  known.clear();
  for (const query of answer.queries) known.set(key(query.service, query.side, query.fingerprint), query);
  missing = answer.trend.missing;
}

export const patternOf = (service, side, fingerprint) => known.get(key(service, side, fingerprint)) || null;

/** By how much the statement takes more or less time than in the hour before. */
export function trendCell(pattern) {
  const change = pattern && pattern.trend && pattern.trend.total_change;
  if (!pattern || !pattern.trend) return make("td", { class: "muted", title: missing || "no statement in the last hour" }, "–");
  if (change === null) return make("td", { title: "It did not run in the hour before" }, "new");
  const { trend } = pattern;
  const title = `In the hour before: ${short(trend.calls_per_hour)} calls, ${duration(trend.seconds_per_hour)} in all, `
    + `${duration(trend.mean_seconds)} each (now ${percent(trend.mean_change)}).\n`
    + `In the last hour: p50 ${duration(pattern.p50_seconds)}, p95 ${duration(pattern.p95_seconds)}, p99 ${duration(pattern.p99_seconds)}.`;
  return make("td", { class: change > MUCH ? "bad" : Math.abs(change) < STEADY ? "muted" : null, title }, percent(change));
}

function percent(change) {
  if (change === null) return "–";
  if (Math.abs(change) < STEADY) return "steady";
  if (change >= 9.95) return "× " + short(change + 1);
  return (change > 0 ? "+" : "−") + Math.round(Math.abs(change) * 100) + " %";
}

/** Where a statement comes from and what is wrong with it, in a line below it. */
export function hints(pattern) {
  if (!pattern) return [];
  const [first, ...others] = pattern.routes;
  const loops = pattern.findings.map((found) =>
    make("span", { class: "badge bad", title: found.advice }, found.pattern === "n_plus_one" ? "N+1" : "repeated"));
  const scan = pattern.full_scan
    ? [make("span", { class: "badge", title: pattern.full_scan.why }, `${pattern.full_scan.certainty}: full scan`)] : [];
  const from = first
    ? [make("span", { class: "muted" }, `from ${first.method} ${first.route}` + (others.length ? ` and ${others.length} more` : ""))] : [];
  const all = [...scan, ...loops, ...from];
  return all.length ? [make("span", { class: "hints" }, ...all)] : [];
}
