/** What goes over the wire: `POST /api/metrics`, version 1. */

import type { Options } from "./options";
import { cut, randomId } from "./text";
import type { View } from "./view";

/** Bytes of one batch. Browsers keep 64 KiB for all that is under way when a page ends. */
const MOST_BYTES = 60_000;

/** Turns lives of pages into batches. */
export class Batches {
  private readonly session = randomId();
  private sequence = 0;
  private readonly device = device();

  constructor(private readonly options: Options) {}

  /** One text of JSON or several for what waits in this view, which is empty then. */
  take(view: View): string[] {
    const { vitals, errors, calls, resources, actions, longFrames } = view;
    const lists: [string, Iterable<unknown>][] = [
      ["vitals", vitals.values()],
      ["errors", errors.values()],
      ["calls", calls.values()],
      ["resources", resources.values()],
      ["actions", actions.values()],
    ];
    let batch = this.head(view, !view.started);
    let size = bytes(batch);
    if (longFrames) {
      batch.long_frames = rounded(longFrames);
      size += bytes(longFrames);
    }
    const texts: string[] = [];
    for (const [name, items] of lists) {
      for (const item of items) {
        const more = bytes(item) + name.length + 6;
        if (size + more > MOST_BYTES) {
          texts.push(JSON.stringify(batch));
          batch = this.head(view, false);
          size = bytes(batch);
        }
        ((batch[name] ??= []) as unknown[]).push(rounded(item as object));
        size += more;
      }
    }
    view.clear();
    return [...texts, JSON.stringify(batch)];
  }

  private head(view: View, started: boolean): Record<string, unknown> {
    return {
      v: 1,
      session: this.session,
      view: view.id,
      page: view.page,
      app: cut(this.options.app, 64),
      release: cut(this.options.release, 64),
      device: this.device,
      connection: connection(),
      navigation: view.navigation,
      sequence: this.sequence++,
      sample_rate: this.options.sample,
      started,
    };
  }
}

/** Three decimals: a shift of a thousandth is nothing a user sees, nor is a microsecond. */
const rounded = (item: object): object =>
  Object.fromEntries(
    Object.entries(item).map(([name, value]) => [
      name,
      typeof value === "number" ? Math.round(value * 1000) / 1000 : value,
    ]),
  );

const bytes = (item: unknown): number => new TextEncoder().encode(JSON.stringify(item)).length;

/** Of three classes; no model, no size: nothing that a device could be recognised by. */
const device = (): string => {
  const { userAgent, maxTouchPoints } = navigator;
  const { userAgentData } = navigator as Navigator & { userAgentData?: { mobile: boolean } };
  // Safari on an iPad says that it is a Mac.
  const isIpad = /iPad/.test(userAgent) || (/Macintosh/.test(userAgent) && maxTouchPoints > 1);
  if (isIpad || /Tablet|Android(?!.*Mobi)/i.test(userAgent)) {
    return "tablet";
  }
  return userAgentData?.mobile || /Mobi/.test(userAgent) ? "mobile" : "desktop";
};

const connection = (): string => {
  const { connection } = navigator as Navigator & { connection?: { effectiveType?: string } };
  const type = connection?.effectiveType ?? "";
  return /^(slow-2g|2g|3g|4g)$/.test(type) ? type : "unknown";
};
