// Loops around queries, in plain words.
import { make, replace } from "./elements.js";
import { duration, short } from "./numbers.js";

const SHOWN = 8;
const SURE = { high: "very likely", medium: "likely", low: "possible" };

function ago(seconds) {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return Math.round(seconds / 60) + " min ago";
  return Math.round(seconds / 3600) + " h ago";
}

function item(found) {
  const again = found.pattern === "repeated_query" ? "the same query" : "a query";
  const place = found.route === null ? "A burst on one connection" : found.method + " " + found.route;
  const scope = found.route === null ? "" : " per request";
  return make("li", {},
    make("div", { class: "row" },
      make("span", {}, make("span", { class: "muted" }, found.service + ": "), make("strong", {}, place), ` runs ${again} `,
        make("strong", {}, `${short(Math.round(found.typical_count))} times${scope}`), ", which wastes about ",
        make("strong", {}, duration(found.wasted_seconds)), " each time."),
      make("span", { class: found.confidence === "high" ? "badge end bad" : "badge end" }, SURE[found.confidence])),
    make("code", { class: "sql" }, found.sql),
    make("div", { class: "advice" }, found.advice),
    make("div", { class: "what", title: "Wasted is an estimate: the time of all executions but one" },
      `seen ${short(found.times)} ${found.times === 1 ? "time" : "times"}, ${ago(found.seconds_ago)}; `
      + `about ${duration(found.total_wasted_seconds)} wasted since the start`));
}

/** The latest findings of all services; nothing is drawn when there are none. */
export function drawFindings(section, findings) {
  section.hidden = findings.length === 0;
  if (section.hidden) return;
  const more = findings.length - SHOWN;
  replace(section.querySelector("ul"), ...findings.slice(0, SHOWN).map(item),
    ...(more > 0 ? [make("li", { class: "muted" }, `and ${more} more in `, make("a", { href: "/api/n-plus-one" }, "/api/n-plus-one"))] : []));
}
