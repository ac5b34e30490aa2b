// Requests to the daemon. Addresses are relative to the page, so that it also
// works below a path of another server.

const patience = 5000; // milliseconds that an answer may take

/** A Failure is an answer that says no: message and hint are the daemon's. */
export class Failure extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

/** get asks for api/v1/WHAT. Parameters that are empty are left out. It throws
 * a Failure if the daemon says no, and something else if it does not answer. */
export async function get(what, parameters = {}, signal = null) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "") query.set(name, value);
  }
  const late = new AbortController();
  const give = () => late.abort();
  const timer = setTimeout(give, patience);
  signal?.addEventListener("abort", give);
  if (signal?.aborted) give();
  try {
    const text = query.toString();
    const response = await fetch("api/v1/" + what + (text && "?" + text), {
      signal: late.signal,
      cache: "no-store",
      credentials: "same-origin",
      headers: { Accept: "application/json" },
    });
    if (response.ok) return await response.json();
    const said = await response.json().catch(() => ({}));
    throw new Failure(response.status, String(said.message ?? "the daemon answers " + response.status), String(said.hint ?? ""));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", give);
  }
}

/** events opens the stream of events. */
export function events() {
  return new EventSource("api/v1/events");
}
