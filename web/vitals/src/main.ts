/** The whole: what a page's users feel, told to the probe that served this script. */

import { watchActions, watchRoutes } from "./actions";
import { Batches } from "./batch";
import { watchCalls } from "./calls";
import { watchErrors } from "./errors";
import { guarded, listen } from "./guard";
import { isUnwanted, readOptions, type Options } from "./options";
import { Sender } from "./sender";
import { watchTimeline } from "./timeline";
import { watchVitals } from "./vitals";
import { Views, type Navigation } from "./view";

/** On the window, so that a second tag does nothing. Symbols are not enumerable by name. */
const MARK = Symbol.for("hostprobe.vitals");

const main = (): void => {
  const options = readOptions();
  const already = window as unknown as Record<symbol, boolean>;
  if (!options || already[MARK] || isUnwanted() || Math.random() >= options.sample) {
    return;
  }
  already[MARK] = true;
  if ((document as Document & { prerendering?: boolean }).prerendering) {
    // Nobody sees it yet, and perhaps nobody ever will.
    const start = guarded(() => watch(options));
    document.addEventListener("prerenderingchange", start, { once: true });
  } else {
    watch(options);
  }
};

const watch = (options: Options): void => {
  const views = new Views(navigation());
  // Takes `fetch` before it is wrapped.
  const sender = new Sender(options.endpoint, views, new Batches(options));
  const each = [
    () =>
      watchErrors(options.script, (error) => {
        views.current.addError(error);
        sender.soon();
      }),
    () =>
      watchCalls(options.slowMs, (call) => {
        views.current.addCall(call);
        sender.soon();
      }),
    () =>
      watchActions((name, kind) => {
        views.current.addAction(name, kind);
        sender.soon();
      }),
    () =>
      watchRoutes(() => {
        views.begin("soft-navigation").addAction("route", "route");
        sender.soon();
      }),
    () => watchVitals(views),
    () => watchTimeline(views, [options.endpoint.href, options.script]),
    // Last, as its listeners must be.
    () => sender.start(),
  ];
  // What a browser lacks must not cost the rest.
  each.forEach((begin) => guarded(begin)());
  listen<PageTransitionEvent>(window, "pageshow", (event) => event.persisted && sender.soon());
};

const navigation = (): Navigation => {
  const [entry] = performance.getEntriesByType("navigation") as (PerformanceNavigationTiming & {
    activationStart?: number;
  })[];
  if (entry?.activationStart) {
    return "prerender";
  }
  if ((document as Document & { wasDiscarded?: boolean }).wasDiscarded) {
    return "restore";
  }
  return (entry?.type.replace(/_/g, "-") ?? "navigate") as Navigation;
};

guarded(main)();
