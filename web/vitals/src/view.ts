/** Page lives, and what was seen in each until it is sent. */

import { cut, randomId } from "./text";

export type Navigation =
  | "navigate"
  | "reload"
  | "back-forward"
  | "back-forward-cache"
  | "prerender"
  | "restore"
  | "soft-navigation";

export interface Vital {
  name: string;
  value: number;
  id: string;
  rating: string;
  target?: string;
  url?: string;
  load_state?: string;
  final: boolean;
}

export interface PageError {
  kind: "error" | "unhandledrejection";
  type: string;
  message: string;
  stack: string;
  source: string;
  line: number;
  column: number;
  count: number;
}

export interface Call {
  method: string;
  page_origin: boolean;
  /** With the origin where that is not the page's. */
  path: string;
  status: number;
  /** Sum over `count` calls. */
  duration_ms: number;
  count: number;
  reason: "status" | "network" | "timeout" | "aborted" | "slow";
}

export interface Resources {
  type: "script" | "css" | "image" | "font" | "fetch" | "other";
  count: number;
  bytes: number;
  /** Those whose size the browser does not tell: from a cache, or of another origin. */
  opaque: number;
  duration_ms: number;
}

export interface LongFrames {
  count: number;
  blocking_ms: number;
  longest_ms: number;
}

export interface Action {
  name: string;
  kind: "click" | "submit" | "route";
  count: number;
}

/** Different ones of each sort that wait at once; what comes on top is added up under one name. */
const MOST = { errors: 20, calls: 100, actions: 50 };
/** Page lives that are remembered: vitals of one may come after the next has begun. */
const MOST_VIEWS = 10;

/** One life of a page: a load, a return from the back-forward cache, or a route. */
export class View {
  readonly id = randomId();
  readonly began = performance.now();
  /** Whether its page view was sent. */
  started = false;
  /** The browser's number of the soft navigation that it is. */
  softNavigation?: number;
  /** By the library's id: the last value counts. */
  vitals = new Map<string, Vital>();
  errors = new Map<string, PageError>();
  calls = new Map<string, Call>();
  resources = new Map<string, Resources>();
  longFrames?: LongFrames;
  actions = new Map<string, Action>();
  /** Errors in this life, over all that was sent. */
  differentErrors = 0;

  constructor(
    readonly page: string,
    readonly navigation: Navigation,
  ) {}

  addError(error: PageError): void {
    const { kind, type, message, stack, source, line, column } = error;
    const key = [kind, type, message, stack, source, line, column].join("\n");
    const known = this.errors.get(key);
    if (known) {
      known.count++;
    } else if (this.differentErrors++ < MOST.errors) {
      this.errors.set(key, error);
    } else {
      const rest = {
        ...{ kind, type: "TooManyErrors", stack: "", source: "", line: 0, column: 0, count: 1 },
        message: `more than ${MOST.errors} different errors on one page`,
      };
      addTo(this.errors, kind, rest);
    }
  }

  addCall(call: Call): void {
    if (this.calls.size >= MOST.calls) {
      call.path = "/{other}";
    }
    const key = [call.method, call.page_origin, call.path, call.status, call.reason].join("\n");
    const known = addTo(this.calls, key, call);
    if (known !== call) {
      known.duration_ms += call.duration_ms;
    }
  }

  addAction(name: string, kind: Action["kind"]): void {
    const kept = this.actions.size < MOST.actions ? cut(name.trim(), 64) : "{other}";
    addTo(this.actions, kind + kept, { name: kept, kind, count: 1 });
  }

  isEmpty(): boolean {
    const { vitals, errors, calls, resources, actions } = this;
    return (
      this.started &&
      !this.longFrames &&
      [vitals, errors, calls, resources, actions].every((map) => !map.size)
    );
  }

  /** Forgets what is on its way. */
  clear(): void {
    this.started = true;
    this.longFrames = undefined;
    const { vitals, errors, calls, resources, actions } = this;
    [vitals, errors, calls, resources, actions].forEach((map) => map.clear());
  }
}

/** The life that something belongs to. */
export class Views {
  private readonly all: View[] = [];
  /** The last life that began with a document: what the browser measures without a route. */
  private document: View;

  constructor(navigation: Navigation) {
    this.document = this.begin(navigation);
  }

  get current(): View {
    return this.all[this.all.length - 1] as View;
  }

  /** A new life of the page whose address the document has now. */
  begin(navigation: Navigation, page = location.pathname): View {
    const view = new View(cut(page, 512), navigation);
    this.all.push(view);
    if (navigation !== "soft-navigation") {
      this.document = view;
    }
    while (this.all.length > MOST_VIEWS) {
      const oldest = this.all.findIndex((old) => old !== this.document);
      this.all.splice(oldest, 1);
    }
    return view;
  }

  /** The life during which the timeline's clock showed this time. */
  at(time: number): View {
    let found = this.all[0] as View;
    for (const view of this.all) {
      if (view.began <= time) {
        found = view;
      }
    }
    return found;
  }

  /**
   * The life that a vital is of. The browser decides by itself what a soft navigation is: it may
   * see one where only the query changed, and sees none where no user had a part in it.
   */
  ofVital(navigation: string, softNavigation: number, page: string): View {
    if (navigation !== "soft-navigation") {
      return this.document;
    }
    const found = [...this.all]
      .reverse()
      .find(
        (view) =>
          view.softNavigation === softNavigation ||
          (view.navigation === "soft-navigation" && !view.softNavigation && view.page === page),
      );
    const view = found ?? this.begin("soft-navigation", page);
    view.softNavigation = softNavigation;
    return view;
  }

  /** All that has something to send. */
  waiting(): View[] {
    return this.all.filter((view) => !view.isEmpty());
  }
}

const addTo = <T extends { count: number }>(map: Map<string, T>, key: string, item: T): T => {
  const known = map.get(key);
  if (known) {
    known.count += item.count;
    return known;
  }
  map.set(key, item);
  return item;
};
