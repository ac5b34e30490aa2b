// The cluster: this node, the others, what is wrong, and what did not get
// through. What other nodes say of themselves is text.

import { arrange, element, id, setText } from "./dom.js";
import { age, bytes, count, datagrams, rate, time } from "./format.js";
import { clusterReasons, explain } from "./reasons.js";
import { elsewhere, lastOfEach, nameOf, troubles } from "./trouble.js";

const most = 100; // nodes and troubles that are shown

/** nodeStates puts into words what a state of a node means. */
const nodeStates = {
  here: "takes part",
  left: "said that it goes",
  gone: "silent, and did not say that it goes: its peers are cut off",
};

const away = (n) => n.state !== "here";

const columns = [
  { title: "Node" },
  { title: "State" },
  { title: "Peers", number: true, text: (n) => (away(n) ? `(${count(n.peers)})` : count(n.peers)) },
  { title: "In/s", long: "Datagrams a second that it gets from the cluster", number: true, text: (n) => (away(n) ? "–" : rate(n.in_rate)) },
  { title: "Out/s", long: "Datagrams a second that it gives to the cluster", number: true, text: (n) => (away(n) ? "–" : rate(n.out_rate)) },
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
  if (!on) {
    id("cluster-trouble").hidden = true;
    return;
  }
  const wrong = troubles(cluster, now);
  showTrouble(cluster, wrong);
  setText(id("cluster-name"), cluster.name || "–");
  id("cluster-name").title = cluster.id;
  setText(id("cluster-room"), cluster.room);
  setText(id("cluster-where"), cluster.url ? "NATS at" : "listens at");
  setText(id("cluster-at"), cluster.url || cluster.listen || "–");
  setText(id("cluster-sealed"), cluster.sealed ? "sealed with the secret" : cluster.tls ? "not sealed, by TLS with certificates" : "not sealed");
  setText(id("cluster-published"), traffic(cluster.published_rate, cluster.published, cluster.published_bytes));
  setText(id("cluster-received"), traffic(cluster.received_rate, cluster.received, cluster.received_bytes));
  showNodes(cluster, now, wrong.alone);
  showRoutes(cluster, now);
  showDrops(cluster.drops ?? {});
}

const traffic = (perSecond, n, octets) => `${rate(perSecond)}/s; ${datagrams(n)}, ${bytes(octets)} so far`;

// showTrouble says what is wrong in the head of the section, in the header of the
// page, and one by one.
function showTrouble(cluster, { brief, items, cutOff }) {
  const state = id("cluster-connected");
  state.dataset.state = !cluster.connected ? "apart" : brief ? "trouble" : "connected";
  setText(state, (cluster.connected && brief ? "connected, but " : "") + (brief || "connected"));
  const notice = id("cluster-trouble");
  notice.classList.toggle("bad", cutOff);
  setText(id("cluster-trouble-text"), brief);
  notice.hidden = brief === "";

  const shown = items.slice(0, most);
  if (items.length > most) shown.push([`and ${count(items.length - most)} more`]);
  const list = id("cluster-wrong");
  while (list.childElementCount > shown.length) list.lastElementChild.remove();
  shown.forEach((parts, i) => {
    const line = list.children[i] ?? list.appendChild(element("li"));
    const next = element("li", {}, ...parts);
    if (line.textContent !== next.textContent) line.replaceChildren(...next.childNodes);
  });
  list.hidden = shown.length === 0;
}

function showNodes(cluster, now, alone) {
  if (id("node-head").childElementCount === 0) {
    id("node-head").append(...columns.map((c) => element("th", { scope: "col", class: classes(c), ...(c.long && { title: c.long }) }, c.title)));
  }
  const list = lastOfEach(cluster);
  const states = new Map();
  for (const n of list) states.set(n.state, (states.get(n.state) ?? 0) + 1);
  setText(id("cluster-count"), [...states].map(([state, n]) => `${count(n)} ${state}`).join(", ") || "no other");
  id("cluster-count").classList.toggle("loss", alone || states.has("gone"));

  const shown = list.slice(0, most);
  const wanted = new Set(shown.map((n) => n.id));
  for (const known of [...nodes.keys()]) {
    if (!wanted.has(known)) nodes.delete(known);
  }
  for (const n of shown) {
    if (!nodes.has(n.id)) nodes.set(n.id, nodeRow(n.id));
    nodes.get(n.id).show(n, now);
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
    show(n, now) {
      setText(name, nameOf(n));
      setText(state, n.state);
      state.dataset.state = n.state;
      state.title = Object.hasOwn(nodeStates, n.state) ? nodeStates[n.state] : "";
      let i = 0;
      for (const column of columns) {
        if (!column.text) continue;
        const cell = cells[i++];
        setText(cell, column.text(n, now));
        cell.classList.toggle("loss", column.loss?.(n) === true);
      }
      setText(bans, away(n) ? "–" : n.same_bans ? "same" : "differ");
      bans.dataset.same = String(away(n) || n.same_bans);
      setText(version, n.version);
      line.classList.toggle("away", away(n));
    },
  };
}

function showRoutes(cluster, now) {
  const routes = cluster.routes ?? [];
  const missing = routes.filter((r) => !r.connected).length;
  const other = elsewhere(cluster, now).length;
  const waits = routes.reduce((sum, r) => sum + (r.pending ?? 0), 0);
  let text = `${count(routes.length - missing)} connected`;
  if (other > 0) text += ` (${count(other)} not in this room)`;
  if (missing > 0) text += `, ${count(missing)} missing`;
  if (waits > 0) text += `; ${bytes(waits)} wait to leave`;
  setText(id("cluster-routes"), cluster.url && routes.length === 0 ? "none: the NATS deployment has them" : text);
  id("cluster-routes").classList.toggle("loss", missing > 0);
}

id("cluster-trouble-show").addEventListener("click", (event) => {
  event.preventDefault(); // the address of the page keeps the search for peers
  id("cluster").scrollIntoView({ block: "start" });
  id("cluster").focus({ preventScroll: true });
});

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
