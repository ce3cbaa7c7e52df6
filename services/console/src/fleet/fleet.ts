import type { Worker } from "../api/types";

type Group = { name: string; workers: Worker[]; free: number; slots: number };

/** A worker takes new jobs only if nothing keeps it from them. */
export function freeSlots(worker: Worker): number {
  if (worker.draining || worker.cordoned || worker.registered === false) return 0;
  const free = Math.max(0, worker.max_jobs - worker.active_jobs);
  if (!isLeftOut(worker)) return free;
  return worker.circuit?.state === "half_open" ? Math.min(free, 1) : 0;
}

/** New sessions are kept from it, because it did nothing with others. */
function isLeftOut({ circuit }: Worker): boolean {
  return Boolean(circuit && !circuit.ignored);
}

/** The workers of each agent name, by name. */
export function byName(workers: readonly Worker[]): Group[] {
  const groups = new Map<string, Group>();
  for (const worker of workers) {
    const group = groups.get(worker.agent_name) ?? { name: worker.agent_name, workers: [], free: 0, slots: 0 };
    group.workers.push(worker);
    group.free += freeSlots(worker);
    group.slots += worker.max_jobs;
    groups.set(worker.agent_name, group);
  }
  const sorted = [...groups.values()].sort((a, b) => a.name.localeCompare(b.name));
  for (const group of sorted) group.workers.sort((a, b) => a.worker_id.localeCompare(b.worker_id));
  return sorted;
}

/** The one word that matters most about a worker. */
export function stateOf(worker: Worker): { tone: "good" | "warn" | "bad"; word: string } {
  if (worker.registered === false) return { tone: "bad", word: "without LiveKit" };
  if (worker.draining) return { tone: "warn", word: "draining" };
  if (worker.cordoned) return { tone: "warn", word: "cordoned" };
  if (isLeftOut(worker)) return { tone: "bad", word: "left out" };
  if (worker.faults?.length) return { tone: "bad", word: "faulty" };
  return freeSlots(worker) ? { tone: "good", word: "free" } : { tone: "warn", word: "full" };
}
