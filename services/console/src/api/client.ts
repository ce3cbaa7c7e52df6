import createClient from "openapi-fetch";

import type { paths } from "./schema";

export const api = createClient<paths>({
  baseUrl: "",
  credentials: "same-origin",
  // Other pages can't set this header, so the API knows that the console itself asks.
  headers: { "X-Rollcall-Console": "1" },
  querySerializer: { array: { style: "form", explode: true } },
});

/** A refusal by the API, or the lack of an answer. `status` is 0 where there was none. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** A body without fields that have a default: its type asks for all of them. */
export function partly<T>(given: Partial<T>): T {
  return given as T;
}

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** Returns the answer's body; throws `ApiError`. */
export async function body<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch {
    throw new ApiError(0, "no_answer", "The API does not answer.");
  }
  const { data, error, response } = answer;
  if (response.ok) return data as T;
  const problem = (error ?? {}) as { code?: string; detail?: string };
  throw new ApiError(
    response.status,
    problem.code ?? "error",
    problem.detail ?? `The API answered with the status ${response.status}.`,
  );
}
