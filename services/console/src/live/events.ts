/** The types of the events of the stream. An EventSource hands out only those that somebody listens for. */
export const TURN = "transcript.turn_finished.v1";
export const CAPTION = "transcript.caption_changed.v1";
export const SESSION_TYPES = [
  "session.reserved.v1",
  "session.requested.v1",
  "session.waiting.v1",
  "session.failed.v1",
  "session.ended.v1",
  "session.expired.v1",
  "session.cancelled.v1",
  "dispatch.started.v1",
  "dispatch.accepted.v1",
  "dispatch.failed.v1",
  "agent.assigned.v1",
  "agent.joined.v1",
  "agent.ready.v1",
  "agent.first_speech.v1",
  "agent.missing.v1",
  "agent.lost.v1",
  "agent.extra_removed.v1",
  "agent.foreign_seen.v1",
  "pool.share_taken_back.v1",
] as const;
