"use strict";
// Puts the figures into the page, and redraws them for another width, theme, or paper.

const PAPER = 690; // px: A4 less its margins
const timelines = new Timelines(document.getElementById("timelines"));
const drawers = { ttft, prefillJ, tpotLength, tpotContext, tokenJLength, tokenJContext, powers, split, closePrefill: closeUp("prefill"), closeDecode: closeUp("decode") };
const rowNames = { ttft: "sizes", tpotLength: "sizes", tpotContext: "sizes", prefillJ: "energies", tokenJLength: "energies", tokenJContext: "energies", split: "energies", powers: "powers", timeline: "timeline" };
const figures = [...document.querySelectorAll("figure[data-draw]")];

function draw(figure, width) {
  const place = figure.querySelector(".drawing");
  place.replaceChildren(drawers[figure.dataset.draw](width ?? Math.max(280, place.clientWidth)));
}

const drawAll = (width) => figures.forEach((figure) => draw(figure, width?.(figure)));

function rows(id) {
  if (id === "closePrefill") return rowsOf.closeups("prefill");
  if (id === "closeDecode") return rowsOf.closeups("decode");
  return rowsOf[rowNames[id]]();
}

function downloads(figure, id, svg) {
  const title = figure.querySelector("figcaption").textContent.trim().split("\n")[0];
  const on = (what, act) => figure.querySelector(`button[data-save=${what}]`).addEventListener("click", act);
  const file = `tracer-${figure.dataset.file}`;
  on("svg", () => save(`${file}.svg`, "image/svg+xml", standalone(svg(), title)));
  on("csv", () => save(`${file}.csv`, "text/csv", csv(rows(id))));
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.getElementById("theme").textContent = dark ? "Light" : "Dark";
  timelines.redraw();
}

function controls() {
  const act = { in: () => timelines.zoom(0.5), out: () => timelines.zoom(2), left: () => timelines.pan(-0.5), right: () => timelines.pan(0.5), all: () => timelines.show(...timelines.full) };
  for (const button of document.querySelectorAll("button[data-move]")) button.addEventListener("click", act[button.dataset.move]);
  const keys = { "+": act.in, "=": act.in, "-": act.out, ArrowLeft: act.left, ArrowRight: act.right, 0: act.all };
  timelines.parent.addEventListener("keydown", (e) => {
    if (!keys[e.key] || e.ctrlKey || e.metaKey) return;
    keys[e.key]();
    e.preventDefault();
  });
  const shown = document.getElementById("window");
  timelines.listeners.push(([from, to]) => (shown.textContent = `${clock(from, (to - from) / 10)} to ${clock(to, (to - from) / 10)} s`));
  document.getElementById("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));
}

// On paper there are no canvases: they would be as coarse as the screen is.
function onPaper() {
  const paper = document.getElementById("paper");
  let before;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    paper.replaceChildren(timelineSVG(PAPER));
    drawAll((figure) => (figure.classList.contains("half") ? PAPER / 2 - 10 : PAPER));
  });
  addEventListener("afterprint", () => {
    paper.replaceChildren();
    document.documentElement.dataset.theme = before;
    drawAll();
  });
}

async function start() {
  theme(matchMedia("(prefers-color-scheme: dark)").matches);
  controls();
  drawAll();
  await timelines.load();
  downloads(document.getElementById("time"), "timeline", () => {
    const svg = timelineSVG(1000);
    document.getElementById("paper").replaceChildren(svg);
    return svg;
  });
  for (const figure of figures) downloads(figure, figure.dataset.draw, () => figure.querySelector("svg"));
  onPaper();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawAll();
    timelines.redraw();
  });
  document.documentElement.dataset.ready = "true";
}

start();
