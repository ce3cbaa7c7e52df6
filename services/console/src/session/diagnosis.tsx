import type { Cause, Evidence, Session } from "../api/types";
import { Command } from "../ui/parts";
import { remedyOf } from "./causes";

/** What to do about a cause. */
export function Advice({ session, cause, advice, evidence }: { session: Session; cause: Cause; advice: string | null; evidence: Evidence }) {
  const { say, command } = remedyOf(cause, { agentName: session.agent_name, sessionId: session.session_id, evidence });
  return (
    <div className="space-y-2">
      {advice && <p>{advice}</p>}
      <p className="text-xs text-quiet">{say}:</p>
      <Command>{command}</Command>
    </div>
  );
}

/** What Rollcall saw that shows the cause. */
export function EvidenceList({ evidence }: { evidence: Evidence }) {
  const fields = Object.entries(evidence).filter(([, value]) => value !== null);
  if (!fields.length) return <p className="text-quiet">This cause needs no more evidence.</p>;
  return (
    <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-3 gap-y-0.5 text-[13px]">
      {fields.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-quiet">{name.replaceAll("_", " ")}</dt>
          <dd className="font-mono text-xs leading-5 break-words">{Array.isArray(value) ? value.map(shown).join(", ") || "none" : shown(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

const shown = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
