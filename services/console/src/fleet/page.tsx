import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { Worker } from "../api/types";
import { useNow } from "../ui/clock";
import { ago, count, length } from "../ui/format";
import { Confirm } from "../ui/confirm";
import { Refusal } from "../ui/form";
import { PageBody, PageHead } from "../ui/head";
import { BUTTONS, Card, Command, Empty, Loading, Trouble } from "../ui/parts";
import { Pill } from "../ui/status";
import { byName, stateOf } from "./fleet";
import { Pools } from "./pools";

/** The agent workers that report to Rollcall, by the name under which they are registered. */
export function FleetPage() {
  const workers = useQuery({ queryKey: ["workers"], queryFn: () => body(api.GET("/v1/workers")), refetchInterval: 2_000 });
  const groups = byName(workers.data?.workers ?? []);
  const lost = workers.data?.lost ?? [];
  return (
    <PageBody>
      <PageHead title="Fleet" />
      {workers.isPending && <Loading what="the workers" />}
      {workers.error && <Trouble error={workers.error} what="the workers" />}
      {workers.data && groups.length === 0 && (
        <Empty title="No worker reports to Rollcall">
          <p>Start the built-in agent:</p>
          <Command>python -m services.agent</Command>
          <p>A worker of your own reports with two more lines: docs/your-agent.md. Without them Rollcall sees only what LiveKit shows of it.</p>
        </Empty>
      )}
      {groups.map(({ name, workers: members, free, slots }) => (
        <Card key={name}>
          <header className="flex items-baseline justify-between gap-3">
            <h2 className="font-semibold">{name}</h2>
            <span className="text-quiet">{`${free} of ${count(slots, "slot")} free`}</span>
          </header>
          <ul className="divide-y divide-line">
            {members.map((worker) => (
              <WorkerRow key={worker.worker_id} worker={worker} />
            ))}
          </ul>
          <Pools agent={name} />
        </Card>
      ))}
      {lost.length > 0 && (
        <Card title="Lost workers">
          <p className="text-quiet">They fell silent without a goodbye: their process was killed or is frozen, or their host is cut off.</p>
          <ul className="divide-y divide-line">
            {lost.map((worker) => (
              <LostRow key={worker.worker_id} worker={worker} />
            ))}
          </ul>
        </Card>
      )}
    </PageBody>
  );
}

function LostRow({ worker }: { worker: Worker }) {
  const now = useNow(1000);
  return (
    <li className="flex flex-wrap items-center gap-x-3 gap-y-1 py-2">
      <Pill tone="bad">lost</Pill>
      <code className="font-mono text-xs">{worker.worker_id}</code>
      <span className="text-quiet">
        {worker.agent_name}, {worker.host}, process {worker.pid}, with {count(worker.active_jobs, "job")}, last seen {ago(worker.beat_at, now)}
      </span>
    </li>
  );
}

function WorkerRow({ worker }: { worker: Worker }) {
  const now = useNow(1000);
  const { tone, word } = stateOf(worker);
  const { active_jobs: jobs = 0, max_jobs: most = 0, faults = [], sessions = [] } = worker;
  return (
    <li className="space-y-1 py-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <Pill tone={tone}>{word}</Pill>
        <Link to="/" search={{ worker: worker.worker_id }} title="Its sessions" className="font-mono text-xs leading-[24px] text-accent underline">
          {worker.worker_id}
        </Link>
        <span className="text-quiet">
          {worker.host}, process {worker.pid}, version {worker.version}
          {worker.deployment && `, deployment ${worker.deployment}`}
        </span>
        <span>
          {jobs} of {count(most, "job")}
        </span>
        <span className="text-quiet">
          up for {length(now - Date.parse(worker.started_at))}, seen {ago(worker.beat_at, now)}
        </span>
        <Orders worker={worker} />
      </div>
      <div className="h-1.5 max-w-60 overflow-hidden rounded bg-raised" role="img" aria-label={`${jobs} of ${most} slots are taken`}>
        <div className="h-full bg-accent" style={{ width: `${most ? (100 * jobs) / most : 0}%` }} />
      </div>
      {worker.circuit && !worker.circuit.ignored && <p className="text-bad">{worker.circuit.reason}</p>}
      {faults.map(({ cause, detail }) => (
        <p key={`${cause} ${detail}`} className="text-bad">
          {cause}: {detail}
        </p>
      ))}
      {sessions.length > 0 && (
        <p className="flex flex-wrap gap-2 text-xs">
          {sessions.map((id) => (
            <Link key={id} to="/sessions/$id" params={{ id }} className="font-mono text-accent underline">
              {id.slice(-12)}
            </Link>
          ))}
        </p>
      )}
    </li>
  );
}

/** Keeps new jobs from a worker, lets it take them again, or has it end after its last call. */
function Orders({ worker }: { worker: Worker }) {
  const queries = useQueryClient();
  const params = { params: { path: { worker_id: worker.worker_id } } };
  const onSettled = () => queries.invalidateQueries({ queryKey: ["workers"] });
  const order = useMutation({
    mutationFn: () => body(worker.cordoned ? api.POST("/v1/workers/{worker_id}/uncordon", params) : api.POST("/v1/workers/{worker_id}/cordon", params)),
    onSettled,
  });
  const drain = useMutation({ mutationFn: () => body(api.POST("/v1/workers/{worker_id}/drain", params)), onSettled });
  if (worker.draining) return null;
  return (
    <span className="flex flex-wrap items-center gap-2 sm:ml-auto">
      <Refusal error={order.error ?? drain.error} />
      <button type="button" className={BUTTONS.plain} disabled={order.isPending} onClick={() => order.mutate()} aria-label={`${worker.cordoned ? "Uncordon" : "Cordon"} ${worker.worker_id}`}>
        {worker.cordoned ? "Uncordon" : "Cordon"}
      </button>
      <Confirm label="Drain" yes="end it after its last call" of={worker.worker_id} busy={drain.isPending} onYes={() => drain.mutate()} />
    </span>
  );
}
