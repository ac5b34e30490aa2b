// What keeps the page live: the daemon's server-sent events while they come,
// and questions for its status where they do not.

import { events, get } from "./api.js";

const quiet = 5000; // milliseconds without a status, of which one comes a second, until the stream counts as broken
const soon = 3000; // milliseconds that the status may take
const again = 1000; // from one attempt to the next
const hiddenAfter = 60_000; // a page hidden for so long gives its stream back: a browser has six connections, the daemon 32 streams
const hiddenEvery = 10_000; // and asks so often

/** A Stream calls onStatus with each status, and onState with "live", or
 * with "gone" and the Date when it was last heard. */
export class Stream {
  #wake = () => {};
  #heard = null;
  #state = "connecting";

  constructor({ onStatus, onState }) {
    this.onStatus = onStatus;
    this.onState = onState;
    document.addEventListener("visibilitychange", () => this.#wake());
    addEventListener("online", () => this.#wake());
  }

  /** run never ends. */
  async run() {
    const opened = new Date();
    for (;;) {
      const begun = Date.now();
      try {
        this.#take(await get("status", {}, AbortSignal.timeout(soon)));
      } catch (error) {
        this.#tell("gone", this.#heard ?? opened, error);
        await this.#sleep(again);
        continue;
      }
      if (document.hidden && begun - this.#hiddenSince > hiddenAfter) {
        await this.#sleep(hiddenEvery);
        continue;
      }
      await this.#listen();
      if (Date.now() - begun < again) await this.#sleep(again);
    }
  }

  #hiddenSince = Date.now();

  // listen returns when the stream is broken, or is not wanted any more.
  #listen() {
    return new Promise((resolve) => {
      const source = events();
      let watch, hidden;
      const end = () => {
        source.close();
        clearTimeout(watch);
        clearTimeout(hidden);
        document.removeEventListener("visibilitychange", visibility);
        resolve();
      };
      const rewind = () => {
        clearTimeout(watch);
        watch = setTimeout(end, document.hidden ? hiddenAfter + quiet : quiet); // the timers of hidden pages are slow
      };
      const visibility = () => {
        clearTimeout(hidden);
        if (document.hidden) {
          this.#hiddenSince = Date.now();
          hidden = setTimeout(end, hiddenAfter);
        }
        rewind();
      };
      document.addEventListener("visibilitychange", visibility);
      source.addEventListener("status", (event) => {
        rewind();
        this.#take(JSON.parse(event.data));
      });
      source.addEventListener("error", end);
      visibility();
    });
  }

  #take(status) {
    this.#heard = new Date();
    this.#tell("live", this.#heard);
    this.onStatus(status);
  }

  #tell(state, since, error) {
    if (state === this.#state) return;
    this.#state = state;
    this.onState(state, since, error);
  }

  // sleep ends early if the page is shown, or the network is back.
  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
