"use strict";
// Power and utilisation over time: uPlot on canvases, fed with the points of the window that is shown.

const POINTS = 2400; // of one series in the window, at most
const POWER_HEIGHT = 170;
const UTIL_HEIGHT = 80;
const FONT_SMALL = "11px system-ui, sans-serif";
const TINTS = { prefill: "--prefill", decode: "--decode", mixed: "--mixed" };

class Timelines {
  constructor(parent) {
    this.parent = parent;
    this.panels = [];
    this.listeners = [];
  }

  async load() {
    for (const line of model.timelines) this.panels.push(await Panel.load(line));
    this.full = [
      Math.min(...this.panels.map((p) => p.power.levels[0].t[0] ?? 0)),
      Math.max(1, ...this.panels.map((p) => Math.max(p.power.end, p.util.end))),
    ];
    this.maxW = 1.08 * Math.max(1, ...this.panels.map((p) => p.maxW));
    this.view = this.full;
    this.panels[this.panels.length - 1].last = true;
    for (const panel of this.panels) panel.draw(this);
    this.show(...this.full);
  }

  // show moves all panels to one window of time.
  show(from, to) {
    const span = Math.min(Math.max(to - from, 0.02), this.full[1] - this.full[0]);
    from = Math.min(Math.max(from, this.full[0]), this.full[1] - span);
    this.view = [from, from + span];
    for (const panel of this.panels) panel.show(...this.view);
    for (const listener of this.listeners) listener(this.view);
  }

  zoom(by, at = 0.5) {
    const [from, to] = this.view;
    const centre = from + at * (to - from);
    this.show(centre - (centre - from) * by, centre + (to - centre) * by);
  }

  pan(by) {
    const [from, to] = this.view;
    this.show(from + by * (to - from), to + by * (to - from));
  }

  redraw() {
    for (const panel of this.panels) panel.resize();
  }
}

class Panel {
  static async load(line) {
    const panel = new Panel();
    panel.line = line;
    panel.run = model.runs[line.run];
    const [t, w, lo, hi, util, utilT, bandT] = await Promise.all([line.t, line.w, line.lo, line.hi, line.util, line.util_t, line.band_t].map(column));
    const shares = await Promise.all((line.shares ?? []).map(column));
    const series = { lo: lo ?? w, hi: hi ?? w, w };
    ["prefill", "decode", "mixed"].forEach((stage, i) => shares[i] && (series[stage] = shares[i]));
    panel.power = new Track(t, series);
    panel.util = new Track(utilT ?? t, { util });
    panel.bandT = bandT;
    panel.band = line.band ?? [];
    panel.maxW = (hi ?? w).reduce((most, v) => (v > most ? v : most), 0);
    return panel;
  }

  draw(all) {
    this.all = all;
    const serving = servingOfRun(this.run);
    this.box = document.createElement("section");
    this.box.className = "panel";
    const head = this.box.appendChild(document.createElement("h3"));
    const key = head.appendChild(document.createElement("i"));
    key.className = "key";
    key.style.background = colour(serving);
    head.append(`${this.run.label} `);
    const about = head.appendChild(document.createElement("small"));
    about.textContent = `${this.run.llm_name} · run ${this.run.run_id}`;
    this.readout = head.appendChild(document.createElement("output"));
    all.parent.append(this.box);
    const axis = { stroke: () => css("--muted"), grid: { stroke: () => css("--grid"), width: 1 }, ticks: { stroke: () => css("--grid"), width: 1, size: 4 }, font: FONT_SMALL };
    const stepped = uPlot.paths.stepped({ align: 1 });
    const ink = () => resolve(colour(serving));
    const x = { ...axis, size: 26, space: 70, values: (_, ticks, __, ___, step) => ticks.map((s) => clock(s, step)) };
    this.powerPlot = this.plot(POWER_HEIGHT, {
      axes: [{ ...x, values: () => [], size: 6 }, { ...axis, size: 52, label: "power (W)", labelSize: 18, labelFont: FONT_SMALL, space: 30 }],
      scales: { x: { time: false }, y: { range: [0, all.maxW] } },
      series: [{}, { stroke: null, paths: stepped, points: { show: false } }, { stroke: null, paths: stepped, points: { show: false } }, { stroke: ink, width: 1.4, paths: stepped, points: { show: false } }],
      bands: [{ series: [2, 1], fill: () => alpha(ink(), 0.35) }],
      hooks: { drawClear: [(u) => this.bands(u)], draw: [(u) => this.ticks(u, true)], setSelect: [(u) => this.select(u)], setCursor: [(u) => this.read(u)] },
    });
    this.utilPlot = this.plot(this.utilHeight(), {
      axes: [this.last ? { ...x, size: 26, label: `${TIME} (${timeUnit()})`, labelSize: 18, labelFont: FONT_SMALL } : x, { ...axis, size: 52, label: "GPU (%)", labelSize: 18, labelFont: FONT_SMALL, space: 24 }],
      scales: { x: { time: false }, y: { range: [0, 104] } },
      series: [{}, { stroke: ink, width: 1.2, paths: stepped, points: { show: false } }],
      hooks: { drawClear: [(u) => this.bands(u)], draw: [(u) => this.ticks(u, false)], setSelect: [(u) => this.select(u)], setCursor: [(u) => this.read(u)] },
    });
  }

