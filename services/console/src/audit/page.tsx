import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, getRouteApi, useNavigate } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { AuditEntry } from "../api/types";
import { LASTS } from "../sessions/filters";
import { useNow } from "../ui/clock";
import { FIELD, Labelled } from "../ui/form";
import { when } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { LastSelect } from "../ui/last";
import { More } from "../ui/more";
import { BUTTONS, Card, Empty, Loading, Trouble } from "../ui/parts";
import { type Sought, sessionIn, who } from "./sought";

const route = getRouteApi("/audit");
const VIA = { api: "by the API", console: "in the console", command_line: "on the command line" };

/** Who did what in the project, newest first. */
export function AuditPage() {
  const sought = route.useSearch();
  const now = useNow(10_000);
  const entries = useInfiniteQuery({
    queryKey: ["audit", sought],
    queryFn: ({ pageParam }) => read(sought, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: 5_000,
  });
  const found = entries.data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <PageBody>
      <PageHead title="Audit" />
      <Filters sought={sought} />
      {entries.isPending && <Loading what="the audit trail" />}
      {entries.error && <Trouble error={entries.error} what="the audit trail" />}
      {entries.isSuccess && found.length === 0 && (
        <Empty title="Nothing was done">
          <p>What people and programs change comes here: keys, endpoints, workers, ended sessions, erasures, logins. Each session itself tells whose key started it.</p>
        </Empty>
      )}
      {found.length > 0 && (
        <Card>
          <ul className="divide-y divide-line">
            {found.map((entry) => (
              <EntryRow key={entry.id} entry={entry} now={now} />
            ))}
          </ul>
        </Card>
      )}
      <More pages={entries} />
    </PageBody>
  );
}

function read({ action, actor, target, last }: Sought, cursor: string | undefined) {
  const since = last && new Date(Date.now() - LASTS[last] * 1000).toISOString();
  return body(api.GET("/v1/audit", { params: { query: { action, actor, target, since, cursor, limit: 100 } } }));
}

function Filters({ sought }: { sought: Sought }) {
  const navigate = useNavigate();
  const set = (change: Partial<Sought>) => void navigate({ to: "/audit", search: { ...sought, ...change }, replace: true });
  const field = (name: "action" | "actor" | "target", label: string, example: string) => (
    <Labelled label={label}>
      <input key={sought[name] ?? ""} name={name} type="search" defaultValue={sought[name]} placeholder={example} className={`${FIELD} w-40`} />
    </Labelled>
  );
  return (
    <form
      aria-label="Filters"
      className="flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const given = (name: string) => String(form.get(name) ?? "").trim() || undefined;
        set({ action: given("action"), actor: given("actor"), target: given("target") });
      }}
    >
      {field("action", "What", "key.create")}
      {field("actor", "Who", "id of a key")}
      {field("target", "To what", "id")}
      <LastSelect value={sought.last} any="any time" onChange={(last) => set({ last })} />
      <button type="submit" className={BUTTONS.plain}>
        Filter
      </button>
    </form>
  );
}

function EntryRow({ entry, now }: { entry: AuditEntry; now: number }) {
  const session = sessionIn(entry);
  return (
    <li className="flex flex-wrap items-baseline gap-x-3 gap-y-1 py-1.5">
      <span className="w-36 text-quiet">{when(entry.at, now)}</span>
      {entry.actor ? (
        <Link to="/audit" search={{ actor: entry.actor }} title={`All that ${entry.actor} did`} className="leading-[24px] text-accent underline">
          {who(entry)}
        </Link>
      ) : (
        <span>{who(entry)}</span>
      )}
      <code className="font-mono">{entry.action}</code>
      {session ? (
        <Link to="/sessions/$id" params={{ id: session }} className="font-mono text-xs leading-[24px] break-all text-accent underline">
          {session}
        </Link>
      ) : (
        entry.target && <code className="font-mono text-xs break-all">{entry.target}</code>
      )}
      <span className="text-quiet sm:ml-auto">{VIA[entry.via]}</span>
    </li>
  );
}
