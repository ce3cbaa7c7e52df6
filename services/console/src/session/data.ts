import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { api, body } from "../api/client";
import { type Envelope, LIVE } from "../api/types";
import { CAPTION, READ_TYPES } from "./timeline";

export function useSession(id: string) {
  return useQuery({
    queryKey: ["session", id],
    queryFn: () => body(api.GET("/v1/sessions/{session_id}", { params: { path: { session_id: id } } })),
    // The stream says at once what is new; this is for steps without an event, and for a stream that is cut.
    refetchInterval: (query) => (query.state.data && LIVE.has(query.state.data.status) ? 2_000 : false),
  });
}

export type Connection = "connecting" | "live" | "cut" | "over";
export type Caption = { segment: string; text: string; who: string };
export type Live = { envelopes: Envelope[]; captions: Caption[]; connection: Connection };

/** Follows a session: its history, and then what happens. After a cut the browser asks for what it has missed. */
export function useLive(id: string): Live {
  const queries = useQueryClient();
  const [live, setLive] = useState<Live>({ envelopes: [], captions: [], connection: "connecting" });

  useEffect(() => {
    setLive({ envelopes: [], captions: [], connection: "connecting" });
    const source = new EventSource(`/v1/sessions/${encodeURIComponent(id)}/events`);
    // A long history comes at once; it is drawn once.
    let waiting: Envelope[] = [];
    let drawing = 0;
    const draw = () => {
      drawing = 0;
      const arrived = waiting;
      waiting = [];
      setLive((before) => ({ ...before, connection: "live", ...merged(before, arrived) }));
      if (arrived.some(({ type }) => type !== CAPTION)) void queries.invalidateQueries({ queryKey: ["session", id] });
    };
    const take = (message: MessageEvent<string>) => {
      waiting.push(JSON.parse(message.data) as Envelope);
      drawing ||= window.setTimeout(draw, 50);
    };
    for (const type of READ_TYPES) source.addEventListener(type, take);
    source.onopen = () => setLive((before) => ({ ...before, connection: "live" }));
    // The API answers 204 to a browser that has everything of a session that is over, and the stream stays closed.
    source.onerror = () => setLive((before) => ({ ...before, connection: source.readyState === EventSource.CLOSED ? "over" : "cut" }));
    return () => {
      source.close();
      clearTimeout(drawing);
    };
  }, [id, queries]);
  return live;
}

/** Puts what has arrived to what is known. A turn ends the captions of its speaker. */
export function merged(before: Pick<Live, "envelopes" | "captions">, arrived: readonly Envelope[]): Pick<Live, "envelopes" | "captions"> {
  const known = new Set(before.envelopes.map(({ id }) => id));
  const envelopes = [...before.envelopes];
  let captions = before.captions;
  for (const envelope of arrived) {
    const data = envelope.data as { segment_id?: string; text?: string; role?: string };
    if (envelope.type === CAPTION) {
      const segment = String(data.segment_id);
      captions = [...captions.filter((caption) => caption.segment !== segment), { segment, text: String(data.text), who: String(data.role) }].slice(-4);
    } else if (!known.has(envelope.id)) {
      known.add(envelope.id);
      envelopes.push(envelope);
      if (data.role) captions = captions.filter(({ who }) => who !== data.role);
    }
  }
  return { envelopes, captions };
}
