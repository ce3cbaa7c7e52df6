import { type ColumnDef, createColumnHelper } from "@tanstack/react-table";

import { LIVE, type Session } from "../api/types";
import { words } from "../session/causes";
import { between, length, when } from "../ui/format";
import { StatusPill } from "../ui/status";

declare module "@tanstack/react-table" {
  interface ColumnMeta<TData, TValue> {
    /** Classes of the column's cells; narrow screens leave some columns out. */
    cell: string;
    readonly _?: [TData, TValue];
  }
}

const column = createColumnHelper<Session>();
const RIGHT = "text-right";
const NONE = <span className="text-quiet">–</span>;

function lasted(session: Session, now: number): number | null {
  const { active_at: from, ended_at: to } = session.timings;
  if (!from) return null;
  return to ? between(from, to) : LIVE.has(session.status) ? now - Date.parse(from) : null;
}

export function columns(now: number) {
  const why = (session: Session) => session.failure?.cause ?? session.waiting_for;
  return [
    column.accessor("status", {
      header: "Status",
      cell: ({ row }) => <StatusPill status={row.original.status} />,
      meta: { cell: "w-30" },
    }),
    column.accessor("agent_name", { header: "Agent", meta: { cell: "max-w-40 truncate" } }),
    column.accessor("participant_identity", {
      header: "Caller",
      cell: ({ row: { original } }) => (original.canary ? <span className="text-quiet">canary</span> : original.participant_identity),
      meta: { cell: "hidden max-w-44 truncate lg:table-cell" },
    }),
    column.display({ id: "started", header: "Started", cell: ({ row }) => when(row.original.timings.requested_at, now), meta: { cell: "whitespace-nowrap" } }),
    column.display({
      id: "join",
      header: "Join time",
      cell: ({ row: { original } }) => {
        const ms = between(original.timings.requested_at, original.timings.active_at);
        return ms === null ? NONE : length(ms);
      },
      meta: { cell: `hidden whitespace-nowrap sm:table-cell ${RIGHT}` },
    }),
    column.display({
      id: "length",
      header: "Length",
      cell: ({ row }) => {
        const ms = lasted(row.original, now);
        return ms === null ? NONE : length(ms);
      },
      meta: { cell: `hidden whitespace-nowrap sm:table-cell ${RIGHT}` },
    }),
    column.accessor("attempt", { header: "Attempts", meta: { cell: `hidden md:table-cell ${RIGHT}` } }),
    column.accessor("turns", { header: "Turns", cell: ({ getValue }) => getValue() ?? NONE, meta: { cell: `hidden md:table-cell ${RIGHT}` } }),
    column.display({
      id: "cause",
      header: "Cause",
      cell: ({ row }) => {
        const cause = why(row.original);
        return cause ? <span className={row.original.status === "failed" ? "text-bad" : "text-warn"}>{words(cause)}</span> : NONE;
      },
      meta: { cell: "max-w-56 truncate" },
    }),
  ] as ColumnDef<Session>[];
}
