// Two charts above each other, of what comes in and what goes out. Each has a
// scale of its own: out is in times the receivers, and would flatten it.

import { drawn, summary } from "./history.js";
import { element, setText } from "./dom.js";
import { clock, short } from "./format.js";

const height = 104;
const timeAxis = 22;
const sync = uPlot.sync("time");

/** A Chart draws two rates of a history into a figure. plots are [name of the
 * rate, label, class of the colour]; write puts a rate into words. */
export class Chart {
  #history;
  #plots;
  #range = 300;
  #resize;

  constructor(figure, history, plots, write) {
    this.#history = history;
    this.#plots = plots.map(([name, label, colour], i) => this.#plot(figure, name, label, colour, write, i === plots.length - 1));
    this.#resize = new ResizeObserver(() => {
      for (const p of this.#plots) p.drawing.setSize({ width: p.canvas.clientWidth, height: p.height });
    });
    this.#resize.observe(figure);
  }

  /** range sets how many seconds are shown. */
  set range(seconds) {
    this.#range = seconds;
    this.draw();
  }

  /** draw brings the charts up to now. */
  draw() {
    const now = this.#history.now();
    for (const p of this.#plots) {
      p.drawing.setData([this.#history.times, this.#history.values[p.name]], false);
      p.drawing.setScale("x", { min: now - this.#range, max: now });
      this.#describe(p, now);
    }
  }

  /** recolour draws with the colours that the page now has. */
  recolour() {
    for (const p of this.#plots) p.drawing.redraw(false);
  }

  #plot(figure, name, label, colour, write, last) {
    const line = element("i", { class: "line", "aria-hidden": "true" });
    const now = element("b");
    const more = element("span", { class: "more" });
    const canvas = element("div", { class: "canvas", role: "img" });
    figure.append(element("div", { class: "plot " + colour },
      element("p", { class: "legend" }, line, element("span", { class: "label" }, label), " ", now, " ", more), canvas));
    const p = { name, label, write, canvas, now, more, height: height + (last ? timeAxis : 0), cursor: null };

    const muted = () => getComputedStyle(more).color;
    const rules = () => ({ stroke: () => getComputedStyle(figure).borderTopColor, width: 1 });
    const ink = () => getComputedStyle(line).color;
    const font = "11px system-ui, sans-serif";
    p.drawing = new uPlot({
      width: canvas.clientWidth || 300,
      height: p.height,
      padding: [6, 8, last ? 0 : 4, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: sync.key }, points: { size: 6 } },
      scales: { y: { range: (_, __, max) => [0, ceiling(max)] } },
      axes: [
        {
          show: true, size: last ? timeAxis : 0, stroke: muted, font, grid: rules(), ticks: { show: false }, gap: 4, space: 70,
          values: last ? (u, at) => at.map((t) => clockOfAxis(t, u.axes[0]._found?.[0] ?? 60)) : (_, at) => at.map(() => null),
        },
        { size: 46, stroke: muted, font, grid: rules(), ticks: { show: false }, gap: 6, space: 26, values: (_, at) => at.map(short) },
      ],
      series: [
        {},
        { stroke: ink, width: 1.5, fill: () => ink().replace("rgb(", "rgba(").replace(")", ", 0.13)"), points: { show: false } },
      ],
      hooks: {
        drawClear: [(u) => this.#shade(u, muted())],
        setCursor: [(u) => {
          p.cursor = u.cursor.left >= 0 ? u.cursor.idx : null;
          this.#describe(p, this.#history.now());
        }],
      },
    }, [[], []], canvas);
    sync.sub(p.drawing);
    return p;
  }

  // describe writes beside the chart what it shows, for eyes and screen readers.
  #describe(p, now) {
    const { times, values } = this.#history;
    const at = p.cursor !== null ? values[p.name][p.cursor] : undefined;
    if (at !== undefined) {
      setText(p.now, at === null ? "unknown" : p.write(at));
      setText(p.more, "at " + clock(new Date(times[p.cursor] * 1000)));
      return;
    }
    const current = values[p.name].at(-1);
    const s = summary(this.#history, p.name, now - this.#range);
    setText(p.now, current === null || current === undefined ? "unknown" : p.write(current));
    setText(p.more, s === null ? "" : `mean ${p.write(s.mean)}, highest ${p.write(s.highest)} at ${clock(new Date(s.when * 1000))}`);
    p.canvas.setAttribute("aria-label",
      `${p.label}, last ${this.#range / 60} min: now ${p.now.textContent}` + (s === null ? "" : ", " + p.more.textContent));
  }

  // shade marks the times of which nothing is known.
  #shade(u, colour) {
    const { left, top, width, height } = u.bbox;
    for (const [from, to] of this.#history.gaps) {
      const x0 = Math.max(left, u.valToPos(from, "x", true));
      const x1 = Math.min(left + width, u.valToPos(to ?? this.#history.now(), "x", true));
      if (x1 <= x0) continue;
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(x0, top, x1 - x0, height);
      u.ctx.clip();
      u.ctx.globalAlpha = 0.3;
      u.ctx.strokeStyle = u.ctx.fillStyle = colour;
      u.ctx.lineWidth = devicePixelRatio;
      u.ctx.beginPath();
      const step = 7 * devicePixelRatio;
      for (let x = Math.floor((x0 - height) / step) * step; x < x1; x += step) {
        u.ctx.moveTo(x, top + height);
        u.ctx.lineTo(x + height, top);
      }
      u.ctx.stroke();
      u.ctx.restore();
    }
  }
}

// ceiling is the upper end of a scale: a little above max, and never 0.
function ceiling(max) {
  return max > 0 ? max * 1.08 : 1;
}

function clockOfAxis(t, step) {
  const text = clock(new Date(t * 1000));
  return step < 60 ? text : text.slice(0, 5);
}

/** chartTable returns what the charts show of a range as a table, each line the
 * means of a part. */
export function chartTable(history, range, writes) {
  const parts = 15;
  const head = ["Time", "Datagrams in", "Datagrams out", "Bytes in", "Bytes out"];
  const rows = [];
  const now = history.now();
  for (let i = 0; i < parts; i++) {
    const until = now - (i * range) / parts;
    const from = until - range / parts;
    const cells = drawn.map((name) => {
      const values = history.values[name].filter((v, k) => v !== null && history.times[k] > from && history.times[k] <= until);
      return values.length === 0 ? "unknown" : writes[name](values.reduce((a, b) => a + b) / values.length);
    });
    rows.push(element("tr", {}, element("th", { scope: "row" }, clock(new Date(from * 1000)) + " – " + clock(new Date(until * 1000))),
      ...cells.map((text) => element("td", { class: "number" }, text))));
  }
  return element("table", {},
    element("caption", {}, "Means a second, the latest first"),
    element("thead", {}, element("tr", {}, ...head.map((text, i) => element("th", i === 0 ? { scope: "col" } : { scope: "col", class: "number" }, text)))),
    element("tbody", {}, ...rows));
}
