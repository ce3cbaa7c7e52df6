import { clsx } from "clsx";
import { useEffect, useState } from "react";

import { ApiError } from "../api/client";
import { Icon } from "./icons";

export function Card({ title, aside, className, children }: { title?: string; aside?: React.ReactNode; className?: string; children: React.ReactNode }) {
  return (
    <section className={clsx("min-w-0 rounded-lg border border-line bg-card p-3", className)}>
      {title && (
        <header className="mb-2 flex items-baseline justify-between gap-3">
          <h2 className="text-xs font-semibold tracking-wide text-quiet uppercase">{title}</h2>
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

const BUTTON = "inline-flex items-center justify-center gap-1.5 rounded-md border px-2.5 py-1 text-sm font-medium whitespace-nowrap disabled:opacity-60";

export const BUTTONS = {
  plain: clsx(BUTTON, "border-edge bg-card text-text hover:bg-raised"),
  chosen: clsx(BUTTON, "border-accent bg-accent-soft text-accent"),
  danger: clsx(BUTTON, "border-bad bg-card text-bad hover:bg-bad-soft"),
};

/** Copies a text, and says that it has. */
export function Copy({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      aria-label={copied ? "Copied" : `Copy ${label}`}
      title={copied ? "Copied" : `Copy ${label}`}
      onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
      className="inline-flex size-[24px] shrink-0 items-center justify-center rounded text-quiet hover:bg-raised hover:text-text"
    >
      <Icon name={copied ? "check" : "copy"} className="size-3.5" />
    </button>
  );
}

/** A command to copy. */
export function Command({ children, label = "the command" }: { children: string; label?: string }) {
  return (
    <div className="flex items-start gap-1 rounded-md bg-raised py-1 pr-1 pl-2">
      <code className="min-w-0 flex-1 py-0.5 font-mono text-xs break-words whitespace-pre-wrap">{children}</code>
      <Copy text={children} label={label} />
    </div>
  );
}

export function Empty({ title, heading: Heading = "h2", children }: { title: string; heading?: "h1" | "h2"; children?: React.ReactNode }) {
  return (
    <div className="mx-auto max-w-xl px-4 py-10 text-center">
      <Heading className="text-base font-semibold">{title}</Heading>
      <div className="mt-2 space-y-2 text-left text-quiet">{children}</div>
    </div>
  );
}

/** What went wrong with a question to the API, in its own words. */
export function Trouble({ error, what }: { error: unknown; what: string }) {
  const lacking = error instanceof ApiError && error.code === "scope_missing";
  return (
    <div role={lacking ? undefined : "alert"} className={clsx("rounded-md px-3 py-2", lacking ? "bg-raised text-quiet" : "bg-bad-soft text-bad")}>
      {lacking ? `Your key may not see ${what}. ` : `This page could not load ${what}. `}
      {error instanceof Error ? error.message : ""}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <p role="status" className="px-3 py-6 text-quiet">
      Loading {what} …
    </p>
  );
}
