import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { Cause, Session } from "../api/types";
import { useAgainAfter } from "../live/live";
import { useNow } from "../ui/clock";
import { ago, clock, count } from "../ui/format";
import { Trouble } from "../ui/parts";

/** Who else failed with this cause in the day around the session, and since when. */
export function Others({ session, cause }: { session: Session; cause: Cause }) {
  const now = useNow(10_000);
  const begin = Date.parse(session.timings.requested_at);
  const since = new Date(begin - 86_400_000).toISOString();
  const agent_name = session.agent_name;
  const again = useAgainAfter(15_000);
  const groups = useQuery({
    queryKey: ["causes", since, agent_name],
    queryFn: () => body(api.GET("/v1/causes", { params: { query: { since, agent_name } } })),
    refetchInterval: again,
  });
  const newest = useQuery({
    queryKey: ["others", cause, agent_name, since],
    queryFn: () => body(api.GET("/v1/sessions", { params: { query: { cause: [cause], agent_name, since, limit: 6 } } })),
    refetchInterval: again,
  });
  if (groups.error) return <Trouble error={groups.error} what="who else has this cause" />;
  const group = groups.data?.causes.find((each) => each.cause === cause);
  const others = newest.data?.sessions.filter(({ session_id }) => session_id !== session.session_id).slice(0, 4) ?? [];
  if (!groups.data) return <p className="text-quiet">Counting …</p>;
  if (!group || group.sessions < 2) return <p className="text-quiet">No other session of this agent has failed with this cause since {clock(since)} the day before.</p>;
  return (
    <>
      <p>
        <Link to="/" search={{ cause: [cause], agent: agent_name }} className="font-medium text-accent underline">
          {count(group.sessions, "session")} with this cause
        </Link>{" "}
        since {clock(group.first_at)}; the last {ago(group.last_at, now)}.
      </p>
      <ul className="mt-1 text-xs">
        {others.map(({ session_id, timings, participant_identity }) => (
          <li key={session_id} className="flex justify-between gap-2">
            <Link to="/sessions/$id" params={{ id: session_id }} className="truncate leading-[24px] text-accent underline">
              {participant_identity}
            </Link>
            <span className="whitespace-nowrap leading-[24px] text-quiet">{clock(timings.requested_at)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
