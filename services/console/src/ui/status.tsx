import { clsx } from "clsx";

import type { Status } from "../api/types";
import { Icon, type IconName } from "./icons";

type Look = { word: string; icon: IconName; tone: "good" | "warn" | "bad" | "quiet" };

// Each status by word, drawing and colour, since not everybody sees colours.
export const LOOKS: Record<Status, Look> = {
  reserved: { word: "reserved", icon: "minus", tone: "quiet" },
  requested: { word: "requested", icon: "clock", tone: "warn" },
  dispatching: { word: "dispatching", icon: "clock", tone: "warn" },
  dispatched: { word: "dispatched", icon: "clock", tone: "warn" },
  active: { word: "active", icon: "dot", tone: "good" },
  ended: { word: "ended", icon: "check", tone: "quiet" },
  failed: { word: "failed", icon: "cross", tone: "bad" },
  cancelled: { word: "cancelled", icon: "stop", tone: "quiet" },
  expired: { word: "expired", icon: "minus", tone: "quiet" },
};

export const TONES = {
  good: "bg-good-soft text-good",
  warn: "bg-warn-soft text-warn",
  bad: "bg-bad-soft text-bad",
  quiet: "bg-raised text-quiet",
};

export function Pill({ tone, icon, children }: { tone: keyof typeof TONES; icon?: IconName; children: React.ReactNode }) {
  return (
    <span className={clsx("inline-flex items-center gap-1 rounded-full px-2 py-0.5 text-xs font-medium whitespace-nowrap", TONES[tone])}>
      {icon && <Icon name={icon} className="size-3" />}
      {children}
    </span>
  );
}

export function StatusPill({ status }: { status: Status }) {
  const { word, icon, tone } = LOOKS[status];
  return (
    <Pill tone={tone} icon={icon}>
      {word}
    </Pill>
  );
}
