import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, getRouteApi, useNavigate } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { SearchHit } from "../api/types";
import { LASTS } from "../sessions/filters";
import { speaker } from "../session/timeline";
import { useNow } from "../ui/clock";
import { FIELD, Labelled } from "../ui/form";
import { when } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { LastSelect } from "../ui/last";
import { More } from "../ui/more";
import { BUTTONS, Card, Empty, Loading, Trouble } from "../ui/parts";
import { ROLES, type Sought } from "./sought";

const route = getRouteApi("/search");

/** Finds what was said, in every conversation. A hit opens its turn. */
export function SearchPage() {
  const sought = route.useSearch();
  const hits = useInfiniteQuery({
    queryKey: ["search", sought],
    queryFn: ({ pageParam }) => read(sought, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    enabled: Boolean(sought.q),
    refetchOnWindowFocus: false,
  });
  const found = hits.data?.pages.flatMap(({ results }) => results) ?? [];
  return (
    <PageBody>
      <PageHead title="Search" />
      <SearchForm key={sought.q ?? ""} sought={sought} />
      {!sought.q && (
        <Empty title="What was said, in every conversation">
          <p className="text-center">
            Words that all have to occur; <code>&quot;a phrase&quot;</code>; <code>-without</code>; <code>this OR that</code>.
          </p>
        </Empty>
      )}
      {sought.q && hits.isPending && <Loading what="what was found" />}
      {hits.error && <Trouble error={hits.error} what="what was said" />}
      {hits.isSuccess && found.length === 0 && (
        <Empty title="Nobody has said that">
          <p className="text-center">No stored turn matches, with these filters. Erased conversations are not found.</p>
        </Empty>
      )}
      {found.length > 0 && (
        <Card>
          <ol className="divide-y divide-line">
            {found.map((hit) => (
              <Hit key={`${hit.session_id} ${hit.seq}`} hit={hit} />
            ))}
          </ol>
        </Card>
      )}
      <More pages={hits} />
    </PageBody>
  );
}

function read({ q = "", role, agent, last, best }: Sought, cursor: string | undefined) {
  const since = last && new Date(Date.now() - LASTS[last] * 1000).toISOString();
  const query = { q, role, agent_name: agent, since, order: best ? ("relevance" as const) : ("newest" as const), limit: 50, cursor };
  return body(api.GET("/v1/transcripts/search", { params: { query } }));
}

/** The words are searched for on Enter; each filter at once. All of it is in the URL. */
function SearchForm({ sought }: { sought: Sought }) {
  const navigate = useNavigate();
  const set = (change: Partial<Sought>) => void navigate({ to: "/search", search: { ...sought, ...change }, replace: true });
  return (
    <form
      role="search"
      aria-label="What was said"
      className="flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const given = (name: string) => String(form.get(name) ?? "").trim() || undefined;
        set({ q: given("q"), agent: given("agent") });
      }}
    >
      <Labelled label="Words" className="min-w-0 grow basis-60">
        <input name="q" type="search" defaultValue={sought.q} autoFocus maxLength={500} className={`${FIELD} w-full`} />
      </Labelled>
      <Labelled label="Agent">
        <input name="agent" type="search" defaultValue={sought.agent} className={`${FIELD} w-32`} />
      </Labelled>
      <Labelled label="Who">
        <select value={sought.role ?? ""} onChange={(event) => set({ role: ROLES.find((role) => role === event.target.value) })} className={FIELD}>
          <option value="">anybody</option>
          {ROLES.map((role) => (
            <option key={role} value={role}>
              {speaker("message", role)}
            </option>
          ))}
        </select>
      </Labelled>
      <Labelled label="First">
        <select value={sought.best ? "best" : ""} onChange={(event) => set({ best: event.target.value ? true : undefined })} className={FIELD}>
          <option value="">the newest</option>
          <option value="best">the best match</option>
        </select>
      </Labelled>
      <LastSelect value={sought.last} any="any time" onChange={(last) => set({ last })} />
      <button type="submit" className={BUTTONS.chosen}>
        Search
      </button>
    </form>
  );
}

function Hit({ hit }: { hit: SearchHit }) {
  const now = useNow(0);
  return (
    <li className="py-2">
      <p className="flex flex-wrap gap-x-3 text-xs text-quiet">
        <b className="text-text">{speaker(hit.kind, hit.role)}</b>
        <span>agent {hit.agent_name}</span>
        <span>{hit.participant_identity}</span>
        <span>{when(hit.created_at, now)}</span>
      </p>
      <Link to="/sessions/$id/transcript" params={{ id: hit.session_id }} search={{ turn: hit.seq }} className="block break-words hover:underline">
        {hit.snippet.map(({ text, hit: matches }, index) =>
          matches ? (
            <mark key={index} className="rounded-sm bg-warn-soft px-0.5 font-semibold text-warn">
              {text}
            </mark>
          ) : (
            <span key={index}>{text}</span>
          ),
        )}
      </Link>
    </li>
  );
}
