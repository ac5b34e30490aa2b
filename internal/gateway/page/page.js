// A client of the relay: opens the WebSocket at the address of this page, sends
// what is typed and shows what comes.

const keepAliveEvery = 15_000; // milliseconds
const firstPause = 1_000; // before the connection is tried again; doubled each time
const longestPause = 30_000;
const mostKept = 500; // datagrams in the list
const mostShown = 512; // bytes of each
const mostPayload = 65_535; // bytes of a datagram
const mostWaiting = 4 << 20; // bytes that the browser has not sent yet

const id = (name) => document.getElementById(name);
const count = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const address = location.href.replace(/^http/, "ws").replace(/#.*$/, "");

let socket = null;
let state = "off"; // connecting, on, asked, waiting, refused
let since = null; // when it was connected
let attempts = 0; // that have failed in a row
let retry = null; // the timer for the next
let paused = false;
let hex = false;
const totals = { in: { datagrams: 0, bytes: 0 }, out: { datagrams: 0, bytes: 0 } };
const entries = []; // those of the list, the newest last
let fresh = 0; // how many of them are not on the page yet
let unseen = 0; // how many came since it was paused
let drawing = false;

const words = {
  off: "not connected",
  connecting: "connecting",
  on: "connected",
  asked: "secret asked for",
  waiting: "trying again",
  refused: "refused",
};

// What to do about a close, by its status code (RFC 6455, section 7.4.1). Of
// those that are not here the connection is tried again.
const refusals = {
  1002: "The relay did not understand the browser",
  1003: "The relay does not take what was sent",
  1007: "The relay does not take what was sent",
  1008: "The relay has closed the connection",
  1009: "The relay does not take what was sent",
};

function show(to, text = "", bad = false) {
  state = to;
  id("connection").dataset.state = to;
  id("connection-text").textContent = words[to];
  id("connect").textContent = ["off", "refused"].includes(to) ? "Connect" : "Disconnect";
  if (to === "asked") id("connect").textContent = "Join";
  id("notice").hidden = text === "";
  id("notice").textContent = text;
  id("notice").classList.toggle("bad", bad);
  id("secret").parentElement.hidden = to === "on";
  id("send").disabled = to !== "on";
}

function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  let s = "";
  for (const b of bytes) s += String.fromCharCode(b);
  return btoa(s).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function connect() {
  disconnect();
  show("connecting", attempts > 0 ? id("notice").textContent : "");
  const protocols = ["udprelay"];
  const secret = id("secret").value;
  if (secret !== "") protocols.push("udprelay.secret." + base64url(secret));
  const s = new WebSocket(address, protocols);
  s.binaryType = "arraybuffer";
  socket = s;
  let opened = false;
  s.addEventListener("open", () => {
    if (socket !== s) return;
    opened = true;
    attempts = 0;
    since = Date.now();
    show("on");
    tick();
  });
  s.addEventListener("message", (event) => {
    if (socket !== s) return;
    const bytes = typeof event.data === "string" ? new TextEncoder().encode(event.data) : new Uint8Array(event.data);
    if (bytes.length > 0) {
      note("in", bytes);
    } else if (state === "on") {
      show("asked", "The relay asks for the secret: a rule of its access lets only those in who know it. Type it above, and join.");
      id("secret").focus();
    }
  });
  s.addEventListener("close", (event) => {
    if (socket !== s) return;
    socket = null;
    since = null;
    tick();
    const why = event.reason === "" ? "" : `: ${event.reason}`;
    if (refusals[event.code] !== undefined) {
      show("refused", `${refusals[event.code]}${why}. (${event.code})`, true);
      return;
    }
    again(opened, event.code === 1001 ? `The relay has ended the connection${why}.` : "");
  });
}

// again tries once more after a while, and finds out meanwhile what is wrong.
async function again(opened, text) {
  const pause = Math.min(longestPause, firstPause * 2 ** attempts) * (0.75 + Math.random() / 2);
  attempts++;
  retry = setTimeout(connect, pause);
  const mine = retry;
  show("waiting", text || (opened ? "The connection is lost." : "There is no connection."), true);
  const next = ` Trying again, after ${pause < 1500 ? "a second" : `${Math.round(pause / 1000)} seconds`}.`;
  if (text === "") {
    try {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
      text = opened
        ? "The connection was lost; the relay answers."
        : answer.ok
          ? "The relay answers, but opens no WebSocket. May pages of this address connect (gateway.websocket.origins)? Does a proxy in between pass WebSockets on?"
          : `At this address is no relay now: HTTP ${answer.status}.`;
    } catch {
      text = "The relay does not answer. It is stopped, out of reach, has too many connections, or does not let this address in.";
    }
  }
  if (retry === mine && state === "waiting") show("waiting", text + next, true);
}

function disconnect() {
  clearTimeout(retry);
  retry = null;
  const s = socket;
  socket = null;
  since = null;
  s?.close(1000);
  tick();
}

function send(bytes) {
  if (state !== "on") return;
  socket.send(bytes);
  note("out", bytes);
}

// note counts a datagram and puts it into the list.
function note(way, bytes) {
  totals[way].datagrams++;
  totals[way].bytes += bytes.length;
  entries.push({ way, at: new Date(), size: bytes.length, head: bytes.slice(0, mostShown) });
  if (entries.length > mostKept) entries.shift();
  if (paused) unseen++;
  fresh = Math.min(fresh + 1, mostKept);
  draw();
}

// draw brings the page up to date before it is painted next.
function draw() {
  if (drawing) return;
  drawing = true;
  const now = () => {
    if (!drawing) return;
    drawing = false;
    for (const [way, name] of [["in", "received"], ["out", "sent"]]) {
      id(name).textContent = count.format(totals[way].datagrams);
      id(name + "-unit").textContent = totals[way].datagrams === 1 ? "datagram" : "datagrams";
      id(name + "-bytes").textContent = amount(totals[way].bytes);
    }
    id("unseen").textContent = unseen > 0 ? `${count.format(unseen)} more` : "";
    if (paused) return;
    const rows = entries.slice(entries.length - fresh).reverse().map(row);
    fresh = 0;
    const list = id("list");
    list.prepend(...rows);
    while (list.childElementCount > entries.length) list.lastElementChild.remove();
    id("none").hidden = entries.length > 0;
    id("heads").hidden = entries.length === 0;
  };
  requestAnimationFrame(now);
  setTimeout(now, 250); // pages in the background are not painted
}

function row({ way, at, size, head }) {
  const item = document.createElement("li");
  item.className = "entry";
  item.dataset.way = way;
  const add = (tag, name, text) => {
    const e = document.createElement(tag);
    e.className = name;
    e.textContent = text;
    item.append(e);
    return e;
  };
  const mark = add("span", "way", way === "in" ? "↓" : "↑");
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", way === "in" ? "received" : "sent");
  add("time", "", clock(at)).dateTime = at.toISOString();
  add("span", "number", count.format(size));
  const more = size > head.length ? " …" : "";
  add("span", "text", textOf(head) + more);
  add("span", "hex", hexOf(head) + more);
  return item;
}

// textOf writes a dot for what cannot be seen, as programs that dump bytes do.
function textOf(bytes) {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufffd]/g, "·");
}

