import type { Attempt, Session } from "../api/types";
import { LIVE } from "../api/types";
import { useNow } from "../ui/clock";
import { between, length } from "../ui/format";
import { useWidth } from "../ui/width";
import { words } from "./causes";
import { type Lane, PHASES, type Phase, axisOf, lanesOf } from "./lanes";

const USUAL_WIDTH = 960;
const LEFT = 62;
const RIGHT = 24;
const GAP = 58;
const LANE = 26;
const BAR = 14;
const TOP = 18;
// The deadline's name has a row of its own, so that it lies on no bar.
const FOOT = 14;

const PHASE_NAMES = Object.keys(PHASES) as Phase[];

/** The attempts as lanes over the time since the request. The table says the same in words. */
export function Waterfall({ session }: { session: Session }) {
  const live = LIVE.has(session.status);
  const now = useNow(live ? 200 : 0);
  const [figure, width] = useWidth<HTMLElement>(USUAL_WIDTH);
  const attempts = session.attempts ?? [];
  if (!attempts.length) return <p className="text-quiet">No attempt has begun{live ? " yet" : ""}.</p>;
  const begin = Date.parse(session.timings.requested_at);
  const lanes = lanesOf(session, attempts, now);
  const deadline = Date.parse(session.deadline_at) - begin;
  // The deadline matters as long as no agent has come.
  const showDeadline = !session.timings.active_at && (live || session.status === "failed");
  const moments = lanes.flatMap(({ bars, end }) => [...bars.map(({ from }) => from), end]);
  const axis = axisOf(showDeadline ? [...moments, deadline] : moments, Math.max(3, Math.floor(width / 110)));
  const x = (ms: number) => LEFT + axis.place(ms) * (width - LEFT - RIGHT);
  const bottom = TOP + lanes.length * LANE;
  const height = bottom + (showDeadline ? FOOT : 0);
  return (
    <figure ref={figure}>
      <svg viewBox={`0 0 ${width} ${height}`} className="w-full" role="img" aria-label={summary(lanes, attempts, begin)} data-lanes={lanes.length}>
        {axis.ticks.map((ms) => (
          <g key={ms}>
            <line x1={x(ms)} x2={x(ms)} y1={TOP - 3} y2={bottom} stroke="var(--line)" />
            <text x={x(ms)} y={TOP - 7} textAnchor="middle" className="fill-quiet text-[11px]">
              {ms ? length(ms) : "0"}
            </text>
          </g>
        ))}
        {lanes.map((lane, index) => (
          <LaneBars key={lane.number} lane={lane} y={TOP + index * LANE} x={x} />
        ))}
        {axis.gaps.map(({ from, to, at }) => (
          <g key={from}>
            <rect x={LEFT + at * (width - LEFT - RIGHT) - GAP / 2} y={TOP} width={GAP} height={bottom - TOP} fill="var(--card)" />
            <text x={LEFT + at * (width - LEFT - RIGHT)} y={TOP + LANE / 2 + 3} textAnchor="middle" className="fill-quiet text-[10px]">
              {length(to - from)}
            </text>
          </g>
        ))}
        {showDeadline && (
          <g>
            <line x1={x(deadline)} x2={x(deadline)} y1={TOP - 3} y2={height} stroke="var(--bad)" strokeDasharray="4 3" strokeWidth="1.5" />
            <text x={Math.min(x(deadline) + 4, width)} y={height - 3} textAnchor={x(deadline) > width / 2 ? "end" : "start"} className="fill-bad text-[11px]">
              deadline
            </text>
          </g>
        )}
      </svg>
      <figcaption className="mt-1 flex flex-wrap gap-x-3 gap-y-0.5 text-xs text-quiet">
        {PHASE_NAMES.map((phase) => (
          <span key={phase} className="inline-flex items-center gap-1">
            <span className="inline-block size-2.5 rounded-sm" style={{ background: `var(--bar-${phase})` }} />
            {PHASES[phase]}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function LaneBars({ lane, y, x }: { lane: Lane; y: number; x: (ms: number) => number }) {
  const top = y + (LANE - BAR) / 2;
  const end = x(lane.end);
  return (
    <g>
      <text x={0} y={y + LANE / 2 + 4} className="fill-text text-[12px]">
        Attempt {lane.number}
      </text>
      {lane.bars.map(({ phase, from, to, open }) => (
        <rect key={phase} x={x(from)} y={top} width={Math.max(x(to) - x(from), 2)} height={BAR} rx={2} fill={`var(--bar-${phase})`} className={open ? "animate-pulse" : undefined}>
          <title>{`${PHASES[phase]}: from ${length(from)} to ${length(to)}`}</title>
        </rect>
      ))}
      {lane.failed && (
        <g stroke="var(--bad)" strokeWidth="2.5" strokeLinecap="round">
          <path d={`M${end + 4} ${top + 3}l8 8M${end + 12} ${top + 3}l-8 8`} />
        </g>
      )}
    </g>
  );
}

function summary(lanes: readonly Lane[], attempts: readonly Attempt[], begin: number): string {
  const each = lanes.map(({ number, cause, open, bars }, index) => {
    const started = attempts[index]?.started_at;
    const at = started ? `began ${length(Date.parse(started) - begin)} after the request` : "";
    const last = bars.at(-1);
    const outcome = cause ? `failed: ${words(cause)}` : open ? "goes on" : last ? `came as far as: ${PHASES[last.phase]}` : "";
    return `Attempt ${number} ${at}, ${outcome}`;
  });
  return `Waterfall. ${each.join(". ")}.`;
}

const STEPS: [string, (attempt: Attempt) => string | null][] = [
  ["Began", ({ started_at }) => started_at],
  ["LiveKit took the dispatch", ({ accepted_at }) => accepted_at],
  ["A worker took the job", ({ assigned_at }) => assigned_at],
  ["A worker refused", ({ rejected_at }) => rejected_at],
  ["Its code ran", ({ entrypoint_at }) => entrypoint_at],
  ["Connected", ({ connected_at }) => connected_at],
  ["Agent in the room", ({ active_at }) => active_at],
  ["Ready", ({ ready_at }) => ready_at],
  ["First speech", ({ first_speech_at }) => first_speech_at],
  ["Left", ({ left_at, closed_at }) => left_at ?? closed_at],
];

/** The waterfall as a table: each step of each attempt, since the request. */
export function StepTable({ session }: { session: Session }) {
  const attempts = session.attempts ?? [];
  const rows = STEPS.filter(([, step]) => attempts.some((attempt) => step(attempt)));
  return (
    <div className="overflow-x-auto">
      <table className="text-left text-xs">
        <thead>
          <tr>
            <th scope="col" className="py-0.5 pr-4 font-semibold text-quiet">
              Since the request
            </th>
            {attempts.map(({ number }) => (
              <th key={number} scope="col" className="py-0.5 pr-4 text-right font-semibold text-quiet">
                Attempt {number}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, step]) => (
            <tr key={name}>
              <th scope="row" className="pr-4 font-normal">
                {name}
              </th>
              {attempts.map((attempt) => {
                const ms = between(session.timings.requested_at, step(attempt));
                return (
                  <td key={attempt.number} className="pr-4 text-right">
                    {ms === null ? "–" : length(ms)}
                  </td>
                );
              })}
            </tr>
          ))}
          <tr>
            <th scope="row" className="pr-4 font-normal">
              Outcome
            </th>
            {attempts.map(({ number, outcome, cause }) => (
              <td key={number} className="pr-4 text-right">
                {cause ? words(cause) : (outcome ?? "–")}
              </td>
            ))}
          </tr>
        </tbody>
      </table>
    </div>
  );
}
