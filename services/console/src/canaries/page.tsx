import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, body, partly } from "../api/client";
import { LIVE, type Schemas, type Session } from "../api/types";
import { useAgainAfter } from "../live/live";
import { words } from "../session/causes";
import { useMay } from "../shell/me";
import { useNow } from "../ui/clock";
import { FIELD, Labelled, Refusal } from "../ui/form";
import { ago, between, count, length } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { BUTTONS, Card, Command, Empty, Loading, Trouble } from "../ui/parts";
import { StatusPill } from "../ui/status";
import { tell } from "./outcome";

const SHOWN = 50;

/** Sessions that nobody joins, which prove that the next caller would get an agent. */
export function CanariesPage() {
  const canaries = useQuery({
    queryKey: ["canaries"],
    queryFn: () => body(api.GET("/v1/sessions", { params: { query: { canary: true, limit: SHOWN } } })),
    refetchInterval: useAgainAfter(3_000),
  });
  const sessions = canaries.data?.sessions ?? [];
  return (
    <PageBody>
      <PageHead title="Canaries" />
      <TryNow />
      {canaries.isPending && <Loading what="the canaries" />}
      {canaries.error && <Trouble error={canaries.error} what="the canaries" />}
      {canaries.data && sessions.length === 0 && (
        <Empty title="No canary yet">
          <p>A canary is a session without a caller: it is over as soon as its agent is in the room. Rollcall starts one by itself every CANARY_INTERVAL_S seconds. By hand:</p>
          <Command>rollcall canary</Command>
        </Empty>
      )}
      {sessions.length > 0 && (
        <Card title={tell(sessions)}>
          <ul className="divide-y divide-line">
            {sessions.map((session) => (
              <CanaryRow key={session.session_id} session={session} />
            ))}
          </ul>
        </Card>
      )}
    </PageBody>
  );
}

function TryNow() {
  const queries = useQueryClient();
  const start = useMutation({
    mutationFn: (agent: string) => body(api.POST("/v1/sessions", { body: partly<Schemas["StartSession"]>({ canary: true, agent_name: agent || undefined }) })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["canaries"] }),
  });
  if (!useMay("sessions:write")) return null;
  return (
    <form
      aria-label="Try now"
      className="flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        start.mutate(String(new FormData(event.currentTarget).get("agent") ?? "").trim());
      }}
    >
      <Labelled label="Agent">
        <input name="agent" placeholder="the usual one" autoComplete="off" className={`${FIELD} w-40`} />
      </Labelled>
      <button type="submit" className={BUTTONS.chosen} disabled={start.isPending}>
        Try now
      </button>
      <Refusal error={start.error} />
    </form>
  );
}

function CanaryRow({ session }: { session: Session }) {
  const live = LIVE.has(session.status);
  const now = useNow(live ? 200 : 10_000);
  const { requested_at: requested, active_at: active } = session.timings;
  const joined = between(requested, active);
  return (
    <li className="flex flex-wrap items-center gap-x-3 gap-y-1 py-1.5">
      <Link to="/sessions/$id" params={{ id: session.session_id }} className="leading-[24px]" aria-label={`${session.status}: canary of ${session.agent_name}, ${session.session_id}`}>
        <StatusPill status={session.status} />
      </Link>
      <b>
        {session.agent_name}
        {session.deployment && `, pool ${session.deployment}`}
      </b>
      <span>{joined !== null ? `the agent came after ${length(joined)}` : live ? `waits for ${length(now - Date.parse(requested))}` : "no agent came"}</span>
      {session.failure && <span className="text-bad">{words(session.failure.cause)}</span>}
      {session.attempt > 1 && <span className="text-quiet">{count(session.attempt, "attempt")}</span>}
      <span className="text-quiet sm:ml-auto">{ago(requested, now)}</span>
    </li>
  );
}
