"use strict";
// Where a request's energy goes, and single requests close up.

// split stacks the stages of a request of each kind, a column a board; the whole is written beside it.
function split(width) {
  const kinds = [...new Set(model.energies.map(kind))];
  if (!kinds.length) return empty(width, "no energies");
  const shown = model.servings.filter((s) => model.energies.some((f) => servingOf(f) === s));
  const bars = [];
  for (const serving of shown) {
    for (const of of kinds) {
      const parts = model.energies.filter((f) => servingOf(f) === serving && kind(f) === of);
      const total = d3.sum(parts, (f) => f.energy_j_of_all); // a one-token answer has no decode
      let x = 0;
      for (const stage of ["prefill", "decode"]) {
        const f = parts.find((p) => p.stage === stage);
        if (!f) continue;
        const share = (100 * f.energy_j_of_all) / total;
        bars.push({ serving: name(serving), ink: colour(serving), kind: of, stage, x1: x, x2: x + share, f, total, seen: f.seen });
        x += share;
      }
    }
  }
  const narrow = width < NARROW;
  const facet = narrow ? { fy: "serving" } : { fx: "serving" };
  const totals = [...d3.group(bars, (b) => b.serving, (b) => b.kind).values()].flatMap((m) => [...m.values()].map((v) => v[0]));
  const opacity = { prefill: 0.95, decode: 0.4 };
  const columns = narrow ? 1 : shown.length;
  return chart(width, [
    { text: "prefill", box: true, fill: "currentColor", opacity: opacity.prefill },
    { text: "decode", box: true, fill: "currentColor", opacity: opacity.decode },
    ...(bars.some((b) => !b.seen) ? [{ text: "dashed: the sensor saw that stage alone in fewer than half of the requests", box: true, dash: "3 2" }] : []),
  ], {
    height: 70 + 26 * kinds.length * (narrow ? shown.length : 1) + (narrow ? 26 * shown.length : headLines()), marginLeft: 92, marginRight: narrow ? 110 : 12, marginBottom: 42, marginTop: narrow ? 12 : 30 + headLines(),
    x: { label: "share of a request's energy (%)", labelAnchor: "center", labelArrow: "none", domain: [0, columns > 2 ? 150 : 130], ticks: [0, 50, 100], grid: true },
    y: { domain: kinds, label: null }, fx: { axis: null, domain: shown.map(name), padding: 0.06 }, fy: { axis: null, domain: shown.map(name), padding: 0.12 },
    marks: [
      narrow ? right(100) : above(shown.length, width),
      Plot.barX(bars.filter((b) => b.seen), { ...facet, y: "kind", x1: "x1", x2: "x2", fill: "ink", fillOpacity: (b) => opacity[b.stage], insetTop: 2, insetBottom: 2 }),
      Plot.barX(bars.filter((b) => !b.seen), { ...facet, y: "kind", x1: "x1", x2: "x2", fill: "ink", fillOpacity: (b) => 0.5 * opacity[b.stage], stroke: "ink", strokeDasharray: "3 2", insetTop: 2, insetBottom: 2, insetLeft: 1, insetRight: 1 }),
      Plot.text(totals, { ...facet, y: "kind", x: 103, textAnchor: "start", text: (b) => joules(b.total), fill: "currentColor", fontSize: 11.5 }),
      Plot.tip(bars, Plot.pointerX({ ...facet, y: "kind", x1: "x1", x2: "x2", title: (b) => `${b.serving}, ${b.kind} tokens\n${b.stage}: ${joules(b.f.energy_j)} ± ${joules(b.f.energy_j_half_interval)}, ${number(b.x2 - b.x1)} %\n${alone(b.f)}` })),
    ],
  });
}

// closeUp shows one request a board as its power sensor did, with what the request's own clock says of its stages.
const closeUp = (workload) => (width) => {
  const shown = model.closeups.filter((c) => c.workload === workload && c.points.some((p) => p.value != null));
  if (!shown.length) return empty(width, "no valid request");
  const narrow = width < NARROW;
  const label = (c) => model.runs[c.run].label + (llms.length > 1 ? ` · ${model.runs[c.run].llm_name}` : "");
  const facet = narrow ? { fy: (d) => label(d.c ?? d) } : { fx: (d) => label(d.c ?? d) };
  const highest = d3.max(shown, (c) => d3.max(c.points, (p) => p.value));
  const stages = shown.flatMap((c) => [
    { c, from: c.prefill_s, to: c.first_token_s, stage: "prefill" },
    { c, from: c.first_token_s, to: c.last_token_s, stage: "decode" },
  ]);
  const marks = shown.flatMap((c) => {
    const ink = colour(servingOfRun(model.runs[c.run]));
    const points = c.points.map((p) => ({ ...p, c }));
    return [
      Plot.line(points, { ...facet, x: "s", y: "value", curve: "step-after", stroke: ink, strokeWidth: 1.6 }),
      ...(points.length < 60 ? [Plot.dot(points, { ...facet, x: "s", y: "value", r: 2.4, fill: ink })] : []),
    ];
  });
  const cell = narrow ? width : width / shown.length;
  return chart(width, [
    { text: "prefill", box: true, fill: "var(--prefill)" },
    { text: "decode", box: true, fill: "var(--decode)" },
    { text: "new value of the power sensor", mark: "circle" },
  ], {
    height: narrow ? 80 + 170 * shown.length : 270 + headLines(), marginLeft: 52, marginBottom: 42, marginTop: 30 + (narrow ? 0 : headLines()), marginRight: narrow ? 100 : 12,
    x: { label: "time since the request was sent (s)", labelAnchor: "center", labelArrow: "none", ticks: Math.max(3, Math.floor(cell / 90)) },
    vertical: "power (W)",
    y: { label: null, grid: true, domain: [0, 1.25 * highest] }, fx: { axis: null, padding: 0.06 }, fy: { axis: null, padding: 0.1 },
    marks: [
      narrow ? right(90) : above(shown.length, width),
      Plot.rect(stages, { ...facet, x1: "from", x2: "to", y1: 0, y2: 1.25 * highest, fill: (d) => `var(--${d.stage})` }),
      Plot.ruleX(shown, { ...facet, x: 0, stroke: "currentColor", strokeOpacity: 0.6 }),
      Plot.ruleX(shown, { ...facet, x: "first_token_s", stroke: "currentColor", strokeOpacity: 0.6, strokeDasharray: "3 3" }),
      ...marks,
      Plot.text(shown, { ...facet, frameAnchor: "top-right", dx: -4, dy: 3, fill: "currentColor", fontSize: 11, lineHeight: 1.2, stroke: "var(--page)", strokeWidth: 3, text: (c) => `${whole(c.input_tokens)} tokens in, ${whole(c.output_tokens)} out\nprefill ${energyText(c.prefill_energy_j, c.sensor_resolved_prefill)}, decode ${energyText(c.decode_energy_j, c.sensor_resolved_decode)}` }),
      Plot.ruleY([0], { stroke: "currentColor", strokeOpacity: 0.4 }),
    ],
  });
};

const energyText = (j, seen) => (j == null ? "–" : joules(j) + (seen ? "" : "*"));
