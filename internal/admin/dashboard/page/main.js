// The page: joins the stream of the daemon to what shows it.

import { Chart, chartTable } from "./chart.js";
import { showCluster } from "./cluster.js";
import { id, setText } from "./dom.js";
import { showDrops, showRules } from "./drops.js";
import { showFigures, showHeader, showTalks } from "./figures.js";
import { bytes, clock, rate } from "./format.js";
import { History } from "./history.js";
import { Stream } from "./stream.js";
import { PeerTable } from "./table.js";
import { onTheme, themeButton } from "./theme.js";

const past = new History();
let latest = null; // the status last heard
let state = "connecting"; // live, gone
let paused = false;
let minutes = 5;

const perSecond = (write, unit) => (n) => write(n) + unit;
const datagrams = perSecond(rate, "/s");
const octets = perSecond(bytes, "/s");
const charts = [
  new Chart(id("chart-datagrams"), past, [["received", "Datagrams in", "in"], ["delivered", "Datagrams out", "out"]], datagrams),
  new Chart(id("chart-bytes"), past, [["received_bytes", "Bytes in", "in"], ["delivered_bytes", "Bytes out", "out"]], octets),
];
const peers = new PeerTable(() => past.now(), () => state === "live" && !paused);

function show() {
  if (latest === null || paused || document.hidden) return;
  showHeader(latest);
  showTalks(latest.talks ?? []);
  showFigures(latest, past.rates);
  showDrops(latest.drops, past.rates.drops);
  showRules(latest.rules);
  showCluster(latest.cluster, past.now());
  draw();
}

function draw() {
  if (paused || document.hidden) return;
  for (const chart of charts) chart.draw();
  if (id("chart-data").open) {
    const writes = { received: datagrams, delivered: datagrams, received_bytes: octets, delivered_bytes: octets };
    id("chart-data").querySelector(".scroll").replaceChildren(chartTable(past, minutes * 60, writes));
  }
}

function showState(since) {
  const shown = state === "live" && paused ? "paused" : state;
  id("connection").dataset.state = shown;
  setText(id("connection-text"), shown);
  document.body.classList.toggle("stale", state === "gone");
  id("gone").hidden = state !== "gone";
  if (state === "gone" && since) setText(id("gone"), `The daemon does not answer since ${clock(since)}; trying again. The figures are those of then.`);
}

const stream = new Stream({
  onStatus(status) {
    if (latest !== null && latest.version !== status.version) {
      setText(id("newer"), `The daemon is now version ${status.version}; reload this page to have the one that belongs to it.`);
      id("newer").hidden = false;
    }
    latest = status;
    past.add(status);
    show();
  },
  onState(to, since) {
    state = to;
    if (to === "gone") {
      past.lose();
      draw();
    }
    showState(since);
    peers.poll();
  },
});

id("pause").addEventListener("click", () => {
  paused = !paused;
  id("pause").setAttribute("aria-pressed", String(paused));
  showState(null);
  show();
  peers.poll();
});

id("ranges").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  minutes = Number(button.dataset.minutes);
  for (const b of id("ranges").children) b.setAttribute("aria-pressed", String(b === button));
  for (const chart of charts) chart.range = minutes * 60;
  draw();
});

id("chart-data").addEventListener("toggle", draw);
document.addEventListener("visibilitychange", show);
themeButton(id("theme"));
onTheme(() => charts.forEach((chart) => chart.recolour()));
setInterval(() => {
  if (state === "gone") draw(); // time goes on
}, 1000);

stream.run();
