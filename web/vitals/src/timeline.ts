/** Resources by type, and frames that took long, from the browser's timeline. */

import { observe } from "./guard";
import type { Resources, Views } from "./view";

/** Adds what the timeline tells to the views it belongs to. `ours` are addresses to leave out. */
export const watchTimeline = (views: Views, ours: string[]): void => {
  observe("resource", (entry) => {
    const { name, initiatorType, transferSize, duration, startTime } = entry as PerformanceResourceTiming;
    if (ours.some((address) => name.startsWith(address))) {
      return;
    }
    const type = typeOf(initiatorType, name);
    const { resources } = views.at(startTime);
    const sum = resources.get(type) ?? { type, count: 0, bytes: 0, opaque: 0, duration_ms: 0 };
    resources.set(type, sum);
    sum.count++;
    sum.duration_ms += duration;
    if (transferSize) {
      sum.bytes += transferSize;
    } else {
      sum.opaque++;
    }
  });
  observe("long-animation-frame", (entry) => {
    const view = views.at(entry.startTime);
    const { blockingDuration } = entry as PerformanceEntry & { blockingDuration?: number };
    const sum = (view.longFrames ??= { count: 0, blocking_ms: 0, longest_ms: 0 });
    sum.count++;
    sum.blocking_ms += blockingDuration ?? 0;
    sum.longest_ms = Math.max(sum.longest_ms, entry.duration);
  });
};

const BY_INITIATOR: Record<string, Resources["type"]> = {
  script: "script",
  img: "image",
  image: "image",
  input: "image",
  picture: "image",
  icon: "image",
  fetch: "fetch",
  xmlhttprequest: "fetch",
  beacon: "fetch",
  eventsource: "fetch",
};

/** What a `link` or a style sheet has asked for is told by its name's ending. */
const BY_ENDING: [RegExp, Resources["type"]][] = [
  [/\.css$/, "css"],
  [/\.m?js$/, "script"],
  [/\.(woff2?|ttf|otf|eot)$/, "font"],
  [/\.(png|jpe?g|gif|webp|avif|svg|ico|bmp)$/, "image"],
];

const typeOf = (initiator: string, name: string): Resources["type"] => {
  const known = BY_INITIATOR[initiator];
  if (known) {
    return known;
  }
  const path = (name.split(/[?#]/, 1)[0] ?? "").toLowerCase();
  return BY_ENDING.find(([ending]) => ending.test(path))?.[1] ?? "other";
};
