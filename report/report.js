// report.js: draws what train/report.c worked out: `data` holds every number that is shown. Here they are only placed,
// interpolated between points, and smoothed where the page says so.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const {methods, runs} = data;

/* ------------------------------------------------------------------------------------------------- elements */

function element(parent, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") parent.addEventListener(key, value);
    else parent.setAttribute(key, value === true ? "" : value);
  }
  parent.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return parent;
}
const h = (tag, attributes, ...children) => element(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  element(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const number = (text) => h("td", {class: "number"}, text);

/* Rows of cells: a string, or an element that is a cell itself. head: [text, is it a number?] */
function table(head, rows, attributes) {
  const cell = (x) => (x instanceof Element && /^T[DH]$/.test(x.tagName) ? x : h("td", {}, x));
  return h("div", {class: rows.length > 25 ? "scroll long" : "scroll", tabindex: 0, role: "region", "aria-label": "table"},
    h("table", attributes || {},
      h("thead", {}, h("tr", {}, head.map(([text, isNumber]) => h("th", {scope: "col", class: isNumber && "number"}, text)))),
      h("tbody", {}, rows.map((row) => (row instanceof Element ? row : h("tr", {}, row.map(cell)))))));
}

/* --------------------------------------------------------------------------------------------------- numbers */

const NONE = "–";
const is = (x) => typeof x === "number" && Number.isFinite(x);
const minus = (text) => text.replace("-", "\u2212");
const fixed = (x, digits) => (is(x) ? minus(x.toFixed(digits)) : NONE);
const lossText = (x) => (is(x) && Math.abs(x) >= 1e4 ? countText(x) : fixed(x, 4));

/* Two significant digits, as a standard error is given. */
function errorText(x) {
  if (!is(x)) return NONE;
  if (x === 0) return "0";
  const digits = Math.max(0, 1 - Math.floor(Math.log10(Math.abs(x))));
  return digits > 7 ? x.toExponential(1) : x.toFixed(digits);
}
/* As many digits as the standard error has, at least four. */
const digitsFor = (se) => (is(se) && se > 0 ? clamp(1 - Math.floor(Math.log10(se)), 4, 7) : 4);
const signed = (x, se) => (x > 0 ? "+" : "") + fixed(x, digitsFor(se));
const withError = (x, se) => (is(x) ? fixed(x, digitsFor(se)) + (is(se) ? " ± " + errorText(se) : "") : NONE);
const differenceText = (x) => (is(x) && x > 0 ? "+" : "") + fixed(x, Math.abs(x) < 0.00095 && x !== 0 ? 5 : 4);
function pText(p) {
  if (!is(p)) return NONE;
  if (p < 0.0001) return "< 0.0001";
  return p > 0.9995 ? "1" : p.toPrecision(Math.abs(p - data.level) < data.level / 10 ? 3 : 2); // which side of the level it is on
}

function countText(x) {
  if (!is(x)) return NONE;
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size < 1e-3 || size >= 1e18) return minus(x.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e"));
  const units = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [unit, letter] = units.find(([u]) => size >= u * 0.99995) || [1, ""];
  return minus(String(+(x / unit).toPrecision(4))) + letter;
}

function durationText(seconds) {
  if (!is(seconds)) return NONE;
  if (seconds < 100) return String(+seconds.toPrecision(2)) + " s";
  const two = (x) => String(Math.floor(x)).padStart(2, "0");
  const all = Math.round(seconds);
  return all < 3600 ? Math.floor(all / 60) + ":" + two(all % 60) + " min"
    : Math.floor(all / 3600) + ":" + two((all % 3600) / 60) + " h";
}

/* --------------------------------------------------------------------------------------------------- methods */

const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const color = (method) => `var(--c${method % 8})`;
const dash = (method) => DASHES[Math.floor(method / 8) % DASHES.length];

const swatch = (method) => s("svg", {class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true"},
  s("line", {x1: 0, x2: 22, y1: 5, y2: 5, stroke: color(method), "stroke-width": 3, "stroke-dasharray": dash(method)}));

const runsOf = (method) => runs.filter((run) => run.method === method);
const finishedOf = (method) => runsOf(method).filter((run) => run.outcome === "finished");

/* What the reader chose. */
const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const state = {
  x: "step", logX: false, logY: false,
  smooth: 2, // percent of the points, on each side
  view: methods.some((m) => m.loss.n > 1) ? "means" : "runs",
  hidden: new Set(),
  base: data.baseline,
  range: null, // of x, in all charts over steps
  tensor: "",  // of the diagnostics: the whole model
  spectrum: {tensor: "", step: 0},
};

/* ------------------------------------------------------------------------------------------------------ axes */

/* y at x, on the straight line between points; null outside, and beside a point without y. xs ascend. */
function between(xs, ys, x) {
  if (!xs.length || x < xs[0] || x > xs[xs.length - 1]) return null;
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  if (!is(ys[low]) || !is(ys[high])) return x === xs[low] ? ys[low] : x === xs[high] ? ys[high] : null;
  const span = xs[high] - xs[low];
  return span > 0 ? ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / span : ys[high];
}

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const clocked = (run, what, step) => {
  const steps = run.clock.step;
  return steps.length ? between(steps, run.clock[what], clamp(step, steps[0], steps[steps.length - 1])) : null;
};

const X_AXES = {
  step: {name: "steps", of: (run, step) => step, text: (x) => countText(Math.round(x))},
  tokens: {name: "tokens", of: (run, step) => clocked(run, "tokens", step), text: countText},
  time_s: {name: "time", unit: "", of: (run, step) => clocked(run, "time_s", step), text: durationText},
  flops: {name: "FLOPs", of: (run, step) => clocked(run, "tokens", step) * run.flops_a_token, text: countText},
};
const hasFlops = runs.length > 0 && runs.every((run) => is(run.flops_a_token));

/* Where the steps of a method's mean lie: at the mean over its runs. */
function xsOf(steps, owners) {
  const axis = X_AXES[state.x];
  if (state.x === "step") return steps;
  return steps.map((step) => owners.reduce((sum, run) => sum + axis.of(run, step), 0) / owners.length);
}

/* The mean over `side` points on each side; near the ends, where one side is short, the line that fits best. */
function smoothed(ys, side) {
  if (side < 1) return ys;
  const sums = [0], moments = [0];
  ys.forEach((y, i) => { sums.push(sums[i] + y); moments.push(moments[i] + i * y); });
  return ys.map((y, i) => {
    const from = Math.max(0, i - side), to = Math.min(ys.length - 1, i + side), n = to - from + 1, middle = (from + to) / 2;
    const mean = (sums[to + 1] - sums[from]) / n;
    if (i === middle) return mean;
    return mean + (i - middle) * (moments[to + 1] - moments[from] - middle * n * mean) / (n * (n * n - 1) / 12);
  });
}

/* The lines of a figure: means of methods with bands, or runs. */
function linesOf(key, noisy) {
  const lines = [];
  const add = (method, figure, owners, faint) => {
    if (!figure || !figure.step.length) return;
    const side = noisy ? Math.floor(figure.step.length * state.smooth / 100) : 0;
    lines.push({
      method, name: methods[method].name, x: xsOf(figure.step, owners), y: smoothed(figure.y, side),
      se: owners.length > 1 && figure.se ? smoothed(figure.se, side) : null,
      raw: side > 0 ? figure : null, faint, run: owners.length === 1 ? owners[0] : null,
    });
  };
  methods.forEach((m, method) => {
    if (state.hidden.has(method)) return;
    const own = runsOf(method);
    const mean = state.view === "means" && m.figures[key];
    if (mean) add(method, mean, finishedOf(method), false);
    else for (const run of own) add(method, run.figures[key], [run], own.length > 1);
  });
  return lines;
}

/* The difference of methods to the chosen one. */
function differencesOf(key) {
  const lines = [];
  for (const d of data.differences) {
    const other = d.a === state.base ? d.b : d.b === state.base ? d.a : null;
    if (other === null || !d[key] || state.hidden.has(other)) continue;
    const sign = d.b === state.base ? 1 : -1, curve = d[key];
    const side = key === "train/loss" ? Math.floor(curve.step.length * state.smooth / 100) : 0;
    lines.push({
      method: other, name: methods[other].name, x: xsOf(curve.step, finishedOf(other)),
      y: smoothed(curve.y.map((y) => sign * y), side), se: curve.se ? smoothed(curve.se, side) : null,
    });
  }
  return lines.sort((a, b) => a.method - b.method);
}

/* A figure of the whole model, or of the chosen tensor: then of each method's first run that was diagnosed. */
function panelLines(key) {
  if (!state.tensor) return linesOf(key, NOISY.has(key));
  return methods.flatMap((m, method) => {
    const tensor = m.tensors.find((t) => t.name === state.tensor), figure = tensor && tensor.figures[key];
    if (!figure || !figure.step.length || state.hidden.has(method)) return [];
    const run = runs.find(({dir}) => dir === m.diagnosed);
    return [{method, name: m.name, x: xsOf(figure.step, [run]), y: figure.y, run}];
  });
}

/* Singular values at the chosen step, or the nearest one that a method has. */
function spectrumLines(side) {
  return methods.flatMap((m, method) => {
    const tensor = m.tensors.find((t) => t.name === state.spectrum.tensor);
    const spectra = tensor ? tensor.spectra.filter((spectrum) => spectrum[side].length > 1) : [];
    if (!spectra.length || state.hidden.has(method)) return [];
    const far = (spectrum) => Math.abs(spectrum.step - state.spectrum.step);
    const values = spectra.reduce((best, spectrum) => (far(spectrum) < far(best) ? spectrum : best))[side];
    return [{method, name: m.name, x: values.map((value, i) => i / (values.length - 1)), y: values}];
  });
}

/* The loss by one key of the grid. */
function tuningLines(key) {
  return methods.flatMap((m, method) => {
    const curve = m.tuning.find((c) => c.key === key);
    if (!curve || state.hidden.has(method)) return [];
    const points = curve.points.map((point, i) => ({...point, best: i === curve.best})).filter((point) => is(point.value));
    return [{method, name: m.name, x: points.map((point) => point.value), y: points.map((point) => point.loss), marks: points}];
  });
}

/* ----------------------------------------------------------------------------------------------------- ticks */

function linearTicks(low, high, most) {
  const rough = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(+(k * step).toPrecision(12));
  return {ticks, step};
}

function logTicks(low, high, most) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  for (const digits of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let e = from; e <= to; e++) for (const d of digits) ticks.push(+(d * 10 ** e).toPrecision(12));
    const inside = ticks.filter((t) => t >= low * 0.9999 && t <= high * 1.0001);
    if (inside.length <= most + 2 && inside.length >= 2) return {ticks: inside, step: null};
    if (digits.length === 3 && inside.length < 2) return linearTicks(low, high, most);
  }
  const every = Math.ceil((to - from) / Math.max(1, most)), ticks = [];
  for (let e = from; e <= to; e += every) if (10 ** e >= low && 10 ** e <= high) ticks.push(10 ** e);
  return {ticks, step: null};
}

/* Ticks of losses and the like: the decimals that their distance needs. */
function tickText(value, step) {
  if (step === null || Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-4)) return countText(value);
  return fixed(value, clamp(-Math.floor(Math.log10(step) + 1e-9), 0, 8));
}

