/** Sessions for tests. */
import type { Attempt, Session } from "../api/types";

export const T0 = Date.parse("2026-01-01T03:00:00.000Z");
export const at = (ms: number): string => new Date(T0 + ms).toISOString();

type Wish = Partial<Omit<Session, "timings">> & { timings?: Partial<Session["timings"]> };

export function aSession({ timings, ...wish }: Wish = {}): Session {
  return {
    session_id: "01980000-0000-7000-8000-000000000001",
    status: "dispatched",
    room_name: "room",
    room_sid: null,
    agent_name: "agent",
    deployment: null,
    profile_version: null,
    mode: "pipeline",
    models: {} as Session["models"],
    metadata: {},
    participant_identity: "caller",
    participant_name: null,
    attempt: 1,
    max_attempts: 3,
    require: "active",
    canary: false,
    agent_identity: null,
    agent_sid: null,
    waiting_for: null,
    place_in_line: null,
    failure: null,
    end_reason: null,
    deadline_at: at(30_000),
    revivals: 0,
    trace_id: null,
    turns: 0,
    attempts: null,
    ...wish,
    timings: {
      requested_at: at(0),
      caller_joined_at: null,
      accepted_at: null,
      assigned_at: null,
      active_at: null,
      ready_at: null,
      first_speech_at: null,
      ended_at: null,
      ...timings,
    },
  };
}

export function anAttempt(wish: Partial<Attempt> = {}): Attempt {
  return {
    number: 1,
    outcome: null,
    dispatch_id: null,
    job_id: null,
    worker_id: null,
    deployment: null,
    participant_identity: null,
    participant_sid: null,
    cause: null,
    evidence: null,
    started_at: at(0),
    accepted_at: null,
    assigned_at: null,
    rejected_at: null,
    entrypoint_at: null,
    connected_at: null,
    active_at: null,
    ready_at: null,
    first_speech_at: null,
    closed_at: null,
    close_reason: null,
    error: null,
    left_at: null,
    left_reason: null,
    ...wish,
  };
}
