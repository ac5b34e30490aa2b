// What is known of one peer, and why an address gets what it gets.

import { get } from "./api.js";
import { element, setText } from "./dom.js";
import { bytes, count, datagrams, duration, moment, rate } from "./format.js";
import { explain } from "./reasons.js";

/** states puts into words what a state of a peer means. */
export const states = {
  ok: "takes part",
  quarantined: "the network says that it cannot be reached; it is tried again within 16 seconds, and at once when it is heard",
  cut: "part of a loop: it returns what it is sent, and that is dropped; everything else it sends is relayed",
  overloading: "sends more than its fair share of what the relay can handle; the excess was dropped in the last seconds",
  failing: "what was sent to it lately did not leave this machine (there is no route, or a firewall forbids it), or the network reports that it did not arrive",
  silent: "not heard for most of the time after which it is forgotten",
  banned: "banned: it neither sends nor receives, whatever the rules say",
};

const joins = {
  open: "by sending a datagram (join: open)",
  cookie: "by a cookie, which proves its address (join: cookie)",
  secret: "by the secret of its rule (join: secret)",
  connection: "by connecting to a gateway",
  static: "by the configuration (peers.static)",
};

const transports = {
  udp: "UDP",
  tcp: "TCP (gateway.tcp)",
  tls: "TCP with TLS (gateway.tls)",
  ws: "WebSocket (gateway.websocket)",
  wss: "WebSocket with TLS (gateway.websocket)",
};

/** Details are those of one peer; element is what to show. */
export class Details {
  #fields = new Map();
  #list = element("dl", { class: "fields" });
  #drops = element("dl", { class: "reasons" });
  #dropped = "";

  constructor(address) {
    this.element = element("div", { class: "details" }, this.#list, this.#drops, whyPanel(address));
  }

  /** show brings them up to date; now is the daemon's time in seconds. */
  show(peer, now) {
    const when = (text) => {
      const date = new Date(text);
      const ago = now - date.getTime() / 1000;
      return moment(date) + (ago >= 0 ? `, ${duration(ago)} ago` : `, in ${duration(-ago)}`);
    };
    this.#field("State", peer.state + (states[peer.state] ? ": " + states[peer.state] : ""));
    this.#field("By", transports[peer.transport] ?? peer.transport ?? "UDP");
    this.#field("May", peer.may === "both" ? "send and receive" : peer.sender ? "send, from any port; it takes no place among the peers" : peer.may);
    this.#field("Joined", (peer.joined ? when(peer.joined) + ", " : "") + (joins[peer.joined_by] ?? peer.joined_by ?? ""));
    this.#field("Heard", peer.heard ? when(peer.heard) : "never");
    this.#field("Expires", peer.expires ? when(peer.expires) + ", unless it is heard" : peer.static ? "never" : "when its connection ends");
    this.#field("From it", `${datagrams(peer.received)}, ${bytes(peer.received_bytes)}; ${rate(peer.received_rate)} datagrams/s, ${bytes(peer.received_bytes_rate)}/s`);
    this.#field("To it", `${datagrams(peer.delivered)}, ${bytes(peer.delivered_bytes)}; ${rate(peer.delivered_rate)} datagrams/s, ${bytes(peer.delivered_bytes_rate)}/s`);
    this.#field("Dropped", peer.dropped_total > 0 ? datagrams(peer.dropped_total) : "none");
    const reports = Object.entries(peer.reported ?? {}).map(([kind, n]) => `${kind} ${count(n)}`);
    this.#field("Network reports", reports.join(", ") || "none");

    const drops = Object.entries(peer.dropped ?? {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
    const now_ = JSON.stringify(drops);
    if (now_ === this.#dropped) return;
    this.#dropped = now_;
    this.#drops.replaceChildren(...drops.flatMap(([reason, n]) => {
      const [, means, helps] = explain(reason);
      return [element("dt", {}, element("code", {}, reason), " ", count(n)), element("dd", {}, means, " ", helps)];
    }));
  }

  #field(name, text) {
    if (!this.#fields.has(name)) {
      const dd = element("dd");
      this.#fields.set(name, dd);
      this.#list.append(element("div", {}, element("dt", {}, name), dd));
    }
    setText(this.#fields.get(name), text);
  }
}

/** whyPanel is a button that asks the daemon what would happen, and did happen,
 * to the datagrams of an address, and shows the answer. */
export function whyPanel(address) {
  const answer = element("div", { class: "answer", role: "status" });
  const button = element("button", { type: "button", class: "why" }, "Why? What would happen to its datagrams");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      answer.replaceChildren(...whyAnswer(await get("why", { address })));
    } catch (error) {
      answer.replaceChildren(element("p", {}, error.status ? error.message : "The daemon does not answer."));
      if (error.hint) answer.append(element("p", { class: "quiet" }, error.hint));
    }
    button.disabled = false;
    button.focus({ preventScroll: true });
  });
  return element("div", { class: "why-panel" },
    element("p", {}, button, " ", element("span", { class: "quiet" }, "or ", element("code", {}, "udprelay why " + address))), answer);
}

// Steps about datagrams for the address begin so; the others are about its own.
const toIt = "to it: ";

function whyAnswer(why) {
  const would = why.would ?? [];
  const list = [element("p", { class: "verdict" }, sentence(why.verdict ?? ""))];
  if (would.length > 0) {
    list.push(element("div", { class: "ways" },
      steps("What would become of its datagrams", would.filter((w) => !w.step.startsWith(toIt))),
      steps("What becomes of datagrams for it", would.filter((w) => w.step.startsWith(toIt)))));
  }
  if (why.did?.length > 0) {
    list.push(element("h4", {}, "What was dropped"), element("ul", {}, ...why.did.map((d) => element("li", {},
      element("code", {}, d.reason), " " + count(d.count) + (d.rule ? ", by " + d.rule : "")
        + (d.last ? ", last " + moment(new Date(d.last)) : "") + (d.from && d.from !== why.address ? ", from " + d.from : "")))));
  }
  return list;
}

// steps lists what the relay looks at, up to what decides; the rest is pale.
function steps(title, list) {
  if (list.length === 0) return "";
  const end = list.findIndex((w) => w.decides);
  return element("section", {}, element("h4", {}, title), element("ol", {}, ...list.map((w, i) => {
    const li = element("li", {}, w.step.startsWith(toIt) ? w.step.slice(toIt.length) : w.step, ": ", element("b", {}, w.result));
    if (i === end) {
      li.className = "decides";
      li.append(" ", element("span", { class: "tag" }, "decides"));
    } else if (end >= 0 && i > end) {
      li.className = "after";
    }
    return li;
  })));
}

function sentence(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1) + (text === "" || text.endsWith(".") ? "" : ".");
}
