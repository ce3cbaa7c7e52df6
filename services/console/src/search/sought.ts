import { type Last, readFilters } from "../sessions/filters";

export const ROLES = ["user", "assistant"] as const;

/** What is searched for. It is the URL's query. `best`: the best match first, in place of the newest. */
export type Sought = { q?: string; role?: (typeof ROLES)[number]; agent?: string; last?: Last; best?: true };

/** Reads the URL's query; what it doesn't know is no filter. */
export function readSought(search: Record<string, unknown>): Sought {
  const { agent, last } = readFilters(search);
  const q = typeof search.q === "string" || typeof search.q === "number" ? String(search.q).trim() : "";
  return {
    q: q || undefined,
    role: ROLES.find((role) => role === search.role),
    agent,
    last,
    best: search.best === true ? true : undefined,
  };
}
