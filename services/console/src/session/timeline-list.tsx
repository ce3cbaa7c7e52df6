import { clsx } from "clsx";
import { useEffect, useMemo, useRef } from "react";

import type { Session } from "../api/types";
import { clock } from "../ui/format";
import type { Live } from "./data";
import { type Entry, offset, speaker, timelineOf } from "./timeline";

const DOTS: Record<Entry["tone"], string> = {
  quiet: "bg-edge",
  good: "bg-good",
  warn: "bg-warn",
  bad: "bg-bad",
  said: "bg-accent",
};

/** Everything that happened and was said, in order; what is being said just now stands at the end. */
export function TimelineList({ session, live }: { session: Session; live: Live }) {
  const entries = useMemo(() => timelineOf(live.envelopes, session.timings.requested_at), [live.envelopes, session.timings.requested_at]);
  const scroller = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    // Whoever reads further up is left there.
    const box = scroller.current;
    if (box && atEnd.current && session.status === "active") box.scrollTop = box.scrollHeight;
  }, [entries, live.captions, session.status]);
  return (
    <div
      ref={scroller}
      tabIndex={0}
      role="region"
      aria-label="Timeline"
      className="min-h-0 flex-1 overflow-y-auto"
      onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
        atEnd.current = scrollTop + clientHeight > scrollHeight - 24;
      }}
    >
      <ol>
        {entries.map((entry) => (
          <li key={entry.id} className="grid grid-cols-[4.2rem_0.6rem_1fr] items-baseline gap-2 py-0.5 text-[13px]">
            <time dateTime={entry.time} title={clock(entry.time)} className="text-right text-xs whitespace-nowrap text-quiet">
              {offset(entry.offset)}
            </time>
            <span className={clsx("size-2 rounded-full", DOTS[entry.tone])} />
            <p className="min-w-0 break-words">
              <span className={clsx("font-medium", entry.tone === "bad" && "text-bad")}>{entry.what}</span>
              {entry.more && <span className={entry.tone === "said" ? "" : "text-quiet"}> — {entry.more}</span>}
            </p>
          </li>
        ))}
      </ol>
      <div aria-live="polite">
        {live.captions.map(({ segment, who, text }) => (
          <p key={segment} className="pl-[5.9rem] text-[13px] text-quiet italic">
            {speaker("message", who)}: {text} …
          </p>
        ))}
      </div>
    </div>
  );
}
