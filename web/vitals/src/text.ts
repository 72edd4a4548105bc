/** Texts that leave the browser: bounded, without what may hold a secret. */

/**
 * At most `length` characters. Halves of surrogate pairs are replaced: JSON would carry them as
 * escapes that strict readers refuse, and with them the whole batch.
 */
export const cut = (text: unknown, length: number): string =>
  String(text ?? "")
    .slice(0, length)
    .replace(/[\uD800-\uDFFF]/gu, "\uFFFD");

/** An address without query and fragment; of `data:` and the like, only the scheme. */
export const withoutQuery = (address: unknown): string => {
  const text = String(address ?? "");
  return /^(https?|wss?):/.test(text) || !/^[a-z][a-z0-9+.-]*:/i.test(text)
    ? cut(text.split(/[?#]/, 1)[0], 300)
    : cut(text.split(":", 1)[0] + ":", 20);
};

/** The addresses in a stack or a message without their queries; line and column stay. */
export const withoutQueries = (text: string): string =>
  text.replace(/(https?:\/\/[^\s?#)'"]+)[?#][^\s)'"]*?(?=(:\d+){0,2}([\s)'"]|$))/g, "$1");

/** An address against the page's own; undefined where it is none. */
export const resolved = (address: unknown): URL | undefined => {
  try {
    return new URL(String(address), document.baseURI);
  } catch {
    return undefined;
  }
};

/** Sixteen hexadecimal digits by chance. */
export const randomId = (): string => {
  let id = "";
  for (const byte of crypto.getRandomValues(new Uint8Array(8))) {
    id += (byte + 256).toString(16).slice(1);
  }
  return id;
};
