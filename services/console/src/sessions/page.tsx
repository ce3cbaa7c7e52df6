import { Link, getRouteApi } from "@tanstack/react-router";
import { useCallback } from "react";

import { useNow } from "../ui/clock";
import { length } from "../ui/format";
import { BUTTONS, Command, Empty, Loading, Trouble } from "../ui/parts";
import { useTitle } from "../ui/title";
import { FilterBar } from "./bar";
import { useSessions } from "./data";
import { isFiltered } from "./filters";
import { SessionTable } from "./table";

const route = getRouteApi("/");

export function SessionsPage() {
  useTitle("Sessions");
  const filters = route.useSearch();
  const { rows, newer, more, pages, stale, freshAt } = useSessions(filters);
  const { fetchNextPage, hasNextPage, isFetchingNextPage } = pages;
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [fetchNextPage, hasNextPage, isFetchingNextPage]);

  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <h1 className="sr-only">Sessions</h1>
      <FilterBar filters={filters} />
      {stale && <Stale since={freshAt} />}
      {newer > 0 && rows.length > 0 && (
        <button type="button" className={`${BUTTONS.chosen} mx-3 mb-2`} onClick={() => void pages.refetch()}>
          {more ? `More than ${newer}` : newer} new
        </button>
      )}
      {pages.isPending && <Loading what="the sessions" />}
      {pages.error && (
        <div className="px-3">
          <Trouble error={pages.error} what="the sessions" />
        </div>
      )}
      {pages.isSuccess && rows.length === 0 && newer === 0 && <Nothing filtered={isFiltered(filters)} />}
      {rows.length === 0 && newer > 0 && <FirstOnes show={() => void pages.refetch()} newer={newer} />}
      {rows.length > 0 && <SessionTable rows={rows} onEnd={onEnd} />}
    </div>
  );
}

function Stale({ since }: { since: number }) {
  const now = useNow(1000);
  return (
    <p role="status" className="mx-3 mb-2 rounded-md bg-warn-soft px-3 py-1.5 text-warn">
      The API does not answer. {since ? `This list is ${length(now - since)} old.` : ""}
    </p>
  );
}

function FirstOnes({ newer, show }: { newer: number; show: () => void }) {
  return (
    <Empty title="Here they come">
      <p className="text-center">
        <button type="button" className={BUTTONS.chosen} onClick={show}>
          {newer} new
        </button>
      </p>
    </Empty>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty title="No session matches">
        <p className="text-center">Every filter has to match. Clear some of them.</p>
      </Empty>
    );
  }
  const origin = window.location.origin;
  return (
    <Empty title="No session yet">
      <p>
        A session is one call: a caller, a room, and the agent that Rollcall sees join.{" "}
        <Link to="/talk" className="text-accent underline">
          Talk to the agent from here
        </Link>
        , or let a synthetic caller speak:
      </p>
      <Command>{'rollcall call "What are your opening hours?"'}</Command>
      <p>Or start a session as your backend would:</p>
      <Command>{`curl -X POST ${origin}/v1/sessions -H 'Content-Type: application/json' -d '{}'`}</Command>
      <p>No agent comes? A worker has to run:</p>
      <Command>rollcall workers</Command>
    </Empty>
  );
}
