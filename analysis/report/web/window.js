"use strict";
// The timelines' window as SVG, for downloads and print: what the canvases show, drawn by Observable Plot.

const PANEL = 222;
const UPPER = 134; // of it, for power

function timelineSVG(width) {
  const [from, to] = timelines.view;
  const outer = d3.create("svg:svg").attr("viewBox", `0 0 ${width} ${PANEL * timelines.panels.length + 24}`).attr("width", width).attr("height", PANEL * timelines.panels.length + 24).attr("font-family", "system-ui, sans-serif").attr("font-size", 12).attr("fill", "currentColor");
  timelines.panels.forEach((panel, i) => {
    const ink = colour(servingOfRun(panel.run));
    const bands = [];
    panel.stretches(from, to, (start, end, stage, share) => bands.push({ from: Math.max(start, from), to: Math.min(end, to), stage, share }));
    const power = points(panel.power.window(from, to, 1200), from, to);
    const util = points(panel.util.window(from, to, 1200), from, to);
    const sent = (panel.line.requests ?? []).filter((r) => r.s >= from && r.s <= to);
    const x = { domain: [from, to], label: null, tickFormat: (s) => clock(s, (to - from) / 8) };
    const shade = (top) => Plot.rect(bands, { x1: "from", x2: "to", y1: 0, y2: top, fill: (d) => `var(--${d.stage})`, fillOpacity: "share" });
    const common = { style: FONT, width, marginLeft: 56, marginRight: 10 };
    const parts = [
      Plot.plot({ ...common, height: UPPER, marginTop: 22, marginBottom: 9, x: { ...x, axis: null }, y: { domain: [0, timelines.maxW], label: null, grid: true, ticks: 4 }, marks: [shade(timelines.maxW), Plot.areaY(power, { x: "t", y1: "lo", y2: "hi", fill: ink, fillOpacity: 0.35, curve: "step-after" }), Plot.lineY(power, { x: "t", y: "w", stroke: ink, strokeWidth: 1.2, curve: "step-after" }), Plot.tickX(sent, { x: "s", stroke: "currentColor", strokeOpacity: 0.7, insetBottom: 96 })] }),
      Plot.plot({ ...common, height: 80, marginTop: 6, marginBottom: 22, x, y: { domain: [0, 100], label: null, grid: true, ticks: 3 }, marks: [shade(100), Plot.lineY(util, { x: "t", y: "util", stroke: ink, strokeWidth: 1.1, curve: "step-after" })] }),
    ];
    parts.forEach((part, k) => outer.append(() => part).attr("x", 0).attr("y", PANEL * i + UPPER * k).attr("height", k ? 80 : UPPER));
    const caption = (y, text, anchor = "start", at = 0) => outer.append("text").attr("x", at).attr("y", y).attr("text-anchor", anchor).text(text);
    caption(PANEL * i + 13, `${panel.run.label} · ${panel.run.llm_name} · run ${panel.run.run_id}`).attr("font-weight", 600);
    for (const [y, text] of [[74, "power (W)"], [166, "GPU (%)"]]) outer.append("text").attr("transform", `translate(11,${PANEL * i + y}) rotate(-90)`).attr("text-anchor", "middle").attr("font-size", 11).text(text);
  });
  outer.append("text").attr("x", width / 2).attr("y", PANEL * timelines.panels.length + 14).attr("text-anchor", "middle").text(`${TIME} (${timeUnit()})`);
  return outer.node();
}

// points are a window's values as rows, the first of them at the window's edge.
function points({ t, series }, from, to) {
  return Array.from(t, (s, i) => ({ t: Math.min(Math.max(s, from), to), ...Object.fromEntries(Object.keys(series).map((key) => [key, series[key][i]])) }));
}
