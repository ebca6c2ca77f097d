"use strict";
// The figures that stand still, in SVG, by Observable Plot. Each function gives one for a width.

const FONT = { fontFamily: "system-ui, sans-serif", fontSize: "12px", overflow: "visible" };
const NARROW = 620;
const LEGEND_ROW = 20;

const measure = document.createElement("canvas").getContext("2d");
function textWidth(text) {
  measure.font = "12px system-ui, sans-serif";
  return measure.measureText(text).width;
}

// fitted is a text, its end left out where it is wider than its place.
function fitted(text, width) {
  if (textWidth(text) <= width) return text;
  let n = text.length - 1;
  while (n > 1 && textWidth(`${text.slice(0, n)}…`) > width) n--;
  return `${text.slice(0, n)}…`;
}

// headed writes what a facet shows in lines of a width: its boards, its model, its stage. The whole is the title.
const headed = (key, width) => key.split(/ · |\n/).map((part) => fitted(llms.includes(part) ? short(part) : part, width)).join("\n");
const LINE = 14;
const headLines = () => (llms.length > 1 ? LINE : 0); // what a model's name takes above a facet
const above = (columns, width) => Plot.axisFx({ anchor: "top", label: null, text: (key) => headed(key, width / columns - 24), title: (key) => key });
const right = (width) => Plot.axisFy({ anchor: "right", label: null, text: (key) => headed(key, width), title: (key) => key });

// laid places a legend's entries in rows of a width.
function laid(entries, width) {
  let x = 0;
  let row = 0;
  return entries.map((entry) => {
    const wide = 24 + textWidth(entry.text) + 16;
    if (x > 0 && x + wide > width) [x, row] = [0, row + 1];
    const place = { ...entry, x, row };
    x += wide;
    return place;
  });
}

// chart is a plot with its legend above it, in one SVG; the name of its vertical axis stands between the two.
function chart(width, entries, { vertical, ...options }) {
  const legend = laid(entries, width);
  const rows = legend.length ? legend[legend.length - 1].row + 1 : 0;
  const marginTop = options.marginTop + rows * LEGEND_ROW;
  const svg = Plot.plot({ style: FONT, width, marginTop, ...options, height: options.height + rows * LEGEND_ROW, marginTop });
  const g = d3.select(svg).append("g").attr("text-anchor", "start").attr("fill", "currentColor");
  if (vertical) g.append("text").attr("x", 2).attr("y", marginTop - 9).text(vertical);
  for (const entry of legend) {
    const one = g.append("g").attr("transform", `translate(${entry.x + 10},${entry.row * LEGEND_ROW + 10})`);
    sign(one, entry);
    one.append("text").attr("x", 14).attr("dy", "0.32em").text(entry.text);
  }
  return svg;
}

// sign draws what an entry of a legend stands for: a mark, a line, or a filled or dashed box.
function sign(g, { mark, stroke = "currentColor", fill, dash, box, bar, opacity = 1 }) {
  if (bar) {
    g.append("path").attr("d", "M0,-7V7").attr("stroke", stroke).attr("stroke-width", 1.3);
    return;
  }
  if (box) {
    g.append("rect").attr("x", -8).attr("y", -6).attr("width", 16).attr("height", 12).attr("fill", fill ?? "none").attr("fill-opacity", opacity).attr("stroke", dash || !fill ? stroke : "none").attr("stroke-dasharray", dash ?? null);
    return;
  }
  if (dash != null || !mark) g.append("path").attr("d", "M-9,0H9").attr("stroke", stroke).attr("stroke-width", 1.5).attr("stroke-dasharray", dash ?? null);
  if (mark) g.append("path").attr("d", d3.symbol(d3[`symbol${mark[0].toUpperCase()}${mark.slice(1)}`], 46)()).attr("stroke", stroke).attr("stroke-width", 1.5).attr("fill", fill ?? stroke);
}

const empty = (width, text) =>
  Plot.plot({ style: FONT, width, height: 60, axis: null, marks: [Plot.text([text], { frameAnchor: "middle", fill: "currentColor", fontSize: 13 })] });

