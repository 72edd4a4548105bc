/** What the tag's attributes and the server's defaults ask for. */

import { resolved } from "./text";

/** The first line of the served script sets it; see `probe-user/src/vitals/script`. */
declare const HOSTPROBE_DEFAULTS: { sample?: number; slow_ms?: number };

export interface Options {
  /** Where batches go. */
  endpoint: URL;
  app: string;
  release: string;
  /** Share of page loads that are reported, 0 to 1. */
  sample: number;
  /** A call that takes longer is slow. */
  slowMs: number;
  /** Our own address, which stacks are told apart by. */
  script: string;
}

/** Undefined where the script can't tell where it came from. */
export const readOptions = (): Options | undefined => {
  const tag = (document.currentScript ??
    document.querySelector('script[src*="/vitals.js"]')) as HTMLScriptElement | null;
  const script = tag?.src ?? "";
  const endpoint = resolved(tag?.dataset.endpoint || (script && new URL("/api/metrics", script)));
  if (!tag || !endpoint || !/^https?:$/.test(endpoint.protocol)) {
    return undefined;
  }
  const { app, release, sample, slowMs } = tag.dataset;
  return {
    endpoint,
    app: app ?? "",
    release: release ?? "",
    sample: number(sample, 0, 1, HOSTPROBE_DEFAULTS.sample ?? 1),
    slowMs: number(slowMs, 0, 600_000, HOSTPROBE_DEFAULTS.slow_ms ?? 1000),
    script,
  };
};

/** Whether the user has asked not to be watched. */
export const isUnwanted = (): boolean => {
  const { doNotTrack, globalPrivacyControl } = navigator as Navigator & {
    doNotTrack?: string | null;
    globalPrivacyControl?: boolean;
  };
  return globalPrivacyControl === true || doNotTrack === "1" || doNotTrack === "yes";
};

/** An attribute that is no number, or out of bounds, is as good as none. */
const number = (text: string | undefined, least: number, most: number, otherwise: number): number => {
  const value = text?.trim() ? Number(text) : NaN;
  return value >= least && value <= most ? value : otherwise;
};
