import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi, useNavigate } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { CauseGroup } from "../api/types";
import { useAgainAfter } from "../live/live";
import { WHY, shownBy } from "../session/causes";
import { LASTS, type Last } from "../sessions/filters";
import { useNow } from "../ui/clock";
import { ago, count, when } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { LAST_WORDS, LastSelect } from "../ui/last";
import { Card, Empty, Loading, Trouble } from "../ui/parts";

const route = getRouteApi("/causes");

/** Why sessions got no agent: a group for each cause and agent name, the largest first. */
export function CausesPage() {
  const { last = "24h" } = route.useSearch();
  const navigate = useNavigate();
  const causes = useQuery({
    queryKey: ["causes-page", last],
    queryFn: () => body(api.GET("/v1/causes", { params: { query: { since: new Date(Date.now() - LASTS[last] * 1000).toISOString() } } })),
    refetchInterval: useAgainAfter(5_000),
  });
  return (
    <PageBody>
      <PageHead title="Causes" aside={<LastSelect value={last} onChange={(chosen) => void navigate({ to: "/causes", search: { last: chosen }, replace: true })} />} />
      {causes.isPending && <Loading what="the causes" />}
      {causes.error && <Trouble error={causes.error} what="the causes" />}
      {causes.data?.causes.length === 0 && (
        <Empty title={`No session has failed in the ${LAST_WORDS[last]}`}>
          <p className="text-center">Every session that was asked for has got its agent, or still waits for it.</p>
        </Empty>
      )}
      {causes.data?.causes.map((group) => (
        <Group key={`${group.cause} ${group.agent_name}`} group={group} last={last} />
      ))}
    </PageBody>
  );
}

function Group({ group, last }: { group: CauseGroup; last: Last }) {
  const now = useNow(10_000);
  const { cause, agent_name: agent } = group;
  const evidence = shownBy(cause, group.sample_evidence, agent);
  return (
    <Card>
      <div className="flex flex-wrap items-baseline gap-x-3 gap-y-1">
        <Link to="/" search={{ cause: [cause], agent, last }} className="text-base font-semibold text-accent underline">
          {count(group.sessions, "session")}
        </Link>
        <code className="font-mono text-bad">{cause}</code>
        <span className="text-quiet">
          agent <b className="text-text">{agent}</b>
        </span>
        <span className="text-quiet sm:ml-auto">
          first {when(group.first_at, now)}, last {ago(group.last_at, now)}
        </span>
      </div>
      <p className="mt-1">No agent: {WHY[cause]}.</p>
      {evidence && <p className="break-words text-quiet">{evidence}</p>}
      <p className="mt-1">{group.advice}</p>
      <p className="mt-1">
        <Link to="/sessions/$id" params={{ id: group.sample_session_id }} className="text-accent underline">
          Look at the newest of them
        </Link>
      </p>
    </Card>
  );
}
