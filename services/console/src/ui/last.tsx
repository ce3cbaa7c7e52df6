import { LASTS, type Last } from "../sessions/filters";

export const LAST_WORDS: Record<Last, string> = { "15m": "last 15 minutes", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days" };

/** Chooses how far back a page looks. */
export function LastSelect({ value, any, onChange }: { value: Last | undefined; any?: string; onChange: (last: Last | undefined) => void }) {
  return (
    <select aria-label="Time" value={value ?? ""} onChange={(event) => onChange((event.target.value || undefined) as Last | undefined)} className="rounded-md border border-edge bg-card px-2 py-1 text-sm">
      {any && <option value="">{any}</option>}
      {(Object.keys(LASTS) as Last[]).map((last) => (
        <option key={last} value={last}>
          {LAST_WORDS[last]}
        </option>
      ))}
    </select>
  );
}
