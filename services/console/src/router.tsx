import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";

import { NotFound } from "./shell/not-found";
import { Shell } from "./shell/shell";
import { type Last, readFilters } from "./sessions/filters";
import { Loading, Trouble } from "./ui/parts";

// Every page is a file of its own, loaded when it is opened. What a page shows is in its URL.
const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

const sessions = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: readFilters,
  component: lazyRouteComponent(() => import("./sessions/page"), "SessionsPage"),
});

const session = createRoute({
  getParentRoute: () => root,
  path: "/sessions/$id",
  validateSearch: (search: Record<string, unknown>): { view?: "table" } => (search.view === "table" ? { view: "table" } : {}),
  component: lazyRouteComponent(() => import("./session/page"), "SessionPage"),
});

const transcript = createRoute({
  getParentRoute: () => root,
  path: "/sessions/$id/transcript",
  component: lazyRouteComponent(() => import("./transcript/page"), "TranscriptPage"),
});

const now = createRoute({
  getParentRoute: () => root,
  path: "/now",
  component: lazyRouteComponent(() => import("./now/page"), "NowPage"),
});

const causes = createRoute({
  getParentRoute: () => root,
  path: "/causes",
  validateSearch: (search: Record<string, unknown>): { last?: Last } => ({ last: readFilters(search).last }),
  component: lazyRouteComponent(() => import("./causes/page"), "CausesPage"),
});

const fleet = createRoute({
  getParentRoute: () => root,
  path: "/fleet",
  component: lazyRouteComponent(() => import("./fleet/page"), "FleetPage"),
});

export function makeRouter() {
  return createRouter({
    routeTree: root.addChildren([sessions, session, transcript, now, causes, fleet]),
    basepath: "/console",
    defaultPreload: "intent",
    scrollRestoration: true,
    defaultPendingComponent: () => <Loading what="the page" />,
    defaultErrorComponent: ({ error }) => (
      <div className="p-4">
        <Trouble error={error} what="itself" />
      </div>
    ),
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
