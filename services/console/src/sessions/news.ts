import type { Session } from "../api/types";

/** The list that is shown, and how many newer sessions wait behind it. Sessions come newest first. */
export type Shown = { rows: Session[]; newer: number };

/**
 * Put what was read just now (`fresh`, the newest page) over the pages that were read before: rows that both have
 * show their new state in their old place, and newer rows wait, so that nothing moves under the pointer.
 */
export function shown(pages: readonly Session[][], fresh: readonly Session[]): Shown {
  const now = new Map(fresh.map((session) => [session.session_id, session]));
  const rows = pages.flat().map((session) => now.get(session.session_id) ?? session);
  const newest = rows[0]?.session_id ?? "";
  // Ids are UUIDv7: they sort by the time at which they were made.
  return { rows, newer: fresh.filter(({ session_id }) => session_id > newest).length };
}
