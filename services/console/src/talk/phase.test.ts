import { expect, test } from "vitest";

import { causeIn, isInside, isOn, noMicrophone, sentence, whyFailed } from "./phase";

test("an agent that says what it does is told as that, any other as being there", () => {
  expect(sentence({ at: "talking", agent: "thinking" })).toBe("The agent thinks");
  expect(sentence({ at: "talking", agent: "" })).toBe("The agent is in the room");
});

test("a call that is over or failed is not on, and only in the room is one inside", () => {
  expect([isOn({ at: "preparing" }), isOn({ at: "over", why: "" }), isOn({ at: "failed", why: "" })]).toEqual([true, false, false]);
  expect([isInside({ at: "connecting" }), isInside({ at: "waiting" })]).toEqual([false, true]);
});

test("only what Rollcall wrote into the room is a cause", () => {
  const failed = JSON.stringify({ rollcall: { session_id: "1", status: "failed", cause: "agent_name_mismatch" } });
  expect([causeIn(failed), causeIn("{}"), causeIn("null"), causeIn("a text"), causeIn("")]).toEqual(["agent_name_mismatch", null, null, null, null]);
  expect(whyFailed("agent_name_mismatch", { at: "waiting" })).toBe("No agent came: agent name mismatch");
});

test("each way to have no microphone has its own advice", () => {
  const named = (name: string) => Object.assign(new Error(), { name });
  const said = ["NotAllowedError", "NotFoundError", "NotReadableError", "TypeError"].map((name) => noMicrophone(named(name)));
  expect(new Set(said).size).toBe(4);
});
