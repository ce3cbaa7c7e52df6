import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { Envelope } from "../api/types";
import { READ_TYPES } from "../session/timeline";
import { affected } from "./affected";
import { CAPTION, SESSION_TYPES, TURN } from "./events";
import { Paced } from "./paced";
import { Wants } from "./wants";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const event = (type: string, session = "s1") => ({ id: "1", type, subject: `session/${session}`, data: {} }) as unknown as Envelope;

test("every event that the timeline reads is listened for", () => {
  const listened: string[] = [...SESSION_TYPES, TURN, CAPTION];
  expect(READ_TYPES.filter((type) => !listened.includes(type))).toEqual([]);
});

test("a session of a tab is wanted once, and until its tab is gone or silent", () => {
  const wants = new Wants(2, 1000);
  expect(wants.hear("a", ["s1"], 0)).toBe(true);
  expect(wants.hear("b", ["s1"], 1)).toBe(true);
  expect(wants.hear("b", ["s1"], 2)).toBe(false);
  expect(wants.sessions(2)).toEqual(["s1"]);
  wants.hear("c", ["s2"], 3);
  wants.hear("d", ["s3"], 4);
  expect(wants.sessions(4)).toEqual(["s3", "s2"]);
  wants.forget("d");
  expect(wants.sessions(1001)).toEqual(["s2", "s1"]);
  expect(wants.sessions(1003)).toEqual(["s2"]);
});

test("captions change nothing that was read, turns only their session", () => {
  expect(affected([event(CAPTION)])).toEqual({ soon: [], later: [] });
  expect(affected([event(TURN)])).toEqual({ soon: [["session", "s1"], ["transcript", "s1"]], later: [] });
  const { soon, later } = affected([event("session.failed.v1"), event("agent.joined.v1", "s2")]);
  expect(soon).toContainEqual(["session", "s2"]);
  expect(soon).toContainEqual(["sessions-newest"]);
  expect(later).toContainEqual(["causes-page"]);
  expect(affected([event("agent.joined.v1")]).later).not.toContainEqual(["causes-page"]);
});

test("the first is done at once, and those that follow together", () => {
  const done: string[][] = [];
  const paced = new Paced<string>(1000, (all) => done.push(all));
  paced.name(["a"]);
  vi.advanceTimersByTime(1);
  paced.name(["b"]);
  paced.name(["b", "c"]);
  vi.advanceTimersByTime(500);
  expect(done).toEqual([["a"]]);
  vi.advanceTimersByTime(500);
  expect(done).toEqual([["a"], ["b", "c"]]);
  vi.advanceTimersByTime(5000);
  expect(done).toHaveLength(2);
});
