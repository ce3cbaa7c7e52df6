import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { ApiKey } from "../api/types";
import { useMe } from "../shell/me";
import { useNow } from "../ui/clock";
import { Confirm } from "../ui/confirm";
import { Refusal } from "../ui/form";
import { ago, count, when } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { Card, Empty, Loading, Trouble } from "../ui/parts";
import { Pill } from "../ui/status";
import { stateOf } from "./keys";
import { NewKey } from "./new-key";

const route = getRouteApi("/keys");

/** The API keys of the project: which there are, what each may do, and when it was last used. */
export function KeysPage() {
  const { over } = route.useSearch();
  const navigate = useNavigate();
  const now = useNow(10_000);
  const keys = useQuery({ queryKey: ["keys"], queryFn: () => body(api.GET("/v1/keys")), refetchInterval: 15_000 });
  const all = keys.data?.keys ?? [];
  const shown = all.filter((key) => over || stateOf(key, now).word === "works");
  const filter = (
    <label className="flex items-center gap-1.5">
      <input type="checkbox" checked={over ?? false} onChange={(event) => void navigate({ to: "/keys", search: event.target.checked ? { over: true } : {}, replace: true })} className="size-4 accent-accent" />
      also those that are over
    </label>
  );
  return (
    <PageBody>
      <PageHead title="Keys" aside={filter} />
      {keys.isPending && <Loading what="the keys" />}
      {keys.error && <Trouble error={keys.error} what="the keys" />}
      {keys.data && <NewKey />}
      {keys.data && shown.length === 0 && (
        <Empty title={all.length ? "No key works any more" : "No key yet"}>
          <p>Programs send a key with each request, and people exchange one for a login. Make one for each, so that you can revoke one alone.</p>
        </Empty>
      )}
      {shown.length > 0 && (
        <Card title={count(shown.length, "key")}>
          <ul className="divide-y divide-line">
            {shown.map((key) => (
              <KeyRow key={key.id} apiKey={key} now={now} />
            ))}
          </ul>
        </Card>
      )}
    </PageBody>
  );
}

function KeyRow({ apiKey, now }: { apiKey: ApiKey; now: number }) {
  const me = useMe().data;
  const queries = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => body(api.DELETE("/v1/keys/{key_id}", { params: { path: { key_id: apiKey.id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["keys"] }),
  });
  const { tone, word, at } = stateOf(apiKey, now);
  const mine = me?.key_id === apiKey.id;
  return (
    <li className="flex flex-wrap items-center gap-x-3 gap-y-1 py-2">
      <Pill tone={tone}>{word}</Pill>
      <b className="break-all">{apiKey.name}</b>
      <code className="font-mono text-xs text-quiet">{apiKey.id}</code>
      {mine && <Pill tone="warn">you use it now</Pill>}
      {apiKey.kind === "publishable" && <Pill tone="quiet">publishable</Pill>}
      <span>{apiKey.scopes.join(", ")}</span>
      {apiKey.origins.length > 0 && <span className="break-all text-quiet">from {apiKey.origins.join(", ")}</span>}
      <span className="text-quiet">
        made {when(apiKey.created_at, now)}, {apiKey.last_used_at ? `last used ${ago(apiKey.last_used_at, now)}` : "never used"}
        {at ? `, ${word} ${ago(at, now)}` : apiKey.expires_at && `, until ${when(apiKey.expires_at, now)}`}
      </span>
      {word === "works" && (
        <span className="flex flex-wrap items-center gap-2 sm:ml-auto">
          <Refusal error={revoke.error} />
          <Confirm label="Revoke" yes={mine ? "revoke the key that you use" : "revoke it"} of={apiKey.name} busy={revoke.isPending} onYes={() => revoke.mutate()} />
        </span>
      )}
    </li>
  );
}