/* ---------------------------------------------------------------------------------------------------- charts */

const charts = [];

/* Options: name, lines() -> [{method, name, x, y, se, raw, faint, marks}], text(y), x: {name, text}, height, labels (at
 * the ends of lines), steep (leave out the steep beginning), zero (a line there), over: "steps" when x follows the
 * reader's choice, logX, logY: fixed. */
class Chart {
  constructor(options) {
    this.options = options;
    this.range = null; // of x, where it is its own
    this.span = null;  // of y
    this.at = null;    // x under the cursor
    this.svg = s("svg", {tabindex: 0, role: "img", "aria-label": options.name +
      ": chart. Arrow keys read values, plus and minus zoom, 0 shows all."});
    this.hint = h("p", {class: "note"});
    const tool = (text, title, act) => h("button", {type: "button", title, "aria-label": title, click: act}, text);
    this.node = h("figure", {class: "chart"},
      h("div", {class: "head"}, h("span", {class: "name"}, options.name),
        h("span", {class: "tools"},
          tool("+", "zoom in", () => this.zoom(0.5)), tool("\u2212", "zoom out", () => this.zoom(2)),
          tool("all", "show all", () => this.reset()), tool("SVG", "save this chart as an SVG file", () => this.save()))),
      this.svg, this.hint);
    this.listen();
    charts.push(this);
  }

  get shared() { return this.options.over === "steps"; }
  get window() { return this.shared ? state.range : this.range; }
  set window(range) {
    if (this.shared) state.range = range; else this.range = range;
  }
  get axis() { return this.shared ? X_AXES[state.x] : this.options.x; }
  get logX() { return this.shared ? state.logX : !!this.options.logX; }
  get logY() { return !this.options.zero && (this.options.logY || (this.shared && state.logY)); }

  /* ---- what is seen */

