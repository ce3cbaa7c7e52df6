import type { components } from "./schema";

export type Schemas = components["schemas"];

export type Session = Schemas["Session"];
export type Attempt = Schemas["Attempt"];
export type Status = Schemas["SessionStatus"];
export type Cause = Schemas["Cause"];
export type Me = Schemas["Me"];
export type Config = Schemas["Config"];
export type Scope = Schemas["Scope"];
export type Role = Schemas["AccessRole"];
export type Envelope = Schemas["Envelope"] & { id: string };
export type Turn = Schemas["Turn"];
export type Transcript = Schemas["Transcript"];
export type CauseGroup = Schemas["CauseGroup"];
export type Stats = Schemas["Stats"];
export type AgentHealth = Schemas["AgentHealth"];
export type Worker = Schemas["WorkerHeartbeat"];
export type SearchHit = Schemas["SearchHit"];
export type ApiKey = Schemas["ApiKey"];
export type Endpoint = Schemas["WebhookEndpoint"];
export type Delivery = Schemas["Delivery"];
export type DeliveryStatus = Schemas["DeliveryStatus"];
export type Severity = Schemas["Severity"];
export type DeadLetter = Schemas["DeadLetter"];
export type Line = Schemas["Line"];
export type AuditEntry = Schemas["AuditEntry"];
export type Traffic = Schemas["Traffic"];
export type Evidence = { [key: string]: unknown };

// The closed lists, whose completeness the compiler checks against the API.
const STATUSES: Record<Status, true> = {
  reserved: true,
  requested: true,
  dispatching: true,
  dispatched: true,
  active: true,
  ended: true,
  failed: true,
  cancelled: true,
  expired: true,
};
export const ALL_STATUSES = Object.keys(STATUSES) as Status[];
const SCOPES: Record<Scope, true> = {
  "sessions:read": true,
  "sessions:write": true,
  "transcripts:read": true,
  "tokens:reserve": true,
  agent: true,
  admin: true,
};
export const ALL_SCOPES = Object.keys(SCOPES) as Scope[];
export const LIVE: ReadonlySet<Status> = new Set(["reserved", "requested", "dispatching", "dispatched", "active"]);
