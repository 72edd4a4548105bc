// The host, and what the services take from it.
import { bar, fact, make, replace } from "./elements.js";
import { bytes, duration, short, uptime } from "./numbers.js";

const percent = (share) => (share === null ? "–" : (100 * share).toFixed(share < 0.0995 ? 1 : 0) + " %");
const WAITS = { cpu: "CPU", memory: "memory", io: "disk" };

/** The share of CPU time that was not idle, and its parts. */
function processor(now, then) {
  const modes = Object.keys(now.cpu_seconds);
  const grown = Object.fromEntries(modes.map((mode) =>
    [mode, Math.max(0, now.cpu_seconds[mode] - (then ? then.cpu_seconds[mode] : 0))]));
  const all = modes.reduce((sum, mode) => sum + grown[mode], 0);
  const share = (...names) => (all > 0 ? names.reduce((sum, name) => sum + (grown[name] || 0), 0) / all : null);
  return {
    busy: all > 0 ? 1 - share("idle", "iowait") : null,
    system: share("system", "irq", "softirq"),
    iowait: share("iowait"),
    steal: share("steal"),
  };
}

const heading = (text, title) => make("th", { scope: "col", title }, text);
const row = (name, used, ...cells) => make("tr", {},
  make("th", { scope: "row" }, name, ...(used === null ? [] : [bar(Math.min(1, used))])),
  ...cells.map((cell) => make("td", {}, cell)));
const table = (head, rows) => make("div", { class: "scroll" },
  make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));

function facts(host, then, seconds) {
  const cpu = processor(host, then);
  const memory = host.memory;
  const pressed = (resource) => {
    const now = host.pressure[resource], old = then && then.pressure[resource];
    if (!now) return "–";
    return percent(old && seconds > 0 ? Math.min(1, Math.max(0, now.some_seconds - old.some_seconds) / seconds) : now.some_share);
  };
  return make("div", { class: "facts first" },
    fact("CPU of " + (host.cpus ?? "?"), percent(cpu.busy), cpu.busy > 0.9),
    fact("in the kernel", percent(cpu.system)),
    fact("waits for disk", percent(cpu.iowait)),
    fact("stolen", percent(cpu.steal), cpu.steal > 0.05),
    fact("load", host.load ? host.load.map((load) => load.toFixed(2)).join(" ") : "–"),
    fact("memory used", memory ? `${bytes(memory.used_bytes)} of ${bytes(memory.total_bytes)}` : "–",
      memory && memory.available_bytes < 0.1 * memory.total_bytes),
    fact("available", memory ? bytes(memory.available_bytes) : "–"),
    ...(memory && memory.swap_total_bytes > 0
      ? [fact("swap used", bytes(memory.swap_total_bytes - memory.swap_free_bytes))] : []),
    ...Object.keys(WAITS).map((resource) => fact("waited for " + WAITS[resource], pressed(resource))),
    fact("open files", host.open_fds === null ? "–" : short(host.open_fds)),
    fact("OOM kills", host.oom_kills === null ? "–" : short(host.oom_kills), host.oom_kills > 0));
}

function services(now, then, seconds) {
  const rows = now.services.filter((service) => service.resources).map((service) => {
    const old = then && then.services.find((other) => other.name === service.name);
    const mine = service.resources, before = old && old.resources;
    const per = (key) => (before && seconds > 0 ? Math.max(0, mine[key] - before[key]) / seconds : 0);
    const limit = mine.cpu_limit || now.host.cpus || 1;
    const cpu = per("cpu_seconds");
    const memory = mine.proportional_bytes ?? mine.resident_bytes;
    const throttled = per("throttled_seconds");
    return [cpu, row(service.name, cpu / limit,
      percent(cpu), percent(cpu / limit),
      bytes(memory), mine.memory_limit_bytes ? percent((mine.memory_used_bytes ?? memory) / mine.memory_limit_bytes) : "–",
      bytes(per("read_bytes")) + "/s", bytes(per("written_bytes")) + "/s",
      short(mine.threads), short(mine.open_fds), percent(mine.worst_fd_ratio),
      throttled > 0 ? duration(throttled) + "/s" : "–")];
  });
  rows.sort((a, b) => b[0] - a[0]);
  return table([heading("service"), heading("CPU", "100 % is one CPU"), heading("of limit", "Of its control group's quota, else of all CPUs"),
    heading("memory", "Shared memory counted once, where that is known"), heading("of limit", "Of its control group's limit, else of the host's memory"),
    heading("disk reads"), heading("disk writes"), heading("threads"), heading("open files"),
    heading("fullest", "Open files of the process that is nearest to its limit"), heading("throttled", "Waiting for the next period of its CPU quota")],
  rows.map(([, element]) => element));
}

function disks(host, then, seconds) {
  const rows = host.disks.map((disk) => {
    const old = then && then.disks.find((other) => other.device === disk.device);
    const per = (now, before) => (old && seconds > 0 ? Math.max(0, now - before) / seconds : 0);
    const each = (kind) => {
      const count = old ? disk[kind].count - old[kind].count : 0;
      return count > 0 ? duration((disk[kind].seconds - old[kind].seconds) / count) : "–";
    };
    const busy = per(disk.busy_seconds, old && old.busy_seconds);
    return row(disk.device, busy, percent(Math.min(1, busy)),
      bytes(per(disk.reads.bytes, old && old.reads.bytes)) + "/s", each("reads"),
      bytes(per(disk.writes.bytes, old && old.writes.bytes)) + "/s", each("writes"));
  });
  return table([heading("disk"), heading("busy"), heading("read"), heading("each"), heading("written"), heading("each")], rows);
}

function fileSystems(host) {
  const rows = host.file_systems.map((system) => {
    const known = system.size_bytes !== null && system.size_bytes > 0;
    const used = known ? 1 - system.available_bytes / system.size_bytes : null;
    const state = system.unresponsive ? "does not answer" : system.read_only ? "read only" : "";
    return row(system.mountpoint, used, percent(used), known ? bytes(system.available_bytes) : "–", system.fstype, state);
  });
  return table([heading("file system"), heading("full"), heading("available"), heading("type"), heading("")], rows);
}

/** Nothing is drawn when the host is not read. */
export function drawHost(section, now, then, seconds) {
  section.hidden = now.host === null;
  if (section.hidden) return;
  const host = now.host, old = then && then.host;
  const about = [host.distribution, host.machine, host.uptime_seconds === null ? "" : "up " + uptime(host.uptime_seconds)];
  section.querySelector(".note").textContent = about.filter(Boolean).join(" · ");
  const parts = [facts(host, old, seconds)];
  if (now.services.some((service) => service.resources)) parts.push(services(now, then, seconds));
  const columns = [host.disks.length && disks(host, old, seconds), host.file_systems.length && fileSystems(host)].filter(Boolean);
  parts.push(make("div", { class: "columns" }, ...columns));
  replace(section.querySelector(".content"), ...parts);
}