  plot(height, options) {
    const u = new uPlot(
      {
        width: this.width(), height, pxAlign: 0, padding: [6, 22, 0, 0], legend: { show: false },
        cursor: { sync: { key: "time", setSeries: false }, points: { show: false }, y: false, drag: { x: true, y: false, setScale: false, dist: 4 }, bind: { dblclick: () => () => this.all.show(...this.all.full) } },
        ...options,
      },
      [[0], ...options.series.slice(1).map(() => [0])],
      this.box,
    );
    u.over.addEventListener("wheel", (e) => this.wheel(e, u), { passive: false });
    u.over.addEventListener("mousedown", (e) => this.press(e, u), true);
    return u;
  }

  // utilHeight leaves room for the name of the axis, which only the last panel has.
  utilHeight() {
    return UTIL_HEIGHT + (this.last ? 18 : 0);
  }

  width() {
    return Math.max(260, this.all.parent.clientWidth);
  }

  show(from, to) {
    const power = this.power.window(from, to, POINTS);
    const util = this.util.window(from, to, POINTS);
    const whole = power.exact && !this.line.bucket_s;
    const none = whole ? new Array(power.t.length).fill(null) : null;
    const list = (values) => Array.from(values, (v) => (Number.isNaN(v) ? null : v));
    this.shown = power;
    set(this.powerPlot, [power.t, none ?? list(power.series.lo), none ?? list(power.series.hi), list(power.series.w)], from, to);
    set(this.utilPlot, [util.t, list(util.series.util)], from, to);
  }

  resize() {
    this.powerPlot.setSize({ width: this.width(), height: POWER_HEIGHT });
    this.utilPlot.setSize({ width: this.width(), height: this.utilHeight() });
  }

  // stretches calls back with the instants, stage and share of each stretch of rows with one label in a window.
  stretches(from, to, each) {
    if (this.bandT) {
      for (let i = Math.max(0, below(this.bandT, from)); i < this.band.length && this.bandT[i] < to; i++) {
        if (this.band[i] !== "idle") each(this.bandT[i], this.bandT[i + 1], this.band[i], 1);
      }
      return;
    }
    const { t, series } = this.shown;
    for (let i = 0; i < t.length; i++) {
      for (const stage of Object.keys(TINTS)) {
        if (series[stage]?.[i] > 0) each(t[i], t[i + 1] ?? t[i] + this.line.bucket_s, stage, series[stage][i] / 100);
      }
    }
  }

  bands(u) {
    if (!this.shown) return;
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    const tints = Object.fromEntries(Object.entries(TINTS).map(([stage, variable]) => [stage, css(variable)]));
    this.stretches(u.scales.x.min, u.scales.x.max, (from, to, stage, share) => {
      const x = u.valToPos(from, "x", true);
      u.ctx.globalAlpha = share;
      u.ctx.fillStyle = tints[stage];
      u.ctx.fillRect(x, top, u.valToPos(to, "x", true) - x, height);
    });
    u.ctx.restore();
  }

