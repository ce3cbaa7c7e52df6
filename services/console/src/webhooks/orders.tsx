import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";

import { api, body, partly } from "../api/client";
import type { Endpoint, Schemas } from "../api/types";
import { Confirm } from "../ui/confirm";
import { Refusal, Secret } from "../ui/form";
import { BUTTONS } from "../ui/parts";

/** What can be done with an endpoint. A new secret is shown once. */
export function Orders({ endpoint }: { endpoint: Endpoint }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const params = { params: { path: { endpoint_id: endpoint.id } } };
  const onSettled = () =>
    Promise.all([queries.invalidateQueries({ queryKey: ["webhooks"] }), queries.invalidateQueries({ queryKey: ["deliveries", endpoint.id] })]);
  const enable = useMutation({
    mutationFn: (enabled: boolean) => body(api.PATCH("/v1/webhook-endpoints/{endpoint_id}", { ...params, body: partly<Schemas["WebhookEndpointChange"]>({ enabled }) })),
    onSettled,
  });
  const test = useMutation({
    mutationFn: () => body(api.POST("/v1/webhook-endpoints/{endpoint_id}/test", params)),
    onSuccess: () => navigate({ to: "/webhooks", search: { endpoint: endpoint.id } }),
    onSettled,
  });
  const rotate = useMutation({ mutationFn: () => body(api.POST("/v1/webhook-endpoints/{endpoint_id}/secret", params)), onSettled });
  const remove = useMutation({ mutationFn: () => body(api.DELETE("/v1/webhook-endpoints/{endpoint_id}", params)), onSettled });
  if (rotate.data) {
    return (
      <Secret title="The new secret" secret={rotate.data.secret} what="the secret" onDone={rotate.reset}>
        It is not shown again. For a day the old one signs too.
      </Secret>
    );
  }
  return (
    <div className="flex flex-wrap items-center gap-2">
      {endpoint.enabled && (
        <button type="button" className={BUTTONS.plain} disabled={test.isPending} aria-label={`Send a test to ${endpoint.url}`} onClick={() => test.mutate()}>
          Send a test
        </button>
      )}
      <button type="button" className={BUTTONS.plain} disabled={enable.isPending} aria-label={`${endpoint.enabled ? "Disable" : "Enable"} ${endpoint.url}`} onClick={() => enable.mutate(!endpoint.enabled)}>
        {endpoint.enabled ? "Disable" : "Enable"}
      </button>
      <Confirm label="New secret" yes="make a new secret" of={endpoint.url} busy={rotate.isPending} onYes={() => rotate.mutate()} />
      <Confirm label="Delete" yes="delete it with its deliveries" of={endpoint.url} busy={remove.isPending} onYes={() => remove.mutate()} />
      <Refusal error={test.error ?? enable.error ?? rotate.error ?? remove.error} />
    </div>
  );
}
