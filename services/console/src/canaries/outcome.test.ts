import { expect, test } from "vitest";

import type { Session } from "../api/types";
import { tell } from "./outcome";

const canary = (status: Session["status"], active: string | null) => ({ status, timings: { active_at: active } }) as Session;
const AT = "2026-11-23T03:00:00Z";

test("canaries that still run prove nothing", () => {
  expect(tell([canary("dispatching", null)])).toBe("The first one runs");
  expect(tell([canary("dispatching", null), canary("ended", AT)])).toBe("1 of the newest 1 canary got their agent");
});

test("who got no agent counts", () => {
  expect(tell([canary("failed", null), canary("ended", AT), canary("active", AT)])).toBe("2 of the newest 3 canaries got their agent");
});
