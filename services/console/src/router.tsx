import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";

import { readSought as readAudit } from "./audit/sought";
import { readSought as readLetters } from "./dead-letters/sought";
import { NotFound } from "./shell/not-found";
import { Shell } from "./shell/shell";
import { readSought } from "./search/sought";
import { type Last, readFilters } from "./sessions/filters";
import { Loading, Trouble } from "./ui/parts";
import { readChosen } from "./webhooks/chosen";

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
  validateSearch: (search: Record<string, unknown>): { turn?: number } => (typeof search.turn === "number" ? { turn: search.turn } : {}),
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

const search = createRoute({
  getParentRoute: () => root,
  path: "/search",
  validateSearch: readSought,
  component: lazyRouteComponent(() => import("./search/page"), "SearchPage"),
});

const webhooks = createRoute({
  getParentRoute: () => root,
  path: "/webhooks",
  validateSearch: readChosen,
  component: lazyRouteComponent(() => import("./webhooks/page"), "WebhooksPage"),
});

const keys = createRoute({
  getParentRoute: () => root,
  path: "/keys",
  validateSearch: (search: Record<string, unknown>): { over?: true } => (search.over === true ? { over: true } : {}),
  component: lazyRouteComponent(() => import("./keys/page"), "KeysPage"),
});

const deadLetters = createRoute({
  getParentRoute: () => root,
  path: "/dead-letters",
  validateSearch: readLetters,
  component: lazyRouteComponent(() => import("./dead-letters/page"), "DeadLettersPage"),
});

const line = createRoute({
  getParentRoute: () => root,
  path: "/line",
  component: lazyRouteComponent(() => import("./line/page"), "LinePage"),
});

const canaries = createRoute({
  getParentRoute: () => root,
  path: "/canaries",
  component: lazyRouteComponent(() => import("./canaries/page"), "CanariesPage"),
});

const talk = createRoute({
  getParentRoute: () => root,
  path: "/talk",
  component: lazyRouteComponent(() => import("./talk/page"), "TalkPage"),
});

const audit = createRoute({
  getParentRoute: () => root,
  path: "/audit",
  validateSearch: readAudit,
  component: lazyRouteComponent(() => import("./audit/page"), "AuditPage"),
});

const settings = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  component: lazyRouteComponent(() => import("./settings/page"), "SettingsPage"),
});

export function makeRouter() {
  return createRouter({
    routeTree: root.addChildren([sessions, session, transcript, now, causes, fleet, search, line, talk, canaries, webhooks, deadLetters, keys, audit, settings]),
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
