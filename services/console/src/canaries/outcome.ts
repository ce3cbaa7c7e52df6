import { LIVE, type Session } from "../api/types";
import { count } from "../ui/format";

/** What the canaries prove, in one sentence. Those that still run prove nothing. */
export function tell(canaries: readonly Session[]): string {
  const over = canaries.filter(({ status, timings }) => !LIVE.has(status) || timings.active_at);
  const joined = over.filter(({ timings }) => timings.active_at).length;
  if (!over.length) return "The first one runs";
  return `${joined} of the newest ${count(over.length, "canary", "canaries")} got their agent`;
}
