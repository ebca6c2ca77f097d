"use strict";
// Every figure as a file: SVG with its colours written out, CSV with the numbers behind it.

function save(file, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000); // the browser may not have begun
}

const PAINT = ["fill", "stroke"];

// standalone is a copy of an SVG that looks the same without the page: its colours and fonts are its own.
function standalone(svg, title) {
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(originals[i]);
    for (const paint of PAINT) if (/var\(|currentColor/i.test(element.getAttribute(paint) ?? "")) element.setAttribute(paint, style[paint]);
    element.removeAttribute("class");
  });
  copy.querySelectorAll("style, [aria-label=tip]").forEach((e) => e.remove());
  const { width, height } = svg.viewBox.baseVal;
  const background = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  Object.entries({ width, height, fill: css("--page") }).forEach(([k, v]) => background.setAttribute(k, v));
  const heading = document.createElementNS("http://www.w3.org/2000/svg", "title");
  heading.textContent = title;
  copy.prepend(heading, background);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("font-family", "system-ui, sans-serif");
  copy.setAttribute("fill", getComputedStyle(svg).color);
  copy.setAttribute("color", getComputedStyle(svg).color);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

// csv writes rows of objects; a text that a spreadsheet would take for a formula gets an apostrophe.
function csv(rows) {
  const columns = [...new Set(rows.flatMap((r) => Object.keys(r)))];
  const cell = (v) => {
    if (v == null || Number.isNaN(v)) return "";
    const text = typeof v === "string" && /^[=+\-@\t\r]/.test(v) ? `'${v}` : String(v);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns.join(","), ...rows.map((r) => columns.map((c) => cell(r[c])).join(","))].join("\n") + "\n";
}

const boards = (d) => ({ gpu: servingOf(d).label, llm: servingOf(d).llm });
const rowsOf = {
  timeline: () => timelines.panels.flatMap(timelineRows),
  powers: () => model.powers.map((p) => ({ gpu: p.gpu_name, llm: p.llm_name, stage: p.stage, power_from_w: p.w, power_to_w: p.w + 1, updates: p.updates })),
  sizes: () => model.sizes.map((s) => ({ ...boards(s), workload: s.workload, target_tokens: s.target_tokens, requests: s.requests, valid: s.valid, counted: s.counted, input_tokens: s.input_tokens, output_tokens: s.output_tokens, ttft_p05_s: s.ttft_lo_s, ttft_p50_s: s.ttft_s, ttft_p95_s: s.ttft_hi_s, tpot_p05_s: s.tpot_lo_s, tpot_p50_s: s.tpot_s, tpot_p95_s: s.tpot_hi_s })),
  energies: () => model.energies.map((e) => ({ ...boards(e), workload: e.workload, target_tokens: e.target_tokens, stage: e.stage, requests: e.requests, requests_resolved: e.resolved, median_input_tokens: e.input_tokens, median_output_tokens: e.output_tokens, energy_j: e.energy_j, energy_j_half_interval: e.energy_j_half_interval })),
  closeups: (workload) => model.closeups.filter((c) => c.workload === workload).flatMap((c) => c.points.map((p) => ({ gpu: model.runs[c.run].label, run_id: c.run_id, request_id: c.request_id, s: p.s, power_instant_w: p.value }))),
};

function timelineRows({ run, line, power, util }) {
  const { t, series } = power.levels[0];
  const head = { run_id: run.run_id, gpu: run.label };
  if (line.bucket_s) return Array.from(t, (s, i) => ({ ...head, s, power_min_w: series.lo[i], power_mean_w: series.w[i], power_max_w: series.hi[i], gpu_utilization_mean_pct: util.levels[0].series.util[i], prefill_pct: series.prefill[i], decode_pct: series.decode[i], mixed_pct: series.mixed[i] }));
  const u = util.levels[0];
  return [
    ...Array.from(t, (s, i) => ({ ...head, s, power_instant_w: series.w[i], gpu_utilization_pct: null })),
    ...Array.from(u.t, (s, i) => ({ ...head, s, power_instant_w: null, gpu_utilization_pct: u.series.util[i] })),
  ];
}
