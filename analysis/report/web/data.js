"use strict";
// The model that Go wrote into the page, and how numbers and colours are written here.

const model = JSON.parse(document.getElementById("model").textContent);
for (const table of ["powers", "sizes", "energies", "timelines", "closeups"]) model[table] ??= [];
const ABSENT = -(2 ** 31);

// column unpacks numbers: differences of whole multiples of a unit, 4 bytes each, compressed.
async function column(packed) {
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed.gzip), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const differences = new Int32Array(await new Response(stream).arrayBuffer());
  const values = new Float64Array(packed.n);
  let last = 0;
  for (let i = 0; i < packed.n; i++) {
    last = (last + differences[i]) | 0;
    values[i] = last === ABSENT ? NaN : last * packed.unit;
  }
  return values;
}

const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "times", "wye", "plus"];
const MARKS = 8; // colours in page.css; beyond them they repeat
const colour = (serving) => `var(--c${serving.colour % MARKS})`;
const symbol = (serving) => SYMBOLS[serving.colour % MARKS];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const resolve = (value) => value.replace(/var\((--[a-z0-9-]+)\)/, (_, name) => css(name));
const alpha = (hex, a) => hex + Math.round(255 * a).toString(16).padStart(2, "0");

const STAGES = ["idle", "prefill", "decode", "mixed"];
const kind = (d) => `${d.workload} ${whole(d.target_tokens)}`;
const llms = [...new Set(model.servings.map((s) => s.llm))];
// short is a model's name without its owner, who only stays where two models would bear the same name.
const base = (llm) => llm.split("/").pop();
const short = (llm) => (llms.some((other) => other !== llm && base(other) === base(llm)) ? llm : base(llm));
const servingOf = (d) => model.servings[d.serving];
const servingOfRun = (run) => model.servings[run.serving];
// name tells servings apart: by their boards, and by the model where there are several.
const name = (s) => (llms.length > 1 ? `${s.label} · ${s.llm}` : s.label);

const whole = (v) => Math.round(v).toLocaleString("en-US");
const number = (v, digits = 3) => (v == null || Number.isNaN(v) ? "–" : Math.abs(v) >= 1000 ? whole(v) : String(Number(v.toPrecision(digits))));
const joules = (v) => (v >= 1e6 ? `${number(v / 1e6)} MJ` : v >= 1000 ? `${number(v / 1000)} kJ` : `${number(v)} J`);

// clock writes seconds since the first request, as finely as the step between two of them asks for; of long runs also
// minutes and hours.
function clock(s, step = 1) {
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
  const long = model.timelines.some((line) => model.runs[line.run].duration_s > 7200);
  const sign = s < 0 ? "−" : "";
  const t = Math.abs(s);
  if (!long) return sign + t.toFixed(digits);
  const two = (v) => String(Math.floor(v)).padStart(2, "0");
  return `${sign}${Math.floor(t / 3600)}:${two((t % 3600) / 60)}${step < 60 ? `:${(t % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}` : ""}`;
}

const TIME = "time since the run's first request";
const timeUnit = () => (model.timelines.some((line) => model.runs[line.run].duration_s > 7200) ? "h:min" : "s");
