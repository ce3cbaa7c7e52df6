import type { Envelope } from "../api/types";
import { CAPTION, SESSION_TYPES, TURN } from "./events";
import { Wants } from "./wants";

/** `anew`: something may have been missed, so whatever is shown has to be asked for again. `who` asks what each tab shows. */
export type FromLeader =
  | { kind: "events"; envelopes: Envelope[] }
  | { kind: "open"; anew: boolean }
  | { kind: "cut" }
  | { kind: "refused" }
  | { kind: "who" };

// What the API lets one stream follow.
const MOST_SESSIONS = 16;
// A browser wakes a hidden tab once a minute.
const FORGET_AFTER_MS = 180_000;
const AGAIN_AFTER_MS = 3_000;
// A long history comes at once, and is handed on at once.
const GATHER_MS = 30;
// Several tabs that open at once cause one new stream.
const SETTLE_MS = 50;

/** Reads the one stream of this browser, and sends what comes to all tabs. */
export class Leader {
  private readonly wants = new Wants(MOST_SESSIONS, FORGET_AFTER_MS);
  private source: EventSource | null = null;
  private coming: EventSource | null = null;
  private opening: ReturnType<typeof setTimeout> | undefined;
  private sending: ReturnType<typeof setTimeout> | undefined;
  private waiting: Envelope[] = [];
  private newest = "";
  private missed = true;

  constructor(private readonly send: (message: FromLeader) => void) {
    send({ kind: "who" });
    this.openIn(SETTLE_MS);
  }

  /** A tab says which sessions it shows. */
  hear(tab: string, sessions: readonly string[]) {
    if (this.wants.hear(tab, sessions, Date.now())) this.openIn(SETTLE_MS);
    if (this.source && !this.missed) this.send({ kind: "open", anew: false });
  }

  forget(tab: string) {
    this.wants.forget(tab);
  }

  stop() {
    clearTimeout(this.opening);
    clearTimeout(this.sending);
    this.coming?.close();
    this.source?.close();
  }

  private openIn(ms: number) {
    clearTimeout(this.opening);
    this.opening = setTimeout(() => this.open(), ms);
  }

  /** Opens a stream of the sessions that are shown now; the one before stays until the new one has begun. */
  private open() {
    this.coming?.close();
    const query = new URLSearchParams(this.wants.sessions(Date.now()).map((id) => ["session_id", id]));
    if (this.newest) query.set("after", this.newest);
    const next = new EventSource(`/v1/events?${query}`);
    this.coming = next;
    const take = (message: MessageEvent<string>) => {
      if (message.lastEventId > this.newest) this.newest = message.lastEventId;
      this.waiting.push(JSON.parse(message.data) as Envelope);
      this.sending ??= setTimeout(() => this.flush(), GATHER_MS);
    };
    for (const type of [...SESSION_TYPES, TURN, CAPTION]) next.addEventListener(type, take);
    next.addEventListener("position", (message: MessageEvent<string>) => {
      this.begun(next, message.lastEventId, (JSON.parse(message.data) as { resumed: boolean }).resumed);
    });
    next.onerror = () => this.failed(next);
  }

  private begun(stream: EventSource, id: string, resumed: boolean) {
    if (this.source !== stream) this.source?.close();
    this.source = stream;
    if (this.coming === stream) this.coming = null;
    if (id > this.newest) this.newest = id;
    this.send({ kind: "open", anew: this.missed || !resumed });
    this.missed = false;
  }

  /** The browser reconnects by itself where the connection was lost, and not where the API has refused. */
  private failed(stream: EventSource) {
    const refused = stream.readyState === EventSource.CLOSED;
    if (stream === this.source || !this.source) {
      this.missed = true;
      this.send({ kind: "cut" });
    }
    if (!refused) return;
    this.send({ kind: "refused" });
    if (this.coming === stream) this.coming = null;
    if (this.source === stream) this.source = null;
    this.openIn(AGAIN_AFTER_MS);
  }

  private flush() {
    this.sending = undefined;
    const envelopes = this.waiting;
    this.waiting = [];
    this.send({ kind: "events", envelopes });
  }
}
