import { expect, test } from "vitest";

import { ALL_CAUSES, WHY, quoted, remedyOf, shownBy } from "./causes";
import { explain } from "./explain";
import { T0, aSession, at } from "./making";

test("a failed session names its cause and what shows it", () => {
  const failure = { cause: "agent_name_mismatch", advice: "", evidence: { agent_name: "bogus", names_seen: ["agent"], nearest: "agent" } } as const;
  expect(explain(aSession({ status: "failed", agent_name: "bogus", failure }), T0)).toEqual({
    headline: "No agent came: no worker has this agent name, but one has a similar name.",
    detail: "Asked: bogus. Running: agent. Nearest: agent.",
  });
});

test("an agent that was there and is gone is told apart from one that never came", () => {
  const failure = { cause: "worker_died", advice: "", evidence: {} } as const;
  const session = aSession({ status: "failed", failure, timings: { active_at: at(500) } });
  expect(explain(session, T0).headline).toBe("The agent was lost, and no other came: the agent's process or its connection died.");
});

test("a call that is over tells how long the agent took and how long it lasted", () => {
  const session = aSession({ status: "ended", end_reason: "the caller left", revivals: 1, timings: { active_at: at(480), ended_at: at(60_480) } });
  expect(explain(session, T0)).toEqual({
    headline: "The agent joined after 480 ms, and the call lasted 1 min.",
    detail: "Reason: the caller left. 1 lost agent was replaced.",
  });
});

test("a session that waits says for what, its place, and until when", () => {
  const session = aSession({ status: "dispatching", waiting_for: "workers_at_capacity", place_in_line: 3, deadline_at: at(30_000) });
  expect(explain(session, T0 + 10_000)).toEqual({
    headline: "Waiting: every worker of this agent name is full. It is number 3 in line.",
    detail: "Rollcall gives up in 20 s.",
  });
});

test("every cause has a sentence and a command", () => {
  for (const cause of ALL_CAUSES) {
    expect(WHY[cause]).toMatch(/^\w.*\w$/);
    const { say, command } = remedyOf(cause, { agentName: "shop", sessionId: "0198", evidence: {} });
    expect(say).toMatch(/^[A-Z]/);
    expect(command).not.toContain("undefined");
  }
});

test("an exception is shown whatever the cause is", () => {
  expect(shownBy("entrypoint_failed", { type: "KeyError", message: "'TOKEN'" }, "shop")).toBe("KeyError: 'TOKEN'");
  expect(shownBy("unknown", { registry: "unreadable" }, "shop")).toBeNull();
});

test("names cannot break out of a command", () => {
  expect(quoted("shop")).toBe("shop");
  expect(quoted("it's; rm -rf /")).toBe(`'it'\\''s; rm -rf /'`);
});
