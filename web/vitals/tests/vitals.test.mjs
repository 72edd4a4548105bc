// The built script in an imitated browser: what leaves, when, and what the page notices.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser, errorAt, settled } from "./browser.mjs";

const LIMIT = 60_000;

test("a page view is told once, with what is known of the page and nothing of its query", () => {
  const browser = new Browser().load({ app: "shop", release: "1.4.2" });
  browser.hide();
  const [batch] = browser.batches;
  assert.match(batch.session, /^[0-9a-f]{16}$/);
  assert.match(batch.view, /^[0-9a-f]{16}$/);
  const { session, view, vitals, ...rest } = batch;
  assert.deepEqual(rest, {
    v: 1,
    page: "/orders/17",
    app: "shop",
    release: "1.4.2",
    device: "desktop",
    connection: "unknown",
    navigation: "navigate",
    sequence: 0,
    sample_rate: 1,
    started: true,
  });
  assert.equal(browser.sent[0].address, "https://probe.example/api/metrics");
  assert.ok(!browser.sent[0].body.includes("secret"));
  browser.show();
  browser.error(errorAt("later", "https://shop.example/app.js:1:1"));
  browser.hide();
  assert.deepEqual(
    browser.batches.map((one) => [one.started, one.sequence, one.view === view]),
    [
      [true, 0, true],
      [false, 1, true],
    ],
  );
});

test("a page that stays open is told of after a while, and nothing is sent when nothing is new", () => {
  const browser = new Browser().load();
  browser.pass();
  assert.equal(browser.sent.length, 1);
  assert.equal(browser.sent[0].way, "fetch");
  assert.equal(browser.sent[0].init.credentials, "omit");
  browser.pass();
  assert.equal(browser.sent.length, 1, "nothing was new");
  browser.hear("pagehide", { persisted: false });
  browser.hide();
  browser.hear("pagehide", { persisted: false });
  assert.ok(browser.sent.length <= 2, "one more with the last values");
  assert.ok(browser.batches.slice(1).every((one) => !one.started));
  const ids = browser.items("vitals").map((one) => one.id);
  assert.equal(new Set(ids).size, ids.length);
});

test("the vitals arrive with their values and what they are about", async () => {
  const browser = new Browser().load();
  browser.navigationEntry.name = "https://shop.example/orders/17";
  browser.pass();
  await browser.enter("paint", [{ name: "first-contentful-paint", startTime: 321.98765 }]);
  const image = "https://cdn.example/hero.jpg?signature=secret";
  await browser.enter("largest-contentful-paint", [{ startTime: 1234.5, url: image, size: 9, element: null }]);
  await browser.enter("layout-shift", [{ value: 0.12, startTime: 900, hadRecentInput: false, sources: [] }]);
  browser.hide();
  const vitals = Object.fromEntries(browser.items("vitals").map((vital) => [vital.name, vital]));
  assert.equal(vitals.TTFB.value, 40);
  assert.equal(vitals.FCP.value, 321.988);
  assert.equal(vitals.FCP.load_state, "complete");
  assert.equal(vitals.LCP.value, 1234.5);
  assert.equal(vitals.LCP.url, "https://cdn.example/hero.jpg");
  assert.equal(vitals.LCP.final, true);
  assert.equal(vitals.CLS.value, 0.12);
  assert.equal(vitals.CLS.rating, "needs-improvement");
  assert.equal(vitals.CLS.final, false, "the page may come back");
  const ids = browser.items("vitals").map((vital) => vital.id);
  assert.equal(new Set(ids).size, ids.length);
});

test("a return from the back-forward cache is a page life of its own", async () => {
  const browser = new Browser().load();
  browser.hear("pagehide", { persisted: true });
  browser.hide();
  const before = browser.batches.length;
  browser.document.visibilityState = "visible";
  browser.hear("pageshow", { persisted: true, timeStamp: 5000 });
  browser.hear("pagehide", { persisted: false });
  browser.hide();
  const views = browser.batches.slice(before);
  assert.equal(views[0].navigation, "back-forward-cache");
  assert.equal(views[0].started, true);
  assert.notEqual(views[0].view, browser.batches[0].view);
  assert.equal(views[0].session, browser.batches[0].session);
});

