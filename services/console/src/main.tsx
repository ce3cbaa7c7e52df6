import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ApiError } from "./api/client";
import { makeRouter } from "./router";
import "./styles.css";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // A refusal stays one, however often it is asked for.
      retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      staleTime: 2_000,
    },
  },
});

// A login that has ended shows the form again, whichever page noticed it.
queries.getQueryCache().subscribe(({ query, type }) => {
  if (type !== "updated" || query.queryKey[0] === "me") return;
  const { error } = query.state;
  if (error instanceof ApiError && error.status === 401) void queries.invalidateQueries({ queryKey: ["me"] });
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <RouterProvider router={makeRouter()} />
    </QueryClientProvider>
  </StrictMode>,
);
