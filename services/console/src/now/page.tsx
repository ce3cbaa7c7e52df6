import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";

import { api, body } from "../api/client";
import type { AgentHealth, Stats } from "../api/types";
import { useAgainAfter } from "../live/live";
import { WHY, words } from "../session/causes";
import { useNow } from "../ui/clock";
import { ago, count, length } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { Card, Command, Loading, Trouble } from "../ui/parts";
import { joinShare, liveNow } from "./figures";

const HOUR = 3_600_000;

/** Would the next session get its agent? And how have the last ones fared? */
export function NowPage() {
  const health = useQuery({ queryKey: ["health-agent"], queryFn: readHealth, refetchInterval: 5_000 });
  const stats = useQuery({
    queryKey: ["stats-hour"],
    queryFn: () => body(api.GET("/v1/stats", { params: { query: { since: new Date(Date.now() - HOUR).toISOString() } } })),
    refetchInterval: useAgainAfter(5_000, 15_000),
  });
  return (
    <PageBody>
      <PageHead title="Now" aside={<Age of={stats.dataUpdatedAt} failing={stats.isError || health.isError} />} />
      {health.isPending && <Loading what="the forecast" />}
      {health.error && <Trouble error={health.error} what="whether the next session would get its agent" />}
      {health.data && <Outlook health={health.data} />}
      {stats.error && <Trouble error={stats.error} what="the figures of the last hour" />}
      {stats.data && <Figures stats={stats.data} health={health.data} />}
      {stats.data && stats.data.sessions > 0 && <Buckets stats={stats.data} />}
      {stats.data && <TopCauses stats={stats.data} />}
    </PageBody>
  );
}

// The route answers 503 with the same body where the next session would not get its agent.
async function readHealth(): Promise<AgentHealth> {
  const asked = await api.GET("/health/agent");
  const { error } = asked as { error?: unknown };
  if (asked.response.status === 503 && error && typeof error === "object" && "agent_worker_info" in error) return error as AgentHealth;
  return body(Promise.resolve(asked));
}

function Age({ of, failing }: { of: number; failing: boolean }) {
  const now = useNow(1000);
  if (!of) return null;
  return <span className={failing ? "text-warn" : "text-quiet"}>{failing ? `These figures are ${length(now - of)} old` : `The last hour, read ${ago(new Date(of).toISOString(), now)}`}</span>;
}

const LOOKS = {
  pass: { box: "border-line", text: "text-good", sentence: "The next session would get its agent." },
  warn: { box: "border-warn", text: "text-warn", sentence: "The next session may get its agent." },
  fail: { box: "border-bad", text: "text-bad", sentence: "The next session would get no agent." },
};

function Outlook({ health }: { health: AgentHealth }) {
  const now = useNow(10_000);
  const { box, text, sentence } = LOOKS[health.status];
  return (
    <section className={clsx("rounded-lg border bg-card p-4", box)} aria-live={health.status === "fail" ? "assertive" : "polite"}>
      <h2 className={clsx("text-xl font-semibold", text)}>{sentence}</h2>
      <p className="mt-1">{health.summary}</p>
      {health.root_cause.map(({ code, since, fix }) => (
        <div key={code} className="mt-2 border-t border-line pt-2">
          <p>
            <code className="font-mono text-bad">{code}</code>: {WHY[code]}
            {since && `, for ${ago(since, now).replace(" ago", "")}`}.
          </p>
          <p>{fix}</p>
        </div>
      ))}
      {health.findings.map(({ code, fix }) => (
        <p key={code} className="mt-2 text-warn">
          {fix}
        </p>
      ))}
      <div className="mt-2 flex flex-wrap items-center gap-x-4 gap-y-1 text-quiet">
        {health.last_proven_join && <span>An agent last joined {ago(health.last_proven_join, now)}.</span>}
        {health.last_canary && (
          <Link to="/sessions/$id" params={{ id: health.last_canary.session_id }} className="text-accent underline">
            The last canary {health.last_canary.ok ? "got its agent" : "got no agent"} {ago(health.last_canary.at, now)}
          </Link>
        )}
      </div>
      {health.status !== "pass" && (
        <div className="mt-2 max-w-md">
          <Command>rollcall canary</Command>
        </div>
      )}
    </section>
  );
}

