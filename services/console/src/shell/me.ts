import { useQuery, useQueryClient } from "@tanstack/react-query";

import { api, body } from "../api/client";
import type { Scope } from "../api/types";

/** Who uses the console. A refusal with 401 means: nobody yet. */
export function useMe() {
  return useQuery({ queryKey: ["me"], queryFn: () => body(api.GET("/v1/me")), staleTime: 60_000, retry: false });
}

export function useMay(scope: Scope): boolean {
  return useMe().data?.scopes.includes(scope) ?? false;
}

/** Functions that log in and out. A login forgets everything that an earlier user was shown. */
export function useEntry() {
  const queries = useQueryClient();
  const forget = () => queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
  return {
    logIn: async (key: string) => {
      const me = await body(api.POST("/v1/login", { headers: { Authorization: `Bearer ${key}` } }));
      forget();
      queries.setQueryData(["me"], { ...me, logged_in: true });
    },
    logOut: async () => {
      await body(api.POST("/v1/logout"));
      await queries.resetQueries({ queryKey: ["me"] });
      forget();
    },
  };
}
