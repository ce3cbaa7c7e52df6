import type { Session } from "../api/types";
import { traceLink, useConfig } from "../settings/data";
import { Copy } from "../ui/parts";

/** The ids by which other tools know this session, to copy. */
export function Ids({ session }: { session: Session }) {
  const links = useConfig().data?.links;
  const trace = traceLink(links?.trace_url, session.trace_id);
  const attempt = session.attempts?.at(-1);
  const rows: [string, string | null | undefined][] = [
    ["Session", session.session_id],
    ["Room", session.room_name],
    ["Caller", session.participant_identity],
    ["Agent", session.agent_identity],
    ["Worker", attempt?.worker_id],
    ["Dispatch", attempt?.dispatch_id],
    ["Job", attempt?.job_id],
    ["Trace", session.trace_id],
    ["Room's sid", session.room_sid],
  ];
  return (
    <dl className="grid grid-cols-[auto_minmax(0,1fr)_auto] items-center gap-x-2 text-xs">
      {rows.map(
        ([name, value]) =>
          value && (
            <div key={name} className="contents">
              <dt className="text-quiet">{name}</dt>
              <dd className="truncate font-mono" title={value}>
                {name === "Trace" && trace ? (
                  <a href={trace} rel="noreferrer" className="text-accent underline">
                    {value}
                  </a>
                ) : (
                  value
                )}
              </dd>
              <dd>
                <Copy text={value} label={`the id: ${name}`} />
              </dd>
            </div>
          ),
      )}
      <div className="contents">
        <dt className="text-quiet">Logs</dt>
        <dd className="truncate font-mono">session_id={session.session_id}</dd>
        <dd>
          <Copy text={session.session_id} label="the filter for logs" />
        </dd>
      </div>
    </dl>
  );
}
