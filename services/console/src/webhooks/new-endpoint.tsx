import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body, partly } from "../api/client";
import type { Schemas, Severity } from "../api/types";
import { FIELD, Labelled, Refusal, Secret, Unfolding } from "../ui/form";
import { BUTTONS, Card } from "../ui/parts";

const SEVERITIES: readonly Severity[] = ["info", "warning", "critical"];

/** Registers an endpoint, and shows its secret once. */
export function NewEndpoint() {
  const queries = useQueryClient();
  const add = useMutation({
    mutationFn: async (form: FormData) => {
      const text = (name: string) => String(form.get(name) ?? "").trim();
      const events = text("events").split(/[\s,]+/).filter(Boolean);
      const wanted = { url: text("url"), description: text("description") || null, events: events.length ? events : undefined, min_severity: text("severity") as Severity };
      return body(api.POST("/v1/webhook-endpoints", { body: partly<Schemas["NewWebhookEndpoint"]>(wanted) }));
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ["webhooks"] }),
  });
  if (add.data) {
    return (
      <Secret title={`The secret of ${add.data.url}`} secret={add.data.secret} what="the secret" onDone={add.reset}>
        Your receiver checks signatures with it. It is not shown again.
      </Secret>
    );
  }
  return (
    <Unfolding label="New endpoint">
      {(close) => (
        <Card title="New endpoint">
          <form
            aria-label="New endpoint"
            className="grid gap-3 sm:grid-cols-2"
            onSubmit={(event) => {
              event.preventDefault();
              add.mutate(new FormData(event.currentTarget));
            }}
          >
            <Labelled label="URL">
              <input name="url" type="url" required autoFocus placeholder="https://example.com/hooks/rollcall" className={`${FIELD} w-full`} />
            </Labelled>
            <Labelled label="Description">
              <input name="description" className={`${FIELD} w-full`} />
            </Labelled>
            <Labelled label="Events" hint="Types such as session.failed.v1, beginnings such as agent.*, or nothing for all.">
              <input name="events" placeholder="*" spellCheck={false} className={`${FIELD} w-full font-mono`} />
            </Labelled>
            <Labelled label="Severity">
              <select name="severity" className={FIELD}>
                {SEVERITIES.map((severity) => (
                  <option key={severity} value={severity}>
                    {severity === "info" ? "any" : `${severity} and worse`}
                  </option>
                ))}
              </select>
            </Labelled>
            <div className="flex flex-wrap items-center gap-2 sm:col-span-2">
              <button type="submit" className={BUTTONS.chosen} disabled={add.isPending}>
                Register
              </button>
              <button type="button" className={BUTTONS.plain} onClick={close}>
                Cancel
              </button>
              <Refusal error={add.error} />
            </div>
          </form>
        </Card>
      )}
    </Unfolding>
  );
}
