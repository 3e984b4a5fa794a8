// The figures of `/metrics` as small plots. What came before the part was looked at is not known: lines begin then.
import { $, ask, counted, kept, make, note, seconds } from "./common.js";

const section = $("figures");
// How many points of a line are kept: five minutes of them, where the part is looked at all the time.
const MOST = 150;

// Samples in the order of time: `at` in seconds, `all` of one text.
const history = [];

export const show = kept(section, async () => {
  try {
    const text = await (await ask("metrics")).text();
    history.push({ at: performance.now() / 1000, all: parse(text) });
  } catch (error) {
    if (error.status === 404) error.message = "metrics are switched off: `clinvk config set server.metrics_enabled true` switches them on, for a server that is started then or told to read its configuration again (SIGHUP)";
    throw error;
  }
  if (history.length > MOST) history.shift();
  note(section, "");
  $("plots").replaceChildren(...plots());
});

function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, inside, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) || [];
    if (!name) continue;
    const labels = {};
    for (const [, label, of] of (inside || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[label] = of.replace(/\\(.)/g, (_, it) => (it === "n" ? "\n" : it));
    samples.push({ name, labels, value: Number(value) });
  }
  return samples;
}

const of = ({ all }, name) => all.filter((sample) => sample.name === name);
const sum = (samples) => samples.reduce((total, { value }) => total + value, 0);
const now = (name) => of(history.at(-1), name);

// The sums of the values that have the same word.
function grouped(samples, word) {
  const groups = new Map();
  for (const sample of samples) groups.set(word(sample.labels), (groups.get(word(sample.labels)) || 0) + sample.value);
  return [...groups].sort(([, a], [, b]) => b - a);
}

const short = (value) => new Intl.NumberFormat([], { notation: "compact", maximumFractionDigits: value < 10 ? 2 : 1 }).format(value);
const inMemory = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function plots() {
  const points = (name) => history.map((text) => ({ at: text.at, value: sum(of(text, name)) }));
  // This page's own looks are none of those who are counted.
  const requests = history.map((text) => sum(of(text, "clinvk_http_requests_total").filter(({ labels }) => labels.route !== "/metrics")));
  const rate = history.slice(1).map(({ at }, before) => ({ at, value: Math.max(0, requests[before + 1] - requests[before]) / (at - history[before].at) }));
  const slots = sum(now("clinvk_run_slots"));
  const runs = now("clinvk_runs_total");
  return [
    curve("Runs under way", points("clinvk_run_slots_used"), short, ` of ${slots}`),
    curve("Requests a second", rate, short),
    curve("Waiting requests", points("clinvk_queue_length"), short),
    curve("Open connections", points("clinvk_connections"), short),
    curve("Memory", points("process_resident_memory_bytes"), inMemory),
    bars("Runs", grouped(runs, ({ backend, kind }) => (kind === "ok" ? backend : `${backend}: ${kind}`)), "no run is over yet"),
    bars("Tokens", grouped(now("clinvk_tokens_total"), ({ backend, direction }) => `${backend} ${direction}`), "none were used yet"),
    times("Time of a run", "clinvk_run_duration_seconds"),
    times("Time to the first event", "clinvk_run_first_event_seconds"),
    bars("Kept programs", grouped(now("clinvk_kept_children"), ({ backend, state }) => `${backend} ${state}`), "none are kept"),
  ];
}

/* Plots. */

function svg(kind, attributes, ...inside) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

const figure = (title, value, ...inside) => make("figure", make("figcaption", title, make("b", value)), ...inside);

// Words are told beside the drawing.
const drawing = (width, height, ...inside) => svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...inside);

// A line over the time that the part was looked at.
function curve(title, points, inWords, beside = "") {
  if (!points.length) return figure(title, "", make("p", "a moment"));
  const last = points.at(-1), top = Math.max(...points.map(({ value }) => value));
  // A single point is a line too.
  const first = points.length < 2 ? { ...last, at: last.at - 1 } : points[0];
  const place = ({ at, value }) => `${(((at - first.at) / (last.at - first.at)) * 100).toFixed(2)},${(38 - (value / (top || 1)) * 34).toFixed(2)}`;
  const line = [first, ...points].map(place).join(" ");
  const shape = drawing(100, 40, svg("polygon", { points: `0,40 ${line} 100,40` }), svg("polyline", { points: line }));
  return figure(title, inWords(last.value) + beside, shape, make("small", `at most ${inWords(top)} in ${seconds(last.at - first.at)}`));
}

function bars(title, rows, otherwise) {
  const all = rows.filter(([, value]) => value);
  if (!all.length) return figure(title, "", make("p", otherwise));
  const top = Math.max(...all.map(([, value]) => value));
  const row = ([name, value]) => make("div.bar", make("span", name), drawing(100, 4, svg("rect", { width: Math.max(1, (value / top) * 100), height: 4 })), make("b", short(value)));
  return figure(title, short(all.reduce((total, [, value]) => total + value, 0)), ...all.slice(0, 8).map(row));
}

// A histogram of all backends together.
function times(title, name) {
  const ends = grouped(now(`${name}_bucket`), ({ le }) => le).map(([end, below]) => ({ end: end === "+Inf" ? Infinity : Number(end), below }));
  ends.sort((a, b) => a.end - b.end);
  const count = ends.at(-1)?.below;
  if (!count) return figure(title, "", make("p", "no run is over yet"));
  const counts = ends.map(({ below }, at) => below - (at ? ends[at - 1].below : 0));
  const top = Math.max(...counts);
  const within = (share) => ends.find(({ below }) => below >= share * count).end;
  const inWords = (end) => (end === Infinity ? "more than an hour" : `${end} s`);
  const bar = (value, at) => svg("rect", { x: at * 10 + 1, width: 8, y: 40 - (value / top) * 38, height: (value / top) * 38 });
  return figure(title, counted(count, "run"), drawing(ends.length * 10, 40, ...counts.map(bar)),
    make("small.ends", make("span", inWords(ends[0].end)), make("span", `half ≤ ${inWords(within(0.5))}, 90 % ≤ ${inWords(within(0.9))}`), make("span", "1 h")));
}
