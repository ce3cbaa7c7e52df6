import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, body } from "../api/client";
import type { Traffic } from "../api/types";
import { useNow } from "../ui/clock";
import { Confirm } from "../ui/confirm";
import { FIELD, Refusal, Unfolding } from "../ui/form";
import { ago, count } from "../ui/format";
import { BUTTONS, Trouble } from "../ui/parts";
import { poolName, readShares } from "./shares";

/** The pools of an agent name, and how sessions that name no pool are shared between them. */
export function Pools({ agent }: { agent: string }) {
  const params = { params: { path: { agent_name: agent } } };
  const queries = useQueryClient();
  const key = ["traffic", agent];
  const traffic = useQuery({ queryKey: key, queryFn: () => body(api.GET("/v1/agents/{agent_name}/traffic", params)), refetchInterval: 10_000 });
  const share = useMutation({
    mutationFn: (shares: Traffic["shares"]) => body(api.PUT("/v1/agents/{agent_name}/traffic", { ...params, body: shares })),
    onSettled: () => queries.invalidateQueries({ queryKey: key }),
  });
  if (traffic.error) return <Trouble error={traffic.error} what="the pools" />;
  if (!traffic.data || !hasPools(traffic.data)) return null;
  const { pools, shares } = traffic.data;
  const shared = Object.keys(shares).length > 0;
  return (
    <section aria-label={`Pools of ${agent}`} className="mt-2 space-y-2 border-t border-line pt-2">
      <h3 className="text-xs font-semibold tracking-wide text-quiet uppercase">Pools</h3>
      <ul className="space-y-1">
        {pools.map((pool) => (
          <li key={pool.deployment} className="flex flex-wrap items-center gap-x-3">
            <b className="min-w-24">{poolName(pool.deployment)}</b>
            <span className="w-12 text-right">{shared ? `${pool.percent} %` : "–"}</span>
            <span className="h-1.5 w-32 overflow-hidden rounded bg-raised" aria-hidden="true">
              <span className="block h-full bg-accent" style={{ width: `${pool.percent}%` }} />
            </span>
            <span className="text-quiet">
              {pool.workers === null ? "its workers are not known" : `${count(pool.workers, "worker")}, ${count(pool.free_slots ?? 0, "free slot")}`}
            </span>
          </li>
        ))}
      </ul>
      {!shared && <p className="text-quiet">Nothing is shared: sessions that name no pool go to the one without a name.</p>}
      <TakenBack traffic={traffic.data} />
      <div className="flex flex-wrap items-center gap-2">
        <Unfolding label={`Share the traffic of ${agent}`}>{(close) => <SharesForm traffic={traffic.data} busy={share.isPending} onCancel={close} onShare={(wanted) => share.mutate(wanted, { onSuccess: close })} />}</Unfolding>
        {shared && <Confirm label="Share nothing" yes="share nothing" of={agent} busy={share.isPending} onYes={() => share.mutate({})} />}
        <Refusal error={share.error} />
      </div>
    </section>
  );
}

function hasPools({ pools, shares, taken_back }: Traffic): boolean {
  return pools.some(({ deployment }) => deployment) || Object.keys(shares).length > 0 || taken_back.length > 0;
}

function TakenBack({ traffic }: { traffic: Traffic }) {
  const now = useNow(10_000);
  return (
    <>
      {traffic.taken_back.map(({ deployment, percent, at, failed, sessions, advice }) => (
        <p key={`${deployment} ${at}`} className="text-bad">
          The share of {poolName(deployment)} ({percent} %) was taken back {ago(at, now)}: {failed} of {count(sessions, "session")} failed. {advice}
        </p>
      ))}
    </>
  );
}

type Wish = { traffic: Traffic; busy: boolean; onCancel: () => void; onShare: (shares: Traffic["shares"]) => void };

function SharesForm({ traffic, busy, onCancel, onShare }: Wish) {
  const [typed, setTyped] = useState(() => traffic.pools.map(({ deployment, percent }) => [deployment, String(percent)] as const));
  const { shares, problem } = readShares(typed);
  return (
    <form
      aria-label={`Shares of ${traffic.agent_name}`}
      className="flex flex-wrap items-center gap-x-4 gap-y-2"
      onSubmit={(event) => {
        event.preventDefault();
        if (!problem) onShare(shares);
      }}
    >
      {typed.map(([pool, text]) => (
        <label key={pool} className="flex items-center gap-1.5">
          {poolName(pool)}
          <input
            type="number"
            min="0"
            max="100"
            value={text}
            onChange={(event) => setTyped(typed.map((each) => (each[0] === pool ? [pool, event.target.value] : each)))}
            className={`${FIELD} w-20`}
          />
          %
        </label>
      ))}
      <button type="submit" className={BUTTONS.chosen} disabled={busy || problem !== null}>
        Share
      </button>
      <button type="button" className={BUTTONS.plain} onClick={onCancel}>
        Cancel
      </button>
      <span role="status" className="text-warn">
        {problem}
      </span>
    </form>
  );
}
