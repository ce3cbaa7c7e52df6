import { expect, test } from "vitest";

import { joinShare, liveNow } from "./figures";

test("one failure in ten thousand is seen", () => {
  expect([1, 0.9999, 0.994, 0.5, 0, null].map((join_ratio) => joinShare({ join_ratio }))).toEqual(["100 %", "99.9 %", "99.4 %", "50 %", "0 %", "–"]);
});

test("those on their way are neither active nor reserved", () => {
  expect(liveNow({ by_status: { active: 3, dispatched: 2, requested: 1, reserved: 9, failed: 4 } as never })).toEqual({ going: 3, waiting: 3 });
});
