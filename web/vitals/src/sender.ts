/** When batches leave, and by which way. */

import type { Batches } from "./batch";
import { guarded, listen } from "./guard";
import type { Views } from "./view";

/** A page that stays open tells of what is new after so long. */
const PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 300_000;
/** Batches that wait for a network. */
const MOST_PENDING = 16;

export class Sender {
  private pending: string[] = [];
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly fetch = typeof fetch === "function" ? fetch.bind(globalThis) : undefined;
  /** Firefox before 133 has no `keepalive`. */
  private readonly keepsAlive = typeof Request === "function" && "keepalive" in Request.prototype;
  private readonly sameOrigin: boolean;

  constructor(
    private readonly endpoint: URL,
    private readonly views: Views,
    private readonly batches: Batches,
  ) {
    this.sameOrigin = endpoint.origin === location.origin;
  }

  /** Begins to listen to the page's end. After the vitals have: their last values come with it. */
  start(): void {
    // On the document: listeners on the window, as the library's, come before.
    listen(document, "visibilitychange", () => {
      if (document.visibilityState === "hidden") {
        this.flush(true);
      }
    });
    // Browsers hide a page that is left after this event, and the vitals tell their last values
    // then: what is sent now would only split the batch.
    listen(window, "pagehide", () => {
      if (document.visibilityState === "hidden") {
        this.flush(true);
      }
    });
    listen(window, "online", () => this.flush(false));
    this.soon();
  }

  /** Something is new that should not wait for the page's end. */
  soon(): void {
    const pause = Math.min(PAUSE_MS * 2 ** this.failures, LONGEST_PAUSE_MS);
    this.timer ??= setTimeout(
      guarded(() => this.flush(false)),
      pause,
    );
  }

  private flush(leaving: boolean): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (navigator.onLine === false) {
      // What waits is bounded where it is; `online` comes back here.
      return;
    }
    const bodies = this.pending;
    this.pending = [];
    for (const view of this.views.waiting()) {
      bodies.push(...this.batches.take(view));
    }
    const { failures } = this;
    const failed = guarded((body: string) => {
      this.failures = failures + 1;
      this.keep(body);
    });
    bodies.forEach((body) => this.deliver(body, leaving, failed));
  }

  private deliver(body: string, leaving: boolean, failed: (body: string) => void): void {
    // A beacon to another origin says where it is from only if the page's referrer policy lets
    // it, and is refused then; it is the last resort there.
    const beaconFirst = leaving && (this.sameOrigin || !this.keepsAlive);
    if (beaconFirst && this.beacon(body)) {
      return;
    }
    if (!this.fetch) {
      if (!this.beacon(body)) {
        failed(body);
      }
      return;
    }
    // Text in `no-cors` mode needs no preflight, and no answer that we could read.
    this.fetch(this.endpoint.href, {
      method: "POST",
      body,
      mode: "no-cors",
      credentials: "omit",
      cache: "no-store",
      referrerPolicy: "origin",
      keepalive: true,
    }).then(
      () => {
        this.failures = 0;
      },
      () => failed(body),
    );
  }

  private beacon(body: string): boolean {
    return typeof navigator.sendBeacon === "function" && navigator.sendBeacon(this.endpoint.href, body);
  }

  private keep(body: string): void {
    this.pending.push(body);
    this.pending.splice(0, Math.max(0, this.pending.length - MOST_PENDING));
    this.soon();
  }
}
