export interface Line {
  price?: number;
  count: number;
}

/** What a cart costs, in cents. */
export function total(lines: Line[]): number {
  let sum = 0;
  for (const line of lines) {
    if (line.price === undefined) {
      throw new RangeError("a line has no price");
    }
    sum += line.price * line.count;
  }
  return sum;
}
