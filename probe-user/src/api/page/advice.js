// Advice on indexes: what is missing, with the proof, and what is not worth its cost.
import { make, replace } from "./elements.js";
import { bytes, duration, short } from "./numbers.js";

const SHOWN = 8;
const EVERY_MS = 15000;

const TITLE = {
  missing_index: "missing index", unproven_index: "unproven index", stale_statistics: "old statistics", invalid_index: "invalid index",
  duplicate_index: "duplicate index", redundant_index: "redundant index", unused_index: "unused index",
};

const percent = (share) => Math.floor(share * 100) + " %";

function statement(one) {
  const gain = one.gain ? `, cost ${short(Math.round(one.gain.cost_before))} → ${short(Math.round(one.gain.cost_after))}` : "";
  const routes = one.routes.length === 0 ? "" : ` for ${one.routes.join(", ")}`;
  return make("div", {},
    make("div", { class: "what" }, `${one.services.join(", ")}${routes}: ${short(one.calls)} calls, ${duration(one.total_seconds)} in all${gain}`),
    make("code", { class: "sql" }, one.sql));
}

function item(advice) {
  const { table, index, gain } = advice;
  const size = index && index.bytes !== undefined ? `, index ${gain ? "about " : ""}${bytes(index.bytes)}` : "";
  const saved = gain ? make("span", { class: "badge end" }, `cost −${percent(gain.saved_share)}`) : make("span", { class: "muted end" }, "");
  return make("li", {},
    make("div", { class: "row" },
      make("span", {}, make("span", { class: "muted" }, advice.database + ": "), make("strong", {}, TITLE[advice.kind] || advice.kind), " ",
        advice.summary, ". ", make("span", { class: "muted" }, `${table.name}: ${short(Math.round(table.rows))} rows, ${bytes(table.bytes)}${size}`)),
      saved),
    make("pre", { class: "copy", tabindex: "0" }, advice.statement),
    ...advice.statements.slice(0, 3).map(statement));
}

/** What stands in the way, one line for each database; nothing when all is well. */
function trouble(database) {
  if (database.state === "failed") return [make("li", { class: "muted" }, `${database.name}: ${database.reason}`)];
  if (database.state === "done" && !database.hypopg.usable) return [make("li", { class: "muted" }, `${database.name}: ${database.hypopg.reason}`)];
  return [];
}

function draw(section, answer) {
  const troubles = answer.databases.flatMap(trouble);
  section.hidden = answer.advice.length === 0 && troubles.length === 0;
  if (section.hidden) return;
  const more = answer.advice.length - SHOWN;
  replace(section.querySelector("ul"), ...answer.advice.slice(0, SHOWN).map(item),
    ...(more > 0 ? [make("li", { class: "muted" }, `and ${more} more in `, make("a", { href: "/api/advice" }, "/api/advice"))] : []), ...troubles);
}

/** Shows the advice of all databases, and keeps it new. A round takes minutes, so it is asked for seldom. */
export async function followAdvice(section) {
  let shown = "";
  for (;;) {
    try {
      const response = await fetch("/api/advice");
      const text = await response.text();
      // Drawn again only when it changed, or a selected text would be lost before it is copied.
      if (response.ok && text !== shown) {
        draw(section, JSON.parse(text));
        shown = text;
      }
    } catch { /* The page says itself that the daemon does not answer. */ }
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}