test("the same error is one record with a count, and its addresses lose their queries", () => {
  const browser = new Browser().load();
  for (let i = 0; i < 3; i++) {
    browser.error(errorAt("no order", "pay (https://shop.example/app.js?key=secret:3:7)", "https://shop.example/x.js:1:2"));
  }
  browser.hide();
  const errors = browser.items("errors");
  assert.equal(errors.length, 1);
  assert.deepEqual(errors[0], {
    kind: "error",
    type: "TypeError",
    message: "no order",
    stack: "TypeError: no order\n    at pay (https://shop.example/app.js:3:7)\n    at https://shop.example/x.js:1:2",
    source: "https://shop.example/app.js",
    line: 3,
    column: 7,
    count: 3,
  });
});

test("a page that throws without end is told of in bounded size", () => {
  const browser = new Browser().load();
  for (let i = 0; i < 5000; i++) {
    browser.error(errorAt(`broken ${i}`, `https://shop.example/app.js:${i}:1`));
  }
  browser.hide();
  const errors = browser.items("errors");
  assert.equal(errors.length, 21);
  const rest = errors.find((error) => error.type === "TooManyErrors");
  assert.equal(rest.count, 4980);
  assert.equal(
    errors.reduce((sum, error) => sum + error.count, 0),
    5000,
  );
  browser.show();
  browser.error(errorAt("one more", "https://shop.example/app.js:1:1"));
  browser.hide();
  assert.equal(browser.items("errors").at(-1).type, "TooManyErrors", "the cap is the page's, not the batch's");
});

test("a rejection is told; of an object that was thrown only that it was one", () => {
  const browser = new Browser().load();
  browser.hear("unhandledrejection", { reason: errorAt("late", "https://shop.example/app.js:8:9") });
  browser.hear("unhandledrejection", { reason: { card: "4111 1111 1111 1111" } });
  browser.hear("unhandledrejection", { reason: "out of stock" });
  browser.hear("unhandledrejection", { reason: undefined });
  browser.hide();
  const errors = browser.items("errors");
  assert.deepEqual(
    errors.map((error) => [error.kind, error.type, error.message, error.line]),
    [
      ["unhandledrejection", "TypeError", "late", 8],
      ["unhandledrejection", "", "[object Object]", 0],
      ["unhandledrejection", "", "out of stock", 0],
      ["unhandledrejection", "", "undefined", 0],
    ],
  );
  assert.ok(!browser.sent.some((one) => one.body.includes("4111")));
});

test("what goes wrong in the script itself reaches nobody; what the page did through it does", () => {
  const browser = new Browser().load();
  const seen = [];
  browser.target.addEventListener("error", () => seen.push("error"));
  browser.target.addEventListener("unhandledrejection", () => seen.push("rejection"));
  const ours = errorAt("ours", "https://probe.example/vitals.js:3:100", "x (https://probe.example/vitals.js:3:90)");
  browser.error(ours, { filename: "https://probe.example/vitals.js" });
  browser.hear("unhandledrejection", { reason: ours });
  assert.deepEqual(seen, []);
  const frames = ["Object.apply (https://probe.example/vitals.js:3:9)", "load (https://shop.example/app.js:12:4)"];
  browser.error(errorAt("bad method", ...frames), { filename: "https://probe.example/vitals.js", lineno: 3 });
  assert.deepEqual(seen, ["error"]);
  browser.hide();
  const [error, ...more] = browser.items("errors");
  assert.equal(more.length, 0);
  assert.equal(error.source, "https://shop.example/app.js");
  assert.equal(error.line, 12);
  assert.ok(!error.stack.includes("vitals.js"));
});

test("things that can not be printed do no harm", () => {
  const browser = new Browser().load();
  const hostile = {
    get stack() {
      throw new Error("no stack");
    },
    toString() {
      throw new Error("no text");
    },
  };
  assert.doesNotThrow(() => browser.error(hostile));
  assert.doesNotThrow(() => browser.hear("unhandledrejection", { reason: hostile }));
  assert.doesNotThrow(() => browser.hear("unhandledrejection", { reason: Symbol("s") }));
  browser.hide();
  assert.equal(browser.batches[0].started, true);
});

test("a batch stays below what a browser keeps for an ending page, and is JSON to a strict reader", () => {
  const browser = new Browser().load({ app: "\uD83D shop" });
  const long = "\u{1F4A5}".repeat(4000);
  for (let i = 0; i < 20; i++) {
    browser.error(errorAt(`${i} ${long}`, `https://shop.example/${long}.js:1:1`));
  }
  for (let i = 0; i < 300; i++) {
    browser.document.hear("click", marked(`action ${i}`));
  }
  browser.hide();
  assert.ok(browser.sent.length > 1);
  for (const { body } of browser.sent) {
    assert.ok(Buffer.byteLength(body) <= LIMIT, `${Buffer.byteLength(body)} bytes`);
    assert.ok(!/\\ud[89a-f]/i.test(body), "half of a surrogate pair");
  }
  assert.equal(browser.items("errors").length, 20);
  assert.equal(browser.batches.filter((batch) => batch.started).length, 1);
  const sequences = browser.batches.map((batch) => batch.sequence);
  assert.deepEqual(sequences, [...sequences.keys()]);
});

