import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef } from "react";

import { ApiError } from "../api/client";
import type { Me } from "../api/types";
import { LiveProvider, useConnection } from "../live/live";
import { Icon } from "../ui/icons";
import { BUTTONS, Loading, Trouble } from "../ui/parts";
import { Find } from "./find";
import { LogIn } from "./login";
import { useEntry, useMe } from "./me";
import { PAGES } from "./pages";
import { ThemeButton } from "./theme";

/** The frame of every page. Whoever is not let in sees the form that asks for a key. */
export function Shell() {
  const me = useMe();
  if (me.data) return <Frame me={me.data} />;
  if (me.error instanceof ApiError && (me.error.status === 401 || me.error.status === 403)) return <LogIn />;
  if (me.error) {
    return (
      <main className="mx-auto mt-[12vh] max-w-md space-y-3 px-4">
        <Trouble error={me.error} what="who you are" />
        <button type="button" className={BUTTONS.plain} onClick={() => void me.refetch()}>
          Try again
        </button>
      </main>
    );
  }
  return <Loading what="Rollcall" />;
}

function Frame({ me }: { me: Me }) {
  return (
    // Another user gets another stream.
    <LiveProvider key={`${me.key_id} ${me.project}`}>
      <Screen me={me} />
    </LiveProvider>
  );
}

function Screen({ me }: { me: Me }) {
  const { logOut } = useEntry();
  const connection = useConnection();
  const nav = useCurrentInView();
  return (
    <div className="flex h-dvh flex-col">
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-30 focus:bg-card focus:p-2">
        Skip to the page
      </a>
      <header className="shrink-0 border-b border-line bg-card">
        <div className="flex flex-wrap items-center gap-x-3 px-3 lg:h-11 lg:flex-nowrap">
          <nav ref={nav} aria-label="Pages" className="order-last flex min-w-0 basis-full items-center gap-1 overflow-x-auto py-1 lg:order-none lg:basis-auto lg:py-0">
            {PAGES.filter(({ scope }) => me.scopes.includes(scope)).map(({ to, name }) => (
              <Link
                key={to}
                to={to}
                activeOptions={{ exact: true, includeSearch: false }}
                className="rounded-md px-2 py-1 text-sm font-medium whitespace-nowrap text-quiet hover:text-text aria-[current=page]:bg-accent-soft aria-[current=page]:text-accent"
              >
                {name}
              </Link>
            ))}
          </nav>
          <div className="flex h-11 min-w-0 flex-1 items-center justify-end gap-1">
            <Find />
            <ThemeButton />
            {me.logged_in && (
              <button type="button" onClick={() => void logOut()} aria-label="Log out" title={`Log out (${me.role ?? "no role"}, project ${me.project}, key ${me.key_id})`} className="inline-flex size-7 items-center justify-center rounded text-quiet hover:bg-raised hover:text-text">
                <Icon name="out" />
              </button>
            )}
          </div>
        </div>
        {me.auth === "off" && (
          <p className="border-t border-line bg-warn-soft px-3 py-0.5 text-xs text-warn">
            Authentication is off: whoever reaches this address may do everything. API_AUTH=keys turns it on.
          </p>
        )}
      </header>
      <main id="main" data-stream={connection} className="flex min-h-0 flex-1 flex-col overflow-y-auto">
        <Outlet />
      </main>
    </div>
  );
}

/** On a narrow screen the line of pages scrolls. The link of the page that one sees is in its middle. */
function useCurrentInView() {
  const nav = useRef<HTMLElement>(null);
  const path = useRouterState({ select: ({ resolvedLocation }) => resolvedLocation?.pathname });
  useEffect(() => {
    const current = nav.current?.querySelector<HTMLElement>("[aria-current=page]");
    if (nav.current && current) nav.current.scrollLeft = current.offsetLeft - nav.current.offsetLeft - (nav.current.clientWidth - current.offsetWidth) / 2;
  }, [path]);
  return nav;
}
