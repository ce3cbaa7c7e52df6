/** Which dead letters are shown, and which of them is open. It is the URL's query. */
export const ORIGINS = ["turns", "reports"] as const;
export type Sought = { stream?: (typeof ORIGINS)[number]; reason?: string; letter?: string };

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);

export function readSought(search: Record<string, unknown>): Sought {
  return { stream: ORIGINS.find((origin) => origin === search.stream), reason: text(search.reason), letter: text(search.letter) };
}

/** JSON as people read it; what is no JSON stays as it is. */
export function readable(event: string): string {
  try {
    return JSON.stringify(JSON.parse(event), null, 2);
  } catch {
    return event;
  }
}