test("fetch gives the page what it would have had: value, error, body, name", async () => {
  const browser = new Browser();
  const native = browser.window.fetch;
  const answer = { status: 200, body: { locked: false } };
  const failure = new TypeError("Failed to fetch");
  let given;
  browser.pages = (...all) => {
    given = all;
    return String(all[0]).includes("bad") ? Promise.reject(failure) : Promise.resolve(answer);
  };
  browser.load();
  const { fetch } = browser.window;
  assert.notEqual(fetch, native);
  assert.deepEqual([fetch.name, fetch.length], [native.name, native.length]);
  const init = { method: "POST", body: "x" };
  assert.equal(await fetch("/api/ok", init), answer);
  assert.equal(given[1], init);
  assert.equal(answer.body.locked, false);
  await assert.rejects(fetch("/bad"), (error) => error === failure);
  browser.pages = () => {
    throw failure;
  };
  assert.throws(() => fetch("/x"), failure);
});

test("calls that failed or took long are told with their path; good ones are not", async () => {
  const browser = new Browser().load({ slowMs: "500" });
  const ends = (status, name) => () => {
    browser.now += name === "slow" ? 700 : 20;
    const error = Object.assign(new Error(name), { name });
    return status ? Promise.resolve({ status }) : Promise.reject(error);
  };
  const { fetch, Request } = browser.window;
  const call = async (address, init, answer) => {
    browser.pages = answer;
    await fetch(address, init).catch(() => {});
  };
  await call("/api/ok", undefined, ends(200));
  await call("/api/x?token=secret", undefined, ends(503));
  await call(new URL("https://shop.example/api/x#y"), undefined, ends(503));
  await call(new Request("/api/order", { method: "put" }), undefined, ends(404));
  await call("https://pay.example/charge", { method: "POST" }, ends(0, "TypeError"));
  await call("/api/abandoned", undefined, ends(0, "AbortError"));
  await call("/api/late", undefined, ends(0, "TimeoutError"));
  await call("/api/slow", undefined, async () => {
    browser.now += 700;
    return { status: 200 };
  });
  browser.hide();
  const calls = browser.items("calls").map((one) => [one.method, one.page_origin, one.path, one.status, one.reason, one.count]);
  assert.deepEqual(calls, [
    ["GET", true, "/api/x", 503, "status", 2],
    ["PUT", true, "/api/order", 404, "status", 1],
    ["POST", false, "https://pay.example/charge", 0, "network", 1],
    ["GET", true, "/api/abandoned", 0, "aborted", 1],
    ["GET", true, "/api/late", 0, "timeout", 1],
    ["GET", true, "/api/slow", 200, "slow", 1],
  ]);
  assert.equal(browser.items("calls")[0].duration_ms, 40);
});

test("XMLHttpRequest is watched in the same way", () => {
  const browser = new Browser().load();
  const ask = (method, address, type, status) => {
    const xhr = new browser.window.XMLHttpRequest();
    xhr.open(method, address);
    xhr.send();
    assert.deepEqual(xhr.asked, [method, address]);
    xhr.end(type, status);
    assert.equal(xhr.listeners.length, 0);
  };
  ask("get", "/api/a", "load", 200);
  ask("get", "/api/b?x=secret", "load", 500);
  ask("POST", "/api/c", "error", 0);
  ask("POST", "/api/d", "timeout", 0);
  ask("POST", "/api/e", "abort", 0);
  browser.hide();
  assert.deepEqual(
    browser.items("calls").map((one) => [one.method, one.path, one.status, one.reason]),
    [
      ["GET", "/api/b", 500, "status"],
      ["POST", "/api/c", 0, "network"],
      ["POST", "/api/d", 0, "timeout"],
      ["POST", "/api/e", 0, "aborted"],
    ],
  );
});

test("calls to ever new paths are added up in the end", async () => {
  const browser = new Browser().load();
  browser.pages = () => Promise.resolve({ status: 500 });
  for (let i = 0; i < 1000; i++) {
    await browser.window.fetch(`/api/${i}`);
  }
  browser.hide();
  const calls = browser.items("calls");
  assert.equal(calls.length, 101);
  assert.equal(calls.at(-1).path, "/{other}");
  assert.equal(
    calls.reduce((sum, one) => sum + one.count, 0),
    1000,
  );
});

