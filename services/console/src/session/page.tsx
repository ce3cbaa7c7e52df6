import { Link, getRouteApi } from "@tanstack/react-router";
import { clsx } from "clsx";

import { ApiError } from "../api/client";
import { LIVE, type Session } from "../api/types";
import { useConnection } from "../live/live";
import { useMay } from "../shell/me";
import { useNow } from "../ui/clock";
import { count, when } from "../ui/format";
import { Icon } from "../ui/icons";
import { Card, Empty, Loading, Trouble } from "../ui/parts";
import { Pill, StatusPill } from "../ui/status";
import { useTitle } from "../ui/title";
import { Actions } from "./actions";
import { type Live, useLive, useSession } from "./data";
import { Advice, EvidenceList } from "./diagnosis";
import { explain } from "./explain";
import { Ids } from "./ids";
import { Others } from "./others";
import { TimelineList } from "./timeline-list";
import { StepTable, Waterfall } from "./waterfall";

const route = getRouteApi("/sessions/$id");

export function SessionPage() {
  const { id } = route.useParams();
  const session = useSession(id);
  const live = useLive(id, session.isSuccess);
  if (session.data) return <Screen session={session.data} live={live} stale={session.isError} />;
  if (session.error instanceof ApiError && session.error.status === 404) {
    return (
      <Empty title="There is no such session" heading="h1">
        <p>It may belong to another project, or its time of retention is over: {id}</p>
      </Empty>
    );
  }
  if (session.error) return <Trouble error={session.error} what="the session" />;
  return <Loading what="the session" />;
}

/** Everything about one session in one look: on a screen of 1280 by 720 nothing but the lists scrolls. */
function Screen({ session, live, stale }: { session: Session; live: Live; stale: boolean }) {
  const { view } = route.useSearch();
  const mayRead = useMay("transcripts:read");
  const { failure } = session;
  useTitle(`${session.agent_name}: ${failure?.cause ?? session.status}`);
  return (
    <div className="flex flex-col gap-2 p-3 lg:min-h-0 lg:flex-1">
      <Headline session={session} stale={stale} />
      <div className="grid min-h-0 flex-1 gap-2 lg:grid-cols-[minmax(0,1fr)_19rem]">
        <div className="flex min-h-0 min-w-0 flex-col gap-2">
          {failure && (
            <div className="grid shrink-0 gap-2 md:grid-cols-2">
              <Card title="What to do">
                <Advice session={session} cause={failure.cause} advice={failure.advice} evidence={failure.evidence} />
              </Card>
              <Card title="Evidence" className="lg:max-h-44 lg:overflow-y-auto">
                <EvidenceList evidence={failure.evidence} />
              </Card>
            </div>
          )}
          <Card title="Attempts" className="shrink-0" aside={<ViewSwitch view={view} />}>
            {view === "table" ? <StepTable session={session} /> : <Waterfall session={session} />}
          </Card>
          <Card title="Timeline" className="flex min-h-40 flex-1 flex-col max-lg:max-h-[70dvh]" aside={<TranscriptLink session={session} mayRead={mayRead} />}>
            <TimelineList session={session} live={live} />
          </Card>
        </div>
        <aside aria-label="About this session" className="flex min-h-0 min-w-0 flex-col gap-2 lg:overflow-y-auto">
          {failure && (
            <Card title="Who else" className="shrink-0">
              <Others session={session} cause={failure.cause} />
            </Card>
          )}
          <Card title="Ids" className="shrink-0">
            <Ids session={session} />
          </Card>
          {Object.keys(session.metadata).length > 0 && (
            <Card title="Metadata" className="shrink-0">
              <pre className="max-h-40 overflow-auto font-mono text-xs whitespace-pre-wrap" tabIndex={0}>
                {typeof session.metadata === "string" ? session.metadata : JSON.stringify(session.metadata, null, 1)}
              </pre>
            </Card>
          )}
        </aside>
      </div>
    </div>
  );
}

function Headline({ session, stale }: { session: Session; stale: boolean }) {
  const now = useNow(LIVE.has(session.status) ? 1000 : 0);
  const { headline, detail } = explain(session, now);
  const failed = session.status === "failed";
  return (
    <header className={clsx("shrink-0 rounded-lg border bg-card px-4 py-2.5", failed ? "border-bad" : "border-line")}>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-xs text-quiet">
        <Link to="/" className="inline-flex items-center gap-1 text-accent hover:underline">
          <Icon name="left" className="size-3" /> Sessions
        </Link>
        <StatusPill status={session.status} />
        {failed && session.failure && <code className="font-mono text-bad">{session.failure.cause}</code>}
        {session.canary && <Pill tone="quiet">canary</Pill>}
        <span>
          agent <b className="text-text">{session.agent_name}</b>
        </span>
        <span>requested {when(session.timings.requested_at, now)}</span>
        <ConnectionNote live={LIVE.has(session.status)} stale={stale} />
        <div className="ml-auto text-sm">
          <Actions session={session} />
        </div>
      </div>
      <h1 className={clsx("mt-1 text-lg leading-snug font-semibold break-words", failed && "text-bad")} aria-live={failed ? "assertive" : "polite"}>
        {headline}
      </h1>
      {detail && <p className="break-words">{detail}</p>}
    </header>
  );
}

function ConnectionNote({ live, stale }: { live: boolean; stale: boolean }) {
  const connection = useConnection();
  if (stale || (live && connection === "cut")) {
    return (
      <Pill tone="warn" icon="clock">
        reconnecting
      </Pill>
    );
  }
  return live && connection === "live" ? (
    <Pill tone="good" icon="dot">
      live
    </Pill>
  ) : null;
}

function TranscriptLink({ session, mayRead }: { session: Session; mayRead: boolean }) {
  if (!mayRead) return <span className="text-xs text-quiet">Your key may not read what was said</span>;
  if (!session.turns) return null;
  return (
    <Link to="/sessions/$id/transcript" params={{ id: session.session_id }} className="text-xs text-accent underline">
      transcript: {count(session.turns, "turn")}
    </Link>
  );
}

function ViewSwitch({ view }: { view: "table" | undefined }) {
  const other = view === "table" ? undefined : "table";
  return (
    <Link from="/sessions/$id" search={{ view: other }} replace className="text-xs text-accent underline">
      {other ? "as a table" : "as a chart"}
    </Link>
  );
}
