// The cluster: this node, the others, routes that are missing, and what did not
// get through. What other nodes say of themselves is text.

import { arrange, element, id, setText } from "./dom.js";
import { age, bytes, count, datagrams, rate, time } from "./format.js";
import { clusterReasons, explain } from "./reasons.js";

const most = 100; // nodes and routes that are shown

/** nodeStates puts into words what a state of a node means. */
const nodeStates = {
  here: "takes part",
  left: "said that it goes",
  gone: "silent, and did not say that it goes: its peers are cut off",
  replaced: "an earlier start of a node that is here again",
};

const columns = [
  { title: "Node" },
  { title: "State" },
  { title: "Peers", number: true, text: (n) => count(n.peers) },
  { title: "In/s", long: "Datagrams a second that it gets from the cluster", number: true, text: (n) => rate(n.in_rate) },
  { title: "Out/s", long: "Datagrams a second that it gives to the cluster", number: true, text: (n) => rate(n.out_rate) },
  { title: "Round trip", long: "Of a message to it, with what NATS adds", number: true, wide: true, text: (n) => (n.rtt_seconds > 0 ? time(n.rtt_seconds) : "–") },
  { title: "Lost", long: "Of its datagrams, those that did not come here", number: true, text: (n) => count(n.lost), loss: (n) => n.lost > 0 },
  { title: "Heard", long: "How long ago", number: true, wide: true, text: (n, now) => age(now - Date.parse(n.heard) / 1000) },
  { title: "Bans", long: "Whether it has the bans of the cluster that this node has", wide: true },
  { title: "Version", wide: true },
];

const nodes = new Map(); // the rows, by ID
const drops = new Map(); // by reason
let counted = {}; // the drops as they were shown last

/** showCluster shows what the status says of the cluster; now is the daemon's
 * time in seconds. */
export function showCluster(cluster, now) {
  const on = cluster?.on === true;
  id("cluster").hidden = !on;
  if (!on) return;
  const state = id("cluster-connected");
  state.dataset.state = cluster.connected ? "connected" : "apart";
  setText(state, cluster.connected ? "connected" : "not connected: it relays among its own peers only");
  setText(id("cluster-name"), cluster.name || "–");
  id("cluster-name").title = cluster.id;
  setText(id("cluster-room"), cluster.room);
  setText(id("cluster-where"), cluster.url ? "NATS at" : "listens at");
  setText(id("cluster-at"), cluster.url || cluster.listen || "–");
  setText(id("cluster-sealed"), cluster.sealed ? "sealed with the secret" : cluster.tls ? "not sealed, by TLS with certificates" : "not sealed");
  setText(id("cluster-published"), traffic(cluster.published_rate, cluster.published, cluster.published_bytes));
  setText(id("cluster-received"), traffic(cluster.received_rate, cluster.received, cluster.received_bytes));
  showNodes(cluster.nodes ?? [], now);
  showRoutes(cluster.routes ?? [], cluster.url);
  showDrops(cluster.drops ?? {});
}

const traffic = (perSecond, n, octets) => `${rate(perSecond)}/s; ${datagrams(n)}, ${bytes(octets)} so far`;

function showNodes(list, now) {
  if (id("node-head").childElementCount === 0) {
    id("node-head").append(...columns.map((c) => element("th", { scope: "col", class: classes(c), ...(c.long && { title: c.long }) }, c.title)));
  }
  const here = new Set(list.filter((n) => n.state === "here" && n.name).map((n) => n.name));
  const stateOf = (n) => (n.state !== "here" && here.has(n.name) ? "replaced" : n.state);
  const states = new Map();
  for (const n of list) states.set(stateOf(n), (states.get(stateOf(n)) ?? 0) + 1);
  states.delete("replaced");
  setText(id("cluster-count"), [...states].map(([state, n]) => `${count(n)} ${state}`).join(", ") || "no other");
  id("cluster-count").classList.toggle("loss", states.has("gone"));

  const shown = list.slice(0, most);
  const wanted = new Set(shown.map((n) => n.id));
  for (const known of [...nodes.keys()]) {
    if (!wanted.has(known)) nodes.delete(known);
  }
  for (const n of shown) {
    if (!nodes.has(n.id)) nodes.set(n.id, nodeRow(n.id));
    nodes.get(n.id).show(n, stateOf(n), now);
  }
  arrange(id("node-rows"), shown.map((n) => nodes.get(n.id).line));
  id("cluster-nodes").hidden = shown.length === 0;
  id("no-nodes").hidden = shown.length > 0 && shown.length === list.length;
  setText(id("no-nodes"), shown.length === 0 ? "No other node of the room has been heard." : `and ${count(list.length - shown.length)} more: udprelay status --cluster has all`);
}

