import { expect, test } from "vitest";

import { readSought, sessionIn, who } from "./sought";

test("what is shown is what the URL says", () => {
  expect(readSought({ action: "key.create", actor: 12, last: "24h" })).toEqual({ action: "key.create", actor: "12", target: undefined, last: "24h" });
});

test("a key goes by its name, and who needs none is anybody", () => {
  expect(who({ key_name: "shop", actor: "k1" })).toBe("shop");
  expect(who({ key_name: null, actor: "k1" })).toBe("k1");
  expect(who({ key_name: null, actor: null })).toBe("anybody");
});

test("sessions are links", () => {
  expect(sessionIn({ action: "session.end", target: "s1" })).toBe("s1");
  expect(sessionIn({ action: "key.revoke", target: "k1" })).toBeNull();
});
