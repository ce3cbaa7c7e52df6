import { useQuery } from "@tanstack/react-query";

import { api, body } from "../api/client";

/** The settings of the API. They change only when it starts anew. */
export function useConfig() {
  return useQuery({ queryKey: ["config"], queryFn: () => body(api.GET("/v1/config")), staleTime: 60_000 });
}

/** The address of a trace; null: none is set. */
export function traceLink(template: string | null | undefined, traceId: string | null | undefined): string | null {
  return template && traceId ? template.replaceAll("{trace_id}", encodeURIComponent(traceId)) : null;
}
