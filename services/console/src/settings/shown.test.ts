import { expect, test } from "vitest";

import type { Config } from "../api/types";
import { traceLink } from "./data";
import { groups } from "./shown";

const config = {
  auth: "keys",
  agents: { default_name: "shop", allowed_names: [], allowed_deployments: ["blue", "green"] },
  models: { allowed_models: ["*"], allowed_voices: [] },
  guarantee: { max_attempts: 3, join_budget_s: 15 },
  limits: { requests_per_minute_key: 0, requests_per_minute_project: 3000 },
  retention: { transcripts_days: 0, sessions_days: 90, reservations_days: 1 },
  features: { canary_interval_s: 0, live_captions: true },
  links: { livekit_url: "ws://127.0.0.1:7880" },
} as unknown as Config;

test("nothing, no limit and never have words", () => {
  const value = Object.fromEntries(groups({ ...config, limits: filled(config.limits) }).flatMap(({ rows }) => rows.map(({ setting, value }) => [setting, value])));
  expect(value).toMatchObject({
    ALLOWED_AGENT_NAMES: "any",
    ALLOWED_DEPLOYMENTS: "blue, green",
    REQUESTS_PER_MINUTE_KEY: "no limit",
    REQUESTS_PER_MINUTE_PROJECT: "3,000",
    TRANSCRIPT_RETENTION_DAYS: "never",
    SESSION_RETENTION_DAYS: "after 90 days",
    RESERVATION_RETENTION_DAYS: "after 1 day",
    CANARY_INTERVAL_S: "off",
    LIVE_CAPTIONS: "on",
  });
});

test("a trace has an address if one is set", () => {
  expect(traceLink("https://tempo/{trace_id}", "ab12")).toBe("https://tempo/ab12");
  expect(traceLink(null, "ab12")).toBeNull();
  expect(traceLink("https://tempo/{trace_id}", null)).toBeNull();
});

function filled(limits: Config["limits"]): Config["limits"] {
  return { ...limits, requests_per_minute_visitor: 1, max_sessions_key: 1, max_sessions_project: 1, max_reservations_visitor: 1, max_followers: 1, max_followers_project: 0, max_body_bytes: 1, max_metadata_bytes_visitor: 1 };
}
