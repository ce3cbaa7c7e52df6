import { expect, test } from "vitest";

import { partsOf, place } from "./latency";

const NONE = { transcription_delay: null, end_of_turn_delay: null, llm_node_ttft: null, tts_node_ttfb: null, e2e_latency: null };

test("a bar fills its width, and what is not explained is its rest", () => {
  const placed = place(partsOf({ ...NONE, llm_node_ttft: 0.4, tts_node_ttfb: 0.2, e2e_latency: 1 }));
  expect(placed.map(({ name, x, width }) => [name, Math.round(x), Math.round(width)])).toEqual([["LLM", 0, 40], ["TTS", 40, 20], ["rest", 60, 40]]);
});

test("parts that are longer than the whole do not run out of the bar", () => {
  const placed = place(partsOf({ ...NONE, llm_node_ttft: 3, tts_node_ttfb: 1, e2e_latency: 2 }));
  expect(placed.reduce((sum, { width }) => sum + width, 0)).toBeCloseTo(100);
});

test("a turn without latencies has no bar", () => {
  expect(partsOf(NONE)).toEqual([]);
});
