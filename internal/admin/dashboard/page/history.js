// What the daemon has counted over the last minutes, as rates.

/** keep is how many seconds back the page remembers. */
export const keep = 15 * 60;

const least = 0.5; // seconds between two points: one status may come by two ways
const back = 5; // seconds that a clock may be set back without a gap
const most = 90; // beyond it the page slept, and a mean would say nothing
const limit = 4 * keep; // of points, if a clock is strange

/** The names of the rates that are drawn. */
export const drawn = ["received", "delivered", "received_bytes", "delivered_bytes"];

/** A History takes each status and keeps times (Unix seconds of the daemon's
 * clock), the rates between them, and where nothing is known. */
export class History {
  times = [];
  values = Object.fromEntries(drawn.map((name) => [name, []]));
  gaps = []; // [from, to], of which the last may have no end yet: null
  rates = { received: 0, received_bytes: 0, delivered: 0, delivered_bytes: 0, dropped: 0, drops: {} };
  #last = null; // the status that the next is compared with
  #ahead = 0; // how far the daemon's clock is ahead of the browser's, in seconds

  /** now is the time by the daemon's clock. */
  now() {
    return Date.now() / 1000 + this.#ahead;
  }

  /** add takes a status. */
  add(status) {
    const time = Date.parse(status.now) / 1000;
    this.#ahead = time - Date.now() / 1000;
    const last = this.#last;
    if (last !== null && (time < last.time - back || status.started !== last.status.started || time - last.time > most)) this.lose();
    this.#forget(time);
    const passed = this.#last === null ? 0 : time - this.#last.time;
    if (this.#last !== null && passed < least) return;
    if (this.#last === null) {
      this.rates = { ...this.rates, ...status.rates, drops: {} };
      this.#endGap(time);
    } else {
      this.rates = between(this.#last.status, status, passed);
      if (passed > 2) this.#push(this.#last.time + 1); // a mean of several seconds is a level line
    }
    this.#push(time);
    this.#last = { time, status };
  }

  /** lose says that nothing is known from the last status to the next. */
  lose() {
    if (this.#last === null) return;
    this.gaps.push([this.#last.time, null]);
    this.times.push(this.#last.time + 0.001);
    for (const name of drawn) this.values[name].push(null);
    this.#last = null;
  }

  #endGap(time) {
    const gap = this.gaps.at(-1);
    if (gap && gap[1] === null) gap[1] = time;
  }

  #push(time) {
    this.times.push(time);
    for (const name of drawn) this.values[name].push(this.rates[name]);
  }

  // forget removes what is too old, and what a clock set back has made future.
  #forget(time) {
    if (this.times.length > 0 && this.times.at(-1) > time + 1) {
      this.times.length = 0;
      this.gaps.length = 0;
      for (const name of drawn) this.values[name].length = 0;
    }
    let old = Math.max(0, this.times.length - limit);
    while (old < this.times.length && this.times[old] < time - keep - 2) old++;
    if (old > 0) {
      this.times.splice(0, old);
      for (const name of drawn) this.values[name].splice(0, old);
    }
    this.gaps = this.gaps.filter(([, to]) => to === null || to > time - keep);
  }
}

function between(a, b, seconds) {
  const each = (x, y) => Math.max(0, (y ?? 0) - (x ?? 0)) / seconds;
  const rates = { dropped: 0, drops: {} };
  for (const name of drawn) rates[name] = each(a.counters[name], b.counters[name]);
  for (const [reason, n] of Object.entries(b.drops)) {
    rates.drops[reason] = each(a.drops[reason], n);
    rates.dropped += rates.drops[reason];
  }
  return rates;
}

/** summary returns mean and highest of a rate since a time, and when it was
 * highest, or null if nothing is known. */
export function summary(history, name, since) {
  const values = history.values[name];
  let n = 0, sum = 0, highest = -1, when = 0;
  for (let i = values.length - 1; i >= 0 && history.times[i] >= since; i--) {
    if (values[i] === null) continue;
    n++;
    sum += values[i];
    if (values[i] > highest) [highest, when] = [values[i], history.times[i]];
  }
  return n === 0 ? null : { mean: sum / n, highest, when };
}
