import type { Config } from "../api/types";

export type Row = { name: string; setting: string; value: string };
export type Group = { title: string; rows: Row[] };

const onOff = (on: boolean) => (on ? "on" : "off");
const most = (limit: number) => (limit ? limit.toLocaleString("en") : "no limit");
const days = (limit: number) => (limit ? `after ${limit} ${limit === 1 ? "day" : "days"}` : "never");
const list = (names: readonly string[], none: string) => (names.length ? names.join(", ") : none);

/** The settings as rows: what each is, by which variable it is set, and to what. */
export function groups(config: Config): Group[] {
  const { agents, models, guarantee, limits, retention, features, links } = config;
  const row = (name: string, setting: string, value: string): Row => ({ name, setting, value });
  return [
    {
      title: "Agents and models",
      rows: [
        row("Agent of a session that names none", "LIVEKIT_AGENT_NAME", agents.default_name),
        row("Agents that clients may ask for", "ALLOWED_AGENT_NAMES", list(agents.allowed_names, "any")),
        row("Pools that clients may ask for", "ALLOWED_DEPLOYMENTS", list(agents.allowed_deployments, "only the one without a name")),
        row("Models that clients may ask for", "ALLOWED_MODELS", list(models.allowed_models, "none")),
        row("Voices that clients may ask for", "ALLOWED_VOICES", list(models.allowed_voices, "none")),
        row("Attempts to get an agent", "DISPATCH_MAX_ATTEMPTS", String(guarantee.max_attempts)),
        row("Time for the agent to join", "JOIN_BUDGET_S", `${guarantee.join_budget_s} s`),
        row("LiveKit, for clients", "LIVEKIT_PUBLIC_URL", links.livekit_url),
      ],
    },
    {
      title: "On and off",
      rows: [
        row("API keys", "API_AUTH", config.auth === "keys" ? "needed" : "not needed"),
        row("/health and /metrics without a key", "API_OPERATIONS", onOff(features.operations_open)),
        row("What is said is stored", "TRANSCRIPT_STORE", onOff(features.text_stored)),
        row("What is said is redacted first", "TRANSCRIPT_REDACTOR", onOff(features.text_redacted)),
        row("Captions while somebody speaks", "LIVE_CAPTIONS", onOff(features.live_captions)),
        row("Canaries", "CANARY_INTERVAL_S", features.canary_interval_s ? `every ${features.canary_interval_s} s` : "off"),
        row("Traces", "OTEL_EXPORTER_OTLP_ENDPOINT", onOff(features.tracing)),
        row("Traces contain what is said", "TRACE_CONTENT", onOff(features.trace_content)),
        row("Webhooks to private addresses", "WEBHOOK_ALLOW_PRIVATE", onOff(features.webhooks_to_private_addresses)),
        row("Webhook secrets are sealed in the database", "WEBHOOK_SECRETS_KEY", onOff(features.webhook_secrets_sealed)),
      ],
    },
    {
      title: "Limits",
      rows: [
        row("Requests a minute of a key", "REQUESTS_PER_MINUTE_KEY", most(limits.requests_per_minute_key)),
        row("… of a project", "REQUESTS_PER_MINUTE_PROJECT", most(limits.requests_per_minute_project)),
        row("… of a visitor with a publishable key", "REQUESTS_PER_MINUTE_VISITOR", most(limits.requests_per_minute_visitor)),
        row("Sessions at once of a key", "MAX_SESSIONS_KEY", most(limits.max_sessions_key)),
        row("… of a project", "MAX_SESSIONS_PROJECT", most(limits.max_sessions_project)),
        row("Unused reservations of a visitor", "MAX_RESERVATIONS_VISITOR", most(limits.max_reservations_visitor)),
        row("Event streams of a process", "MAX_FOLLOWERS", most(limits.max_followers)),
        row("… of a project", "MAX_FOLLOWERS_PROJECT", limits.max_followers_project ? most(limits.max_followers_project) : "as many"),
        row("Bytes of a request", "API_MAX_BODY_BYTES", most(limits.max_body_bytes)),
        row("Bytes of a visitor's metadata", "MAX_METADATA_BYTES_VISITOR", most(limits.max_metadata_bytes_visitor)),
      ],
    },
    {
      title: "Deleted",
      rows: [
        row("Transcripts", "TRANSCRIPT_RETENTION_DAYS", days(retention.transcripts_days)),
        row("Sessions without turns", "SESSION_RETENTION_DAYS", days(retention.sessions_days)),
        row("Audit trail", "AUDIT_RETENTION_DAYS", days(retention.audit_days)),
        row("Unused reservations", "RESERVATION_RETENTION_DAYS", days(retention.reservations_days)),
        row("Dead letters", "DEAD_LETTER_RETENTION_DAYS", days(retention.dead_letters_days)),
      ],
    },
  ];
}
