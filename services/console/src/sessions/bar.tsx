import { useNavigate } from "@tanstack/react-router";

import { ALL_STATUSES } from "../api/types";
import { ALL_CAUSES, words } from "../session/causes";
import { Choice } from "../ui/choice";
import { FIELD } from "../ui/form";
import { BUTTONS } from "../ui/parts";
import { LastSelect } from "../ui/last";
import { type Filters, isFiltered } from "./filters";

/** The filters; each change is a change of the URL. */
export function FilterBar({ filters }: { filters: Filters }) {
  const navigate = useNavigate();
  const set = (change: Partial<Filters>) => void navigate({ to: "/", search: { ...filters, ...change }, replace: true });
  const text = (name: "agent" | "room" | "caller" | "worker" | "metadata", label: string, example = label) => (
    <input
      key={`${name}:${filters[name] ?? ""}`}
      type="search"
      aria-label={label}
      placeholder={example}
      defaultValue={filters[name]}
      onBlur={(event) => event.target.value.trim() !== (filters[name] ?? "") && set({ [name]: event.target.value.trim() || undefined })}
      onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
      className={`${FIELD} w-28`}
    />
  );
  return (
    <div role="group" aria-label="Filters" className="flex flex-wrap items-center gap-1.5 px-3 py-2">
      <Choice label="Status" all={ALL_STATUSES} chosen={filters.status ?? []} onChange={(status) => set({ status: status.length ? status : undefined })} />
      <Choice label="Cause" all={ALL_CAUSES} chosen={filters.cause ?? []} word={words} onChange={(cause) => set({ cause: cause.length ? cause : undefined })} />
      {text("agent", "Agent")}
      {text("caller", "Caller")}
      {text("room", "Room")}
      {text("worker", "Worker")}
      {text("metadata", "Metadata", "customer=42")}
      <LastSelect value={filters.last} any="any time" onChange={(last) => set({ last })} />
      <label className="flex items-center gap-1.5 px-1 text-sm">
        <input type="checkbox" checked={filters.canaries ?? false} onChange={(event) => set({ canaries: event.target.checked || undefined })} className="size-4 accent-accent" />
        canaries
      </label>
      {isFiltered(filters) && (
        <button type="button" className={BUTTONS.plain} onClick={() => void navigate({ to: "/", search: {} })}>
          Clear
        </button>
      )}
    </div>
  );
}
