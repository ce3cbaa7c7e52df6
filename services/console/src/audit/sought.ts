import type { AuditEntry } from "../api/types";
import { type Last, readFilters } from "../sessions/filters";

/** Which entries of the audit trail are shown. It is the URL's query. */
export type Sought = { action?: string; actor?: string; target?: string; last?: Last };

const text = (value: unknown) => (typeof value === "string" || typeof value === "number") && value !== "" ? String(value) : undefined;

export function readSought(search: Record<string, unknown>): Sought {
  return { action: text(search.action), actor: text(search.actor), target: text(search.target), last: readFilters(search).last };
}

/** Who it was, as people know them. */
export function who({ key_name: name, actor }: Pick<AuditEntry, "key_name" | "actor">): string {
  return name ?? actor ?? "anybody";
}

const OF_SESSIONS: ReadonlySet<string> = new Set(["session.end", "session.listen_in", "transcript.erase"]);

/** The session to which something was done; null if it was done to something else. */
export function sessionIn({ action, target }: Pick<AuditEntry, "action" | "target">): string | null {
  return OF_SESSIONS.has(action) ? target : null;
}
