import type { DeliveryStatus, Endpoint } from "../api/types";

const STATUSES: Record<DeliveryStatus, true> = { pending: true, delivered: true, dead: true };
export const DELIVERY_STATUSES = Object.keys(STATUSES) as DeliveryStatus[];

/** Which endpoint's deliveries are shown, and which of them. It is the URL's query. */
export type Chosen = { endpoint?: string; status?: DeliveryStatus };

export function readChosen(search: Record<string, unknown>): Chosen {
  return {
    endpoint: typeof search.endpoint === "string" && search.endpoint ? search.endpoint : undefined,
    status: DELIVERY_STATUSES.find((status) => status === search.status),
  };
}

/** The one word that matters most about an endpoint, and since when. */
export function stateOf(endpoint: Endpoint, now: number): { tone: "good" | "warn" | "bad"; word: string; since: string | null } {
  if (!endpoint.enabled) return { tone: "bad", word: "disabled", since: endpoint.disabled_at };
  if (endpoint.failing_since) return { tone: "bad", word: "failing", since: endpoint.failing_since };
  if (endpoint.paused_until && Date.parse(endpoint.paused_until) > now) return { tone: "warn", word: "paused", since: null };
  return { tone: "good", word: "enabled", since: null };
}
