import { expect, test } from "vitest";

import type { Endpoint } from "../api/types";
import { readChosen, stateOf } from "./chosen";

const NOW = Date.parse("2026-11-23T03:00:00Z");

function endpoint(changes: Partial<Endpoint>): Endpoint {
  return {
    id: "one",
    url: "https://hooks.example.com/",
    description: null,
    events: ["*"],
    min_severity: "info",
    enabled: true,
    disabled_reason: null,
    disabled_at: null,
    failing_since: null,
    paused_until: null,
    previous_secret_until: null,
    created_at: "2026-11-22T03:00:00Z",
    updated_at: "2026-11-22T03:00:00Z",
    ...changes,
  };
}

test("an endpoint that is disabled is nothing else", () => {
  const disabled = { enabled: false, disabled_at: "2026-11-23T02:00:00Z", failing_since: "2026-11-23T01:00:00Z" };
  expect(stateOf(endpoint(disabled), NOW)).toEqual({ tone: "bad", word: "disabled", since: "2026-11-23T02:00:00Z" });
});

test("an endpoint fails since its first failure", () => {
  const since = "2026-11-23T01:00:00Z";
  expect(stateOf(endpoint({ failing_since: since }), NOW)).toEqual({ tone: "bad", word: "failing", since });
});

test("a pause that is over is none", () => {
  expect(stateOf(endpoint({ paused_until: "2026-11-23T03:00:01Z" }), NOW).word).toBe("paused");
  expect(stateOf(endpoint({ paused_until: "2026-11-23T02:59:59Z" }), NOW).word).toBe("enabled");
});

test("what the URL chooses", () => {
  expect(readChosen({ endpoint: "one", status: "dead" })).toEqual({ endpoint: "one", status: "dead" });
  expect(readChosen({ endpoint: 7, status: "lost" })).toEqual({});
});