function Figures({ stats, health }: { stats: Stats; health: AgentHealth | undefined }) {
  const active = stats.levels.active;
  const { going, waiting } = liveNow(stats);
  const figures: [string, string, string][] = [
    ["Got their agent", joinShare(stats), `of ${count(stats.sessions, "session")}`],
    ["Active", String(going), "agent in the room"],
    ["On their way", String(waiting), "no agent yet"],
    ["Join time, p95", active ? length(active.p95_ms) : "–", active ? `median ${length(active.p50_ms)}` : "nobody joined"],
    ["Free slots", String(health?.agent_worker_info.free_slots ?? "–"), `${health?.agent_worker_info.registered_workers ?? "–"} workers report`],
    ["Agents replaced", String(stats.revivals), "lost in a call"],
  ];
  return (
    <dl className="grid grid-cols-2 gap-2 sm:grid-cols-3 lg:grid-cols-6">
      {figures.map(([name, value, more]) => (
        <div key={name} className="rounded-lg border border-line bg-card p-3">
          <dt className="text-xs text-quiet">{name}</dt>
          <dd className="text-2xl font-semibold">{value}</dd>
          <dd className="text-xs text-quiet">{more}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Sessions over the hour: those that joined, failed, and the others. */
function Buckets({ stats }: { stats: Stats }) {
  const most = Math.max(...stats.buckets.map(({ sessions }) => sessions), 1);
  const width = 1000 / Math.max(stats.buckets.length, 1);
  const height = 90;
  const failed = stats.by_status.failed ?? 0;
  return (
    <Card title="Sessions by minute">
      <svg viewBox={`0 0 1000 ${height}`} preserveAspectRatio="none" className="h-24 w-full" role="img" aria-label={`${count(stats.sessions, "session")} in the last hour, of which ${failed} failed; at most ${most} in a minute`}>
        {stats.buckets.map(({ start, sessions, joined, failed: bad }, index) => {
          const unit = height / most;
          const x = index * width + 1;
          const other = sessions - joined - bad;
          return (
            <g key={start}>
              <title>{`${sessions} sessions, ${joined} joined, ${bad} failed`}</title>
              <rect x={x} width={width - 2} y={height - joined * unit} height={joined * unit} fill="var(--bar-ready)" />
              <rect x={x} width={width - 2} y={height - (joined + bad) * unit} height={bad * unit} fill="var(--bad)" />
              <rect x={x} width={width - 2} y={height - sessions * unit} height={other * unit} fill="var(--bar-queue)" />
            </g>
          );
        })}
      </svg>
      <p className="mt-1 flex gap-3 text-xs text-quiet">
        <Key colour="var(--bar-ready)">joined</Key>
        <Key colour="var(--bad)">failed</Key>
        <Key colour="var(--bar-queue)">others</Key>
      </p>
    </Card>
  );
}

function Key({ colour, children }: { colour: string; children: string }) {
  return (
    <span className="inline-flex items-center gap-1">
      <span className="inline-block size-2.5 rounded-sm" style={{ background: colour }} />
      {children}
    </span>
  );
}

function TopCauses({ stats }: { stats: Stats }) {
  const causes = Object.entries(stats.by_cause).sort(([, a], [, b]) => b - a);
  if (!causes.length) return null;
  return (
    <Card title="Why sessions failed" aside={<Link to="/causes" search={{ last: "1h" }} className="text-xs text-accent underline">with evidence</Link>}>
      <ul className="space-y-0.5">
        {causes.map(([cause, sessions]) => (
          <li key={cause}>
            <Link to="/" search={{ cause: [cause as keyof typeof WHY], last: "1h" }} className="text-accent underline">
              {count(sessions, "session")}
            </Link>
            : {words(cause)}
          </li>
        ))}
      </ul>
    </Card>
  );
}
