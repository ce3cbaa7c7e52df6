import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";

import { api, body } from "../api/client";
import { type Envelope, LIVE } from "../api/types";
import { CAPTION } from "../live/events";
import { useAgainAfter, useFollow } from "../live/live";

export function useSession(id: string) {
  // Some steps, such as that the agent's code begins to run, are no events.
  const again = useAgainAfter(2_000, 5_000);
  return useQuery({
    queryKey: ["session", id],
    queryFn: () => body(api.GET("/v1/sessions/{session_id}", { params: { path: { session_id: id } } })),
    refetchInterval: (query) => (query.state.data && LIVE.has(query.state.data.status) ? again : false),
  });
}

export type Caption = { segment: string; text: string; who: string };
export type Live = { envelopes: Envelope[]; captions: Caption[] };

const NOTHING: Live = { envelopes: [], captions: [] };

/** Follows a session that exists: its history, and then what happens. */
export function useLive(id: string, exists: boolean): Live {
  const [live, setLive] = useState(NOTHING);
  const of = useRef(id);
  const take = useCallback((arrived: Envelope[]) => setLive((before) => merged(before, arrived)), []);
  useEffect(() => {
    if (of.current !== id) setLive(NOTHING);
    of.current = id;
  }, [id]);
  useFollow(exists ? id : null, take);
  return live;
}

/** Puts what has arrived to what is known. A turn ends the captions of its speaker. */
export function merged(before: Live, arrived: readonly Envelope[]): Live {
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