test("resources are added up by type; those of unknown size are no zero bytes", async () => {
  const browser = new Browser().load();
  const entry = (initiatorType, name, transferSize) => ({ initiatorType, name, transferSize, duration: 10, startTime: 1 });
  await browser.enter("resource", [
    entry("script", "https://shop.example/app.js", 1000),
    entry("link", "https://shop.example/main.css?v=3", 500),
    entry("css", "https://shop.example/a.woff2", 0),
    entry("img", "https://cdn.example/photo", 0),
    entry("css", "https://shop.example/back.PNG", 70),
    entry("xmlhttprequest", "https://shop.example/api", 10),
    entry("video", "https://shop.example/film", 10),
    entry("script", "https://probe.example/vitals.js", 10_000),
    entry("beacon", "https://probe.example/api/metrics", 300),
  ]);
  browser.hide();
  assert.deepEqual(
    Object.fromEntries(browser.items("resources").map(({ type, count, bytes, opaque }) => [type, [count, bytes, opaque]])),
    { script: [1, 1000, 0], css: [1, 500, 0], font: [1, 0, 1], image: [2, 70, 1], fetch: [1, 10, 0], other: [1, 10, 0] },
  );
});

test("frames that took long are added up", async () => {
  const browser = new Browser().load();
  await browser.enter("long-animation-frame", [
    { startTime: 1, duration: 80, blockingDuration: 30 },
    { startTime: 2, duration: 60, blockingDuration: 10.0004 },
  ]);
  browser.hide();
  assert.deepEqual(browser.batches[0].long_frames, { count: 2, blocking_ms: 40, longest_ms: 80 });
});

const marked = (name, tagName = "BUTTON") => ({
  composedPath: () => [
    { tagName: "SPAN", getAttribute: () => null },
    { tagName, getAttribute: (attribute) => (attribute === "data-probe-action" ? name : null) },
    {},
  ],
});

test("clicks on marked elements and marked forms that are sent are actions", () => {
  const browser = new Browser().load();
  browser.document.hear("click", marked("buy"));
  browser.document.hear("click", marked("buy"));
  browser.document.hear("click", { ...marked("robot"), isTrusted: false });
  browser.document.hear("click", marked("checkout", "FORM"));
  browser.document.hear("submit", marked("checkout", "FORM"));
  browser.document.hear("click", marked(null));
  browser.hide();
  assert.deepEqual(browser.items("actions"), [
    { name: "buy", kind: "click", count: 2 },
    { name: "checkout", kind: "submit", count: 1 },
  ]);
});

for (const [way, options] of [
  ["the Navigation API", {}],
  ["history", { without: ["navigation"] }],
]) {
  test(`a route of a single-page app is a view of its own, by ${way}`, () => {
    const browser = new Browser(options).load();
    const go = (path) => {
      browser.window.location.pathname = path;
      browser.window.history.pushState({}, "", path);
      browser.navigation.hear("currententrychange");
    };
    go("/orders/17");
    go("/basket");
    browser.error(errorAt("in the basket", "https://shop.example/app.js:1:1"));
    browser.window.location.pathname = "/orders/17";
    browser.target.hear("popstate");
    browser.navigation.hear("currententrychange");
    browser.hide();
    const views = browser.batches.map((one) => [one.page, one.navigation, one.started, one.errors?.length ?? 0]);
    assert.deepEqual(views, [
      ["/orders/17", "navigate", true, 0],
      ["/basket", "soft-navigation", true, 1],
      ["/orders/17", "soft-navigation", true, 0],
    ]);
    assert.equal(new Set(browser.batches.map((one) => one.view)).size, 3);
    assert.deepEqual(browser.items("actions"), Array(2).fill({ name: "route", kind: "route", count: 1 }));
  });
}

test("a page that changes its path without end keeps little", () => {
  const browser = new Browser().load();
  for (let i = 0; i < 1000; i++) {
    browser.route(`/route/${i}`);
  }
  browser.hide();
  assert.ok(browser.sent.length <= 10, `${browser.sent.length} batches`);
});

for (const [what, navigator] of [
  ["Do Not Track", { doNotTrack: "1" }],
  ["Global Privacy Control", { globalPrivacyControl: true }],
]) {
  test(`with ${what} nothing is watched and nothing is sent`, () => untouched(new Browser({ navigator }), {}));
}

