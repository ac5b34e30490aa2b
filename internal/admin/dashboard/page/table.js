// The table of peers. The daemon searches, sorts and pages; no more than one
// page of it is here.

import { get } from "./api.js";
import { Details, states, whyPanel } from "./details.js";
import { announce, arrange, element, id, setText } from "./dom.js";
import { age, bytes, count, rate, where } from "./format.js";

const page = 100;
const every = 2000;
const typing = 200; // a search begins so long after the last key

const columns = [
  { sort: "address", title: "Address" },
  { title: "State" },
  { sort: "received_rate", title: "In/s", long: "Datagrams from it a second", number: true, text: (p) => rate(p.received_rate) },
  { sort: "received_bytes_rate", title: "B in/s", long: "Bytes from it a second", number: true, wide: true, text: (p) => bytes(p.received_bytes_rate) },
  { sort: "delivered_rate", title: "Out/s", long: "Datagrams to it a second", number: true, text: (p) => rate(p.delivered_rate) },
  { sort: "delivered_bytes_rate", title: "B out/s", long: "Bytes to it a second", number: true, wide: true, text: (p) => bytes(p.delivered_bytes_rate) },
  { sort: "dropped_total", title: "Drops", long: "Datagrams dropped from it and to it", number: true, text: (p) => count(p.dropped_total) },
  { sort: "heard", title: "Heard", long: "Time since it was last heard", number: true, wide: true, text: (p, now) => (p.heard ? age(now - Date.parse(p.heard) / 1000) : "never") },
  { sort: "joined", title: "Joined", long: "Time since it joined", number: true, wide: true, text: (p, now) => (p.joined ? age(now - Date.parse(p.joined) / 1000) : "–") },
];

/** PeerTable fills the section of the peers. clock returns the daemon's time in
 * seconds; allowed says whether to ask by itself. */
export class PeerTable {
  #clock;
  #allowed;
  #query = { offset: 0, sort: "address", search: "", kind: "", state: "" };
  #rows = new Map(); // by address, and how the peer is connected
  #inFlight = null;
  #timer = null;
  #onScreen = false;
  #matched = 0;
  #numbered = 0; // for the ids of details

  constructor(clock, allowed) {
    this.#clock = clock;
    this.#allowed = allowed;
    this.#restore();
    this.#head();
    this.#controls();
    new IntersectionObserver((entries) => {
      this.#onScreen = entries.at(-1).isIntersecting;
      this.poll();
    }).observe(id("peers"));
    document.addEventListener("visibilitychange", () => this.poll());
  }

