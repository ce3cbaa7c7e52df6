import type { Scope } from "../api/types";

type To = "/now" | "/" | "/causes" | "/line" | "/talk" | "/canaries" | "/search" | "/fleet" | "/webhooks" | "/dead-letters" | "/keys" | "/audit" | "/settings";

/** The pages in the header, each for those whose key has its scope. */
export const PAGES: readonly { to: To; name: string; scope: Scope }[] = [
  { to: "/now", name: "Now", scope: "sessions:read" },
  { to: "/", name: "Sessions", scope: "sessions:read" },
  { to: "/causes", name: "Causes", scope: "sessions:read" },
  { to: "/line", name: "Line", scope: "sessions:read" },
  { to: "/talk", name: "Talk", scope: "sessions:write" },
  { to: "/canaries", name: "Canaries", scope: "sessions:read" },
  { to: "/search", name: "Search", scope: "transcripts:read" },
  { to: "/fleet", name: "Fleet", scope: "admin" },
  { to: "/webhooks", name: "Webhooks", scope: "admin" },
  { to: "/dead-letters", name: "Dead letters", scope: "admin" },
  { to: "/keys", name: "Keys", scope: "admin" },
  { to: "/audit", name: "Audit", scope: "admin" },
  { to: "/settings", name: "Settings", scope: "sessions:read" },
];
