import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, getRouteApi, useNavigate } from "@tanstack/react-router";

import { api, body } from "../api/client";
import type { DeadLetter } from "../api/types";
import { useNow } from "../ui/clock";
import { Confirm } from "../ui/confirm";
import { FIELD, Labelled, Refusal } from "../ui/form";
import { ago, count, when } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { More } from "../ui/more";
import { BUTTONS, Card, Empty, Loading, Trouble } from "../ui/parts";
import { ORIGINS, type Sought, readable } from "./sought";

const route = getRouteApi("/dead-letters");

/** Entries of Redis' streams that could not be handled: why, and what becomes of them. */
export function DeadLettersPage() {
  const sought = route.useSearch();
  const { stream, reason } = sought;
  const letters = useInfiniteQuery({
    queryKey: ["dead-letters", stream, reason],
    queryFn: ({ pageParam }) => body(api.GET("/v1/dead-letters", { params: { query: { stream, reason, limit: 50, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: 5_000,
  });
  const found = letters.data?.pages.flatMap((page) => page.dead_letters) ?? [];
  return (
    <PageBody>
      <PageHead title="Dead letters" />
      <Filters sought={sought} />
      {letters.isPending && <Loading what="the dead letters" />}
      {letters.error && <Trouble error={letters.error} what="the dead letters" />}
      {letters.isSuccess && found.length === 0 && !letters.hasNextPage && (
        <Empty title={stream || reason ? "No dead letter matches" : "No dead letters"}>
          <p>A turn or a report of an agent that Rollcall can&apos;t handle comes here with the reason, so that the others go on.</p>
        </Empty>
      )}
      {found.length > 0 && <ReplayAll sought={sought} />}
      {found.length > 0 && (
        <Card>
          <ul className="divide-y divide-line">
            {found.map((letter) => (
              <LetterRow key={letter.id} letter={letter} open={letter.id === sought.letter} sought={sought} />
            ))}
          </ul>
        </Card>
      )}
      <More pages={letters} />
    </PageBody>
  );
}

function Filters({ sought }: { sought: Sought }) {
  const navigate = useNavigate();
  const set = (change: Partial<Sought>) => void navigate({ to: "/dead-letters", search: { ...sought, letter: undefined, ...change }, replace: true });
  return (
    <form
      aria-label="Filters"
      className="flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        set({ reason: String(new FormData(event.currentTarget).get("reason") ?? "").trim() || undefined });
      }}
    >
      <Labelled label="Stream">
        <select value={sought.stream ?? ""} onChange={(event) => set({ stream: ORIGINS.find((origin) => origin === event.target.value) })} className={FIELD}>
          <option value="">every stream</option>
          {ORIGINS.map((origin) => (
            <option key={origin}>{origin}</option>
          ))}
        </select>
      </Labelled>
      <Labelled label="Reason">
        <input key={sought.reason ?? ""} name="reason" type="search" defaultValue={sought.reason} placeholder="malformed" className={`${FIELD} w-40`} />
      </Labelled>
      <button type="submit" className={BUTTONS.plain}>
        Filter
      </button>
    </form>
  );
}

/** Puts back all that match the filters, also those that are not shown yet. */
function ReplayAll({ sought: { stream, reason } }: { sought: Sought }) {
  const queries = useQueryClient();
  const replay = useMutation({
    mutationFn: () => body(api.POST("/v1/dead-letter-replays", { body: { stream, reason, dry_run: false } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["dead-letters"] }),
  });
  return (
    <div className="flex flex-wrap items-center gap-2">
      <Confirm label={stream || reason ? "Put all that match back" : "Put all back"} yes="put all back" busy={replay.isPending} onYes={() => replay.mutate()} />
      {replay.data && <span role="status">{count(replay.data.put_back, "letter is", "letters are")} on the way again.</span>}
      <Refusal error={replay.error} />
    </div>
  );
}

function LetterRow({ letter, open, sought }: { letter: DeadLetter; open: boolean; sought: Sought }) {
  const now = useNow(10_000);
  const queries = useQueryClient();
  const params = { params: { path: { letter_id: letter.id } } };
  const onSettled = () => queries.invalidateQueries({ queryKey: ["dead-letters"] });
  const replay = useMutation({ mutationFn: () => body(api.POST("/v1/dead-letters/{letter_id}/replay", params)), onSettled });
  const remove = useMutation({ mutationFn: () => body(api.DELETE("/v1/dead-letters/{letter_id}", params)), onSettled });
  return (
    <li className="space-y-1 py-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <Link to="/dead-letters" search={{ ...sought, letter: open ? undefined : letter.id }} replace aria-expanded={open} className="font-mono leading-[24px] text-accent underline">
          {letter.id}
        </Link>
        <code className="font-mono text-bad">{letter.reason}</code>
        <span className="text-quiet">
          {letter.stream}, <time dateTime={letter.set_aside_at} title={when(letter.set_aside_at, now)}>{ago(letter.set_aside_at, now)}</time>
        </span>
        {letter.session_ids.map((id) => (
          <Link key={id} to="/sessions/$id" params={{ id }} className="font-mono text-xs leading-[24px] text-accent underline">
            {id.slice(-12)}
          </Link>
        ))}
        <span className="flex flex-wrap items-center gap-2 sm:ml-auto">
          <Refusal error={replay.error ?? remove.error} />
          {letter.can_go_back && (
            <button type="button" className={BUTTONS.plain} disabled={replay.isPending} onClick={() => replay.mutate()}>
              Put back<span className="sr-only"> {letter.id}</span>
            </button>
          )}
          <Confirm label="Delete" yes="delete it for good" of={letter.id} busy={remove.isPending} onYes={() => remove.mutate()} />
        </span>
      </div>
      {letter.detail && <p className="break-words">{letter.detail}</p>}
      {!letter.can_go_back && <p className="text-quiet">It has nothing that could be put back.</p>}
      {open && <Content id={letter.id} />}
    </li>
  );
}

function Content({ id }: { id: string }) {
  const letter = useQuery({ queryKey: ["dead-letter", id], queryFn: () => body(api.GET("/v1/dead-letters/{letter_id}", { params: { path: { letter_id: id } } })), gcTime: 0 });
  if (letter.isPending) return <Loading what="the letter" />;
  if (letter.error) return <Trouble error={letter.error} what="the letter" />;
  return (
    <pre tabIndex={0} aria-label={`Content of ${id}`} role="region" className="max-h-96 overflow-auto rounded-md bg-raised p-2 font-mono text-xs break-words whitespace-pre-wrap">
      {letter.data.event ? readable(letter.data.event) : "Its content is gone."}
    </pre>
  );
}
