import { expect, test } from "vitest";

import type { Envelope } from "../api/types";
import { CAPTION, TURN } from "../live/events";
import { T0, at } from "./making";
import { entryOf, offset, timelineOf } from "./timeline";

function event(type: string, ms: number, data: object, id = `${type}-${ms}`): Envelope {
  return { id, type, source: "test", subject: "session/1", time: at(ms), data: data as Envelope["data"] } as Envelope;
}

test("events and turns are one list, by the time at which each began", () => {
  const shown = timelineOf(
    [
      event("session.requested.v1", 0, { agent_name: "agent", room_name: "r" }),
      event("agent.joined.v1", 500, { participant_identity: "agent-1" }),
      event(TURN, 4000, { kind: "message", role: "user", text: "Hello", seq: 2, started_at: at(2000), interrupted: false }),
      event(TURN, 3000, { kind: "message", role: "assistant", text: "Hi", seq: 1, started_at: at(900), interrupted: true }),
      event(CAPTION, 1000, { text: "He", segment_id: "s" }),
    ],
    at(0),
  );
  expect(shown.map(({ what, more, offset }) => [what, more, offset])).toEqual([
    ["Requested", "agent agent · room r", 0],
    ["The agent is in the room", "agent-1", 500],
    ["Agent (interrupted)", "Hi", 900],
    ["Caller", "Hello", 2000],
  ]);
});

test("an event that is sent again is one line", () => {
  const twice = [event("agent.ready.v1", 1, {}, "x"), event("agent.ready.v1", 1, {}, "x")];
  expect(timelineOf(twice, at(0))).toHaveLength(1);
});

test("an event of a later version is shown by its name", () => {
  expect(entryOf(event("session.paused.v7", 10, {}), at(0)).what).toBe("session.paused.v7");
});

test("a cause is told in words", () => {
  expect(entryOf(event("session.failed.v1", 10, { cause: "worker_died" }), at(0)).more).toBe("The agent's process or its connection died.");
});

test("offsets have their sign", () => {
  expect([offset(1500), offset(-20), T0 > 0]).toEqual(["+1.5 s", "-20 ms", true]);
});
