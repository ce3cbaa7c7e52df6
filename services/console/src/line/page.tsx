import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { Line } from "../api/types";
import { poolName } from "../fleet/shares";
import { useAgainAfter } from "../live/live";
import { WHY } from "../session/causes";
import { useNow } from "../ui/clock";
import { count, length } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { Card, Empty, Loading, Trouble } from "../ui/parts";

/** Who waits for an agent: for how long, why, and until when. */
export function LinePage() {
  const lines = useQuery({ queryKey: ["line"], queryFn: () => body(api.GET("/v1/line")), refetchInterval: useAgainAfter(2_000) });
  return (
    <PageBody>
      <PageHead title="Line" />
      {lines.isPending && <Loading what="the line" />}
      {lines.error && <Trouble error={lines.error} what="the line" />}
      {lines.data?.lines.length === 0 && (
        <Empty title="Nobody waits">
          <p>A session waits here while no worker can take it, and goes on with the next free slot. It fails at its deadline.</p>
        </Empty>
      )}
      {lines.data?.lines.map((line) => (
        <LineCard key={`${line.agent_name} ${line.deployment}`} line={line} />
      ))}
    </PageBody>
  );
}

function LineCard({ line }: { line: Line }) {
  const now = useNow(1000);
  const { agent_name: agent, deployment, waiting, oldest_at: oldest, causes, sessions } = line;
  return (
    <Card>
      <header className="flex flex-wrap items-baseline gap-x-3">
        <h2 className="font-semibold">
          {agent}
          {deployment && `, pool ${poolName(deployment)}`}
        </h2>
        <span className="text-quiet">
          {count(waiting, "session waits", "sessions wait")}, the first for {length(now - Date.parse(oldest))}
        </span>
      </header>
      <ul className="mt-1">
        {Object.entries(causes).map(([cause, number]) => (
          <li key={cause}>
            <code className="font-mono text-warn">{cause}</code>: {WHY[cause as keyof typeof WHY]} ({number})
          </li>
        ))}
      </ul>
      <div className="mt-2 overflow-x-auto" role="region" aria-label={`Sessions that wait for ${agent}${deployment && ` in ${deployment}`}`} tabIndex={0}>
        <table className="w-full text-left">
          <thead className="text-xs text-quiet">
            <tr>
              {["Place", "Caller", "Waits for", "Fails in", "Why"].map((name) => (
                <th key={name} scope="col" className="pr-4 font-semibold whitespace-nowrap">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {sessions.map(({ session_id, participant_identity, place_in_line, requested_at, deadline_at, waiting_for }) => (
              <tr key={session_id}>
                <td className="pr-4">{place_in_line ?? "–"}</td>
                <td className="pr-4">
                  <Link to="/sessions/$id" params={{ id: session_id }} className="inline-block leading-[24px] break-all text-accent underline">
                    {participant_identity}
                  </Link>
                </td>
                <td className="pr-4 whitespace-nowrap">{length(now - Date.parse(requested_at))}</td>
                <td className="pr-4 whitespace-nowrap">{length(Date.parse(deadline_at) - now)}</td>
                <td className="pr-4">{waiting_for}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {sessions.length < waiting && <p className="mt-1 text-quiet">The first {sessions.length} are shown.</p>}
    </Card>
  );
}
