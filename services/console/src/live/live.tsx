import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";

import type { Envelope } from "../api/types";
import { type Connection, Tab } from "./tab";

const OfTab = createContext<Tab | null>(null);
// For what the stream does not tell, and for a stream that says nothing.
const SLOW_MS = 60_000;

/** Lets everything inside follow what happens in the project, as whoever is logged in. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const [tab, setTab] = useState<Tab | null>(null);
  useEffect(() => {
    const entered = new Tab(queries);
    setTab(entered);
    return () => entered.leave();
  }, [queries]);
  return <OfTab value={tab}>{children}</OfTab>;
}

export function useConnection(): Connection {
  const tab = useContext(OfTab);
  return useSyncExternalStore(tab?.watch ?? idle, () => tab?.connection ?? "connecting");
}

/** How often to ask again: rarely while the stream tells what is new. */
export function useAgainAfter(ms: number, live = SLOW_MS): number {
  return useConnection() === "live" ? live : ms;
}

/** Hands over the events, turns and captions of a session, from its begin; some come again after a reconnect. */
export function useFollow(session: string | null, listener: (envelopes: Envelope[]) => void) {
  const tab = useContext(OfTab);
  useEffect(() => (tab && session ? tab.follow(session, listener) : undefined), [tab, session, listener]);
}

const idle = () => () => {};
