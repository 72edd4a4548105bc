// How numbers are written, and how totals become rates.

export function short(value) {
  // Counts are whole; a rate hardly ever is.
  if (Number.isInteger(value) && value < 10) return String(value);
  if (value < 0.095) return "<0.1";
  if (value < 9.95) return value.toFixed(1);
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (value >= limit) return threeDigits(value / (unit === "k" ? 1e3 : limit)) + " " + unit;
  }
  return Math.round(value).toLocaleString("en");
}

function threeDigits(value) {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

export function bytes(value) {
  for (const [limit, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= limit) return threeDigits(value / limit) + " " + unit;
  }
  return short(value) + " B";
}

export function duration(seconds) {
  if (seconds === null) return "–";
  for (const [limit, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) {
    if (seconds >= limit * 0.9995) return threeDigits(seconds / limit) + " " + unit;
  }
  return Math.round(seconds * 1e9) + " ns";
}

export function uptime(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return Math.floor(seconds) + " s";
  if (minutes < 60) return minutes + " min";
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? hours + " h " + (minutes % 60) + " min" : Math.floor(hours / 24) + " days";
}

// ---- from totals to rates ------------------------------------------------------------------

/** The histogram of what was observed between two answers. */
export function between(now, then) {
  return {
    count: Math.max(0, now.count - (then ? then.count : 0)),
    sum: Math.max(0, now.sum_seconds - (then ? then.sum_seconds : 0)),
    counts: now.counts.map((n, i) => Math.max(0, n - (then ? then.counts[i] || 0 : 0))),
  };
}

/** A quantile in seconds, interpolated inside its bucket; null when nothing was observed. */
export function quantile(histogram, q, bounds) {
  const total = histogram.counts.reduce((sum, n) => sum + n, 0);
  if (total === 0) return null;
  let rank = q * total;
  for (let i = 0; i < histogram.counts.length; i++) {
    const n = histogram.counts[i];
    if (n > 0 && rank <= n) {
      if (i >= bounds.length) return bounds[bounds.length - 1];
      const low = i === 0 ? 0 : bounds[i - 1];
      return low + (bounds[i] - low) * (rank / n);
    }
    rank -= n;
  }
  return bounds[bounds.length - 1];
}

/** Two histograms as one. */
export function together(one, other) {
  const counts = Array.from({ length: Math.max(one.counts.length, other.counts.length) },
    (_, i) => (one.counts[i] || 0) + (other.counts[i] || 0));
  return { count: one.count + other.count, sum: one.sum + other.sum, counts };
}
