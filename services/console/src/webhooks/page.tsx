import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { Endpoint } from "../api/types";
import { useNow } from "../ui/clock";
import { ago } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { Card, Empty, Loading, Trouble } from "../ui/parts";
import { Pill } from "../ui/status";
import { stateOf } from "./chosen";
import { Deliveries } from "./deliveries";
import { NewEndpoint } from "./new-endpoint";
import { Orders } from "./orders";

const route = getRouteApi("/webhooks");

/** The endpoints to which events are sent, and what became of each event. */
export function WebhooksPage() {
  const chosen = route.useSearch();
  const endpoints = useQuery({ queryKey: ["webhooks"], queryFn: () => body(api.GET("/v1/webhook-endpoints")), refetchInterval: 5_000 });
  const all = endpoints.data?.endpoints ?? [];
  const shown = all.find(({ id }) => id === chosen.endpoint);
  return (
    <PageBody>
      <PageHead title="Webhooks" />
      {endpoints.isPending && <Loading what="the endpoints" />}
      {endpoints.error && <Trouble error={endpoints.error} what="the endpoints" />}
      {endpoints.data && all.length === 0 && (
        <Empty title="No endpoint yet">
          <p>Rollcall sends every event of a session to each endpoint that wants it: when an agent joins, when none comes, when the call ends.</p>
        </Empty>
      )}
      {all.length > 0 && (
        <Card>
          <ul className="divide-y divide-line">
            {all.map((endpoint) => (
              <EndpointRow key={endpoint.id} endpoint={endpoint} open={endpoint === shown} />
            ))}
          </ul>
        </Card>
      )}
      {endpoints.data && <NewEndpoint />}
      {shown && <Deliveries key={shown.id} endpoint={shown} status={chosen.status} />}
      {endpoints.data && chosen.endpoint && !shown && <p role="alert">There is no endpoint {chosen.endpoint}.</p>}
    </PageBody>
  );
}

function EndpointRow({ endpoint, open }: { endpoint: Endpoint; open: boolean }) {
  const now = useNow(10_000);
  const { tone, word, since } = stateOf(endpoint, now);
  return (
    <li className="space-y-1 py-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <Pill tone={tone}>{word}</Pill>
        <Link to="/webhooks" search={{ endpoint: endpoint.id }} aria-current={open || undefined} className="font-mono leading-[24px] break-all text-accent underline aria-[current]:font-bold">
          {endpoint.url}
        </Link>
        {endpoint.description && <span>{endpoint.description}</span>}
      </div>
      <p className="text-quiet">
        wants <code>{endpoint.events.join(", ")}</code>
        {endpoint.min_severity !== "info" && ` of severity ${endpoint.min_severity} and worse`}
        {since && `; ${word} since ${ago(since, now)}`}
        {word === "paused" && "; it has asked for a pause"}
      </p>
      {!endpoint.enabled && endpoint.disabled_reason && <p className="text-bad">{endpoint.disabled_reason}</p>}
      <Orders endpoint={endpoint} />
    </li>
  );
}
