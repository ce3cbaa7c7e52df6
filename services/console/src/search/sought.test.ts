import { expect, test } from "vitest";

import { readSought } from "./sought";

test("a search is what the URL says", () => {
  const url = { q: " opening hours ", role: "user", agent: "shop", last: "24h", best: true };
  expect(readSought(url)).toEqual({ q: "opening hours", role: "user", agent: "shop", last: "24h", best: true });
});

test("a number in the URL is sought as its digits", () => {
  expect(readSought({ q: 4711 }).q).toBe("4711");
});

test("what the page doesn't know is no filter", () => {
  const unknown = { q: "  ", role: "cat", last: "9y", best: "yes", more: 1 };
  expect(Object.values(readSought(unknown)).filter((value) => value !== undefined)).toEqual([]);
});
