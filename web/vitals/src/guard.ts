/** What keeps our own mistakes away from the page. */

/** The same function, whose errors end here. */
export const guarded =
  <A extends unknown[]>(run: (...given: A) => void) =>
  (...given: A): void => {
    try {
      run(...given);
    } catch {
      // The page must never notice us.
    }
  };

/** A listener that sees events before the page's own can stop them, and can't harm it. */
export const listen = <E extends Event>(
  target: EventTarget,
  type: string,
  run: (event: E) => void,
): void => {
  target.addEventListener(type, guarded(run) as (event: Event) => void, { capture: true, passive: true });
};

/** Entries of the performance timeline, those before now included, where the browser has them. */
export const observe = (type: string, each: (entry: PerformanceEntry) => void): void => {
  if (PerformanceObserver.supportedEntryTypes.includes(type)) {
    const observer = new PerformanceObserver((list) => list.getEntries().forEach(guarded(each)));
    observer.observe({ type, buffered: true });
  }
};
