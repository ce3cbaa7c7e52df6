import { LIVE, type Stats, type Status } from "../api/types";

/** The share of sessions with an agent, in percent; a share that is not whole never shows as 100 %. */
export function joinShare(stats: Pick<Stats, "join_ratio">): string {
  if (stats.join_ratio === null) return "–";
  const percent = 100 * stats.join_ratio;
  if (percent === 100) return "100 %";
  return `${Math.min(percent, 99.9).toFixed(percent > 99 ? 1 : 0)} %`;
}

/** How many sessions have their agent now, and how many still wait for it. Reservations wait for their caller. */
export function liveNow(stats: Pick<Stats, "by_status">): { going: number; waiting: number } {
  let waiting = 0;
  for (const [status, sessions] of Object.entries(stats.by_status)) {
    if (LIVE.has(status as Status) && status !== "active" && status !== "reserved") waiting += sessions;
  }
  return { going: stats.by_status.active ?? 0, waiting };
}
