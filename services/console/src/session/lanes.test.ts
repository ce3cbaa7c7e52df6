import { expect, test } from "vitest";

import { axisOf, lanesOf } from "./lanes";
import { T0, aSession, anAttempt, at } from "./making";

test("the bars of an attempt follow each other without a gap", () => {
  const session = aSession({ status: "ended", timings: { ended_at: at(9000) } });
  const attempt = anAttempt({ started_at: at(20), assigned_at: at(120), active_at: at(400), ready_at: at(700), first_speech_at: at(900), left_at: at(9000) });
  const [lane] = lanesOf(session, [attempt], T0 + 99_000);
  expect(lane?.bars.map(({ phase, from, to }) => [phase, from, to])).toEqual([
    ["queue", 20, 120], ["worker", 120, 400], ["join", 400, 700], ["ready", 700, 900], ["talk", 900, 9000],
  ]);
  expect(lane?.open).toBe(false);
});

test("the last bar of a live session grows with the time", () => {
  const attempts = [anAttempt({ started_at: at(10), assigned_at: at(100) })];
  const [lane] = lanesOf(aSession({ status: "dispatched" }), attempts, T0 + 2500);
  expect(lane?.bars.at(-1)).toEqual({ phase: "worker", from: 100, to: 2500, open: true });
});

test("an attempt that failed ends where the next one begins", () => {
  const attempts = [anAttempt({ cause: "worker_died", assigned_at: at(50) }), anAttempt({ number: 2, started_at: at(3000) })];
  const lanes = lanesOf(aSession({ status: "dispatching", attempt: 2 }), attempts, T0 + 3500);
  expect(lanes.map(({ end, open, failed }) => [end, open, failed])).toEqual([[3000, false, true], [3500, true, false]]);
});

test("steps that arrive out of order do not make negative bars", () => {
  const attempts = [anAttempt({ assigned_at: at(500), active_at: at(450), left_at: at(400) })];
  for (const bar of lanesOf(aSession({ status: "failed" }), attempts, T0)[0]?.bars ?? []) expect(bar.to).toBeGreaterThanOrEqual(bar.from);
});

test("a long call does not hide the join", () => {
  const axis = axisOf([100, 500, 900, 3_600_900]);
  expect(axis.gaps).toHaveLength(1);
  expect(axis.place(900)).toBeGreaterThan(0.4);
  expect(axis.place(0)).toBe(0);
  expect(axis.place(3_600_900)).toBe(1);
  expect(axis.ticks.filter((ms) => ms > 1000 && ms < 3_600_900)).toEqual([]);
});

test("the axis never goes back, and ticks keep their distance", () => {
  const axis = axisOf([30, 31, 4000, 20_000, 20_500, 90_000]);
  let before = -1;
  for (let ms = 0; ms <= axis.end; ms += 97) {
    expect(axis.place(ms)).toBeGreaterThanOrEqual(before);
    before = axis.place(ms);
  }
  axis.ticks.slice(1).forEach((ms, index) => expect(axis.place(ms) - axis.place(axis.ticks[index] as number)).toBeGreaterThan(0.06));
});

test("one moment is enough for an axis", () => {
  const axis = axisOf([0]);
  expect([axis.place(0), axis.ticks]).toEqual([1, [0]]);
});
