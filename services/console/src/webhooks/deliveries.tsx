import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { Delivery, DeliveryStatus, Endpoint } from "../api/types";
import { useNow } from "../ui/clock";
import { Confirm } from "../ui/confirm";
import { FIELD, Refusal } from "../ui/form";
import { ago, count, length, when } from "../ui/format";
import { More } from "../ui/more";
import { BUTTONS, Card, Loading, Trouble } from "../ui/parts";
import { Pill } from "../ui/status";
import { DELIVERY_STATUSES } from "./chosen";

const TONES = { pending: "warn", delivered: "good", dead: "bad" } as const;

/** What became of each event at an endpoint, the newest event first. */
export function Deliveries({ endpoint, status }: { endpoint: Endpoint; status: DeliveryStatus | undefined }) {
  const navigate = useNavigate();
  const path = { endpoint_id: endpoint.id };
  const deliveries = useInfiniteQuery({
    queryKey: ["deliveries", endpoint.id, status],
    queryFn: ({ pageParam }) => body(api.GET("/v1/webhook-endpoints/{endpoint_id}/deliveries", { params: { path, query: { status, cursor: pageParam, limit: 50 } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: 3_000,
  });
  const rows = deliveries.data?.pages.flatMap((page) => page.deliveries) ?? [];
  const filter = (
    <select
      aria-label="Status"
      value={status ?? ""}
      onChange={(event) => void navigate({ to: "/webhooks", search: { endpoint: endpoint.id, status: DELIVERY_STATUSES.find((each) => each === event.target.value) }, replace: true })}
      className={FIELD}
    >
      <option value="">every status</option>
      {DELIVERY_STATUSES.map((each) => (
        <option key={each}>{each}</option>
      ))}
    </select>
  );
  return (
    <Card title="Deliveries" aside={filter}>
      <p className="mb-1 font-mono break-all">{endpoint.url}</p>
      {deliveries.isPending && <Loading what="the deliveries" />}
      {deliveries.error && <Trouble error={deliveries.error} what="the deliveries" />}
      {deliveries.isSuccess && rows.length === 0 && <p className="text-quiet">{status ? `No delivery is ${status}.` : "No event has been sent to it yet."}</p>}
      <ul className="divide-y divide-line">
        {rows.map((delivery) => (
          <DeliveryRow key={delivery.event_id} endpoint={endpoint} delivery={delivery} />
        ))}
      </ul>
      <div className="mt-2 flex flex-wrap items-center gap-2">
        <More pages={deliveries} />
        {rows.some((delivery) => delivery.status === "dead") && endpoint.enabled && <ReplayDead endpoint={endpoint} />}
      </div>
    </Card>
  );
}

function DeliveryRow({ endpoint, delivery }: { endpoint: Endpoint; delivery: Delivery }) {
  const now = useNow(1000);
  const queries = useQueryClient();
  const { event_id, event_type, session_id, status, attempts, response_code, latency_ms, error, next_attempt_at, last_attempt_at } = delivery;
  const again = useMutation({
    mutationFn: () => body(api.POST("/v1/webhook-endpoints/{endpoint_id}/deliveries/{event_id}/replay", { params: { path: { endpoint_id: endpoint.id, event_id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["deliveries", endpoint.id] }),
  });
  const waits = next_attempt_at && Date.parse(next_attempt_at) - now;
  return (
    <li className="py-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <Pill tone={TONES[status]}>{status}</Pill>
        <code className="font-mono">{event_type}</code>
        {session_id && (
          <Link to="/sessions/$id" params={{ id: session_id }} className="font-mono text-xs leading-[24px] text-accent underline">
            {session_id.slice(-12)}
          </Link>
        )}
        <span className="text-quiet">
          {count(attempts, "attempt")}
          {response_code !== null && `, answered ${response_code}`}
          {latency_ms !== null && ` after ${length(latency_ms)}`}
          {last_attempt_at && `, ${ago(last_attempt_at, now)}`}
          {status === "pending" && waits && (waits > 0 ? `, again in ${length(waits)}` : ", now")}
        </span>
        <span className="flex flex-wrap items-center gap-2 sm:ml-auto">
          <Refusal error={again.error} />
          {endpoint.enabled && (
            <button type="button" className={BUTTONS.plain} disabled={again.isPending} aria-label={`Send again: ${event_type} of ${when(delivery.created_at, now)}`} onClick={() => again.mutate()}>
              {status === "pending" ? "Send now" : "Send again"}
            </button>
          )}
        </span>
      </div>
      {error && <p className={status === "delivered" ? "break-words text-quiet" : "break-words text-bad"}>{error}</p>}
    </li>
  );
}

/** Sends all of the endpoint's dead letters again, whenever they were given up. */
function ReplayDead({ endpoint }: { endpoint: Endpoint }) {
  const queries = useQueryClient();
  const replay = useMutation({
    mutationFn: () => body(api.POST("/v1/webhook-endpoints/{endpoint_id}/replay", { params: { path: { endpoint_id: endpoint.id } }, body: { since: endpoint.created_at } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["deliveries", endpoint.id] }),
  });
  return (
    <>
      <Confirm label="Send all dead ones again" yes="send all dead ones again" busy={replay.isPending} onYes={() => replay.mutate()} />
      {replay.data && <span role="status">{count(replay.data.deliveries, "delivery is", "deliveries are")} pending again.</span>}
      <Refusal error={replay.error} />
    </>
  );
}
