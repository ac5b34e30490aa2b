// Numbers, times and durations as text. Digits are grouped in English, whatever
// the browser speaks, because the words around them are English.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** count writes a whole number: 1,234,567. */
export function count(n) {
  return whole.format(n ?? 0);
}

/** where writes the address of a peer, or of a sender, which has any port. */
export function where(peer) {
  return peer.sender ? peer.address.replace(/:0$/, ":*") : peer.address;
}

/** datagrams writes a number of them: 1 datagram, 2 datagrams. */
export function datagrams(n) {
  return count(n) + (n === 1 ? " datagram" : " datagrams");
}

// three writes a number from 0 up to 1000 with three digits.
function three(n) {
  return n < 9.995 ? n.toFixed(2) : n < 99.95 ? n.toFixed(1) : n.toFixed(0);
}

function scaled(n, step, units) {
  let i = 0;
  while (i < units.length - 1 && n >= step * 0.9995) {
    n /= step;
    i++;
  }
  return i === 0 ? whole.format(n) + units[0] : three(n) + units[i];
}

/** rate writes how many there are a second: 0, 0.3, 9.5, 1,234, 12.3 M. */
export function rate(n) {
  n ??= 0;
  if (n === 0) return "0";
  if (n < 0.05) return "<0.1";
  if (n < 9.95) return n.toFixed(1);
  return n < 9_999_999.5 ? whole.format(n) : scaled(n, 1000, ["", " k", " M", " G", " T"]);
}

/** short writes a number for the axis of a chart: 1.5k. */
export function short(n) {
  const units = ["", "k", "M", "G", "T"];
  let i = 0;
  while (i < units.length - 1 && n >= 1000) {
    n /= 1000;
    i++;
  }
  return String(Number(n.toPrecision(3))) + units[i];
}

/** bytes writes an amount of bytes as those of networks are, in thousands. */
export function bytes(n) {
  return scaled(n ?? 0, 1000, [" B", " kB", " MB", " GB", " TB", " PB"]);
}

/** memory writes an amount of bytes as config.yaml does, in 1024s. */
export function memory(n) {
  return scaled(n ?? 0, 1024, [" B", " KiB", " MiB", " GiB"]);
}

/** share writes a part of a whole in percent; what is not nothing is not 0 %. */
export function share(part, of) {
  const percent = of > 0 ? (100 * part) / of : 0;
  if (part > 0 && percent < 0.1) return "<0.1 %";
  if (part < of && percent >= 99.95) return ">99.9 %";
  return percent.toFixed(percent === 0 || percent === 100 ? 0 : 1) + " %";
}

/** duration writes seconds with their two largest units: 3 d 4 h, 5 min 6 s. */
export function duration(seconds) {
  let s = Math.max(0, Math.floor(seconds ?? 0));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const n = Math.floor(s / size);
    s %= size;
    if (n > 0 || parts.length > 0 || unit === "s") parts.push(n + " " + unit);
  }
  return parts.slice(0, 2).join(" ");
}

/** age writes seconds with their largest unit: 3 s, 5 min, 2 h, 4 d. */
export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
}

/** time writes a short time in seconds with three digits: 0.25 ms, 12.3 ms, 1.50 s. */
export function time(seconds) {
  return seconds < 0.9995 ? three(seconds * 1000) + " ms" : three(seconds) + " s";
}

const pad = (n) => String(n).padStart(2, "0");

/** clock writes the time of day, in the zone of the browser: 12:03:04. */
export function clock(date) {
  return pad(date.getHours()) + ":" + pad(date.getMinutes()) + ":" + pad(date.getSeconds());
}

/** moment writes day and time, in the zone of the browser. */
export function moment(date) {
  return date.getFullYear() + "-" + pad(date.getMonth() + 1) + "-" + pad(date.getDate()) + " " + clock(date);
}