  // ticks marks requests: a tick where each was sent; with room, lines there and at its first token, and what it asked for.
  ticks(u, named) {
    const { left, top, width, height } = u.bbox;
    const dpr = devicePixelRatio;
    const at = (s) => u.valToPos(s, "x", true);
    const all = this.line.requests ?? [];
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    u.ctx.strokeStyle = u.ctx.fillStyle = css("--ink");
    u.ctx.font = `${10.5 * dpr}px system-ui, sans-serif`;
    u.ctx.textAlign = "left";
    u.ctx.textBaseline = "alphabetic";
    u.ctx.lineWidth = dpr;
    all.forEach((r, i) => {
      const end = all[i + 1]?.s ?? Infinity;
      if (r.s > u.scales.x.max || r.end_s < u.scales.x.min) return;
      const x = at(r.s);
      const room = (Math.min(at(end), left + width) - Math.max(x, left)) / dpr;
      const roomy = room > 24;
      if (named || roomy) line(u.ctx, x, top, top + (roomy ? height : 7 * dpr), roomy ? 0.5 : 0.9);
      if (roomy && r.first_token_s != null && at(r.first_token_s) - x > 3 * dpr) {
        u.ctx.setLineDash([3 * dpr, 3 * dpr]);
        line(u.ctx, at(r.first_token_s), top, top + height, 0.5);
        u.ctx.setLineDash([]);
      }
      if (named && u.ctx.measureText(asked(r)).width / dpr + 10 < room) u.ctx.fillText(asked(r), Math.max(x, left) + 4 * dpr, top + 11 * dpr);
    });
    u.ctx.restore();
  }

  select(u) {
    if (u.select.width < 4 || u !== this.all.pressed) return;
    const from = u.posToVal(u.select.left, "x");
    const to = u.posToVal(u.select.left + u.select.width, "x");
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.all.show(from, to);
  }

  wheel(e, u) {
    if (e.ctrlKey || e.metaKey) this.all.zoom(Math.exp(e.deltaY / 300), e.offsetX / u.over.clientWidth);
    else if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) this.all.pan(e.deltaX / u.over.clientWidth);
    else return;
    e.preventDefault();
  }

  // press begins a selection, which the other panels only repeat; with Shift it moves the window instead.
  press(e, u) {
    this.all.pressed = u;
    if (!e.shiftKey || e.button !== 0) return;
    e.stopImmediatePropagation();
    e.preventDefault();
    const width = u.over.clientWidth;
    const move = (m) => this.all.pan(-m.movementX / width);
    document.addEventListener("mousemove", move);
    document.addEventListener("mouseup", () => document.removeEventListener("mousemove", move), { once: true });
  }

  read(u) {
    if (u.cursor.left == null || u.cursor.left < 0 || !this.shown) {
      this.readout.textContent = "";
      return;
    }
    const s = u.posToVal(u.cursor.left, "x");
    const { t, series } = this.shown;
    const i = below(t, s);
    const util = this.util.levels[0];
    const parts = [`${clock(s, 0.1)} s`, `${number(series.w[i], 4)} W`, `${number(util.series.util[below(util.t, s)])} %`];
    if (series.lo[i] !== series.hi[i]) parts[1] += ` (${number(series.lo[i])} to ${number(series.hi[i])})`;
    if (this.bandT) parts.push(this.band[below(this.bandT, s)] ?? "");
    this.readout.textContent = parts.join(" · ");
  }
}

function set(u, data, from, to) {
  u.batch(() => {
    u.setData(data, false);
    u.setScale("x", { min: from, max: to });
  });
}

function line(ctx, x, from, to, opacity) {
  ctx.globalAlpha = opacity;
  ctx.beginPath();
  ctx.moveTo(x, from);
  ctx.lineTo(x, to);
  ctx.stroke();
  ctx.globalAlpha = 1;
}

const asked = (r) => `${r.workload} ${whole(r.target_tokens)}: ${number(r.input_tokens)} in, ${number(r.output_tokens)} out${r.warmup ? ", warm-up" : r.valid ? "" : ", not valid"}`;