  /** poll asks at once if the table can be seen, nothing is under way and asking
   * is allowed; it then goes on by itself. */
  poll() {
    clearTimeout(this.#timer);
    if (this.#inFlight === null && this.#onScreen && !document.hidden && this.#allowed()) this.#ask(false);
  }

  // ask gets the page that the query is about, instead of one under way.
  async #ask(byUser) {
    clearTimeout(this.#timer);
    this.#inFlight?.abort();
    const flight = new AbortController();
    this.#inFlight = flight;
    try {
      const answer = await get("peers", { ...this.#query, limit: page }, flight.signal);
      if (this.#inFlight !== flight) return;
      if (answer.peers.length === 0 && answer.matched > 0 && this.#query.offset > 0) { // the last page has gone
        this.#query.offset = Math.floor((answer.matched - 1) / page) * page;
        this.#ask(byUser);
        return;
      }
      this.#show(answer, byUser);
    } catch (error) {
      if (this.#inFlight !== flight) return;
      if (error.status) this.#refused(error); // else the daemon is gone, which the page says
    }
    id("peers").setAttribute("aria-busy", "false");
    this.#inFlight = null;
    this.#timer = setTimeout(() => this.poll(), every);
  }

  #change(change) {
    Object.assign(this.#query, { offset: 0 }, change);
    const kept = new URLSearchParams();
    for (const [name, value] of Object.entries(this.#query)) {
      if (value !== "" && value !== 0 && !(name === "sort" && value === "address")) kept.set(name, value);
    }
    history.replaceState(null, "", "#" + (kept.toString() || "peers"));
    this.#marks();
    id("peers").setAttribute("aria-busy", "true");
    this.#ask(true);
  }

  // restore takes the query from the address of the page, where change put it.
  #restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    const sort = kept.get("sort") ?? "";
    if (columns.some((c) => c.sort && c.sort === sort.replace(/^-/, ""))) this.#query.sort = sort;
    this.#query.search = (kept.get("search") ?? "").slice(0, 256);
    this.#query.offset = Math.max(0, Math.floor(Number(kept.get("offset")) / page) * page || 0);
    for (const name of ["kind", "state"]) {
      const value = kept.get(name) ?? "";
      if ([...id(name).options].some((o) => o.value === value)) this.#query[name] = value;
    }
    for (const name of ["search", "kind", "state"]) id(name).value = this.#query[name];
  }

  #head() {
    for (const column of columns) {
      const th = element("th", { scope: "col", class: [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim() });
      if (column.sort) {
        const button = element("button", { type: "button", "data-sort": column.sort }, column.title);
        if (column.long) {
          button.title = column.long;
          button.setAttribute("aria-label", `${column.title}: ${column.long}`);
        }
        button.addEventListener("click", () => this.#sortBy(column.sort));
        th.append(button);
      } else {
        th.append(column.title);
      }
      column.head = th;
      id("peer-head").append(th);
    }
    this.#marks();
  }

  #sortBy(field) {
    const { sort } = this.#query;
    const first = field === "address" ? field : "-" + field; // of figures, the largest come first
    const second = field === "address" ? "-" + field : field;
    this.#change({ sort: sort === first ? second : first });
  }

  #marks() {
    const { sort } = this.#query;
    for (const column of columns) {
      if (!column.sort) continue;
      const sorted = sort === column.sort ? "ascending" : sort === "-" + column.sort ? "descending" : "none";
      column.head.setAttribute("aria-sort", sorted);
    }
  }

  #controls() {
    id("filter").addEventListener("submit", (event) => event.preventDefault());
    let typed = null;
    id("search").addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => this.#change({ search: id("search").value.trim() }), typing);
    });
    for (const name of ["kind", "state"]) {
      id(name).addEventListener("change", () => this.#change({ [name]: id(name).value }));
    }
    const last = () => Math.max(0, Math.floor((this.#matched - 1) / page) * page);
    const go = (button, offset) => {
      id(button).addEventListener("click", () => {
        if (id(button).getAttribute("aria-disabled") === "true") return;
        this.#change({ offset: Math.min(Math.max(0, offset()), last()) });
      });
    };
    go("first", () => 0);
    go("previous", () => this.#query.offset - page);
    go("next", () => this.#query.offset + page);
    go("last", last);
  }

  #show(answer, byUser) {
    this.#matched = answer.matched;
    const now = this.#clock();
    const had = id("peer-rows").contains(document.activeElement);
    const rows = new Map();
    for (const peer of answer.peers) {
      const key = `${peer.transport} ${peer.address}`;
      const row = this.#rows.get(key) ?? this.#row(where(peer));
      row.show(peer, now);
      rows.set(key, row);
    }
    this.#rows = rows;
    arrange(id("peer-rows"), [...rows.values()].flatMap((row) => row.lines()));
    if (had && !id("peer-rows").contains(document.activeElement)) id("peer-scroll").focus({ preventScroll: true });

    id("peer-table").hidden = rows.size === 0;
    this.#none(answer);
    const text = this.#counted(answer);
    setText(id("peer-count"), text);
    if (byUser) announce(text);
    const at = this.#query.offset;
    // Not disabled, which would take the focus away.
    for (const name of ["first", "previous"]) id(name).setAttribute("aria-disabled", String(at === 0));
    for (const name of ["next", "last"]) id(name).setAttribute("aria-disabled", String(at + page >= answer.matched));
  }

  #counted({ total, matched, peers }) {
    const { offset, search, kind, state } = this.#query;
    const shown = matched === 0 ? "0" : `${count(offset + 1)}–${count(offset + peers.length)} of ${count(matched)}`;
    const what = total === 1 ? "peer" : "peers";
    return search || kind || state ? `${shown} that match, of ${count(total)} ${what}` : `${shown} ${what}`;
  }

  // none says why the table is empty, and for an address offers the answer.
  #none(answer) {
    const box = id("no-peers");
    box.hidden = answer.peers.length > 0;
    if (box.hidden) return box.replaceChildren();
    const { search } = this.#query;
    const about = JSON.stringify(this.#query) + answer.total;
    if (box.dataset.about === about && box.childElementCount > 0) return;
    box.dataset.about = about;
    box.replaceChildren(element("p", {}, answer.total === 0 ? "There are no peers: nobody has sent a datagram yet, or all have expired." : "No peer matches."));
    if (/^(\d+\.\d+\.\d+\.\d+(:\d+)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.%]*|\[[^\]]+\](:\d+)?)$/.test(search)) box.append(whyPanel(search));
  }

  #refused(error) {
    id("peer-table").hidden = true;
    id("no-peers").hidden = false;
    id("no-peers").dataset.about = "";
    id("no-peers").replaceChildren(element("p", {}, error.message), element("p", {}, error.hint));
  }

  #row(address) {
    const name = "details-" + ++this.#numbered;
    const button = element("button", { type: "button", class: "address", "aria-expanded": "false", "aria-controls": name }, address);
    const more = element("span", { class: "name" });
    const state = element("td", { class: "state" });
    const cells = columns.filter((c) => c.text).map((c) => element("td", { class: "number" + (c.wide ? " wide" : "") }));
    const line = element("tr", { "data-address": address }, element("th", { scope: "row" }, button, more), state, ...cells);
    let details = null;
    let latest = null;

    const toggle = () => {
      if (details === null) {
        details = new Details(address);
        details.line = element("tr", { class: "opened", id: name }, element("td", { colspan: String(columns.length) }, details.element));
        details.show(latest, this.#clock());
        line.after(details.line);
      } else {
        details.line.remove();
        details = null;
      }
      button.setAttribute("aria-expanded", String(details !== null));
    };
    button.addEventListener("click", toggle);
    line.addEventListener("click", (event) => {
      if (event.target.closest("button") === null && getSelection().isCollapsed) toggle();
    });

    return {
      lines: () => (details === null ? [line] : [line, details.line]),
      show: (peer, now) => {
        latest = peer;
        setText(more, peer.static ? " " + (peer.name && peer.name !== address ? peer.name + ", static" : "static") : peer.sender ? " sender" : peer.transport && peer.transport !== "udp" ? " " + peer.transport : "");
        setText(state, peer.state);
        state.dataset.state = peer.state;
        state.title = states[peer.state] ?? "";
        let i = 0;
        for (const column of columns) {
          if (column.text) setText(cells[i++], column.text(peer, now));
        }
        line.classList.toggle("lossy", peer.dropped_total > 0);
        details?.show(peer, now);
      },
    };
  }
}
