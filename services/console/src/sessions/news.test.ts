import { expect, test } from "vitest";

import { aSession } from "../session/making";
import { shown } from "./news";

const of = (id: string, status: "active" | "ended" = "active") => aSession({ session_id: id, status });

test("known rows change in their place, and newer ones wait", () => {
  const { rows, newer } = shown([[of("3"), of("2")], [of("1")]], [of("5"), of("4"), of("3", "ended")]);
  expect(rows.map(({ session_id, status }) => [session_id, status])).toEqual([["3", "ended"], ["2", "active"], ["1", "active"]]);
  expect(newer).toBe(2);
});

test("where nothing is shown yet, everything is newer", () => {
  expect(shown([[]], [of("1")])).toEqual({ rows: [], newer: 1 });
});
