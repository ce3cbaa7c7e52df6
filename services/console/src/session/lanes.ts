/** The waterfall of a session as numbers: a lane for each attempt, and a time axis that skips what is long and empty. */
import type { Attempt, Session } from "../api/types";
import { LIVE } from "../api/types";

export type Phase = "queue" | "worker" | "join" | "ready" | "talk";

/** One bar; times in milliseconds since the request. `open` bars still grow. */
export type Bar = { phase: Phase; from: number; to: number; open: boolean };

export type Lane = { number: number; bars: Bar[]; end: number; open: boolean; failed: boolean; cause: Attempt["cause"] };

export const PHASES: Record<Phase, string> = {
  queue: "LiveKit has the dispatch",
  worker: "a worker took the job",
  join: "the agent is in the room",
  ready: "it listens",
  talk: "it has spoken",
};

// The step at which each phase begins.
const BEGINS: [Phase, (attempt: Attempt) => string | null][] = [
  ["queue", (attempt) => attempt.started_at],
  ["worker", (attempt) => attempt.assigned_at],
  ["join", (attempt) => attempt.active_at],
  ["ready", (attempt) => attempt.ready_at],
  ["talk", (attempt) => attempt.first_speech_at],
];

/** Returns the lanes in order. `now` is the end of what is still going on. */
export function lanesOf(session: Session, attempts: readonly Attempt[], now: number): Lane[] {
  const begin = Date.parse(session.timings.requested_at);
  const since = (time: string) => Date.parse(time) - begin;
  const live = LIVE.has(session.status);
  return attempts.map((attempt, index) => {
    const next = attempts[index + 1];
    const over = attempt.left_at ?? attempt.closed_at ?? attempt.rejected_at ?? next?.started_at ?? session.timings.ended_at;
    const open = live && !over;
    const last = Math.max(...BEGINS.map(([, step]) => step(attempt)).filter((time) => time !== null).map(since));
    const end = Math.max(last, open ? now - begin : over ? since(over) : last);
    const steps = BEGINS.flatMap(([phase, step]) => {
      const time = step(attempt);
      return time === null ? [] : [{ phase, from: since(time) }];
    }).sort((a, b) => a.from - b.from);
    const bars = steps.map(({ phase, from }, step) => {
      const to = steps[step + 1]?.from;
      return { phase, from, to: to ?? end, open: open && to === undefined };
    });
    const failed = attempt.cause !== null || (session.status === "failed" && !next);
    return { number: attempt.number, bars, end, open, failed, cause: attempt.cause };
  });
}

export type Gap = { from: number; to: number; at: number };
export type Axis = { place: (ms: number) => number; gaps: Gap[]; ticks: number[]; end: number };

// A longer time in which nothing happens is drawn as if it were so long: a call of an hour must not hide a join.
const LONGEST_EMPTY = 8_000;
const GAP_AS = 1_200;

/** Returns the axis over these moments; `place` maps milliseconds to 0…1. */
export function axisOf(moments: readonly number[], mostTicks = 8): Axis {
  const sorted = [...new Set([0, ...moments.filter((ms) => ms >= 0)])].sort((a, b) => a - b);
  const end = Math.max(sorted.at(-1) ?? 0, 1);
  const pieces: { from: number; to: number; begin: number; width: number }[] = [];
  let drawn = 0;
  for (let index = 1; index < sorted.length; index++) {
    const from = sorted[index - 1] as number;
    const to = sorted[index] as number;
    const width = to - from > LONGEST_EMPTY ? GAP_AS : to - from;
    pieces.push({ from, to, begin: drawn, width });
    drawn += width;
  }
  const total = Math.max(drawn, 1);
  const place = (ms: number): number => {
    const piece = pieces.find(({ to }) => ms <= to);
    if (!piece) return 1;
    return (piece.begin + ((Math.max(ms, piece.from) - piece.from) / (piece.to - piece.from)) * piece.width) / total;
  };
  const gaps = pieces
    .filter(({ from, to, width }) => width < to - from)
    .map(({ from, to, begin, width }) => ({ from, to, at: (begin + width / 2) / total }));
  return { place, gaps, ticks: ticksOf(end, place, gaps, mostTicks), end };
}

function ticksOf(end: number, place: Axis["place"], gaps: readonly Gap[], most: number): number[] {
  // As many as fit, at round numbers, and none in what is skipped.
  const shown = gaps.reduce((sum, gap) => sum - (gap.to - gap.from), end);
  const step = [50, 100, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000].find((each) => shown / each <= most) ?? 300_000;
  const ticks: number[] = [];
  for (let ms = 0; ms <= end && ticks.length < 40; ms += step) {
    const gap = gaps.find(({ from, to }) => ms > from && ms < to);
    if (gap) {
      ms = Math.ceil(gap.to / step) * step - step;
      continue;
    }
    const last = ticks.at(-1);
    if (last === undefined || place(ms) - place(last) > 0.5 / most) ticks.push(ms);
  }
  return ticks;
}
