import { expect, test } from "vitest";

import { ago, between, count, length, when } from "./format";

test("lengths name their units, and never two of the same size", () => {
  const shown = [0, 412.4, 999.9, 1000, 9940, 9960, 59_600, 61_000, 120_000, 3_600_000, 5_400_000, 300_000_000];
  expect(shown.map(length)).toEqual([
    "0 ms", "412 ms", "1000 ms", "1.0 s", "9.9 s", "10 s", "1 min", "1 min 1 s", "2 min", "1 h", "1 h 30 min", "3 days",
  ]);
  expect(length(-5)).toBe("0 ms");
});

test("a length needs both of its ends", () => {
  expect(between("2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z")).toBe(1500);
  expect(between("2026-01-01T00:00:00Z", null)).toBeNull();
});

test("what has just been is just now, also where the clocks differ", () => {
  const now = Date.parse("2026-01-01T00:10:00Z");
  expect(ago("2026-01-01T00:10:05Z", now)).toBe("just now");
  expect(ago("2026-01-01T00:09:00Z", now)).toBe("1 min ago");
});

test("only another day is named", () => {
  const now = new Date(2026, 0, 2, 12).getTime();
  expect(when(new Date(2026, 0, 2, 9, 5, 7).toISOString(), now)).toBe("09:05:07");
  expect(when(new Date(2026, 0, 1, 9, 5, 7).toISOString(), now)).toBe("2026-01-01 09:05:07");
});

test("one is not many", () => {
  expect([count(1, "turn"), count(0, "turn"), count(1234, "turn")]).toEqual(["1 turn", "0 turns", "1,234 turns"]);
});
