// Where a service's time goes, as the daemon judged it: a bar of its work, and a sentence.
import { make, replace } from "./elements.js";

/** In the order in which they are drawn; what is idle is no work. */
const STATES = [
  ["on_cpu", "on CPU"], ["run_queue", "run queue"], ["disk", "disk"], ["database", "Postgres"],
  ["network", "other servers"], ["lock", "locks"], ["other", "other waits"], ["unknown", "unknown"],
];

function timeBar(work) {
  const parts = STATES.filter(([state]) => work[state] > 0);
  const text = parts.map(([state, name]) => `${name} ${Math.round(work[state])} %`).join(", ");
  const element = make("span", { class: "timebar", role: "img", "aria-label": "Of its work: " + text, title: text });
  for (const [state] of parts) {
    const part = make("span", { class: state });
    part.style.width = work[state] + "%";
    element.append(part);
  }
  return element;
}

/** What a service's card says; nothing before the daemon has looked twice. */
export function verdictLines(verdict) {
  if (!verdict) return [];
  const sentence = make("span", { class: verdict.slow ? "verdict slow" : "verdict" }, verdict.sentence);
  return STATES.some(([state]) => verdict.work[state] > 0) ? [timeBar(verdict.work), sentence] : [sentence];
}

/** What the whole host lacks. */
export function drawHints(parent, hints) {
  replace(parent, ...hints.map((hint) => make("p", { class: "hint" }, hint[0].toUpperCase() + hint.slice(1) + ".")));
}
