import { expect, test } from "vitest";

import { asQuery, isFiltered, readFilters } from "./filters";

const set = (filters: object) => Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== undefined));

test("a link holds the filters", () => {
  const search = { status: ["failed", "active"], cause: "worker_died", agent: "shop", room: 12, last: "1h", canaries: true };
  expect(set(readFilters(search))).toEqual({
    status: ["active", "failed"], cause: ["worker_died"], agent: "shop", room: "12", last: "1h", canaries: true,
  });
});

test("what a link holds beside that is no filter", () => {
  const filters = readFilters({ status: ["gone"], cause: 5, agent: "", last: "99y", canaries: "no", other: 1 });
  expect(set(filters)).toEqual({});
  expect(isFiltered(filters)).toBe(false);
});

test("canaries are left out unless they are asked for", () => {
  expect(asQuery({}, 0).canary).toBe(false);
  expect(asQuery({ canaries: true }, 0).canary).toBeUndefined();
});

test("sessions are found by worker and metadata", () => {
  const query = asQuery(readFilters({ worker: "W_1", metadata: "customer=42" }), 0);
  expect([query.worker_id, query.metadata]).toEqual(["W_1", ["customer=42"]]);
  expect(asQuery({}, 0).metadata).toBeUndefined();
});

test("a time is counted back from now", () => {
  expect(asQuery({ last: "15m" }, Date.parse("2026-01-01T01:00:00Z")).since).toBe("2026-01-01T00:45:00.000Z");
});
