import { ALL_STATUSES, type Cause, type Status } from "../api/types";
import { ALL_CAUSES } from "../session/causes";

/** What the list of sessions is filtered by. It is the URL's query, so that a view is a link. */
export type Filters = {
  status?: Status[];
  cause?: Cause[];
  agent?: string;
  room?: string;
  caller?: string;
  worker?: string;
  /** A value of the metadata: name=value. */
  metadata?: string;
  last?: Last;
  canaries?: true;
};

export const LASTS = { "15m": 15 * 60, "1h": 3600, "24h": 86_400, "7d": 7 * 86_400 } as const;
export type Last = keyof typeof LASTS;

function several<T extends string>(value: unknown, known: readonly T[]): T[] | undefined {
  const given: unknown[] = Array.isArray(value) ? value : typeof value === "string" ? value.split(",") : [];
  const found = known.filter((each) => given.includes(each));
  return found.length ? found : undefined;
}

const one = (value: unknown): string | undefined => (typeof value === "string" || typeof value === "number") && value !== "" ? String(value) : undefined;

/** Reads the URL's query; what it doesn't know is no filter. */
export function readFilters(search: Record<string, unknown>): Filters {
  return {
    status: several(search.status, ALL_STATUSES),
    cause: several(search.cause, ALL_CAUSES),
    agent: one(search.agent),
    room: one(search.room),
    caller: one(search.caller),
    worker: one(search.worker),
    metadata: one(search.metadata),
    last: typeof search.last === "string" && search.last in LASTS ? (search.last as Last) : undefined,
    canaries: search.canaries === true || search.canaries === "true" ? true : undefined,
  };
}

/** The filters as parameters of the API, at a time. */
export function asQuery(filters: Filters, now: number) {
  return {
    status: filters.status,
    cause: filters.cause,
    agent_name: filters.agent,
    room_name: filters.room,
    participant_identity: filters.caller,
    worker_id: filters.worker,
    metadata: filters.metadata ? [filters.metadata] : undefined,
    canary: filters.canaries ? undefined : false,
    since: filters.last ? new Date(now - LASTS[filters.last] * 1000).toISOString() : undefined,
  };
}

export const isFiltered = (filters: Filters): boolean => Object.values(filters).some((value) => value !== undefined);