test("a page load that is not in the sample is left alone", () => {
  untouched(new Browser(), { sample: "0" });
  untouched(new Browser(), {}, { sample: 0 });
});

const untouched = (browser, attributes, defaults) => {
  const { fetch } = browser.window;
  browser.load(attributes, defaults);
  browser.pass();
  browser.hide();
  assert.equal(browser.sent.length, 0);
  assert.equal(browser.window.fetch, fetch);
  assert.equal(browser.target.listeners.length + browser.document.listeners.length, 0);
};

test("the tag's attributes win over the server's defaults, which win over our own", () => {
  const browser = new Browser().load({ endpoint: "/stats", sample: "1" }, { sample: 0, slow_ms: 10 });
  browser.hide();
  assert.equal(browser.sent[0].address, "https://shop.example/stats");
  assert.equal(browser.sent[0].way, "beacon", "same origin");
  const wrong = new Browser().load({ sample: "often", slowMs: "-1" });
  wrong.hide();
  assert.equal(wrong.batches[0].sample_rate, 1);
});

test("a second tag does nothing", () => {
  const browser = new Browser();
  const tag = browser.document.currentScript;
  browser.load();
  browser.document.currentScript = tag;
  browser.load();
  browser.hide();
  assert.equal(browser.batches.filter((one) => one.started).length, 1);
});

test("without a network things wait, bounded, and go when it is back", () => {
  const browser = new Browser().load();
  browser.window.navigator.onLine = false;
  browser.error(errorAt("offline", "https://shop.example/app.js:1:1"));
  browser.hide();
  browser.show();
  browser.pass();
  assert.equal(browser.sent.length, 0);
  browser.window.navigator.onLine = true;
  browser.hear("online");
  assert.equal(browser.items("errors")[0].message, "offline");
  assert.equal(browser.batches.filter((one) => one.started).length, 1);
});

test("an endpoint that is blocked or down is tried ever less often, and what waits is bounded", async () => {
  const browser = new Browser().load();
  browser.fetchesPass = false;
  const pauses = [];
  for (let i = 0; i < 40; i++) {
    browser.error(errorAt(`wait ${i}`, "https://shop.example/app.js:1:1"));
    pauses.push(Math.max(...browser.timers.filter(Boolean).map((timer) => timer.after ?? 0)));
    browser.pass();
    await settled();
  }
  assert.ok(pauses[0] <= 10_000 && pauses.at(-1) === 300_000, pauses.join(" "));
  browser.fetchesPass = true;
  browser.pass();
  await settled();
  assert.ok(browser.sent.length <= 17, `${browser.sent.length} batches`);
});

test("at the page's end the other way is taken when one is closed", () => {
  const sameOrigin = { endpoint: "/api/metrics" };
  const full = new Browser().load(sameOrigin);
  full.beaconsPass = false;
  full.hide();
  assert.equal(full.sent[0].way, "fetch");
  assert.equal(full.sent[0].init.keepalive, true);
  const old = new Browser({ without: ["Request"] }).load();
  old.hide();
  assert.equal(old.sent[0].way, "beacon", "a browser without keepalive");
});

test("an old browser without most of it still tells what it can", () => {
  const without = ["PerformanceObserver", "Request", "XMLHttpRequest", "fetch", "navigation"];
  const browser = new Browser({ without });
  assert.doesNotThrow(() => browser.load());
  browser.error(errorAt("old", "https://shop.example/app.js:1:1"));
  browser.hide();
  assert.equal(browser.items("errors")[0].message, "old");
});

test("a script that does not know where it is from does nothing", () => {
  const browser = new Browser();
  browser.document.currentScript = null;
  assert.doesNotThrow(() => browser.load());
  browser.hide();
  assert.equal(browser.sent.length, 0);
});

for (const [userAgent, touch, device] of [
  ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 Safari/604.1", 5, "mobile"],
  ["Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/150 Mobile Safari/537.36", 5, "mobile"],
  ["Mozilla/5.0 (Linux; Android 15; SM-X910) Chrome/150 Safari/537.36", 5, "tablet"],
  ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15", 5, "tablet"],
  ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15", 0, "desktop"],
  ["Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/150 Safari/537.36", 10, "desktop"],
]) {
  test(`a ${device} is told by ${userAgent}`, () => {
    const browser = new Browser({ navigator: { userAgent, maxTouchPoints: touch } }).load();
    browser.hide();
    assert.equal(browser.batches[0].device, device);
  });
}
