/** The five vitals, by the `web-vitals` library. */

import { onCLS, onFCP, onINP, onLCP, onTTFB } from "web-vitals/attribution";
import type { MetricWithAttribution } from "web-vitals/attribution";

import { guarded, listen } from "./guard";
import { cut, resolved, withoutQuery } from "./text";
import type { Vital, Views } from "./view";

/** From now on, each vital goes to the view that it is of. */
export const watchVitals = (views: Views): void => {
  let ending = false;
  listen(window, "pagehide", () => {
    ending = true;
  });
  // Before the library hears of it: it tells the new life's first values at once.
  listen<PageTransitionEvent>(window, "pageshow", (event) => {
    ending = false;
    if (event.persisted) {
      views.begin("back-forward-cache");
    }
  });
  const report = guarded((metric: MetricWithAttribution) => {
    const page = resolved(metric.navigationURL ?? location.href)?.pathname ?? "/";
    const view = views.ofVital(metric.navigationType, metric.navigationId, page);
    const growing = metric.name === "CLS" || metric.name === "INP";
    const vital: Vital = {
      name: metric.name,
      value: metric.value,
      id: metric.id,
      rating: metric.rating,
      ...attribution(metric),
      final: ending || !growing || view !== views.current,
    };
    view.vitals.set(metric.id, vital);
  });
  const options = { reportSoftNavs: true };
  onTTFB(report, options);
  onFCP(report, options);
  onLCP(report, options);
  onCLS(report, options);
  onINP(report, options);
};

const attribution = (metric: MetricWithAttribution): Partial<Vital> => {
  switch (metric.name) {
    case "LCP": {
      const { target, url } = metric.attribution;
      return { target: cut(target, 200), url: withoutQuery(url) };
    }
    case "INP": {
      const { interactionTarget, loadState, longestScript } = metric.attribution;
      const script = withoutQuery(longestScript?.entry?.sourceURL);
      return { target: cut(interactionTarget, 200), url: script, load_state: loadState };
    }
    case "CLS": {
      const { largestShiftTarget, loadState } = metric.attribution;
      return { target: cut(largestShiftTarget, 200), load_state: loadState };
    }
    case "FCP":
      return { load_state: metric.attribution.loadState };
    default:
      return {};
  }
};