// powers is how the sensor's new values are distributed, a row a stage, a column a kind of board.
function powers(width) {
  if (!model.powers.length) return empty(width, "no values of instant power");
  const boards = [...new Map(model.runs.map((r) => [`${r.gpu_name} ${r.llm_name}`, r])).values()];
  const stages = STAGES.filter((s) => model.powers.some((p) => p.stage === s));
  const label = (run) => (llms.length > 1 ? `${run.gpu_name} · ${run.llm_name}` : run.gpu_name);
  const curves = boards.flatMap((run) => stages.map((stage) => distribution(run, stage))).filter((c) => c.n > 0);
  const narrow = width < NARROW;
  const facets = narrow ? { fy: (d) => `${label(d.run)}\n${d.stage}` } : { fx: (d) => label(d.run), fy: "stage" };
  const order = narrow ? { fy: { domain: boards.flatMap((r) => stages.map((s) => `${label(r)}\n${s}`)), axis: null } } : { fx: { domain: [...new Set(boards.map(label))], axis: null, padding: 0.06 }, fy: { domain: stages, label: null } };
  const marks = boards.flatMap((run) => {
    const own = curves.filter((c) => c.run === run);
    const outline = own.flatMap((c) => c.bins.map((b) => ({ ...b, run, stage: c.stage })));
    const faceted = narrow ? { fy: facets.fy } : { fx: facets.fx, fy: (d) => d.stage };
    return [
      Plot.areaY(outline, { ...faceted, x: "w", y: "height", z: (d) => d.stage, curve: "step-after", fill: colour(servingOfRun(run)) }),
      Plot.ruleX(own, { ...faceted, x: "median", y1: 0, y2: 1.04, stroke: "currentColor", strokeWidth: 1.2 }),
      Plot.text(own, { ...faceted, frameAnchor: "top-right", dx: -2, dy: 1, text: (c) => `median ${number(c.median)} W, n = ${whole(c.n)}`, fill: "currentColor", fontSize: 11, stroke: "var(--page)", strokeWidth: 3 }),
    ];
  });
  return chart(width, [], {
    height: 44 + (narrow ? 0 : headLines()) + (narrow ? 74 : 86) * (narrow ? boards.length * stages.length : stages.length), marginTop: narrow ? 10 : 30 + headLines(), marginRight: narrow ? 110 : 10, marginLeft: narrow ? 12 : 54, marginBottom: 40,
    x: { label: "power (W)", labelAnchor: "center", labelArrow: "none", grid: true, domain: [0, d3.max(curves, (c) => c.bins[c.bins.length - 1].w)], ticks: Math.min(6, width / 90) },
    y: { axis: null, domain: [0, 1.3] }, ...order,
    marks: [narrow ? right(100) : above(boards.length, width), ...marks, Plot.ruleY([0], { stroke: "currentColor", strokeOpacity: 0.4 })],
  });
}

function distribution(run, stage) {
  const mine = model.powers.filter((p) => p.gpu_name === run.gpu_name && p.llm_name === run.llm_name && p.stage === stage);
  const n = d3.sum(mine, (p) => p.updates);
  let below = 0;
  const middle = d3.sort(mine, (p) => p.w).find((p) => (below += p.updates) >= n / 2);
  const counts = d3.rollup(mine, (v) => d3.sum(v, (p) => p.updates), (p) => Math.floor(p.w / model.bin_w));
  const fullest = d3.max(counts.values());
  const [first, last] = d3.extent(counts.keys());
  const bins = n ? d3.range(first - 1, last + 2).map((bin) => ({ w: bin * model.bin_w, height: (counts.get(bin) ?? 0) / fullest })) : [];
  return { run, stage, n, bins, median: middle ? middle.w + 0.5 : null };
}

// curves draws a quantity against another, logarithmically: a line a board, with intervals; hollow marks where the sensor
// saw the stage alone in fewer than half of the requests.
function curves(width, { points, x, y, hollow, dashed, interval }) {
  const usable = points.filter((p) => p.x > 0 && p.y > 0).map((p) => ({ ...p, lo: p.lo > 0 ? p.lo : p.y / 3, hi: Math.max(p.hi ?? p.y, p.y) }));
  if (!usable.length) return empty(width, "nothing measured");
  const shown = model.servings.filter((s) => usable.some((p) => p.serving === s));
  const facet = llms.length > 1 ? { fy: (d) => d.serving.llm } : {};
  const named = [...new Set(shown.map((s) => s.llm))];
  const models = llms.length > 1 ? [Plot.text(named, { fy: (llm) => llm, text: (llm) => fitted(short(llm), width - 260), title: (llm) => llm, frameAnchor: "top-right", dy: -15, fill: "currentColor", fontSize: 12 })] : [];
  const marks = shown.flatMap((serving) => {
    const ink = colour(serving);
    const mine = usable.filter((p) => p.serving === serving);
    const line = (dash) => Plot.line(mine.filter((p) => (p.dash ?? false) === dash), { ...facet, x: "x", y: "y", z: (d) => d.serving.label, stroke: ink, strokeWidth: 1.5, strokeDasharray: dash ? "4 3" : null, sort: "x" });
    return [
      line(false), line(true),
      Plot.ruleX(mine, { ...facet, x: "x", y1: "lo", y2: "hi", stroke: ink, strokeWidth: 1.3 }),
      Plot.dot(mine, { ...facet, x: "x", y: "y", r: 4, symbol: symbol(serving), stroke: ink, strokeWidth: 1.5, fill: (d) => (d.hollow ? "var(--page)" : ink) }),
    ];
  });
  const entries = [
    ...[...new Map(shown.map((s) => [s.colour, s])).values()].map((s) => ({ text: s.label, mark: symbol(s), stroke: colour(s) })),
    ...(dashed && usable.some((p) => p.dash) ? [{ text: dashed, dash: "4 3" }] : []),
    ...(hollow && usable.some((p) => p.hollow) ? [{ text: hollow, mark: "circle", fill: "var(--page)" }] : []),
    ...(interval ? [{ text: interval, bar: true }] : []),
  ];
  const xs = padded(d3.min(usable, (p) => p.x), d3.max(usable, (p) => p.x));
  const ys = padded(d3.min(usable, (p) => Math.max(p.lo, p.y / 10)), d3.max(usable, (p) => p.hi));
  return chart(width, entries, {
    height: 300 * named.length + 20, marginLeft: 58, marginBottom: 42, marginRight: 16, marginTop: 28,
    x: { type: "log", label: x, labelAnchor: "center", labelArrow: "none", grid: true, tickFormat: logTick(xs), domain: xs },
    vertical: y,
    y: { type: "log", label: null, grid: true, tickFormat: logTick(ys), domain: ys, clamp: true },
    fy: { axis: null, padding: 0.12 },
    marks: [...models, Plot.frame({ stroke: "currentColor", strokeOpacity: 0.25 }), ...marks, Plot.tip(usable, Plot.pointer({ ...facet, x: "x", y: "y", title: (d) => d.title }))],
  });
}

