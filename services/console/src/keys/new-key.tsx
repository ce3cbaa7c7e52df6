import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, body } from "../api/client";
import { ALL_SCOPES, type Role, type Scope } from "../api/types";
import { FIELD, Labelled, Refusal, Secret, Unfolding } from "../ui/form";
import { BUTTONS, Card } from "../ui/parts";

const USUAL: readonly Scope[] = ["sessions:read", "transcripts:read"];
// The compiler checks against the API that none is missing.
const ROLES: Record<Role, string> = {
  viewer: "sees sessions, causes and figures; no words of callers",
  transcripts: "also reads and searches what was said",
  operator: "also starts and ends sessions",
  admin: "may do everything",
};
const MAY: Record<Scope, string> = {
  "sessions:read": "see sessions, causes and figures; no words of callers",
  "sessions:write": "start and end sessions",
  "transcripts:read": "read and search what was said",
  "tokens:reserve": "reserve tokens for callers",
  agent: "be an agent worker that reaches this address alone",
  admin: "everything",
};

type Who = "person" | "program" | "page";
const WHO: Record<Who, string> = {
  person: "logs in to the console, or uses the command line",
  program: "a backend, with the scopes that it needs",
  page: "publishable: it stands in a web page, and reserves tokens only",
};

/** Makes a key, and shows it once. */
export function NewKey() {
  const queries = useQueryClient();
  const [who, setWho] = useState<Who>("person");
  const publishable = who === "page";
  const make = useMutation({
    mutationFn: async (form: FormData) => {
      const text = (name: string) => String(form.get(name) ?? "").trim();
      const days = Number(text("days"));
      const kind = publishable ? ("publishable" as const) : ("secret" as const);
      const scopes = form.getAll("scope") as Scope[];
      const role = (form.get("role") as Role | null) ?? undefined;
      // The API would give a key without scopes the usual ones.
      if (who === "program" && !scopes.length) throw new Error("Choose at least one thing that it may do.");
      const wanted = {
        name: text("name"),
        kind,
        scopes,
        role,
        origins: publishable ? text("origins").split(/[\s,]+/).filter(Boolean) : [],
        expires_in_days: days || null,
      };
      return body(api.POST("/v1/keys", { body: wanted }));
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ["keys"] }),
  });
  if (make.data) {
    return (
      <Secret title={`The key ${make.data.name}`} secret={make.data.key} what="the key" onDone={make.reset}>
        It is not shown again, and Rollcall keeps only its hash. Programs send it as <code>Authorization: Bearer …</code>.
      </Secret>
    );
  }
  return (
    <Unfolding label="New key">
      {(close) => (
        <Card title="New key">
          <form
            aria-label="New key"
            className="grid gap-3 sm:grid-cols-2"
            onSubmit={(event) => {
              event.preventDefault();
              make.mutate(new FormData(event.currentTarget));
            }}
          >
            <Labelled label="Name" hint="What or whom it is for: shop, website, anna.">
              <input name="name" required autoFocus autoComplete="off" className={`${FIELD} w-full`} />
            </Labelled>
            <Labelled label="Days until it expires" hint="Nothing: never.">
              <input name="days" type="number" min="1" max="36500" className={`${FIELD} w-32`} />
            </Labelled>
            <Choices name="who" legend="It is for" all={WHO} chosen={who} onChoose={setWho} />
            {who === "person" && <Choices name="role" legend="Role" all={ROLES} first="transcripts" />}
            {who === "program" && <Scopes />}
            {publishable && (
              <Labelled label="Origins" hint="Of the pages that may use it." className="sm:col-span-2">
                <input name="origins" required placeholder="https://shop.example.com" className={`${FIELD} w-full`} />
              </Labelled>
            )}
            <div className="flex flex-wrap items-center gap-2 sm:col-span-2">
              <button type="submit" className={BUTTONS.chosen} disabled={make.isPending}>
                Make the key
              </button>
              <button type="button" className={BUTTONS.plain} onClick={close}>
                Cancel
              </button>
              <Refusal error={make.error} />
            </div>
          </form>
        </Card>
      )}
    </Unfolding>
  );
}

function Scopes() {
  return (
    <fieldset className="space-y-1 sm:col-span-2">
      <legend className="text-xs font-semibold text-quiet">It may</legend>
      {ALL_SCOPES.map((scope) => (
        <label key={scope} className="flex min-h-[24px] items-baseline gap-2">
          <input type="checkbox" name="scope" value={scope} defaultChecked={USUAL.includes(scope)} className="size-4 translate-y-0.5 accent-accent" />
          <span>
            <code className="font-mono">{scope}</code> <span className="text-quiet">{MAY[scope]}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

type ChoicesOf<T extends string> = { name: string; legend: string; all: Record<T, string>; chosen?: T; first?: T; onChoose?: (one: T) => void };

function Choices<T extends string>({ name, legend, all, chosen, first, onChoose }: ChoicesOf<T>) {
  return (
    <fieldset className="space-y-1 sm:col-span-2">
      <legend className="text-xs font-semibold text-quiet">{legend}</legend>
      {(Object.keys(all) as T[]).map((one) => (
        <label key={one} className="flex min-h-[24px] items-baseline gap-2">
          <input type="radio" name={name} value={one} defaultChecked={one === (chosen ?? first)} onChange={() => onChoose?.(one)} className="size-4 translate-y-0.5 accent-accent" />
          <span>
            <code className="font-mono">{one}</code> <span className="text-quiet">{all[one]}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}
