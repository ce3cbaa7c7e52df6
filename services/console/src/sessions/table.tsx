import { useNavigate } from "@tanstack/react-router";
import { Link } from "@tanstack/react-router";
import { flexRender, getCoreRowModel, useReactTable } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { clsx } from "clsx";
import { useEffect, useMemo, useRef, useState } from "react";

import type { Session } from "../api/types";
import { useNow } from "../ui/clock";
import { columns } from "./columns";

const ROW_PX = 34;

type Wish = { rows: Session[]; onEnd: () => void };

/** The sessions as rows, of which only those in sight are drawn. j and k move, Enter opens. */
export function SessionTable({ rows, onEnd }: Wish) {
  const now = useNow(1000);
  const navigate = useNavigate();
  const scroller = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const table = useReactTable({
    data: rows,
    columns: useMemo(() => columns(now), [now]),
    getCoreRowModel: getCoreRowModel(),
    getRowId: (session) => session.session_id,
  });
  const all = table.getRowModel().rows;
  const virtual = useVirtualizer({ count: all.length, getScrollElement: () => scroller.current, estimateSize: () => ROW_PX, overscan: 12 });
  const visible = virtual.getVirtualItems();
  const last = visible.at(-1)?.index ?? -1;

  useEffect(() => {
    if (last >= all.length - 20) onEnd();
  }, [last, all.length, onEnd]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      const busy = event.target instanceof HTMLElement && event.target.closest("input, textarea, select, [role=menu]");
      if (busy) return;
      const at = rows.findIndex(({ session_id }) => session_id === chosen);
      if (event.key === "j" || event.key === "k") {
        const to = Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), rows.length - 1);
        setChosen(rows[to]?.session_id ?? null);
        virtual.scrollToIndex(to);
      } else if (event.key === "Enter" && chosen && event.target === document.body) {
        void navigate({ to: "/sessions/$id", params: { id: chosen } });
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [rows, chosen, navigate, virtual]);

  const before = visible[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (visible.at(-1)?.end ?? 0);
  return (
    <div ref={scroller} tabIndex={0} role="region" aria-label="Sessions" className="min-h-0 flex-1 overflow-auto">
      <table className="w-full border-separate border-spacing-0 text-left" aria-rowcount={all.length + 1}>
        <thead className="sticky top-0 z-[1] bg-page">
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id}>
              {group.headers.map(({ id, column, getContext }) => (
                <th key={id} scope="col" className={clsx("border-b border-line px-3 py-1.5 text-xs font-semibold text-quiet", column.columnDef.meta?.cell)}>
                  {flexRender(column.columnDef.header, getContext())}
                </th>
              ))}
            </tr>
          ))}
        </thead>
        <tbody>
          {before > 0 && <tr aria-hidden="true" style={{ height: before }} />}
          {visible.map(({ index }) => {
            const row = all[index];
            if (!row) return null;
            const isChosen = row.id === chosen;
            return (
              <tr key={row.id} aria-rowindex={index + 2} aria-current={isChosen || undefined} className={clsx("relative h-[34px] bg-card hover:bg-raised", isChosen && "bg-accent-soft")}>
                {row.getVisibleCells().map(({ id, column, getContext }, cell) => (
                  <td key={id} className={clsx("border-b border-line px-3", column.columnDef.meta?.cell)}>
                    {cell === 0 ? (
                      // The link's area is the whole row.
                      <Link to="/sessions/$id" params={{ id: row.id }} aria-label={`${row.original.status}: session of ${row.original.agent_name}, ${row.id}`} className="after:absolute after:inset-0">
                        {flexRender(column.columnDef.cell, getContext())}
                      </Link>
                    ) : (
                      flexRender(column.columnDef.cell, getContext())
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
          {after > 0 && <tr aria-hidden="true" style={{ height: after }} />}
        </tbody>
      </table>
    </div>
  );
}
