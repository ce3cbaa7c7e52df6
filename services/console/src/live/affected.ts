import type { QueryKey } from "@tanstack/react-query";

import type { Envelope } from "../api/types";
import { CAPTION, TURN } from "./events";

const LISTS: readonly QueryKey[] = [["sessions-newest"], ["line"], ["canaries"]];
const FIGURES: readonly QueryKey[] = [["stats-hour"], ["health-agent"]];
const CAUSES: readonly QueryKey[] = [["causes-page"], ["causes"], ["others"]];
const WITH_CAUSE: ReadonlySet<string> = new Set(["session.failed.v1", "session.cancelled.v1"]);

/** The session that an event is about. */
export function sessionOf({ subject }: Envelope): string {
  return subject.replace(/^session\//, "");
}

/** What the page has read of the API that these events may have changed: `soon` is cheap to read again, `later` is not. */
export function affected(envelopes: readonly Envelope[]): { soon: QueryKey[]; later: QueryKey[] } {
  const soon = new Map<string, QueryKey>();
  const later = new Map<string, QueryKey>();
  const add = (to: Map<string, QueryKey>, keys: readonly QueryKey[]) => keys.forEach((key) => to.set(key.join(" "), key));
  for (const envelope of envelopes) {
    if (envelope.type === CAPTION) continue;
    add(soon, [["session", sessionOf(envelope)]]);
    if (envelope.type === TURN) {
      add(soon, [["transcript", sessionOf(envelope)]]);
      continue;
    }
    add(soon, LISTS);
    add(later, FIGURES);
    if (WITH_CAUSE.has(envelope.type)) add(later, CAUSES);
  }
  return { soon: [...soon.values()], later: [...later.values()] };
}
