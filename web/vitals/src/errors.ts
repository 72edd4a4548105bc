/** Errors that nothing on the page has caught. */

import { listen } from "./guard";
import { cut, withoutQueries, withoutQuery } from "./text";
import type { PageError } from "./view";

const MESSAGE = 1000;
const STACK = 2000;

type Place = Pick<PageError, "source" | "line" | "column">;

/** Calls `found` for each error of the page; our own are kept from it. */
export const watchErrors = (script: string, found: (error: PageError) => void): void => {
  listen<ErrorEvent>(window, "error", (event) => {
    if (isOurs(event.error, script)) {
      swallow(event);
      return;
    }
    const { filename, lineno, colno, message, error } = event;
    const place = { source: withoutQuery(filename), line: lineno || 0, column: colno || 0 };
    found(described("error", error, message, place, script));
  });
  listen<PromiseRejectionEvent>(window, "unhandledrejection", (event) => {
    const { reason } = event;
    if (isOurs(reason, script)) {
      swallow(event);
      return;
    }
    found(described("unhandledrejection", reason, printed(reason), { source: "", line: 0, column: 0 }, script));
  });
};

const described = (
  kind: PageError["kind"],
  thrown: unknown,
  message: string,
  place: Place,
  script: string,
): PageError => {
  const { name, message: own, stack: trace } = (thrown ?? {}) as Partial<Error>;
  const isError = typeof trace === "string" || thrown instanceof Error;
  // We stand between the page and `fetch`; a reader wants the page's own frames.
  const frames = isError ? lines(trace).filter((line) => !line.includes(script)) : [];
  const known = place.source && !script.startsWith(place.source) ? place : (firstPlace(frames) ?? place);
  return {
    kind,
    type: isError ? cut(name, 100) : "",
    message: cut(withoutQueries(cut(isError ? own : message, MESSAGE)), MESSAGE),
    stack: cut(withoutQueries(frames.join("\n").slice(0, 2 * STACK)), STACK),
    ...known,
    count: 1,
  };
};

/** Where each frame is ours. One of the page is enough to make it the page's error. */
const isOurs = (thrown: unknown, script: string): boolean => {
  const addresses = lines((thrown as Partial<Error> | null)?.stack).filter((line) => /https?:\/\//.test(line));
  // A message may name an address, too: a frame ends with line and column.
  const frames = addresses.filter((line) => /:\d+:\d+\)?$/.test(line));
  return frames.length > 0 && frames.every((line) => line.includes(script));
};

const swallow = (event: Event): void => {
  event.stopImmediatePropagation();
};

const firstPlace = (frames: string[]): Place | undefined => {
  for (const frame of frames) {
    const found = /(https?:\/\/[^\s)]+):(\d+):(\d+)\)?$/.exec(frame);
    if (found) {
      return { source: withoutQuery(found[1]), line: Number(found[2]), column: Number(found[3]) };
    }
  }
  return undefined;
};

const lines = (stack: unknown): string[] => (typeof stack === "string" ? stack.slice(0, 10_000).split("\n") : []);

/** What was thrown, where it is no error. Of an object only that it is one: it may hold anything. */
const printed = (thrown: unknown): string =>
  typeof thrown === "object" && thrown !== null ? Object.prototype.toString.call(thrown) : String(thrown);
