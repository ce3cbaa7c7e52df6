import { expect, test } from "vitest";

import type { Envelope } from "../api/types";
import { CAPTION, TURN } from "../live/events";
import { merged } from "./data";

const of = (id: string, type: string, data: object) => ({ id, type, data }) as unknown as Envelope;

test("a caption grows in its place and ends with its turn", () => {
  const first = merged({ envelopes: [], captions: [] }, [of("1", CAPTION, { segment_id: "a", role: "user", text: "Hel" })]);
  const second = merged(first, [of("2", CAPTION, { segment_id: "a", role: "user", text: "Hello" })]);
  expect(second.captions).toEqual([{ segment: "a", who: "user", text: "Hello" }]);
  const third = merged(second, [of("3", TURN, { role: "user", text: "Hello." })]);
  expect([third.captions, third.envelopes.length]).toEqual([[], 1]);
});

test("what a reconnected stream sends again is known", () => {
  const event = of("1", "session.requested.v1", {});
  expect(merged(merged({ envelopes: [], captions: [] }, [event]), [event]).envelopes).toHaveLength(1);
});
