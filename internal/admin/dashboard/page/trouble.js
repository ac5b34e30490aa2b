// What is wrong with the cluster: in the head of its section, in the header of
// the page, and one by one. udprelay status --cluster says the same.

import { element } from "./dom.js";
import { age, count } from "./format.js";

const heardWithin = 5; // seconds until a node is heard by a new route, for it says something each second
const agreeWithin = 30; // seconds until all nodes have the same bans, unless something is wrong
const watched = 10; // seconds without a look at the bans, after which nothing is known of the time between

/** nameOf returns what to call a node. */
export const nameOf = (n) => n.name || n.id;

/** lastOfEach returns the nodes that are here and, of those that are not, that
 * which was heard last under its name. One that has come back under its name,
 * with another ID, is not absent. */
export function lastOfEach(cluster) {
  const list = cluster.nodes ?? [];
  const here = new Set([cluster.name, ...list.filter((n) => n.state === "here").map((n) => n.name)]);
  const last = new Map();
  for (const n of list) {
    const known = last.get(n.name);
    if (known === undefined || Date.parse(n.heard) > Date.parse(known.heard)) last.set(n.name, n);
  }
  return list.filter((n) => n.state === "here" || !n.name || (!here.has(n.name) && last.get(n.name) === n));
}

/** elsewhere returns the routes that are up and whose nodes are not in the room. */
export function elsewhere(cluster, now) {
  const known = new Set((cluster.nodes ?? []).map((n) => n.id));
  return (cluster.routes ?? []).filter((r) => r.connected && r.node_id && !known.has(r.node_id) && !isNew(r, now));
}

const isNew = (route, now) => now - Date.parse(route.since) / 1000 < heardWithin;

const differ = new Map(); // since when the bans of a node are not those that this one has, by ID
let looked = 0; // when that was seen last

// differing returns the nodes with other bans for so long that it will not end
// by itself.
function differing(nodes, now) {
  if (Math.abs(now - looked) > watched) differ.clear();
  looked = now;
  const others = nodes.filter((n) => n.state === "here" && n.same_bans === false);
  const wanted = new Set(others.map((n) => n.id));
  for (const known of [...differ.keys()]) {
    if (!wanted.has(known)) differ.delete(known);
  }
  for (const n of others) {
    if (!differ.has(n.id)) differ.set(n.id, now);
  }
  return others.filter((n) => now - differ.get(n.id) >= agreeWithin);
}

const several = (n, one, many) => (n === 1 ? one : `${count(n)} ${many}`);
const route = (r) => ["route to ", element("span", { class: "address" }, r.address), r.node ? ` (${r.node})` : ""];

/** troubles returns what is wrong with a cluster: brief says it in some words, of
 * which none change as time goes by; each of items is a sentence, as the children
 * of an element; cutOff, that this node exchanges nothing with others, or may
 * not. */
export function troubles(cluster, now) {
  const routes = cluster.routes ?? [];
  const nodes = lastOfEach(cluster);
  const brief = [];
  const items = [];
  if (!cluster.connected) {
    brief.push("not connected to NATS");
    items.push([`Not connected to NATS: ${cluster.trouble || "nothing passes to other nodes or from them"}`]);
  } else if (cluster.trouble) {
    brief.push("trouble with NATS");
    items.push([`Trouble with NATS: ${cluster.trouble}`]);
  }
  const alone = !nodes.some((n) => n.state === "here") && (nodes.length > 0 || routes.some((r) => !r.connected || !isNew(r, now)));
  if (alone && cluster.connected) {
    brief.push("no other node here");
    items.push(["No other node is here: this one relays among its own peers only"]);
    for (const r of elsewhere(cluster, now)) {
      items.push(["The ", ...route(r), " is up, but its node is not in this room: it has another room or secret, or has not been heard"]);
    }
  }
  const missing = routes.filter((r) => !r.connected);
  if (missing.length > 0) brief.push(several(missing.length, "a route missing", "routes missing"));
  for (const r of missing) items.push(["No ", ...route(r), ": " + (r.error || "not connected; it is tried again and again")]);
  const gone = nodes.filter((n) => n.state === "gone");
  if (gone.length > 0) brief.push(several(gone.length, `${nameOf(gone[0])} gone`, "nodes gone"));
  for (const n of gone) items.push([`${nameOf(n)} is gone: silent for ${age(now - Date.parse(n.heard) / 1000)}`]);
  const bans = differing(nodes, now);
  if (bans.length > 0) brief.push(several(bans.length, `other bans on ${nameOf(bans[0])}`, "nodes with other bans"));
  for (const n of bans) items.push([`${nameOf(n)} has not the bans of the cluster that this node has, and that lasts`]);
  return { brief: brief.join(", "), items, cutOff: !cluster.connected || alone || Boolean(cluster.trouble), alone };
}
