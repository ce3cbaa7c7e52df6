import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { api, body } from "../api/client";
import { useAgainAfter } from "../live/live";
import { type Filters, asQuery } from "./filters";
import { shown } from "./news";

const PAGE = 100;
const AGAIN_AFTER_MS = 3_000;

async function read(filters: Filters, cursor?: string) {
  const query = { ...asQuery(filters, Date.now()), limit: PAGE, cursor };
  return body(api.GET("/v1/sessions", { params: { query } }));
}

/** The sessions that match, page by page; the newest page is read again when something happens. */
export function useSessions(filters: Filters) {
  const pages = useInfiniteQuery({
    queryKey: ["sessions", filters],
    queryFn: ({ pageParam }) => read(filters, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
    refetchOnWindowFocus: false,
    staleTime: Infinity,
  });
  const fresh = useQuery({
    queryKey: ["sessions-newest", filters],
    queryFn: () => read(filters),
    refetchInterval: useAgainAfter(AGAIN_AFTER_MS),
    enabled: pages.isSuccess && !pages.isPlaceholderData,
  });
  const list = shown(pages.data?.pages.map((page) => page.sessions) ?? [], fresh.data?.sessions ?? []);
  return { ...list, pages, more: fresh.data?.next_cursor != null && list.newer >= PAGE, stale: fresh.isError, freshAt: fresh.dataUpdatedAt };
}
