import type { Session } from "../api/types";
import { between, count, length } from "../ui/format";
import { WHY, shownBy } from "./causes";

export type Explained = { headline: string; detail: string | null };

/** Say in one sentence what has become of a session, and in another what shows it. */
export function explain(session: Session, now: number): Explained {
  const { status, failure, timings, agent_name: agentName } = session;
  const joined = between(timings.requested_at, timings.active_at);
  const came = joined === null ? null : `The agent joined after ${length(joined)}.`;
  switch (status) {
    case "failed": {
      if (!failure) return { headline: "No agent came.", detail: null };
      const begun = timings.active_at ? "The agent was lost, and no other came" : "No agent came";
      return { headline: `${begun}: ${WHY[failure.cause]}.`, detail: shownBy(failure.cause, failure.evidence, agentName) };
    }
    case "cancelled":
      return {
        headline: "Cancelled before an agent was in the room.",
        detail: [reason(session.end_reason), failure && `Until then: ${WHY[failure.cause]}.`].filter(Boolean).join(" ") || null,
      };
    case "expired":
      return { headline: "Nobody used this reservation.", detail: "A client got a token, and its caller never joined the room." };
    case "reserved":
      return { headline: "Reserved: the caller has a token, and has not joined yet.", detail: "An agent is asked for when the caller joins." };
    case "ended": {
      const talked = between(timings.active_at, timings.ended_at);
      return {
        headline: came ? `${came.slice(0, -1)}, and the call lasted ${length(talked ?? 0)}.` : "The session is over.",
        detail: [reason(session.end_reason), revivals(session)].filter(Boolean).join(" ") || null,
      };
    }
    case "active":
      return { headline: came ?? "The agent is in the room.", detail: revivals(session) ?? "The call goes on." };
    case "requested":
    case "dispatching":
    case "dispatched":
      return underway(session, now);
  }
}

function underway(session: Session, now: number): Explained {
  const left = Date.parse(session.deadline_at) - now;
  const until = left > 0 ? `Rollcall gives up in ${length(left)}.` : null;
  if (session.waiting_for) {
    const place = session.place_in_line ? ` It is number ${session.place_in_line} in line.` : "";
    return { headline: `Waiting: ${WHY[session.waiting_for]}.${place}`, detail: until };
  }
  const attempt = `Attempt ${session.attempt} of ${session.max_attempts}`;
  const lost = session.timings.active_at ? "The agent was lost. " : "";
  if (session.status === "dispatched") return { headline: `${lost}${attempt}: LiveKit has the dispatch, and the agent has not joined yet.`, detail: until };
  if (session.status === "dispatching") return { headline: `${lost}${attempt}: Rollcall asks LiveKit for an agent.`, detail: until };
  return { headline: "An agent is wanted; no dispatcher has taken the session yet.", detail: until };
}

function reason(why: string | null): string | null {
  return why && `Reason: ${why}.`;
}

function revivals(session: Session): string | null {
  return session.revivals ? `${count(session.revivals, "lost agent was", "lost agents were")} replaced.` : null;
}
