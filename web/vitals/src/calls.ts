/** Calls by `fetch` and `XMLHttpRequest` that failed or took long. The page's code sees no difference. */

import { guarded } from "./guard";
import { cut, resolved } from "./text";
import type { Call } from "./view";

type Report = (method: unknown, address: unknown, began: number, status: number, failure?: Call["reason"]) => void;

/** Calls `found` for each call that is worth telling. */
export const watchCalls = (slowMs: number, found: (call: Call) => void): void => {
  const report = guarded((method, address, began, status, failure) => {
    const duration_ms = performance.now() - began;
    const reason = failure ?? (status >= 400 ? "status" : duration_ms > slowMs ? "slow" : undefined);
    const url = resolved(address);
    if (reason && url && /^https?:$/.test(url.protocol)) {
      const page_origin = url.origin === location.origin;
      found({
        method: cut(method, 16).toUpperCase(),
        page_origin,
        path: cut(page_origin ? url.pathname : url.origin + url.pathname, 300),
        status,
        duration_ms,
        count: 1,
        reason,
      });
    }
  }) as Report;
  wrapFetch(report);
  wrapXhr(report);
};

const wrapFetch = (report: Report): void => {
  if (typeof window.fetch !== "function") {
    return;
  }
  // A proxy, so that name, length and text stay those of the browser's own.
  window.fetch = new Proxy(window.fetch, {
    apply(target, self, given: Parameters<typeof fetch>) {
      const began = performance.now();
      let method: unknown = "GET";
      let address: unknown;
      guarded(() => {
        const [input, init] = given;
        const request = input instanceof Request ? input : undefined;
        method = init?.method ?? request?.method ?? "GET";
        address = request?.url ?? input;
      })();
      const answer = Reflect.apply(target, self, given);
      // Not a branch beside the page's own chain: that would count as one who takes care of the
      // rejection, and the page's `unhandledrejection` would never come.
      return answer.then(
        (response) => {
          report(method, address, began, response.status);
          return response;
        },
        (error) => {
          const name = (error as Partial<Error> | null)?.name;
          const reason = name === "AbortError" ? "aborted" : name === "TimeoutError" ? "timeout" : "network";
          report(method, address, began, 0, reason);
          throw error;
        },
      );
    },
  });
};

const wrapXhr = (report: Report): void => {
  if (typeof XMLHttpRequest !== "function") {
    return;
  }
  const { prototype } = XMLHttpRequest;
  const opened = new WeakMap<XMLHttpRequest, [unknown, unknown]>();
  prototype.open = new Proxy(prototype.open, {
    apply(target, self: XMLHttpRequest, given: unknown[]) {
      const result = Reflect.apply(target, self, given);
      guarded(() => opened.set(self, [given[0], given[1]]))();
      return result;
    },
  });
  prototype.send = new Proxy(prototype.send, {
    apply(target, self: XMLHttpRequest, given: unknown[]) {
      guarded(() => watchXhr(self, opened.get(self), report))();
      return Reflect.apply(target, self, given);
    },
  });
};

const watchXhr = (xhr: XMLHttpRequest, call: [unknown, unknown] | undefined, report: Report): void => {
  if (!call) {
    return;
  }
  const began = performance.now();
  let failure: Call["reason"] | undefined;
  const reasons = { error: "network", timeout: "timeout", abort: "aborted" } as const;
  const note = (event: Event): void => {
    failure = reasons[event.type as keyof typeof reasons];
  };
  const kinds = Object.keys(reasons);
  const end = (): void => {
    kinds.forEach((type) => xhr.removeEventListener(type, note));
    report(call[0], call[1], began, xhr.status, failure);
  };
  kinds.forEach((type) => xhr.addEventListener(type, note));
  xhr.addEventListener("loadend", guarded(end), { once: true });
};
