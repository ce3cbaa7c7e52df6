import { expect, test } from "vitest";

import { type Segment, heard } from "./said";

const of = (id: string, text: string, final = false): Segment => ({ id, who: "caller", text, final });

test("a segment grows in its place, whoever speaks meanwhile", () => {
  let said: readonly Segment[] = [];
  said = heard(said, of("1", "what"));
  said = heard(said, { id: "2", who: "agent", text: "สวัสดี", final: false });
  said = heard(said, of("1", "what time is it", true));
  expect(said.map(({ id, text, final }) => [id, text, final])).toEqual([
    ["1", "what time is it", true],
    ["2", "สวัสดี", false],
  ]);
});

test("silence is no segment", () => {
  expect(heard([], of("1", "  "))).toEqual([]);
});

test("a long call keeps what was said last", () => {
  let said: readonly Segment[] = [];
  for (let number = 0; number < 60; number += 1) said = heard(said, of(String(number), "yes"));
  expect([said.length, said.at(-1)?.id]).toEqual([50, "59"]);
});
