// As much of a browser as the script touches, in plain objects: what it hears and what it sends is
// in the test's hands. Anything that it must not touch throws.

import { readFileSync } from "node:fs";
import vm from "node:vm";

const SCRIPT = readFileSync(
  new URL("../../../probe-user/src/vitals/script/vitals.js", import.meta.url),
  "utf8",
);

class Target {
  listeners = [];
  addEventListener(type, run, options) {
    this.listeners.push({ type, run, once: options?.once });
  }
  removeEventListener(type, run) {
    this.listeners = this.listeners.filter((one) => one.type !== type || one.run !== run);
  }
  hear(type, event = {}) {
    let stopped = false;
    const given = { type, isTrusted: true, timeStamp: 0, stopImmediatePropagation: () => (stopped = true), ...event };
    for (const one of [...this.listeners]) {
      if (one.type === type && !stopped) {
        if (one.once) {
          this.removeEventListener(type, one.run);
        }
        one.run.call(this, given);
      }
    }
    return stopped;
  }
}

/** A browser on a page, before the script. `given` replaces properties of window and navigator. */
export class Browser {
  window;
  document = new Target();
  navigation = new Target();
  /** Bodies in the order in which they left, with the way that they took. */
  sent = [];
  beaconsPass = true;
  fetchesPass = true;
  timers = [];
  observers = [];
  context;

  constructor({ url = "https://shop.example/orders/17?token=secret#part", navigator = {}, window = {}, without = [] } = {}) {
    const target = new Target();
    const browser = this;
    const location = new URL(url);
    class Request {
      constructor(address, init) {
        Object.assign(this, { url: new URL(address, location).href, method: init?.method ?? "GET" });
      }
      get keepalive() {
        return false;
      }
    }
    class XMLHttpRequest extends Target {
      status = 0;
      open(method, address) {
        this.asked = [method, address];
      }
      send() {
        this.isSent = true;
      }
      end(type, status) {
        this.status = status;
        this.hear(type);
        this.hear("loadend");
      }
    }
    class PerformanceObserver {
      static supportedEntryTypes = [
        ...["event", "first-input", "layout-shift", "largest-contentful-paint", "paint"],
        ...["navigation", "resource", "long-animation-frame"],
      ];
      constructor(run) {
        this.run = run;
      }
      observe({ type }) {
        browser.observers.push({ type, run: this.run });
      }
      disconnect() {}
      takeRecords() {
        return [];
      }
    }
    Object.assign(this.document, {
      baseURI: location.href,
      readyState: "complete",
      visibilityState: "visible",
      currentScript: { src: "https://probe.example/vitals.js", dataset: {} },
      querySelector: () => null,
      querySelectorAll: () => [],
    });
    Object.defineProperty(this.document, "cookie", forbidden("document.cookie"));
    const all = {
      document: this.document,
      location,
      navigation: this.navigation,
      history: { pushState() {}, replaceState() {} },
      navigator: {
        onLine: true,
        userAgent: "Mozilla/5.0 (X11; Linux x86_64) Chrome/150",
        maxTouchPoints: 0,
        sendBeacon: (address, body) => {
          if (this.beaconsPass) {
            this.sent.push({ way: "beacon", address, body, batch: JSON.parse(body) });
          }
          return this.beaconsPass;
        },
        ...navigator,
      },
      performance: {
        now: () => this.now,
        getEntriesByType: (type) => (type === "navigation" ? [this.navigationEntry] : []),
        interactionCount: 0,
      },
      PerformanceObserver,
      PerformanceNavigationTiming: class {},
      requestAnimationFrame: (run) => this.timers.push({ run, after: 16 }),
      Request,
      XMLHttpRequest,
      URL,
      TextEncoder,
      crypto: globalThis.crypto,
      fetch: (address, init) => this.answer(address, init),
      setTimeout: (run, after) => this.timers.push({ run, after }),
      clearTimeout: (id) => {
        if (id) {
          this.timers[id - 1] = undefined;
        }
      },
      queueMicrotask,
      addEventListener: target.addEventListener.bind(target),
      removeEventListener: target.removeEventListener.bind(target),
      ...window,
    };
    without.forEach((name) => delete all[name]);
    this.target = target;
    this.context = vm.createContext(all);
    this.window = vm.runInContext("globalThis", this.context);
    this.window.window = this.window;
    for (const name of ["localStorage", "sessionStorage", "indexedDB"]) {
      Object.defineProperty(this.window, name, forbidden(name));
    }
  }

  now = 5000;
  navigationEntry = { name: "", type: "navigate", responseStart: 40, domInteractive: 100, domContentLoadedEventStart: 110, domComplete: 200 };

  /** What the page's own calls get; the script's are kept. */
  answer(address, init) {
    if (init?.mode === "no-cors") {
      if (!this.fetchesPass) {
        return Promise.reject(new TypeError("Failed to fetch"));
      }
      this.sent.push({ way: "fetch", address, init, body: init.body, batch: JSON.parse(init.body) });
      return Promise.resolve({ status: 0 });
    }
    return this.pages?.(address, init) ?? Promise.resolve({ status: 200 });
  }

  /** Runs the script as a tag with these attributes does. */
  load(attributes = {}, defaults = undefined) {
    const tag = this.document.currentScript;
    if (tag) {
      Object.assign(tag.dataset, attributes);
    }
    const script = defaults
      ? SCRIPT.replace(/^.*\n/, `(()=>{const HOSTPROBE_DEFAULTS=${JSON.stringify(defaults)};\n`)
      : SCRIPT;
    vm.runInContext(script, this.context, { filename: "https://probe.example/vitals.js" });
    if (tag) {
      this.document.currentScript = null;
    }
    return this;
  }

  /** The window hears an event, then the document. */
  hear(type, event = {}) {
    return this.target.hear(type, event) || this.document.hear(type, event);
  }

  hide() {
    this.document.visibilityState = "hidden";
    this.hear("visibilitychange");
  }

  show() {
    this.document.visibilityState = "visible";
    this.hear("visibilitychange");
  }

  /** The path changes without a load. */
  route(path) {
    this.window.location.pathname = path;
    this.navigation.hear("currententrychange");
  }

  /** Runs what waits for time to pass. */
  pass() {
    const due = this.timers;
    this.timers = [];
    due.forEach((timer) => timer?.run());
  }

  /** Entries come up on the timeline. */
  async enter(type, entries) {
    for (const one of this.observers.filter((observer) => observer.type === type)) {
      one.run({ getEntries: () => entries.map((entry) => ({ entryType: type, duration: 0, startTime: 0, ...entry })) });
    }
    await settled();
  }

  error(error, place = {}) {
    const { filename = "https://shop.example/app.js", lineno = 3, colno = 7 } = place;
    return this.hear("error", { error, message: `Uncaught ${error?.name}: ${error?.message}`, filename, lineno, colno });
  }

  get batches() {
    return this.sent.map((one) => one.batch);
  }

  /** All items of one list, in all batches. */
  items(name) {
    return this.batches.flatMap((batch) => batch[name] ?? []);
  }
}

/** All promises that are due have run. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** An error whose stack has these frames. */
export const errorAt = (message, ...frames) => {
  const error = new TypeError(message);
  error.stack = [`TypeError: ${message}`, ...frames.map((frame) => `    at ${frame}`)].join("\n");
  return error;
};

const forbidden = (name) => ({
  get: () => {
    throw new Error(`the script touched ${name}`);
  },
});