const classes = (column) => [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim();

function nodeRow(node) {
  const name = element("th", { scope: "row", title: node });
  const state = element("td", { class: "state" });
  const cells = columns.filter((c) => c.text).map((c) => element("td", { class: classes(c) }));
  const bans = element("td", { class: "bans wide" });
  const version = element("td", { class: "version wide" });
  const line = element("tr", { "data-node": node }, name, state, ...cells, bans, version);
  return {
    line,
    show(n, shownState, now) {
      setText(name, n.name || n.id);
      setText(state, shownState);
      state.dataset.state = shownState;
      state.title = Object.hasOwn(nodeStates, shownState) ? nodeStates[shownState] : "";
      let i = 0;
      for (const column of columns) {
        if (!column.text) continue;
        const cell = cells[i++];
        setText(cell, column.text(n, now));
        cell.classList.toggle("loss", column.loss?.(n) === true);
      }
      setText(bans, n.state !== "here" ? "–" : n.same_bans ? "same" : "differ");
      bans.dataset.same = String(n.state !== "here" || n.same_bans);
      setText(version, n.version);
      line.classList.toggle("away", n.state !== "here");
    },
  };
}

let shownMissing = "";

function showRoutes(routes, url) {
  const missing = routes.filter((r) => !r.connected);
  const waits = routes.reduce((sum, r) => sum + (r.pending ?? 0), 0);
  const there = routes.length - missing.length;
  let text = `${count(there)} connected`;
  if (missing.length > 0) text += `, ${count(missing.length)} missing`;
  if (waits > 0) text += `; ${bytes(waits)} wait to leave`;
  setText(id("cluster-routes"), url && routes.length === 0 ? "none: the NATS deployment has them" : text);
  id("cluster-routes").classList.toggle("loss", missing.length > 0);
  const now = JSON.stringify(missing.map((r) => [r.address, r.node, r.error]));
  if (now === shownMissing) return;
  shownMissing = now;
  const list = missing.slice(0, most).map((r) => element("li", {}, "No route to ", element("span", { class: "address" }, r.address), (r.node ? ` (${r.node})` : "") + ": " + (r.error || "not connected; it is tried again and again")));
  if (missing.length > most) list.push(element("li", {}, `and ${count(missing.length - most)} more`));
  id("cluster-missing").replaceChildren(...list);
  id("cluster-missing").hidden = list.length === 0;
}

function showDrops(now) {
  const occurred = Object.keys(now).filter((reason) => now[reason] > 0);
  occurred.sort((a, b) => now[b] - now[a] || (a < b ? -1 : 1));
  for (const reason of [...drops.keys()]) {
    if (!occurred.includes(reason)) drops.delete(reason);
  }
  for (const reason of occurred) {
    if (!drops.has(reason)) drops.set(reason, dropRow(reason));
    const row = drops.get(reason);
    setText(row.count, count(now[reason]));
    row.line.classList.toggle("active", Object.hasOwn(counted, reason) && now[reason] > counted[reason]);
  }
  counted = { __proto__: null, ...now };
  arrange(id("cluster-drop-rows"), occurred.flatMap((reason) => drops.get(reason).lines));
  id("cluster-drops").hidden = occurred.length === 0;
}

function dropRow(reason) {
  const [what, means, helps] = explain(reason, clusterReasons);
  const name = element("th", { scope: "row" }, element("code", {}, reason));
  if (what) name.append(" ", element("span", { class: "tag" }, what));
  const row = { count: element("td", { class: "number" }) };
  row.line = element("tr", { "data-reason": reason }, name, row.count);
  row.lines = [row.line, element("tr", { class: "explain" }, element("td", { colspan: "2" }, means, " ", element("span", { class: "helps" }, helps)))];
  return row;
}
