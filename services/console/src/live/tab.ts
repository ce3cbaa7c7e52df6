import { type QueryClient, type QueryKey } from "@tanstack/react-query";

import type { Envelope } from "../api/types";
import { affected, sessionOf } from "./affected";
import { type FromLeader, Leader } from "./leader";
import { Paced } from "./paced";

export type Connection = "connecting" | "live" | "cut";
type FromTab = { kind: "shows"; tab: string; sessions: string[] } | { kind: "gone"; tab: string };
type Listener = (envelopes: Envelope[]) => void;

const NAME = "rollcall-console";
const SOON_MS = 1_000;
const LATER_MS = 4_000;
// Who is logged in; and the rows of the list, which stay where they are: what is new waits behind a button.
const KEPT: ReadonlySet<unknown> = new Set(["me", "sessions"]);
// So the leader knows that this tab is still there.
const SHOW_EVERY_MS = 20_000;

/**
 * This tab's part of the browser's one stream. The tab that holds the lock leads: it reads the stream, and sends it
 * to the others, which say which sessions they show. When it is closed, the browser gives the lock to another tab.
 */
export class Tab {
  private readonly id = `${Date.now()}-${Math.random()}`;
  private readonly channel = new BroadcastChannel(NAME);
  private readonly listeners = new Map<string, Set<Listener>>();
  private readonly watchers = new Set<() => void>();
  private readonly leaving = new AbortController();
  private readonly soon: Paced<QueryKey>;
  private readonly later: Paced<QueryKey>;
  private readonly showing: ReturnType<typeof setInterval>;
  private leader: Leader | null = null;
  connection: Connection = "connecting";

  constructor(private readonly queries: QueryClient) {
    this.soon = new Paced(SOON_MS, this.readAgain);
    this.later = new Paced(LATER_MS, this.readAgain);
    this.channel.onmessage = ({ data }: MessageEvent<FromLeader | FromTab>) => this.hear(data);
    this.showing = setInterval(this.show, SHOW_EVERY_MS);
    addEventListener("pagehide", this.hide);
    addEventListener("pageshow", this.show);
    this.lead();
    this.show();
  }

  leave() {
    clearInterval(this.showing);
    removeEventListener("pagehide", this.hide);
    removeEventListener("pageshow", this.show);
    this.hide();
    this.soon.stop();
    this.later.stop();
    this.leader?.stop();
    this.leader = null;
    this.leaving.abort();
    this.channel.close();
  }

  /** Follows a session, from its begin. Returns the function that ends this. */
  follow(session: string, listener: Listener): () => void {
    const all = this.listeners.get(session) ?? new Set();
    this.listeners.set(session, all.add(listener));
    this.show();
    return () => {
      all.delete(listener);
      if (!all.size) this.listeners.delete(session);
      if (!this.leaving.signal.aborted) this.show();
    };
  }

  readonly watch = (watcher: () => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  private lead() {
    const begin = () => {
      this.leader = new Leader((message) => this.send(message));
      this.show();
    };
    // By plain http from another machine, browsers have no locks: each tab reads a stream of its own there.
    if (!navigator.locks) return begin();
    const { signal } = this.leaving;
    const held = () => {
      begin();
      return new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    };
    navigator.locks.request(NAME, { signal }, held).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  private send(message: FromLeader) {
    if (navigator.locks) this.channel.postMessage(message);
    this.hear(message);
  }

  private hear(message: FromLeader | FromTab) {
    switch (message.kind) {
      case "shows":
        return this.leader?.hear(message.tab, message.sessions);
      case "gone":
        return this.leader?.forget(message.tab);
      case "open":
        this.become("live");
        if (message.anew) void this.queries.invalidateQueries({ predicate: ({ queryKey }) => !KEPT.has(queryKey[0]) });
        return;
      case "who":
        return this.show();
      case "cut":
        return this.become("cut");
      case "refused":
        return void this.queries.invalidateQueries({ queryKey: ["me"] });
      case "events":
        return this.take(message.envelopes);
    }
  }

  private take(envelopes: Envelope[]) {
    const { soon, later } = affected(envelopes);
    this.soon.name(soon);
    this.later.name(later);
    for (const [session, listeners] of this.listeners) {
      const its = envelopes.filter((envelope) => sessionOf(envelope) === session);
      if (its.length) for (const listener of listeners) listener(its);
    }
  }

  // A hidden tab only notes what is stale, and asks for it when somebody looks at it.
  private readonly readAgain = (keys: QueryKey[]) => {
    const refetchType = document.hidden ? "none" : "active";
    for (const queryKey of keys) void this.queries.invalidateQueries({ queryKey, refetchType });
  };

  private readonly show = () => {
    const sessions = [...this.listeners.keys()];
    if (this.leader) this.leader.hear(this.id, sessions);
    else this.channel.postMessage({ kind: "shows", tab: this.id, sessions } satisfies FromTab);
  };

  private readonly hide = () => {
    if (this.leader) this.leader.forget(this.id);
    else this.channel.postMessage({ kind: "gone", tab: this.id } satisfies FromTab);
  };

  private become(connection: Connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    for (const watcher of this.watchers) watcher();
  }
}
