import { expect, test } from "vitest";

import type { ApiKey } from "../api/types";
import { stateOf } from "./keys";

const NOW = Date.parse("2026-11-23T03:00:00Z");

function key(changes: Partial<ApiKey>): ApiKey {
  return {
    id: "k1",
    name: "shop",
    project: "default",
    kind: "secret",
    scopes: ["admin"],
    origins: [],
    created_at: "2026-11-22T03:00:00Z",
    expires_at: null,
    revoked_at: null,
    last_used_at: null,
    ...changes,
  };
}

test("a key works until it is revoked or expires", () => {
  expect(stateOf(key({}), NOW).word).toBe("works");
  expect(stateOf(key({ expires_at: "2026-11-23T03:00:01Z" }), NOW).word).toBe("works");
  expect(stateOf(key({ expires_at: "2026-11-23T03:00:00Z" }), NOW).word).toBe("expired");
  expect(stateOf(key({ revoked_at: "2026-11-22T04:00:00Z", expires_at: "2026-11-22T05:00:00Z" }), NOW)).toEqual({
    tone: "quiet",
    word: "revoked",
    at: "2026-11-22T04:00:00Z",
  });
});
