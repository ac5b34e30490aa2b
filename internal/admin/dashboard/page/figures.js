// The header, and the figures of now.

import { element, id, setText } from "./dom.js";
import { bytes, count, duration, memory, rate, share } from "./format.js";

const set = (name, text) => setText(id(name), text);

/** showHeader shows what hardly ever changes. */
export function showHeader(status) {
  set("listen", status.listen);
  set("version", status.version);
  set("uptime", duration(status.uptime_seconds));
  id("uptime").title = "since " + new Date(status.started).toLocaleString("en-GB");
  id("listen").title = status.way ? "sends by " + status.way : "";
  document.title = "udprelay " + status.listen;
  id("unready").hidden = status.ready !== false;
}

const mostTalks = 3; // pairs that are named

let talksNamed = ""; // as they were named last

/** showTalks names the pairs of peers that answer each other, of many those that
 * do so fastest. A screen reader says a pair when it is new, not each new rate;
 * so the order is that of the addresses. */
export function showTalks(talks) {
  const shown = talks.slice(0, mostTalks).sort((x, y) => (x.a + x.b < y.a + y.b ? -1 : 1));
  const names = shown.map((t) => `${t.a} and ${t.b}`);
  if (talks.length > shown.length) names.push(`and ${count(talks.length - shown.length)} more`);
  const list = id("talk-list");
  if (talksNamed !== names.join()) {
    talksNamed = names.join();
    list.replaceChildren(...names.flatMap((name, i) => [i > 0 ? "; " : "", name, element("span", { "aria-live": "off" })]));
  }
  shown.forEach((t, i) => setText(list.children[i], ` (${rate(t.per_second)} times per second)`));
  id("talks").hidden = shown.length === 0;
}

/** showFigures shows the status and the rates of now. */
export function showFigures({ peers, counters, drops, buffers }, rates) {
  set("peers-all", count(peers.learned + peers.static));
  set("peers-learned", count(peers.learned) + (peers.max > 0 ? " of " + count(peers.max) : ""));
  set("peers-static", count(peers.static));
  set("peers-connected", peers.connected > 0 ? `, ${count(peers.connected)} connected` : "");
  set("peers-senders", peers.senders > 0 ? `, ${count(peers.senders)} ${peers.senders === 1 ? "sender" : "senders"}` : "");
  set("peers-receivers", count(peers.receivers));
  const trouble = [];
  if (peers.quarantined > 0) trouble.push(count(peers.quarantined) + " quarantined");
  if (peers.banned > 0) trouble.push(count(peers.banned) + " banned");
  set("peers-trouble", trouble.join(", ") || "none quarantined or banned");
  id("peers-trouble").classList.toggle("loss", trouble.length > 0);

  for (const name of ["received", "delivered"]) {
    set(name + "-rate", rate(rates[name]));
    set(name + "-bytes-rate", bytes(rates[name + "_bytes"]) + "/s");
    set(name + "-total", `${count(counters[name])}, ${bytes(counters[name + "_bytes"])}`);
  }

  set("dropped-rate", rate(rates.dropped));
  set("dropped-total", count(Object.values(drops).reduce((a, b) => a + b, 0)));
  const [most] = Object.entries(rates.drops).sort((a, b) => b[1] - a[1]);
  set("dropped-most", most?.[1] > 0 ? `mostly ${most[0]} (${share(most[1], rates.dropped)})` : "none at the moment");
  id("dropped-figure").classList.toggle("loss", rates.dropped > 0);

  for (const name of ["receive", "send"]) {
    const size = buffers[name], used = buffers[name + "_used"];
    set(name + "-fill", share(used, size));
    set(name + "-of", `${memory(used)} of ${memory(size)}`);
    id(name + "-bar").style.width = size > 0 ? Math.min(100, (100 * used) / size) + "%" : "0";
  }
}
