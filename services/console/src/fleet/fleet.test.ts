import { expect, test } from "vitest";

import type { Worker } from "../api/types";
import { byName, freeSlots, stateOf } from "./fleet";

const aWorker = (wish: Partial<Worker> = {}): Worker =>
  ({ worker_id: "AW_1", agent_name: "agent", registered: true, draining: false, cordoned: false, active_jobs: 1, max_jobs: 4, faults: [], ...wish }) as Worker;

test("a worker that takes no jobs has no free slot, however few it has", () => {
  const kept = [aWorker({ draining: true }), aWorker({ cordoned: true }), aWorker({ registered: false }), aWorker({ active_jobs: 5 })];
  expect(kept.map(freeSlots)).toEqual([0, 0, 0, 0]);
  expect(kept.map((worker) => stateOf(worker).word)).toEqual(["draining", "cordoned", "without LiveKit", "full"]);
  expect(freeSlots(aWorker())).toBe(3);
});

test("workers are grouped by their name, in an order that does not change", () => {
  const groups = byName([aWorker({ worker_id: "AW_2" }), aWorker({ agent_name: "a" }), aWorker()]);
  expect(groups.map(({ name, free, slots, workers }) => [name, free, slots, workers.map(({ worker_id }) => worker_id)])).toEqual([
    ["a", 3, 4, ["AW_1"]],
    ["agent", 6, 8, ["AW_1", "AW_2"]],
  ]);
});
