// The drops by reason, and the rules with what they refused.

import { arrange, element, id, setText } from "./dom.js";
import { count, rate, share } from "./format.js";
import { explain, ways } from "./reasons.js";

const rows = new Map(); // by reason
let silent = ""; // the reasons that have not occurred, as shown

/** showDrops shows counts by reason and their rates, the most frequent first. */
export function showDrops(drops, rates) {
  const occurred = Object.keys(drops).filter((reason) => drops[reason] > 0);
  occurred.sort((a, b) => drops[b] - drops[a] || (a < b ? -1 : 1));
  const total = occurred.reduce((sum, reason) => sum + drops[reason], 0);
  for (const reason of [...rows.keys()]) {
    if (!occurred.includes(reason)) rows.delete(reason);
  }
  for (const reason of occurred) {
    if (!rows.has(reason)) rows.set(reason, dropRow(reason));
    const row = rows.get(reason);
    setText(row.count, count(drops[reason]));
    setText(row.rate, rate(rates[reason] ?? 0));
    setText(row.share, share(drops[reason], total));
    row.bar.style.width = (100 * drops[reason]) / total + "%";
    row.line.classList.toggle("active", (rates[reason] ?? 0) > 0);
  }
  arrange(id("drop-rows"), occurred.flatMap((reason) => rows.get(reason).lines));
  id("no-drops").hidden = occurred.length > 0;
  id("drop-rows").parentElement.hidden = occurred.length === 0;

  const others = Object.keys(drops).filter((reason) => !(drops[reason] > 0));
  if (others.join() === silent) return;
  silent = others.join();
  id("other-drops").hidden = others.length === 0;
  id("other-reasons").replaceChildren(...others.flatMap((reason) => {
    const [way, means, helps] = explain(reason);
    return [element("dt", {}, reason), element("dd", {}, means, " ", helps, way && ` (${ways[way]})`)];
  }));
}

function dropRow(reason) {
  const [way, means, helps] = explain(reason);
  const cell = () => element("td", { class: "number" });
  const row = { count: cell(), rate: cell(), bar: element("span"), share: element("span") };
  const name = element("th", { scope: "row" }, element("code", {}, reason));
  if (way) name.append(" ", element("span", { class: "tag", title: ways[way] }, way));
  row.line = element("tr", { "data-reason": reason }, name, row.count, row.rate,
    element("td", { class: "number" }, element("span", { class: "bar", "aria-hidden": "true" }, row.bar), row.share));
  row.lines = [row.line, element("tr", { class: "explain" },
    element("td", { colspan: "4" }, means, " ", element("span", { class: "helps" }, helps)))];
  return row;
}

let shownRules = "";

/** showRules shows the rules of access in their order. */
export function showRules(rules) {
  const now = JSON.stringify(rules);
  if (now === shownRules) return;
  shownRules = now;
  id("rule-rows").replaceChildren(...rules.map((rule, i) => {
    const last = i === rules.length - 1 && rule.from === "";
    const text = (s) => element("td", {}, s || "–");
    const cells = last
      ? [element("th", { scope: "row", colspan: "2" }, "no rule matched"), element("td", { colspan: "2" }, rule.may || "nothing")]
      : [element("th", { scope: "row" }, element("code", {}, element("span", { class: "wide" }, "access"), `[${i}]`)), element("td", { class: "address" }, rule.from), text(rule.may), text(rule.join)];
    const refused = element("td", { class: "number" }, count(rule.refused));
    if (rule.refused > 0) refused.classList.add("loss");
    return element("tr", {}, ...cells, element("td", { class: "number" }, count(rule.peers)), refused);
  }));
}