function hexOf(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
}

const two = (n) => String(n).padStart(2, "0");

function clock(at) {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

function amount(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (i < units.length - 1 && n >= 999.5) {
    n /= 1000;
    i++;
  }
  return (i === 0 ? count.format(n) : n.toPrecision(3)) + " " + units[i];
}

function duration(seconds) {
  const s = Math.floor(seconds);
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

// typed returns the payload that is typed, or a text that says what is wrong.
function typed() {
  const text = id("payload").value;
  if (!hex) return new TextEncoder().encode(text);
  const digits = text.replace(/0x/gi, "").replace(/[\s:,-]/g, "");
  const odd = digits.match(/[^0-9a-f]/i);
  if (odd !== null) return `“${odd[0]}” is no hexadecimal digit.`;
  if (digits.length % 2 !== 0) return "Two digits make a byte; one is missing.";
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function showSize() {
  const payload = typed();
  const bad = typeof payload === "string" ? payload
    : payload.length > mostPayload ? `${count.format(payload.length)} bytes; a datagram has ${count.format(mostPayload)} at most.` : "";
  id("size").classList.toggle("bad", bad !== "");
  id("size").textContent = bad || (payload.length === 0 ? "Enter sends, Shift and Enter begin a new line." : `${count.format(payload.length)} ${payload.length === 1 ? "byte" : "bytes"}`);
  return bad === "" ? payload : null;
}

function asHex(yes) {
  hex = yes;
  id("as-text").setAttribute("aria-pressed", String(!yes));
  id("as-hex").setAttribute("aria-pressed", String(yes));
  id("payload").placeholder = yes ? "68 65 6c 6c 6f" : "hello";
  showSize();
}

function tick() {
  id("since").textContent = since === null ? "–" : duration((Date.now() - since) / 1000);
  id("attempts").textContent = since !== null ? `since ${clock(new Date(since)).slice(0, 8)}` : attempts > 0 ? `${count.format(attempts)} failed in a row` : "not connected";
}

id("connecting").addEventListener("submit", (event) => {
  event.preventDefault();
  if (["off", "refused", "asked"].includes(state)) {
    attempts = 0;
    connect();
  } else {
    attempts = 0;
    disconnect();
    show("off");
  }
});

id("sending").addEventListener("submit", (event) => {
  event.preventDefault();
  const payload = showSize();
  if (payload === null || payload.length === 0 || state !== "on") return;
  if (socket.bufferedAmount > mostWaiting) {
    id("size").classList.add("bad");
    id("size").textContent = "The connection is too slow: what was sent before is still waiting.";
    return;
  }
  send(payload);
  id("payload").select();
});

id("payload").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  id("sending").requestSubmit();
});
id("payload").addEventListener("input", showSize);
id("as-text").addEventListener("click", () => asHex(false));
id("as-hex").addEventListener("click", () => asHex(true));
id("pause").addEventListener("click", () => {
  paused = !paused;
  unseen = 0;
  id("pause").setAttribute("aria-pressed", String(paused));
  draw();
});
id("clear").addEventListener("click", () => {
  entries.length = 0;
  fresh = 0;
  unseen = 0;
  id("list").replaceChildren();
  draw();
});

setInterval(() => {
  if (state === "on") socket.send(new Uint8Array(0));
}, keepAliveEvery);
setInterval(tick, 1000);

id("address").textContent = address;
id("heads").hidden = true;
asHex(false);
show("off");
tick();
