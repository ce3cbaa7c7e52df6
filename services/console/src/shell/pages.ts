/** The pages in the header. */
export const PAGES = [
  { to: "/now", name: "Now" },
  { to: "/", name: "Sessions" },
  { to: "/causes", name: "Causes" },
  { to: "/fleet", name: "Fleet" },
] as const;