// logTick names the powers of ten, and what is between them where few of them are in sight.
const logTick = ([lo, hi]) => (v) => {
  const lead = Number((v / 10 ** Math.floor(Math.log10(v) + 1e-9)).toFixed(6));
  const named = hi / lo < 8 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : hi / lo < 300 ? [1, 2, 5] : [1];
  return named.includes(lead) ? number(v) : "";
};

const padded = (lo, hi) => (hi / lo < 1.5 ? [lo / 1.5, hi * 1.5] : [lo / 1.25, hi * 1.25]);

const sizes = (workload) => model.sizes.filter((s) => !workload || s.workload === workload);
const latency = (s, x, quantity, unit) => ({
  serving: servingOf(s), x, y: s[`${quantity}_s`] * 1000, lo: s[`${quantity}_lo_s`] * 1000, hi: s[`${quantity}_hi_s`] * 1000, dash: false,
  title: `${name(servingOf(s))}\n${kind(s)} tokens, ${whole(s.counted)} requests\n${number(s[`${quantity}_s`] * 1000)} ${unit} (${number(s[`${quantity}_lo_s`] * 1000)} to ${number(s[`${quantity}_hi_s`] * 1000)})`,
});
const context = (d) => d.input_tokens + d.output_tokens / 2;
const NINE = "nine in ten requests";
const CI = "95 % interval";
const HOLLOW = "hollow: seen alone in fewer than half";
const alone = (e) => `the sensor saw that stage alone in ${whole(e.resolved)} of ${whole(e.requests)}`;
const FEW = 4; // output tokens: of fewer, the time and energy of one say nothing

const ttft = (width) => curves(width, {
  points: sizes("prefill").filter((s) => s.ttft_s != null).map((s) => latency(s, s.input_tokens, "ttft", "ms")),
  x: "input tokens", y: "time to first token (ms)", interval: NINE,
});

const tpotPoints = (x) => sizes().filter((s) => s.tpot_s != null && s.output_tokens >= FEW).map((s) => ({ ...latency(s, x(s), "tpot", "ms"), dash: s.workload === "prefill" }));
const tpotLength = (width) => curves(width, { points: tpotPoints((s) => s.output_tokens).filter((p) => !p.dash), x: "output tokens", y: "time per output token (ms)", interval: NINE });
const tpotContext = (width) => curves(width, { points: tpotPoints(context), x: "context: input and half of the output (tokens)", y: "time per output token (ms)", interval: NINE, dashed: "prefill-oriented prompts" });

function energy(e, x, per) {
  const [y, half] = [e.energy_j / per, e.energy_j_half_interval / per];
  return {
    serving: servingOf(e), x, y, lo: y - half, hi: y + half, hollow: !e.seen, dash: e.workload !== e.stage,
    title: `${name(servingOf(e))}\n${kind(e)} tokens, ${whole(e.requests)} requests\n${number(y, 4)} ± ${number(half, 2)} J\n${alone(e)}`,
  };
}
const prefillJ = (width) => curves(width, {
  points: model.energies.filter((f) => f.stage === "prefill" && f.workload === "prefill").map((f) => energy(f, f.input_tokens, 1)),
  x: "input tokens", y: "energy of prefill (J)", hollow: HOLLOW, interval: CI,
});
// The first token is prefill's: decode makes one less than the answer has.
const tokenJ = (x) => model.energies.filter((f) => f.stage === "decode" && f.output_tokens >= FEW).map((f) => energy(f, x(f), f.output_tokens - 1));
const tokenJLength = (width) => curves(width, { points: tokenJ((f) => f.output_tokens).filter((p) => !p.dash), x: "output tokens", y: "energy per output token (J)", hollow: HOLLOW, interval: CI });
const tokenJContext = (width) => curves(width, { points: tokenJ(context), x: "context: input and half of the output (tokens)", y: "energy per output token (J)", hollow: HOLLOW, interval: CI, dashed: "prefill-oriented prompts" });
