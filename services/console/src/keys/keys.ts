import type { ApiKey } from "../api/types";

/** Whether a key still works, as one word and since when. */
export function stateOf(key: ApiKey, now: number): { tone: "good" | "quiet"; word: "works" | "revoked" | "expired"; at: string | null } {
  if (key.revoked_at) return { tone: "quiet", word: "revoked", at: key.revoked_at };
  if (key.expires_at && Date.parse(key.expires_at) <= now) return { tone: "quiet", word: "expired", at: key.expires_at };
  return { tone: "good", word: "works", at: null };
}
