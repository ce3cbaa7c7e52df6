import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, getRouteApi } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useEffect, useRef } from "react";

import { api, body } from "../api/client";
import type { Transcript, Turn } from "../api/types";
import { useAgainAfter, useFollow } from "../live/live";
import { speaker } from "../session/timeline";
import { count, length } from "../ui/format";
import { PageBody, PageHead } from "../ui/head";
import { More } from "../ui/more";
import { Card, Empty, Loading, Trouble } from "../ui/parts";
import { type Part, partsOf, place } from "./latency";

const route = getRouteApi("/sessions/$id/transcript");

// The turns that come are read again with their latencies.
const nothing = () => {};

/** What was said, with the time that each answer took, and whether all of it is here. */
export function TranscriptPage() {
  const { id } = route.useParams();
  const { turn: chosen } = route.useSearch();
  const again = useAgainAfter(3_000);
  const pages = useInfiniteQuery({
    queryKey: ["transcript", id],
    queryFn: ({ pageParam }) => body(api.GET("/v1/sessions/{session_id}/transcript", { params: { path: { session_id: id }, query: { format: "json", limit: 500, after_seq: pageParam } } })) as Promise<Transcript>,
    initialPageParam: 0,
    getNextPageParam: (page) => page.next_after_seq ?? undefined,
    refetchInterval: (query) => (query.state.data?.pages[0]?.state === "running" ? again : false),
  });
  const first = pages.data?.pages[0];
  useFollow(first ? id : null, nothing);
  const turns = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const last = turns.at(-1)?.seq ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  useEffect(() => {
    if (chosen !== undefined && last < chosen && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [chosen, last, hasNextPage, isFetchingNextPage, fetchNextPage]);
  return (
    <PageBody>
      <PageHead
        title="Transcript"
        aside={
          <Link to="/sessions/$id" params={{ id }} className="text-accent underline">
            The session
          </Link>
        }
      />
      {pages.isPending && <Loading what="the transcript" />}
      {pages.error && <Trouble error={pages.error} what="the transcript" />}
      {first && <Overview transcript={first} id={id} />}
      {first && turns.length === 0 && (
        <Empty title="Nothing was said">
          <p className="text-center">{first.state === "running" ? "The first turn appears here when it is finished." : "No turn of this session is stored."}</p>
        </Empty>
      )}
      {turns.length > 0 && (
        <Card>
          <ol className="space-y-3">
            {turns.map((turn, index) => (
              <TurnRow key={turn.id} turn={turn} gap={missingBefore(turn, turns[index - 1])} chosen={turn.seq === chosen} />
            ))}
          </ol>
        </Card>
      )}
      <More pages={pages} label="More turns" />
    </PageBody>
  );
}

function missingBefore(turn: Turn, before: Turn | undefined): number {
  return before ? turn.seq - before.seq - 1 : 0;
}

const COMPLETE = { true: "All of it is here.", false: "Turns are missing.", null: "Whether all of it is here is not known yet." };

function Overview({ transcript, id }: { transcript: Transcript; id: string }) {
  const { complete, missing_count: missing, summary, erased_at: erased } = transcript;
  const answer = summary?.latencies.e2e_latency;
  return (
    <Card>
      <p className={clsx("font-medium", complete === false && "text-bad")}>
        {COMPLETE[String(complete) as keyof typeof COMPLETE]} {missing > 0 && `${count(missing, "turn is", "turns are")} missing.`} {erased && "Its text was erased."}
      </p>
      {summary && (
        <p className="text-quiet">
          {count(summary.turns, "turn")}, {count(summary.words, "word")}, {count(summary.interruptions, "interruption")}
          {answer && `; answers are heard after ${length(answer.p50 * 1000)} (median), ${length(answer.p95 * 1000)} (p95)`}.
        </p>
      )}
      <p className="mt-1 flex flex-wrap gap-3">
        {(["txt", "vtt", "csv"] as const).map((format) => (
          <a key={format} href={`/v1/sessions/${encodeURIComponent(id)}/transcript?format=${format}`} className="text-accent underline">
            Export as {format}
          </a>
        ))}
      </p>
    </Card>
  );
}

function TurnRow({ turn, gap, chosen }: { turn: Turn; gap: number; chosen: boolean }) {
  const parts = partsOf(turn.latencies);
  const row = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (chosen) row.current?.scrollIntoView({ block: "center" });
  }, [chosen]);
  return (
    <>
      {gap > 0 && <li className="border-l-2 border-bad pl-3 text-bad">{count(gap, "turn is", "turns are")} missing here.</li>}
      <li
        ref={row}
        id={`turn-${turn.seq}`}
        aria-current={chosen || undefined}
        className={clsx("grid gap-x-3 sm:grid-cols-[6.5rem_minmax(0,1fr)_16rem]", turn.kind !== "message" && "text-quiet", chosen && "-mx-2 rounded-md bg-accent-soft px-2 py-1")}
      >
        <p className="text-xs leading-5 text-quiet">
          <b className="text-text">{speaker(turn.kind, turn.role)}</b> {clockOf(turn.offset_s)}
          {turn.interrupted && <span className="block text-warn">interrupted</span>}
        </p>
        <p className="break-words whitespace-pre-wrap">
          {turn.text}
          {turn.cut_from_bytes && <span className="text-quiet"> … (cut from {turn.cut_from_bytes} bytes)</span>}
        </p>
        {parts.length > 0 && <Latency parts={parts} />}
      </li>
    </>
  );
}

function clockOf(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** What an answer, or the end of a caller's turn, waited for. */
function Latency({ parts }: { parts: Part[] }) {
  const said = parts.map(({ name, ms }) => `${name} ${length(ms)}`).join(", ");
  return (
    <div>
      <svg viewBox="0 0 100 6" preserveAspectRatio="none" className="h-2 w-full" role="img" aria-label={said}>
        {place(parts).map(({ name, x, width, colour }) => (
          <rect key={name} x={x} width={width} y={0} height={6} fill={colour} />
        ))}
      </svg>
      <p aria-hidden="true" className="text-xs text-quiet">
        {said}
      </p>
    </div>
  );
}
