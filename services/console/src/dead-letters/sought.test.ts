import { expect, test } from "vitest";

import { readSought, readable } from "./sought";

test("what is shown is what the URL says", () => {
  expect(readSought({ stream: "turns", reason: "malformed", letter: "1-1" })).toEqual({ stream: "turns", reason: "malformed", letter: "1-1" });
  expect(readSought({ stream: "events", reason: "", letter: 7 })).toEqual({});
});

test("JSON is laid out, and what is none stays", () => {
  expect(readable('{"a":[1]}')).toBe('{\n  "a": [\n    1\n  ]\n}');
  expect(readable("{broken")).toBe("{broken");
});
