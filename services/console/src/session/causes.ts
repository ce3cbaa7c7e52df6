import type { Cause, Evidence } from "../api/types";

/** What each cause says to a person: why there is no agent. A phrase that follows "no agent:". */
export const WHY: Record<Cause, string> = {
  no_worker_registered: "no worker is registered under the agent's name",
  agent_name_mismatch: "no worker has this agent name, but one has a similar name",
  workers_at_capacity: "every worker of this agent name is full",
  worker_draining: "every worker of this agent name is draining or cordoned",
  worker_rejected: "a worker turned the job down",
  assignment_timeout: "a worker did not answer LiveKit in time",
  job_not_started: "a worker took the job, and its process did not start in time",
  worker_died: "the agent's process or its connection died",
  entrypoint_failed: "the agent's own code failed",
  model_misconfigured: "a speech or language model was refused",
  never_connected: "a worker took the job, and its agent never got into the room",
  agent_left: "the agent left too early",
  room_closed: "somebody closed the room",
  caller_left: "the caller hung up before the agent came",
  livekit_unreachable: "the LiveKit server could not be reached",
  livekit_auth: "LiveKit refused the API key or secret",
  inference_unavailable: "the inference service did not answer",
  inference_quota: "the inference quota is used up",
  queue_stalled: "nobody took the work from the queue",
  too_many_sessions: "the key or the project had reached its limit of sessions",
  unknown: "the cause could not be found",
};

export const ALL_CAUSES = Object.keys(WHY) as Cause[];

export function words(cause: string): string {
  return cause.replaceAll("_", " ");
}

const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
const list = (value: unknown): string => (Array.isArray(value) && value.length ? value.map(text).join(", ") : "none");

/** The evidence as one sentence, where its fields are known; null where they are not. */
export function shownBy(cause: Cause, evidence: Evidence, agentName: string): string | null {
  const { names_seen, nearest, type, message, reason, sign, worker_id, not_connected, workers } = evidence;
  if (type !== undefined && message !== undefined) return `${text(type)}: ${text(message)}`;
  if (cause === "agent_name_mismatch") return `Asked: ${agentName}. Running: ${list(names_seen)}. Nearest: ${text(nearest ?? "none")}.`;
  if (not_connected !== undefined) return `Asked: ${agentName}. Running, and without LiveKit: ${list(not_connected)}.`;
  if (cause === "no_worker_registered") return `Asked: ${agentName}. Running: ${list(names_seen)}.`;
  if (workers !== undefined) return `Workers: ${list(workers)}.`;
  if (reason !== undefined && reason !== null) return worker_id ? `Worker ${text(worker_id)}: ${text(reason)}.` : `${text(reason)}.`;
  if (sign !== undefined) return `${text(sign)}.`;
  return null;
}

/** A command to copy that shows more, or mends the fault. */
export type Remedy = { say: string; command: string };

type About = { agentName: string; sessionId: string; evidence: Evidence };

const workers = (): Remedy => ({ say: "See the workers, their slots and their faults", command: "rollcall workers" });
const doctor = (): Remedy => ({ say: "Check the whole set-up", command: "rollcall doctor" });
const history = ({ sessionId }: About): Remedy => ({ say: "See every attempt", command: `rollcall session ${sessionId}` });
const startWorker = ({ agentName }: About): Remedy => ({
  say: "Start a worker of this name (the built-in agent)",
  command: `LIVEKIT_AGENT_NAME=${quoted(agentName)} python -m services.agent`,
});

const REMEDIES: Record<Cause, (about: About) => Remedy> = {
  no_worker_registered: startWorker,
  agent_name_mismatch: ({ evidence, agentName }) => ({
    say: "Ask for the name that runs, in LIVEKIT_AGENT_NAME or in the request",
    command: `LIVEKIT_AGENT_NAME=${quoted(typeof evidence.nearest === "string" ? evidence.nearest : agentName)}`,
  }),
  workers_at_capacity: startWorker,
  worker_draining: ({ evidence }) => {
    const cordoned = Array.isArray(evidence.cordoned) ? evidence.cordoned[0] : undefined;
    return typeof cordoned === "string"
      ? { say: "Let the cordoned worker take jobs again", command: `rollcall workers uncordon ${quoted(cordoned)}` }
      : workers();
  },
  worker_rejected: workers,
  assignment_timeout: workers,
  job_not_started: workers,
  worker_died: workers,
  entrypoint_failed: history,
  model_misconfigured: doctor,
  never_connected: history,
  agent_left: history,
  room_closed: history,
  caller_left: history,
  livekit_unreachable: doctor,
  livekit_auth: doctor,
  inference_unavailable: doctor,
  inference_quota: doctor,
  queue_stalled: doctor,
  too_many_sessions: () => ({ say: "See the sessions that run", command: "rollcall sessions --status active" }),
  unknown: history,
};

export function remedyOf(cause: Cause, about: About): Remedy {
  return REMEDIES[cause](about);
}

/** A value as a shell takes it unchanged. */
export function quoted(value: string): string {
  return /^[\w.@%+:,/-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
}
