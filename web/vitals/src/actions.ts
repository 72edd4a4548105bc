/** What users do: clicks and forms that the page has marked, and routes of single-page apps. */

import { guarded, listen } from "./guard";
import type { Action } from "./view";

const MARK = "data-probe-action";

/** Calls `found` for each click on a marked element and each form that is sent from one. */
export const watchActions = (found: (name: string, kind: Action["kind"]) => void): void => {
  const kinds = ["click", "submit"] as const;
  for (const kind of kinds) {
    listen(document, kind, (event) => {
      // A program's `click()` is nobody's action.
      const name = event.isTrusted && markOf(event, kind === "submit");
      if (name) {
        found(name, kind);
      }
    });
  }
};

/** The innermost mark around what the event is about. A form's mark is for sending it. */
const markOf = (event: Event, submits: boolean): string | undefined => {
  for (const node of event.composedPath()) {
    const element = node as Partial<Element>;
    const isForm = element.tagName === "FORM";
    const name = isForm === submits && element.getAttribute?.(MARK);
    if (name) {
      return name;
    }
    if (isForm && submits) {
      return undefined;
    }
  }
  return undefined;
};

/** Calls `changed` when the document shows another path than before, without a load. */
export const watchRoutes = (changed: () => void): void => {
  let path = location.pathname;
  const look = guarded(() => {
    if (location.pathname !== path) {
      path = location.pathname;
      changed();
    }
  });
  const { navigation } = window as Window & { navigation?: EventTarget };
  if (navigation) {
    listen(navigation, "currententrychange", look);
    return;
  }
  for (const name of ["pushState", "replaceState"] as const) {
    history[name] = new Proxy(history[name], {
      apply(target, self, given: Parameters<History["pushState"]>) {
        Reflect.apply(target, self, given);
        look();
      },
    });
  }
  listen(window, "popstate", look);
};
