/** One timeline of what happened to a session and what was said in it. */
import type { Envelope } from "../api/types";
import { length } from "../ui/format";
import { CAPTION, TURN } from "../live/events";
import { WHY } from "./causes";
import type { Cause } from "../api/types";

export type Entry = {
  id: string;
  time: string;
  offset: number;
  tone: "quiet" | "good" | "warn" | "bad" | "said";
  what: string;
  more: string | null;
  seq: number | null;
};

type Data = { [key: string]: unknown };
const text = (value: unknown): string | null => (value === null || value === undefined ? null : String(value));
const why = (data: Data): string | null => {
  const known = WHY[data.cause as Cause] as string | undefined;
  return known ? `${known[0]?.toUpperCase()}${known.slice(1)}.` : text(data.cause);
};
const join = (...parts: (string | null | false)[]): string | null => parts.filter(Boolean).join(" · ") || null;

type Reading = { tone: Entry["tone"]; what: string; more?: string | null };

const READ: { [type: string]: (data: Data) => Reading } = {
  "session.reserved.v1": (d) => ({ tone: "quiet", what: "Reserved", more: join("a client got a token", text(d.agent_name)) }),
  "session.requested.v1": (d) => ({ tone: "quiet", what: "Requested", more: join(`agent ${text(d.agent_name)}`, `room ${text(d.room_name)}`) }),
  "session.waiting.v1": (d) => ({ tone: "warn", what: "Waits in line", more: join(why(d), d.place != null && `place ${text(d.place)}`) }),
  "dispatch.started.v1": (d) => ({
    tone: "quiet",
    what: `Attempt ${text(d.attempt)} begins`,
    more: d.worker_id ? `worker ${text(d.worker_id)} was chosen` : "LiveKit chooses the worker",
  }),
  "dispatch.accepted.v1": (d) => ({ tone: "quiet", what: "LiveKit has the dispatch", more: text(d.dispatch_id) }),
  "dispatch.failed.v1": (d) => ({ tone: "warn", what: "LiveKit did not take the dispatch", more: join(why(d), `again in ${text(d.retry_in_s)} s`) }),
  "agent.assigned.v1": (d) => ({ tone: "quiet", what: "A worker took the job", more: join(text(d.worker_id), text(d.job_id)) }),
  "agent.joined.v1": (d) => ({ tone: "good", what: "The agent is in the room", more: text(d.participant_identity) }),
  "agent.ready.v1": () => ({ tone: "good", what: "The agent listens" }),
  "agent.first_speech.v1": () => ({ tone: "good", what: "The agent began to speak" }),
  "agent.missing.v1": (d) => ({ tone: "bad", what: `Attempt ${text(d.attempt)} brought no agent`, more: why(d) }),
  "agent.lost.v1": (d) => ({ tone: "bad", what: "The agent is gone", more: join(why(d), Boolean(d.revival) && "another one is asked for") }),
  "agent.extra_removed.v1": (d) => ({ tone: "warn", what: "A second agent was removed", more: text(d.participant_identity) }),
  "agent.foreign_seen.v1": (d) => ({ tone: "warn", what: "An agent that Rollcall did not ask for is in the room", more: text(d.participant_identity) }),
  "pool.share_taken_back.v1": (d) => ({ tone: "warn", what: `The share of pool ${text(d.deployment)} was taken back`, more: `${text(d.failed)} of ${text(d.sessions)} sessions failed` }),
  "session.failed.v1": (d) => ({ tone: "bad", what: "Failed", more: why(d) }),
  "session.ended.v1": (d) => ({ tone: "quiet", what: "Ended", more: text(d.reason) }),
  "session.expired.v1": () => ({ tone: "quiet", what: "Nobody used the reservation" }),
  "session.cancelled.v1": (d) => ({ tone: "quiet", what: "Cancelled", more: join(text(d.reason), why(d)) }),
};

/** The types of the events that the timeline has words for. */
export const READ_TYPES = Object.keys(READ);

const SPEAKERS: { [role: string]: string } = { user: "Caller", assistant: "Agent", system: "System" };

/** Who said a turn, or what kind of turn it is. */
export function speaker(kind: string, role: string): string {
  if (kind === "function_call") return "Tool call";
  if (kind === "function_call_output") return "Tool answer";
  if (kind.includes("handoff")) return "Handoff";
  return SPEAKERS[role] ?? role;
}

/** The turn or event as one line. `offset` counts from the request, in milliseconds. */
export function entryOf(envelope: Envelope, requestedAt: string): Entry {
  const data = envelope.data as Data;
  if (envelope.type === TURN) {
    const time = text(data.started_at) ?? envelope.time;
    const who = speaker(String(data.kind), String(data.role));
    return {
      id: envelope.id,
      time,
      offset: Date.parse(time) - Date.parse(requestedAt),
      tone: "said",
      what: data.interrupted ? `${who} (interrupted)` : who,
      more: text(data.text),
      seq: Number(data.seq),
    };
  }
  const { tone, what, more } = READ[envelope.type]?.(data) ?? { tone: "quiet" as const, what: envelope.type, more: null };
  return { id: envelope.id, time: envelope.time, offset: Date.parse(envelope.time) - Date.parse(requestedAt), tone, what, more: more ?? null, seq: null };
}

/** Everything in the order in which it happened. */
export function timelineOf(envelopes: Iterable<Envelope>, requestedAt: string): Entry[] {
  const known = new Map<string, Entry>();
  for (const envelope of envelopes) {
    if (envelope.type !== CAPTION) known.set(envelope.id, entryOf(envelope, requestedAt));
  }
  return [...known.values()].sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
}

export function offset(ms: number): string {
  return ms < 0 ? `-${length(-ms)}` : `+${length(ms)}`;
}
