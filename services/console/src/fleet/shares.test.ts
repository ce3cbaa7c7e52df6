import { expect, test } from "vitest";

import { poolName, readShares } from "./shares";

test("shares that are 100 together can be set", () => {
  expect(readShares([["blue", "90"], ["green", "10"], ["", ""]])).toEqual({ shares: { blue: 90, green: 10, "": 0 }, total: 100, problem: null });
});

test("what can't be set says why", () => {
  expect(readShares([["blue", "90"], ["green", "20"]]).problem).toBe("Together they must be 100 %, and are 110 %.");
  expect(readShares([["blue", "99.5"], ["green", "0.5"]]).problem).toBe("A share is a whole number of percent.");
  expect(readShares([["blue", "110"], ["green", "-10"]]).problem).toBe("A share is a whole number of percent.");
});

test("the pool without a name has one for people", () => {
  expect([poolName(""), poolName("blue")]).toEqual(["(no name)", "blue"]);
});
