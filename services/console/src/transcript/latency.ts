import type { Turn } from "../api/types";

export type Part = { name: string; ms: number; colour: string };

const NAMES: [keyof Turn["latencies"], string, string][] = [
  ["transcription_delay", "STT", "var(--bar-worker)"],
  ["end_of_turn_delay", "end of turn", "var(--bar-queue)"],
  ["llm_node_ttft", "LLM", "var(--bar-join)"],
  ["tts_node_ttfb", "TTS", "var(--bar-ready)"],
];
const ALL = "until heard";

/** What a turn waited for, in order, and at its end what all of it took. */
export function partsOf(latencies: Turn["latencies"]): Part[] {
  const parts = NAMES.flatMap(([key, name, colour]) => {
    const seconds = latencies[key];
    return seconds == null ? [] : [{ name, ms: seconds * 1000, colour }];
  });
  const all = latencies.e2e_latency;
  return all == null ? parts : [...parts, { name: ALL, ms: all * 1000, colour: "var(--bar-talk)" }];
}

/** The parts one after another, in percent of all of it; what they don't explain is the rest of the bar. */
export function place(parts: readonly Part[]): { name: string; x: number; width: number; colour: string }[] {
  const steps = parts.filter(({ name }) => name !== ALL);
  const sum = steps.reduce((total, { ms }) => total + ms, 0);
  const whole = Math.max(sum, parts.find(({ name }) => name === ALL)?.ms ?? 0, 1);
  let x = 0;
  const placed = steps.map(({ name, ms, colour }) => {
    const width = (100 * ms) / whole;
    x += width;
    return { name, x: x - width, width, colour };
  });
  return x < 99.9 ? [...placed, { name: "rest", x, width: 100 - x, colour: "var(--bar-talk)" }] : placed;
}
