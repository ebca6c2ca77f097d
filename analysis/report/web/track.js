"use strict";
// A series over time at several resolutions, so that any window of any length is a few thousand points.

const FACTOR = 4; // between one resolution and the next

// Track holds instants and named series of values: lo and hi keep their extremes, all others their means over time.
class Track {
  constructor(t, series) {
    this.levels = [{ t, series }];
    for (;;) {
      const finest = this.levels[this.levels.length - 1];
      if (finest.t.length < 2 * FACTOR) break;
      this.levels.push(coarser(finest));
    }
  }

  get end() {
    const { t } = this.levels[0];
    return t[t.length - 1] ?? 0;
  }

  // window is the finest level of which at most so many points lie between two instants, cut to them and one neighbour.
  window(from, to, most) {
    for (const level of this.levels) {
      const first = Math.max(0, below(level.t, from));
      const last = Math.min(level.t.length, below(level.t, to) + 2);
      if (last - first > most && level !== this.levels[this.levels.length - 1]) continue;
      const cut = { exact: level === this.levels[0], t: level.t.subarray(first, last), series: {} };
      for (const key of Object.keys(level.series)) cut.series[key] = level.series[key].subarray(first, last);
      return cut;
    }
  }
}

// below is the index of the last instant at or before one, -1 where there is none.
function below(t, instant) {
  let lo = 0;
  let hi = t.length;
  while (lo < hi) {
    const middle = (lo + hi) >> 1;
    if (t[middle] <= instant) lo = middle + 1;
    else hi = middle;
  }
  return lo - 1;
}

const REDUCE = {
  lo: (values, from, to) => extreme(values, from, to, (a, b) => a < b),
  hi: (values, from, to) => extreme(values, from, to, (a, b) => a > b),
};

function coarser({ t, series }) {
  const n = Math.ceil(t.length / FACTOR);
  const out = { t: new Float64Array(n), series: {} };
  for (const key of Object.keys(series)) out.series[key] = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const from = i * FACTOR;
    const to = Math.min(t.length, from + FACTOR);
    out.t[i] = t[from];
    for (const key of Object.keys(series)) out.series[key][i] = (REDUCE[key] ?? mean)(series[key], from, to, t);
  }
  return out;
}

function extreme(values, from, to, better) {
  let best = NaN;
  for (let i = from; i < to; i++) if (Number.isNaN(best) || better(values[i], best)) best = values[i];
  return best;
}

// mean weighs each value with the time until the next.
function mean(values, from, to, t) {
  let sum = 0;
  let time = 0;
  for (let i = from; i < to; i++) {
    if (Number.isNaN(values[i])) continue;
    const dt = (t[i + 1] ?? t[i] + 1e-9) - t[i] + 1e-12;
    sum += values[i] * dt;
    time += dt;
  }
  return time > 0 ? sum / time : NaN;
}