  limits(lines) {
    let [x0, x1] = [Infinity, -Infinity];
    for (const line of lines)
      for (const x of line.x) if (is(x) && (!this.logX || x > 0)) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); }
    if (!(x0 <= x1)) return null;
    if (x0 === x1) [x0, x1] = this.logX ? [x0 / 2, x1 * 2] : [x0 - 0.5, x1 + 0.5];
    if (this.options.logX) [x0, x1] = [x0 / 1.25, x1 * 1.25];
    this.full = [x0, x1];
    if (this.window) [x0, x1] = this.window;
    const [y0, y1] = this.span || this.heights(lines, x0, x1);
    return {x0, x1, y0, y1};
  }

  /* The lowest to the highest value in sight; of losses over steps, which fall steeply at first, and of their differences,
   * what comes behind a fifth of the axis. One bad line does not flatten the others: no further up than 2.5 times the
   * middle one, until the reader zooms. */
  heights(lines, x0, x1) {
    const late = this.shared && (this.options.steep || this.options.zero) && !this.window && !this.logX && !this.logY;
    const from = late ? x0 + (x1 - x0) / 5 : x0;
    let low = Infinity;
    const tops = [];
    for (const line of lines) {
      let top = -Infinity;
      line.x.forEach((x, i) => {
        if (x < from || x > x1 || !is(line.y[i]) || (this.logY && line.y[i] <= 0)) return;
        const se = line.se && is(line.se[i]) ? line.se[i] : 0;
        low = Math.min(low, line.y[i] - (this.logY ? 0 : se));
        top = Math.max(top, line.y[i] + se);
      });
      if (is(top)) tops.push(top);
    }
    if (!tops.length) return [0, 1];
    tops.sort((a, b) => a - b);
    let high = tops[tops.length - 1];
    if (this.options.steep && !this.logY && !this.window) high = Math.min(high, low + 2.5 * (tops[tops.length >> 1] - low) || high);
    if (this.options.zero) [low, high] = [Math.min(0, low), Math.max(0, high)];
    if (low === high) [low, high] = this.logY ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) * 0.05 || 0.5), high + (Math.abs(high) * 0.05 || 0.5)];
    if (this.logY) return [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
    return [low - (high - low) * 0.04, high + (high - low) * 0.04];
  }

  /* ---- drawing */

  draw() {
    const o = this.options, lines = this.lines = o.lines(), height = o.height || 200;
    this.node.hidden = !!o.vanish && !lines.length;
    if (this.node.hidden) return;
    const width = Math.max(260, this.node.clientWidth || 800);
    const names = o.labels && width > 560 ? endLabels(lines, o.text) : [];
    const right = names.length ? Math.min(240, 18 + 7.7 * Math.max(...names.map((n) => n.text.length))) : 24;
    const box = this.box = {left: 62, right: width - right, top: 8, bottom: height - 36, width, height};
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    const see = this.see = this.limits(lines);
    if (!see) {
      this.svg.replaceChildren(s("text", {x: width / 2, y: height / 2, "text-anchor": "middle"}, "nothing to show"));
      this.hint.textContent = "";
      return;
    }
    const scale = (value, a, b, from, to, log) => log
      ? from + (to - from) * (Math.log(Math.max(value, 1e-300)) - Math.log(a)) / (Math.log(b) - Math.log(a))
      : from + (to - from) * (value - a) / (b - a);
    if (this.logX && see.x0 <= 0) see.x0 = see.x1 / 1000;
    this.px = (x) => scale(x, see.x0, see.x1, box.left, box.right, this.logX);
    this.py = (y) => scale(y, see.y0, see.y1, box.bottom, box.top, this.logY);
    const clip = "clip" + charts.indexOf(this);
    this.cursor = s("g", {});
    this.svg.replaceChildren(
      s("clipPath", {id: clip}, s("rect", {x: box.left, y: box.top - 2, width: box.right - box.left, height: box.bottom - box.top + 4})),
      this.grid(),
      s("g", {"clip-path": `url(#${clip})`, fill: "none"}, this.bands(lines), this.raws(lines), lines.map((line) => this.line(line))),
      this.marks(lines), this.labels(names), this.cursor);
    this.hint.textContent = this.clipped(lines) ? "Some values are off the chart: zoom in there to see them." : "";
    this.hint.hidden = !this.hint.textContent;
  }

  clipped(lines) {
    return !this.window && !this.span && lines.some((line) => line.y.some((y) => is(y) && (y > this.see.y1 || y < this.see.y0)));
  }

  grid() {
    const {box, see, axis} = this, parts = [];
    const across = (this.logX ? logTicks : linearTicks)(see.x0, see.x1, (box.right - box.left) / 90);
    const up = (this.logY ? logTicks : linearTicks)(see.y0, see.y1, (box.bottom - box.top) / 34);
    for (const t of up.ticks) {
      const y = this.py(t);
      parts.push(s("line", {x1: box.left, x2: box.right, y1: y, y2: y, stroke: "var(--grid)"}),
        s("text", {x: box.left - 7, y: y + 4, "text-anchor": "end"}, tickText(t, up.step)));
    }
    for (const t of across.ticks) {
      const x = this.px(t);
      parts.push(s("line", {x1: x, x2: x, y1: box.bottom, y2: box.bottom + 4, stroke: "var(--soft)"}),
        s("text", {x, y: box.bottom + 17, "text-anchor": "middle"}, axis.text(t)));
    }
    parts.push(s("line", {x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, stroke: "var(--soft)"}));
    if (this.options.zero)
      parts.push(s("line", {x1: box.left, x2: box.right, y1: this.py(0), y2: this.py(0), stroke: "var(--soft)", "stroke-dasharray": "1 3"}));
    parts.push(s("text", {x: (box.left + box.right) / 2, y: box.bottom + 33, "text-anchor": "middle"}, axis.name));
    return s("g", {}, parts);
  }

  /* A path through the points in sight and one beyond on each side. */
  path(xs, ys) {
    const {x0, x1} = this.see;
    let text = "", open = false;
    for (let i = 0; i < xs.length; i++) {
      const seen = !(xs[i + 1] < x0) && !(xs[i - 1] > x1);
      if (!seen || !is(ys[i]) || !is(xs[i]) || (this.logX && xs[i] <= 0) || (this.logY && ys[i] <= 0)) { open = false; continue; }
      text += `${open ? "L" : "M"}${this.px(xs[i]).toFixed(1)} ${clamp(this.py(ys[i]), -9e3, 9e3).toFixed(1)}`;
      open = true;
    }
    return text;
  }

  line(line) {
    return s("path", {d: this.path(line.x, line.y), stroke: color(line.method), "stroke-dasharray": dash(line.method),
      "stroke-width": line.faint || this.lines.length > 24 ? 1.2 : 2, "stroke-opacity": line.faint ? 0.75 : 1, "stroke-linejoin": "round"});
  }

  bands(lines) {
    return lines.filter((line) => line.se).map((line) => {
      const up = line.y.map((y, i) => y + line.se[i]), down = line.y.map((y, i) => (this.logY ? Math.max(y - line.se[i], this.see.y0 / 10) : y - line.se[i]));
      const there = this.path(line.x, up);
      const back = this.path(line.x, down).slice(1).split("L").reverse().join("L");
      return there && back ? s("path", {d: `${there}L${back}Z`, fill: color(line.method), "fill-opacity": 0.18}) : null;
    });
  }

  /* What was logged, behind what is smoothed. */
  raws(lines) {
    return lines.filter((line) => line.raw && lines.length <= 12).map((line) => {
      let {x, raw: {y, low, high}} = line;
      if (low) {
        y = low.flatMap((value, i) => (i % 2 ? [high[i], value] : [value, high[i]]));
        x = x.flatMap((value) => [value, value]);
      }
      return s("path", {d: this.path(x, y), stroke: color(line.method), "stroke-width": 1, "stroke-opacity": 0.25});
    });
  }

  marks(lines) {
    const {box} = this, parts = [];
    for (const line of lines) {
      (line.marks || []).forEach((mark, i) => {
        const x = this.px(line.x[i]), known = is(line.y[i]);
        const y = known ? clamp(this.py(line.y[i]), box.top, box.bottom) : box.top + 5;
        if (x < box.left - 1 || x > box.right + 1) return;
        if (!known) parts.push(s("path", {d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`, stroke: color(line.method), "stroke-width": 2, fill: "none"}));
        else if (this.py(line.y[i]) < box.top) parts.push(s("path", {d: `M${x - 5} ${y + 8}l5 -8l5 8z`, fill: color(line.method)}));
        else parts.push(s("circle", {cx: x, cy: y, r: mark.best ? 6.5 : 3.5, fill: mark.best ? "var(--page)" : color(line.method),
          stroke: color(line.method), "stroke-width": mark.best ? 2.5 : 0}),
          mark.best && s("circle", {cx: x, cy: y, r: 2.5, fill: color(line.method)}));
      });
    }
    return s("g", {}, parts.filter(Boolean));
  }

  /* Names at the ends of lines, pushed apart. */
  labels(names) {
    const {box} = this, gap = 15;
    const placed = names.map((n) => ({...n, y: clamp(this.py(n.at), box.top + 4, box.bottom - 4)})).sort((a, b) => a.y - b.y);
    for (let round = 0; round < 60; round++)
      for (let i = 1; i < placed.length; i++) {
        const lack = gap - (placed[i].y - placed[i - 1].y);
        if (lack > 0.01) { placed[i - 1].y -= lack / 2; placed[i].y += lack / 2; }
      }
    const low = Math.max(0, box.top + 4 - (placed.length ? placed[0].y : 0));
    return s("g", {}, placed.map((n) => s("text", {class: "end", x: box.right + 8, y: n.y + low + 4, style: `fill:${color(n.method)}`}, n.text)));
  }

  /* ---- reading values */

  read(x) {
    const rows = [], drawn = (value) => (this.logX ? Math.log(value) : value);
    for (const line of this.lines) {
      const xs = line.x.map(drawn), y = between(xs, line.y, drawn(x));
      if (is(y)) rows.push({line, y, se: line.se ? between(xs, line.se, drawn(x)) : null});
    }
    return rows.sort((a, b) => a.y - b.y);
  }

  value(row) {
    const text = this.options.text(row.y);
    return is(row.se) ? `${text} ± ${errorText(row.se)}` : text;
  }

  where() { return `${this.axis.text(this.at)} ${this.axis.unit ?? this.axis.name}`.trim(); }

  point(x, clientX, clientY) {
    const {box, see} = this;
    if (!see) return;
    this.at = clamp(x, see.x0, see.x1);
    const rows = this.read(this.at), px = this.px(this.at), most = 16;
    this.cursor.replaceChildren(s("line", {x1: px, x2: px, y1: box.top, y2: box.bottom, stroke: "var(--soft)", "stroke-width": 1}),
      ...rows.filter(({y}) => y >= see.y0 && y <= see.y1).map(({line, y}) =>
        s("circle", {cx: px, cy: this.py(y), r: 3, fill: color(line.method), stroke: "var(--page)"})));
    const tip = document.getElementById("tip");
    tip.replaceChildren(h("div", {class: "soft"}, this.where()),
      h("table", {}, h("tbody", {}, rows.slice(0, most).map((row) =>
        h("tr", {}, h("td", {}, swatch(row.line.method)), h("td", {}, lineName(row.line)), number(this.value(row)))))),
      rows.length > most ? h("div", {class: "soft"}, `and ${rows.length - most} above`) : rows.length ? "" : h("div", {class: "soft"}, "no values here"));
    tip.hidden = false;
    const frame = this.svg.getBoundingClientRect();
    const left = clientX === undefined ? frame.left + px : clientX, top = clientY === undefined ? frame.top + box.top : clientY;
    tip.style.left = clamp(left + (left > innerWidth / 2 ? -tip.offsetWidth - 16 : 16), 4, Math.max(4, innerWidth - tip.offsetWidth - 4)) + "px";
    tip.style.top = clamp(top + 12, 4, Math.max(4, innerHeight - tip.offsetHeight - 4)) + "px";
    return rows;
  }

  leave() {
    document.getElementById("tip").hidden = true;
    if (this.cursor) this.cursor.replaceChildren();
  }

  /* ---- zooming */

  dataX(px) {
    const {box, see} = this, share = clamp((px - box.left) / (box.right - box.left), 0, 1);
    return this.logX ? see.x0 * (see.x1 / see.x0) ** share : see.x0 + (see.x1 - see.x0) * share;
  }
  dataY(py) {
    const {box, see} = this, share = clamp((box.bottom - py) / (box.bottom - box.top), 0, 1);
    return this.logY ? see.y0 * (see.y1 / see.y0) ** share : see.y0 + (see.y1 - see.y0) * share;
  }

  show(range, span) {
    this.window = range;
    this.span = span || null;
    if (this.shared) redraw(); else this.draw();
  }

  /* By a factor, around x. */
  zoom(factor, around) {
    if (!this.see) return;
    const {x0, x1} = this.see, log = this.logX, to = (x) => (log ? Math.log(x) : x), from = (x) => (log ? Math.exp(x) : x);
    const [a, b] = [to(x0), to(x1)], middle = to(around === undefined ? from((a + b) / 2) : around);
    const range = [Math.max(this.full[0], from(middle - (middle - a) * factor)), Math.min(this.full[1], from(middle + (b - middle) * factor))];
    this.show(range[0] <= this.full[0] && range[1] >= this.full[1] ? null : range, null);
  }

  reset() {
    for (const chart of charts) if (chart === this || (this.shared && chart.shared)) chart.span = null;
    this.show(null, null);
  }

  place(event) {
    const frame = this.svg.getBoundingClientRect(), share = this.box.width / frame.width;
    return [(event.clientX - frame.left) * share, (event.clientY - frame.top) * share];
  }

  listen() {
    let start = null, mark = null;
    const svg = this.svg, on = (name, act, options) => svg.addEventListener(name, act, options);
    on("pointerdown", (event) => {
      if (event.button !== 0 || !this.see) return;
      start = this.place(event);
      if (svg.setPointerCapture && event.isTrusted) svg.setPointerCapture(event.pointerId);
    });
    on("pointermove", (event) => {
      if (!this.see) return;
      const [x, y] = this.place(event), {box} = this;
      if (start && Math.abs(x - start[0]) > 4) {
        const tall = Math.abs(y - start[1]) > 24;
        const [a, b] = [clamp(Math.min(x, start[0]), box.left, box.right), clamp(Math.max(x, start[0]), box.left, box.right)];
        const [c, d] = tall ? [clamp(Math.min(y, start[1]), box.top, box.bottom), clamp(Math.max(y, start[1]), box.top, box.bottom)] : [box.top, box.bottom];
        mark = {a, b, c, d, tall};
        this.cursor.replaceChildren(s("rect", {x: a, y: c, width: b - a, height: d - c, fill: "var(--focus)", "fill-opacity": 0.15, stroke: "var(--focus)"}));
        document.getElementById("tip").hidden = true;
      } else if (!start) {
        if (x < box.left - 8 || x > box.right + 8) this.leave();
        else this.point(this.dataX(x), event.clientX, event.clientY);
      }
    });
    on("pointerup", () => {
      if (start && mark && mark.b - mark.a > 4)
        this.show([this.dataX(mark.a), this.dataX(mark.b)], mark.tall ? [this.dataY(mark.d), this.dataY(mark.c)] : null);
      start = mark = null;
    });
    on("pointercancel", () => { start = mark = null; this.leave(); });
    on("pointerleave", () => { if (!start) this.leave(); });
    on("dblclick", () => this.reset());
    on("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== svg) return; // else the page scrolls
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.dataX(this.place(event)[0]));
    }, {passive: false});
    on("keydown", (event) => this.key(event));
    on("blur", () => this.leave());
  }

  key(event) {
    if (!this.see || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e3, End: 1e3};
    const acts = {"+": () => this.zoom(0.5, this.at ?? undefined), "=": () => this.zoom(0.5, this.at ?? undefined),
      "-": () => this.zoom(2, this.at ?? undefined), 0: () => this.reset(), Escape: () => this.leave()};
    if (event.key in moves) {
      const {box} = this, px = this.at === null ? box.left : this.px(this.at);
      const rows = this.point(this.dataX(px + moves[event.key] * (box.right - box.left) / 60));
      document.getElementById("heard").textContent =
        `${this.where()}: ` + rows.slice(0, 8).map((row) => `${lineName(row.line)} ${this.value(row)}`).join(", ");
    } else if (event.key in acts) acts[event.key]();
    else return;
    event.preventDefault();
  }

  /* ---- saving: a file of its own has no variables of this page */

  text() {
    const style = getComputedStyle(document.documentElement);
    const copy = this.svg.cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", this.box.width);
    for (const name of ["tabindex", "role", "aria-label"]) copy.removeAttribute(name);
    copy.prepend(s("style", {}, `text{font:12px system-ui,sans-serif;fill:var(--soft)}.end{font-weight:600}`),
      s("rect", {width: "100%", height: "100%", fill: "var(--page)"}));
    return new XMLSerializer().serializeToString(copy).replace(/var\((--\w+)\)/g, (all, name) => style.getPropertyValue(name).trim());
  }

  save() {
    const link = h("a", {href: "data:image/svg+xml;charset=utf-8," + encodeURIComponent(this.text()),
      download: this.options.name.replace(/[^a-z0-9]+/gi, "_") + ".svg"});
    link.click();
  }
}

const lineName = ({name, method, run}) => (run && runsOf(method).length > 1 ? `${name} seed ${run.seed}` : name);

/* One name a method, at the last value of its best line; of a curve with an optimum, at that. */
function endLabels(lines, text) {
  const seen = new Map();
  for (const line of lines) {
    const at = line.marks ? Math.min(...line.y.filter(is)) : line.y[line.y.length - 1];
    if (!is(at) || (seen.has(line.method) && seen.get(line.method).at <= at)) continue;
    const name = line.name.length > 20 ? line.name.slice(0, 19) + "…" : line.name;
    seen.set(line.method, {method: line.method, at, text: `${name} ${text(at)}`});
  }
  return seen.size <= 14 ? [...seen.values()] : [];
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const chart of charts) chart.draw();
  });
}

/* -------------------------------------------------------------------------------------------------- controls */

function choice(name, options, get, set) {
  const buttons = options.map(([value, text, off]) => h("button", {
    type: "button", class: "choice", disabled: off, title: off || null,
    click: () => { set(value); mark(); redraw(); },
  }, text));
  const mark = () => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === get())));
  mark();
  return h("span", {class: "set", role: "group", "aria-label": name}, h("span", {}, name), h("span", {class: "joined"}, buttons));
}

function toggle(text, get, set) {
  const box = h("input", {type: "checkbox", change: () => { set(box.checked); redraw(); }});
  box.checked = get();
  return h("label", {}, box, text);
}

function setAxis(x) {
  if (x !== state.x) state.range = null;
  state.x = x;
}

function controls() {
  const percent = h("span", {class: "soft"}, state.smooth + " %");
  const slider = h("input", {type: "range", min: 0, max: 10, step: 0.5, value: state.smooth,
    "aria-label": "smoothing, percent of the points on each side", style: "width:90px",
    input: () => { state.smooth = +slider.value; percent.textContent = slider.value + " %"; redraw(); }});
  const several = methods.some((m) => Object.keys(m.figures).length);
  return h("div", {class: "controls"},
    choice("x", Object.entries(X_AXES).map(([key, axis]) =>
      [key, axis.name, key === "flops" && !hasFlops ? "these runs were logged without FLOPs" : null]), () => state.x, setAxis),
    toggle("log x", () => state.logX, (on) => { state.logX = on; state.range = null; }),
    toggle("log y", () => state.logY, (on) => { state.logY = on; }),
    several ? choice("draw", [["means", "means ± s.e."], ["runs", "every run"]], () => state.view, (view) => { state.view = view; }) : null,
    h("label", {}, h("span", {class: "soft"}, "smooth"), slider, percent));
}

function legend() {
  const buttons = methods.map((m, method) => h("button", {type: "button", "aria-pressed": "true", title: "show or hide; with Shift: only this one",
    click: (event) => {
      if (event.shiftKey) {
        const only = state.hidden.size !== methods.length - 1 || state.hidden.has(method);
        state.hidden = new Set(only ? methods.map((x, i) => i).filter((i) => i !== method) : []);
      } else if (!state.hidden.delete(method)) state.hidden.add(method);
      mark();
      redraw();
    }}, swatch(method), m.name));
  const mark = () => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(!state.hidden.has(i))));
  const all = h("button", {type: "button", class: "all", click: () => {
    state.hidden = new Set(state.hidden.size ? [] : methods.map((m, i) => i));
    mark();
    redraw();
  }}, "all / none");
  return h("div", {class: "legend", role: "group", "aria-label": "methods"}, methods.length > 1 ? [all, buttons] : buttons);
}

function themeSwitch() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = asked.theme || null;
  const apply = (print) => { document.documentElement.dataset.theme = print ? "light" : chosen || (system.matches ? "dark" : "light"); };
  system.addEventListener("change", () => apply());
  addEventListener("beforeprint", () => { apply(true); document.querySelectorAll("details.paper").forEach((d) => { d.open = true; }); });
  addEventListener("afterprint", () => apply());
  apply();
  return h("button", {type: "button", title: "light or dark", click: () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    apply();
  }}, "light / dark");
}

/* -------------------------------------------------------------------------------------------------- sections */

const section = (id, title, ...children) => h("section", {id}, h("h2", {}, title), children);
const named = (method) => [swatch(method), " ", methods[method].name];

function heading() {
  const seeds = [...new Set(runs.map((run) => run.seed))].length;
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const names = methods.length <= 5 ? methods.map((m) => m.name).join(", ") : `${methods.length} methods`;
  const title = data.title ? `Study ${data.title}` : names;
  const tokens = Math.max(0, ...runs.map((run) => run.tokens));
  document.title = title;
  return h("header", {}, h("div", {}, h("h1", {}, title),
    h("p", {class: "soft"}, `${plural(methods.length, "method")}, ${plural(runs.length, "run")}, ${plural(seeds, "seed")}; ` +
      `up to ${countText(tokens)} tokens of training. Losses in nats a token; lower is better.`)),
    themeSwitch());
}

const verdictClass = {better: "better", worse: "worse"};
const verdict = (c) => h("span", {class: verdictClass[c.verdict] || "even"}, c.verdict);
const differenceOf = (c) => `${signed(c.mean, c.se)} ± ${errorText(c.se)}`;
const intervalOf = (c) => `${signed(c.low, c.se)} to ${signed(c.high, c.se)}`;
const INTERVAL = `${Math.round(100 - 100 * data.level)} % interval`;
const comparisons = (n) => `${n} comparison${n === 1 ? "" : "s"}`;

/* What the numbers say, in words. */
function lead() {
  if (!methods.length || !is(methods[0].loss.mean)) return h("p", {class: "lead"}, "No run has finished with a validation loss yet.");
  const best = methods[0], c = best.against_baseline;
  const words = [h("b", {}, best.name), ` has the lowest ${best.loss.n > 1 ? "mean " : ""}final validation loss, ${withError(best.loss.mean, best.loss.se)}`,
    best.loss.n > 1 ? ` (mean ± standard error of ${best.loss.n} seeds).` : " (one run)."];
  if (is(c.p))
    words.push(` Against the baseline ${methods[data.baseline].name}: ${differenceOf(c)} (${c.n} pairs), ` +
      `p = ${pText(c.p_holm)} after Holm’s correction: `, verdict(c), ".");
  const tested = data.pairs.filter((pair) => pair.a === 0 && is(pair.p)), even = tested.filter((pair) => pair.verdict === "not distinguishable");
  const among = data.pair_tests > 1 ? ` In the stricter comparison of all ${data.pair_tests} pairs, it is` : " It is";
  const said = is(c.p) && data.pair_tests === 1;
  if (!said && even.length) words.push(`${among} not distinguishable from ${even.map((pair) => methods[pair.b].name).join(", ")}.`);
  else if (!said && tested.length && tested.every((pair) => pair.verdict === "better"))
    words.push(`${among} better than every other method that could be tested.`);
  if (!tested.length && methods.length > 1) words.push(" Without two seeds in common, nothing can be said about whether a difference is more than chance.");
  return h("p", {class: "lead"}, words);
}

function notes() {
  const lines = [...data.notes];
  methods.forEach((m) => {
    if (m.edge) lines.push(`${m.name}: the chosen point lies on the edge of its grid (${m.edge}); a better one may lie beyond`);
  });
  if (!lines.length) return null;
  const few = lines.slice(0, 6), more = lines.slice(6);
  return h("div", {class: "warn"}, h("ul", {}, few.map((line) => h("li", {}, line))),
    more.length ? h("details", {}, h("summary", {}, `${more.length} more`), h("ul", {}, more.map((line) => h("li", {}, line)))) : null);
}

function results() {
  const several = methods.some((m) => m.loss.n > 1), tests = data.baseline_tests > 0, base = methods[data.baseline].name;
  const spikesOf = (i) => runsOf(i).map((run) => run.figures.spikes).filter(Boolean).map((f) => f.y[f.y.length - 1]);
  const range = (values) => {
    const low = Math.min(...values), high = Math.max(...values);
    return !values.length ? NONE : low === high ? String(low) : `${low} to ${high}`;
  };
  const counted = (m) => [m.loss.n, m.open && `${m.open} open`, m.diverged && `${m.diverged} diverged`,
    m.failed && `${m.failed} failed`].filter((x) => x !== 0).join(", ") || "0";
  const finalText = (m, i) => {
    if (m.loss.n) return several ? withError(m.loss.mean, m.loss.se) : lossText(m.loss.mean);
    const [first] = runsOf(i);
    return first && is(first.final) ? `(${lossText(first.final)})` : NONE;
  };
  const columns = [ // head, is it a number?, cell, is it there?
    ["method", 0, (m, i) => h("th", {scope: "row"}, named(i)), true],
    ["optimizer", 0, (m) => m.optimizer, methods.some((m) => m.optimizer !== m.name)],
    ["chosen", 0, (m) => m.settings || NONE, methods.some((m) => m.settings)],
    ["runs", 1, counted, true],
    ["final val. loss", 1, finalText, true],
    [`minus ${base}`, 1, (m, i) => (i === data.baseline ? "baseline" : m.against_baseline.n > 1 ? differenceOf(m.against_baseline) : NONE), tests],
    ["p, Holm", 1, (m, i) => (i === data.baseline ? "" : pText(m.against_baseline.p_holm)), tests],
    ["verdict", 0, (m, i) => (i === data.baseline ? "" : m.loss.n ? verdict(m.against_baseline) : NONE), tests],
    ["perplexity", 1, (m) => fixed(m.perplexity, 2), true],
    [several ? "best, mean" : "best", 1, (m) => lossText(m.best.mean), true],
    ["spikes", 1, (m, i) => range(spikesOf(i)), methods.some((m, i) => spikesOf(i).length)],
    ["tokens/s", 1, (m) => countText(m.tokens_per_s.mean), true],
    ["time", 1, (m) => durationText(m.time_s.mean), true],
  ].filter((column) => column[3]);
  const rows = methods.map((m, i) => h("tr", {class: i === 0 && methods.length > 1 && is(m.loss.mean) ? "best" : null}, columns.map(([, isNumber, cell]) => {
    const what = cell(m, i);
    return what instanceof Element && what.tagName === "TH" ? what : h("td", {class: isNumber ? "number" : null}, what);
  })));
  return section("results", "Results", table(columns, rows),
    h("p", {class: "note"}, several ? "Means over seeds of runs that finished, ± the standard error of the mean." : "One run a method: no standard error.",
      tests ? ` The difference to ${base} is the mean over the seeds that both have; its verdict is that of a paired t-test at level ` +
        `${data.level}, p corrected by Holm’s method for ${comparisons(data.baseline_tests)}.` : "",
      runs.some((run) => run.trunk) ? " The time of a branch includes its trunk’s." : "",
      methods.some((m, i) => !m.loss.n && runsOf(i).length) ? " In brackets: the last value of a run that has not finished." : ""));
}

const shortKey = (key) => key.replace(/^optimizer\./, "");

function tuning() {
  const keys = [...new Set(methods.flatMap((m) => m.tuning.map((curve) => curve.key)))];
  if (!keys.length) return null;
  const charts = keys.map((key) => {
    const values = methods.flatMap((m) => m.tuning.filter((c) => c.key === key).flatMap((c) => c.points.map((point) => point.value)));
    if (!values.every(is)) return null; // words: in the table
    const log = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 4;
    return new Chart({name: `final validation loss by ${shortKey(key)}`, steep: true, labels: true, height: 300, text: lossText, logX: log,
      x: {name: shortKey(key) + (log ? ", log scale" : ""), unit: "", text: countText}, lines: () => tuningLines(key)}).node;
  });
  const rows = methods.flatMap((m, i) => m.tuning.map((curve) => {
    const best = curve.points[curve.best], diverged = curve.points.filter((point) => point.diverged).map((point) => point.text);
    return [h("th", {scope: "row"}, named(i)), shortKey(curve.key), number(best ? best.text : NONE),
      number(best ? lossText(best.loss) : NONE), curve.points.map((point) => point.text).join("  "),
      diverged.length ? diverged.join("  ") : "none",
      curve.on_edge ? h("td", {class: "worse"}, "on the edge: a better value may lie beyond") : "inside the grid"];
  }));
  return section("tuning", "What was tuned",
    h("p", {class: "note"}, "Each point is the mean over the tuning seeds, at the best of what else was tuned. A ring marks the optimum, " +
      "a cross a value whose runs diverged, a triangle one above the chart."), charts,
    table([["method"], ["setting"], ["optimum", 1], ["loss", 1], ["tried"], ["diverged"], ["the optimum lies"]], rows));
}

const PANELS = {
  spikes: ["loss spikes so far"],
  temperature: ["temperature τ", {logY: true}],
  saturated_frac: ["saturated fraction"],
  dual_progress: ["dual progress V*(τx) / τ"],
  noise_phi: ["noise density φ of the gradient"],
  grad_density: ["density of the gradient, ‖g‖₁² / (d ‖g‖₂²)"],
  grad_norm: ["gradient norm, before clipping"],
  grad_l1: ["gradient, ℓ₁ norm", {logY: true}],
  grad_l2: ["gradient, ℓ₂ norm", {logY: true}],
  grad_linf: ["gradient, ℓ∞ norm", {logY: true}],
  grad_nuclear: ["gradient, nuclear norm", {logY: true}],
  weight_norm: ["weights, ℓ₂ norm"],
  update_rms: ["update, root mean square", {logY: true}],
  update_spectral: ["update, spectral norm", {logY: true}],
  lr: ["learning rate"],
  tokens_per_s: ["tokens per second"],
  skipped: ["updates left out"],
  rollbacks: ["times gone back to a checkpoint"],
};
const NOISY = new Set(["train/loss", "grad_norm", "tokens_per_s", "dual_progress"]);

/* Four significant digits. */
const plainText = (x) => (is(x) && Math.abs(x) >= 1e-3 && Math.abs(x) < 1e4 ? minus(String(+x.toPrecision(4))) : countText(x));

function diagnostics() {
  const logged = new Set([...runs.flatMap((run) => Object.keys(run.figures)), ...methods.flatMap((m) => m.tensors.flatMap((t) => Object.keys(t.figures)))]);
  logged.delete("val/loss");
  logged.delete("train/loss");
  const keys = [...Object.keys(PANELS).filter((key) => logged.has(key)), ...[...logged].filter((key) => !(key in PANELS)).sort()];
  if (!keys.length) return null;
  const tensors = [...new Set(methods.flatMap((m) => m.tensors.map((t) => t.name)))];
  const select = h("select", {change: () => { state.tensor = select.value; redraw(); }},
    h("option", {value: ""}, "the whole model"), tensors.map((name) => h("option", {value: name}, name)));
  return section("diagnostics", "Diagnostics",
    tensors.length ? h("p", {class: "controls"}, h("label", {}, "of ", select)) : null,
    tensors.length ? h("p", {class: "note"}, "Of a single tensor: of each method’s first run that was diagnosed.") : null,
    h("div", {class: "panels"}, keys.map((key) => {
      const [name, more] = PANELS[key] || [key];
      return new Chart({name, over: "steps", height: 190, text: plainText, lines: () => panelLines(key), vanish: true, ...more}).node;
    })), spectra());
}

function spectra() {
  const having = methods.flatMap((m) => m.tensors.filter((t) => t.spectra.length));
  if (!having.length) return null;
  const names = [...new Set(having.map((t) => t.name))];
  const steps = [...new Set(having.flatMap((t) => t.spectra.map((spectrum) => spectrum.step)))].sort((a, b) => a - b);
  Object.assign(state.spectrum, {tensor: names[0], step: steps[steps.length - 1]});
  const tensor = h("select", {change: () => { state.spectrum.tensor = tensor.value; redraw(); }},
    names.map((name) => h("option", {value: name}, name)));
  const step = h("select", {change: () => { state.spectrum.step = +step.value; redraw(); }},
    steps.map((value) => h("option", {value, selected: value === state.spectrum.step}, String(value))));
  const share = {name: "singular values, from the smallest to the largest", unit: "of them are smaller",
    text: (x) => Math.round(100 * x) + " %"};
  const chart = (name, side) =>
    new Chart({name, height: 240, logY: true, text: plainText, x: share, lines: () => spectrumLines(side)}).node;
  return [h("h3", {}, "Singular values before and after the map"),
    h("p", {class: "controls"}, h("label", {}, "of ", tensor), h("label", {}, "at step ", step)),
    h("p", {class: "note"}, "Before: the momentum that the update is made from. After: the update before scale and learning rate. " +
      "A hard map brings all to about 1, a soft one leaves the small ones small."),
    h("div", {class: "panels wide"}, chart("before the map", "before"), chart("after the map", "after"))];
}

function opposite(pair) {
  const turn = {better: "worse", worse: "better"};
  return {...pair, a: pair.b, b: pair.a, mean: -pair.mean, low: -pair.high, high: -pair.low, verdict: turn[pair.verdict] || pair.verdict};
}
function pairOf(a, b) {
  const pair = data.pairs.find((p) => (p.a === a && p.b === b) || (p.a === b && p.b === a));
  return !pair || pair.a === a ? pair : opposite(pair);
}

function verdicts() {
  const shown = methods.map((m, i) => i).filter((i) => methods[i].loss.n > 1).slice(0, 16);
  const pairs = data.pairs.filter((pair) => is(pair.mean) && shown.includes(pair.a) && shown.includes(pair.b));
  if (!pairs.length) return null;
  const cell = (a, b) => {
    const pair = a === b ? null : pairOf(a, b);
    if (!pair || !is(pair.mean)) return h("td", {class: "none"}, a === b ? "" : NONE);
    const title = `${methods[a].name} against ${methods[b].name}: ${pair.n} pairs, interval ${intervalOf(pair)}`;
    const p = is(pair.p) ? `p ${pText(pair.p_holm).startsWith("<") ? "" : "= "}${pText(pair.p_holm)}` : "";
    return h("td", {title}, h("span", {class: verdictClass[pair.verdict] || "even"}, signed(pair.mean, pair.se)),
      h("small", {}, pair.verdict), h("small", {}, p));
  };
  const list = pairs.map((pair) => [h("th", {scope: "row"}, methods[pair.a].name), methods[pair.b].name, number(String(pair.n)),
    number(differenceOf(pair)), number(intervalOf(pair)),
    number(pText(pair.p)), number(pText(pair.p_holm)), number(pText(pair.p_flip)), number(errorText(pair.detectable)), h("td", {}, verdict(pair))]);
  return section("verdicts", "Every pair",
    h("p", {}, "Row minus column: the mean difference of final validation losses over the seeds that both have. The verdict is that of " +
      `a paired t-test at level ${data.level}; p is corrected by Holm’s method for all ${comparisons(data.pair_tests)}, so it is ` +
      "stricter than against the baseline alone. “Not distinguishable” does not mean equal: the list says what difference could have " +
      "been found."),
    shown.length < methods.filter((m) => m.loss.n > 1).length ? h("p", {class: "note"}, `The best ${shown.length} methods.`) : null,
    table([[""], ...shown.map((i) => [`against ${methods[i].name}`])],
      shown.map((a) => [h("th", {scope: "row"}, named(a)), ...shown.map((b) => cell(a, b))]), {class: "matrix"}),
    h("details", {class: "paper"}, h("summary", {}, "every comparison: standard errors, intervals, p before and after correction"),
      table([["method"], ["against"], ["pairs", 1], ["difference ± s.e.", 1], [INTERVAL, 1], ["p", 1], ["p, Holm", 1],
        ["p, sign flips", 1], ["detectable", 1], ["verdict"]], list),
      h("p", {class: "note"}, "Intervals and p are of one comparison; “p, Holm” is corrected. “Sign flips” is the exact permutation " +
        "test, which takes no normal distribution for granted. “Detectable” is the true difference that such a test finds with a " +
        "probability of 80 %.")));
}

function branches() {
  if (!data.branch_tests) return null;
  const rows = data.branches.map(({at, against_trunk: c}) => [h("th", {scope: "row"}, named(c.a)), h("td", {}, at),
    methods[c.b].name, number(String(c.n)), number(differenceOf(c)), number(intervalOf(c)),
    number(pText(c.p_holm)), h("td", {}, verdict(c))]);
  return section("branches", "Branches against their trunks",
    h("p", {}, "Each run against the very run that it branched from, by seed, at every point that has runs which count. The verdict is " +
      `that of a paired t-test at level ${data.level}; p is corrected by Holm’s method for all ${comparisons(data.branch_tests)} of ` +
      "this table."),
    table([["method"], ["at"], ["trunk"], ["pairs", 1], ["difference ± s.e.", 1], [INTERVAL, 1], ["p, Holm", 1], ["verdict"]], rows));
}

function curves() {
  const over = (name, key, noisy) =>
    new Chart({name, over: "steps", steep: true, labels: true, text: lossText, height: 360, lines: () => linesOf(key, noisy)});
  const parts = [];
  if (runs.some((run) => run.figures["val/loss"])) parts.push(over("validation loss", "val/loss", false).node);
  if (runs.some((run) => run.figures["train/loss"])) parts.push(over("training loss", "train/loss", true).node);
  if (!parts.length) parts.push(h("p", {class: "soft"}, "No losses have been logged yet."));
  return section("curves", "Loss curves",
    h("p", {class: "note"}, "Drag over a chart to zoom (all charts over the same axis follow), double-click to see all again; the wheel " +
      "zooms with Ctrl, or once a chart was clicked. Bands are ± one standard error over seeds. The training loss is smoothed by a " +
      "centred mean (“smooth”: its points on each side, in percent of all); what was logged lies behind it, pale."), parts);
}

function differences() {
  if (!data.differences.some((d) => d["val/loss"])) return null;
  const kept = (i) => i < data.baselines_max || i === data.baseline;
  const bases = methods.map((m, i) => i)
    .filter((i) => kept(i) && data.differences.some((d) => (d.a === i || d.b === i) && d["val/loss"]));
  const wanted = methods.findIndex((m) => m.name === asked.base);
  state.base = [wanted, data.baseline, bases[0]].find((i) => bases.includes(i));
  const limit = methods.length > data.baselines_max ? `Differences are to the baseline and the best ${data.baselines_max} methods.` : null;
  const missing = asked.base && wanted !== state.base ? `This report has no differences to ${asked.base}, which was asked for.` : null;
  const select = h("select", {id: "baseline", change: () => { state.base = +select.value; tell(); redraw(); }},
    bases.map((i) => h("option", {value: i, selected: i === state.base}, methods[i].name)));
  const note = h("p", {class: "note"});
  const tell = () => {
    const ns = data.differences.filter((d) => d.a === state.base || d.b === state.base).map((d) => d.n).filter(is);
    note.textContent = `Below zero is better than ${methods[state.base].name}. ` + (Math.max(0, ...ns) > 1
      ? "Each line is the mean of the differences between runs of the same seed at the same step; its band is ± one standard error of that mean."
      : "One pair of runs each: without more seeds nothing says how much of this is chance.");
  };
  tell();
  const chart = (name, key) => new Chart({name, over: "steps", zero: true, labels: true, height: 260, text: differenceText,
    lines: () => differencesOf(key)}).node;
  return section("differences", "Differences", h("p", {class: "controls"}, h("label", {}, "baseline ", select)),
    missing && h("p", {class: "warn"}, missing), limit && h("p", {class: "note"}, limit), note,
    chart("validation loss minus the baseline’s", "val/loss"),
    data.differences.some((d) => d["train/loss"]) ? chart("training loss minus the baseline’s", "train/loss") : null);
}

function runTable() {
  const rows = runs.map((run) => [h("td", {}, named(run.method)), number(String(run.seed)), run.outcome || "not ended",
    number(lossText(run.final)), number(is(run.best) ? `${lossText(run.best)} @${run.best_step}` : NONE),
    number(countText(run.tokens)), number(durationText(run.time_s)), h("td", {class: "mono"}, run.dir)]);
  return table([["method"], ["seed", 1], ["outcome"], ["final", 1], ["best @step", 1], ["tokens", 1], ["time", 1], ["directory"]], rows);
}

const TIMES = {forward_s: "forward", backward_s: "backward", optimizer_s: "optimizer", eval_s: "evaluation", diagnostics_s: "diagnostics"};

function times() {
  const known = Object.keys(TIMES), split = methods.map((m, i) => {
    const own = runsOf(i).filter((run) => is(run.times.all) && run.times.all > 0);
    if (!own.length) return null;
    const mean = (key) => own.reduce((sum, run) => sum + (run.times[key] || 0), 0) / own.length;
    const all = mean("all"), parts = known.map(mean);
    return {method: i, all, parts: [...parts, Math.max(0, all - parts.reduce((a, b) => a + b, 0))]};
  }).filter(Boolean);
  if (!split.length) return null;
  const used = known.map((key, k) => split.some((row) => row.parts[k] > 0)), most = Math.max(...split.map((row) => row.all));
  const names = [...known.map((key) => TIMES[key]), "rest"];
  const share = (row, k) => 100 * row.parts[k] / row.all;
  const strip = (row) => h("span", {class: "strip", style: `width:${(100 * row.all / most).toFixed(2)}%`, role: "img",
    "aria-label": names.map((name, k) => `${name} ${share(row, k).toFixed(0)} %`).join(", "),
    title: names.map((name, k) => `${name} ${durationText(row.parts[k])} (${share(row, k).toFixed(1)} %)`).join("\n")},
    row.parts.map((part, k) => h("i", {class: "t" + k, style: `width:${share(row, k).toFixed(2)}%`})));
  return section("time", "Where the time went",
    h("p", {class: "note"}, "Mean seconds a run; the length of a bar is its time" +
      (runs.some((run) => run.trunk) ? ", of a branch without its trunk’s" : "") + ". Rest: checkpoints, samples, waiting."),
    h("div", {class: "keys"}, names.map((name, k) => (k === known.length || used[k] ? h("span", {}, h("i", {class: "t" + k}), name) : null))),
    h("div", {class: "stack"}, split.map((row) => [h("span", {}, named(row.method)), strip(row), h("span", {}, durationText(row.all))])));
}

function samples() {
  const having = runs.filter((run) => run.samples.length);
  if (!having.length) return null;
  const firsts = methods.map((m, i) => having.find((run) => run.method === i)).filter(Boolean);
  const picked = [0, 1, 2].map((i) => firsts[i]).filter(Boolean);
  const steps = [...new Set(having.flatMap((run) => run.samples.map((sample) => sample.step)))].sort((a, b) => a - b);
  const grid = h("div", {class: "samples"});
  const step = h("select", {"aria-label": "step of the samples", change: () => fill()},
    steps.map((value) => h("option", {value, selected: value === steps[steps.length - 1]}, `step ${value}`)));
  const fill = () => grid.replaceChildren(...picked.map((run, place) => {
    const select = h("select", {"aria-label": "run", change: () => { picked[place] = having[+select.value]; fill(); }},
      having.map((other, i) => h("option", {value: i, selected: other === run}, `${methods[other.method].name}, seed ${other.seed}`)));
    const at = run.samples.filter((sample) => sample.step <= +step.value).pop();
    return h("div", {}, select, h("pre", {}, at ? at.text : "no sample this early"),
      at && at.step !== +step.value ? h("p", {class: "note"}, `from step ${at.step}`) : null);
  }));
  fill();
  return section("samples", "Samples", h("p", {class: "controls"}, h("label", {}, "generated at ", step)), grid);
}

const commandOf = ({dir, machine}) =>
  (machine && machine.command ? `${machine.start_time || ""}  ${machine.command}` : `${dir}: not recorded`);

/* Of runs that were made alike. */
function machineOf(own) {
  const [{machine}] = own, whose = own.length === runs.length ? "all runs" : `${own.length} of ${runs.length} runs`;
  return `machine and build of ${whose}: ` +
    (machine ? `${machine.cpu || ""}, ${machine.compiler || ""}, commit ${machine.commit || "unknown"}` : "not recorded");
}

function provenance() {
  const columns = methods.map((m, i) => i).filter((i) => runsOf(i).length).slice(0, 24);
  const rows = data.settings.map((row) => [h("th", {scope: "row", class: "mono"}, row.key),
    ...columns.map((i) => h("td", {class: "mono"}, row.values[i] === undefined ? "" : row.values[i]))]);
  const machines = new Map();
  for (const run of runs) {
    const {command, start_time, continued, ...machine} = run.machine || {};
    const text = JSON.stringify(machine, null, 2);
    machines.set(text, [...(machines.get(text) || []), run]);
  }
  const trunkOf = (run) => (run.trunk && is(run.branch_step) ? `${run.trunk}, step ${run.branch_step}` : run.trunk);
  const seeds = methods.map((m, i) => [h("th", {scope: "row"}, named(i)),
    runsOf(i).map((run) => run.seed).sort((a, b) => a - b).join(" "),
    [...new Set(runsOf(i).map(trunkOf).filter(Boolean))].map((text) => h("div", {}, text))]);
  const branches = runs.some((run) => run.trunk);
  return section("provenance", "Provenance",
    h("h3", {}, "What differs between the configs"),
    rows.length ? table([[""], ...columns.map((i) => [methods[i].name])], rows)
      : h("p", {}, methods.length > 1 ? "Nothing." : "One config."),
    h("h3", {}, "Seeds"), table([["method"], ["seeds"], ...(branches ? [["branched from"]] : [])], seeds.map((row) => (branches ? row : row.slice(0, 2)))),
    h("details", {class: "paper"}, h("summary", {}, `every run (${runs.length})`), runTable()),
    h("details", {}, h("summary", {}, `commands (${runs.length})`), h("pre", {}, runs.map(commandOf).join("\n"))),
    h("details", {}, h("summary", {}, methods.length > 1 ? `whole config of ${methods[columns[0] || 0].name}` : "whole config"),
      h("pre", {}, JSON.stringify(data.config, null, 2))),
    [...machines].map(([text, of]) =>
      h("details", {}, h("summary", {}, machineOf(of)), of[0].machine ? h("pre", {}, text) : null)));
}

/* ------------------------------------------------------------------------------------------------------ page */

function build() {
  if (Object.hasOwn(X_AXES, asked.x) && (asked.x !== "flops" || hasFlops)) state.x = asked.x;
  if (asked.view === "means" || asked.view === "runs") state.view = asked.view;
  const first = heading();
  if (!runs.length) {
    document.getElementById("report").append(first, h("p", {class: "lead"}, "There are no runs to show yet."));
    return;
  }
  const parts = [first, lead(), notes(), results(), branches(), verdicts(), h("div", {class: "bar"}, controls(), legend()),
    curves(), differences(), tuning(), diagnostics(), times(), samples(), provenance(),
    h("footer", {class: "note"}, `Made by train_gpt’s compare (${data.build}). This file is complete: it loads nothing.`)];
  document.getElementById("report").append(...parts.filter(Boolean));
  for (const chart of charts) chart.draw();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
}

addEventListener("error", (event) => {
  const problem = document.getElementById("problem");
  problem.hidden = false;
  problem.textContent = `This report could not be drawn: ${event.message}`;
});
build();
