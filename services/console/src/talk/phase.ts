import { words } from "../session/causes";

/** Where a call stands, and how the page says it. */

export type Phase =
  | { at: "idle" }
  | { at: "preparing" }
  | { at: "reserving" }
  | { at: "connecting" }
  | { at: "waiting" } // in the room, without an agent
  | { at: "talking"; agent: string } // `agent`: its state, as it says itself; empty: it says none
  | { at: "over"; why: string }
  | { at: "failed"; why: string };

const STATES: Record<string, string> = {
  initializing: "The agent is in the room, and gets ready",
  listening: "The agent listens",
  thinking: "The agent thinks",
  speaking: "The agent speaks",
};

export function sentence(phase: Phase): string {
  switch (phase.at) {
    case "idle":
      return "No call";
    case "preparing":
      return "Getting ready: your browser may ask for the microphone";
    case "reserving":
      return "Asking Rollcall for a session";
    case "connecting":
      return "Joining the room";
    case "waiting":
      return "Waiting for the agent";
    case "talking":
      return STATES[phase.agent] ?? "The agent is in the room";
    default:
      return phase.why;
  }
}

export function isOn({ at }: Phase): boolean {
  return at !== "idle" && at !== "over" && at !== "failed";
}

/** Whether the caller is in the room. */
export function isInside({ at }: Phase): boolean {
  return at === "waiting" || at === "talking";
}

/** The cause for which Rollcall gave the session up, which it writes into the room before it closes it; null if there is none. */
export function causeIn(metadata: string): string | null {
  try {
    const told: unknown = JSON.parse(metadata)?.rollcall?.cause;
    return typeof told === "string" ? told : null;
  } catch {
    return null;
  }
}

export function whyFailed(cause: string, before: Phase): string {
  return `${before.at === "talking" ? "The session has failed" : "No agent came"}: ${words(cause)}`;
}

/** Why the browser gave no microphone, and what to do. */
export function noMicrophone(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError") return "Your browser does not let this page use the microphone. Allow it beside the address, and call again.";
  if (name === "NotFoundError") return "There is no microphone. Connect one and call again, or call without one and write.";
  if (name === "NotReadableError") return "Another program uses the microphone. Close it and call again.";
  return "Browsers give the microphone only to pages by https, or to those of this machine. Open the console by https, or call without a microphone and write.";
}
