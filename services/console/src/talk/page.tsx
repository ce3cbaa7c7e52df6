import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import { api, body } from "../api/client";
import { useMay } from "../shell/me";
import { FIELD, Labelled } from "../ui/form";
import { PageBody, PageHead } from "../ui/head";
import { Icon } from "../ui/icons";
import { BUTTONS, Card, Empty } from "../ui/parts";
import { Call } from "./call";
import { isInside, isOn, sentence } from "./phase";
import type { Segment } from "./said";

/** Call the agent from the browser. */
export function TalkPage() {
  const [call] = useState(() => new Call());
  const shown = useSyncExternalStore(call.watch, call.look);
  const { phase, session } = shown;
  useEffect(() => () => call.hangUp(), [call]);
  const may = useMay("sessions:write");
  return (
    <PageBody>
      <PageHead title="Talk" />
      {!may ? (
        <Empty title="Your key may not start sessions">
          <p>Calling an agent from here needs a key with the scope sessions:write.</p>
        </Empty>
      ) : isOn(phase) ? (
        <Card>
          <div className="flex flex-wrap items-center gap-3">
            <State text={sentence(phase)} lively={phase.at === "talking"} />
            <div className="flex flex-wrap gap-2 sm:ml-auto">
              {isInside(phase) && shown.hears && (
                <button type="button" className={BUTTONS.plain} aria-pressed={shown.muted} onClick={() => void call.mute(!shown.muted)}>
                  {shown.muted ? "Unmute" : "Mute"}
                </button>
              )}
              <button type="button" className={BUTTONS.danger} onClick={() => call.hangUp()}>
                <Icon name="stop" className="size-3.5" />
                Hang up
              </button>
            </div>
          </div>
        </Card>
      ) : (
        <Start call={call} failed={phase.at === "failed" ? phase.why : null} over={phase.at === "over" ? phase.why : null} />
      )}
      {session && <OfSession id={session} />}
      {(shown.said.length > 0 || isInside(phase)) && <Said said={shown.said} speaking={shown.speaking} />}
      {isInside(phase) && <Write call={call} />}
    </PageBody>
  );
}

function State({ text, lively }: { text: string; lively: boolean }) {
  return (
    <p role="status" className="flex items-center gap-2 font-medium">
      <Icon name={lively ? "dot" : "clock"} className={clsx("size-4", lively ? "text-good" : "text-quiet")} />
      {text}
    </p>
  );
}

/** What to call, and how the last call ended. */
function Start({ call, failed, over }: { call: Call; failed: string | null; over: string | null }) {
  const config = useQuery({ queryKey: ["config"], queryFn: () => body(api.GET("/v1/config")) });
  const agents = config.data?.agents;
  const known = agents ? [...new Set([agents.default_name, ...agents.allowed_names])] : [];
  const start = (form: HTMLFormElement, microphone: boolean) => {
    const filled = new FormData(form);
    void call.start({ agent: String(filled.get("agent") ?? "").trim(), metadata: String(filled.get("metadata") ?? "").trim(), microphone });
  };
  return (
    <Card>
      <form
        aria-label="Call an agent"
        className="space-y-3"
        onSubmit={(event) => {
          event.preventDefault();
          start(event.currentTarget, true);
        }}
      >
        {failed && (
          <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-bad">
            {failed}
          </p>
        )}
        {over && (
          <p role="status" className="font-medium">
            {over}.
          </p>
        )}
        <div className="grid gap-3 sm:grid-cols-2">
          <Labelled label="Agent name" hint="That of its worker.">
            <input name="agent" list="agents" placeholder={agents?.default_name ?? "the usual one"} autoComplete="off" className={`${FIELD} w-full`} />
          </Labelled>
          <datalist id="agents">
            {known.map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
          <Labelled label="Metadata" hint="For the agent: JSON, or any other text. May be empty.">
            <input name="metadata" placeholder='{"customer": 42}' autoComplete="off" className={`${FIELD} w-full font-mono`} />
          </Labelled>
        </div>
        <div className="flex flex-wrap gap-2">
          <button type="submit" className={BUTTONS.chosen}>
            Call
          </button>
          <button type="button" className={BUTTONS.plain} onClick={(event) => event.currentTarget.form && start(event.currentTarget.form, false)}>
            Call without a microphone
          </button>
        </div>
        <p className="text-quiet">Rollcall keeps this session like any other: it counts, and its transcript is stored.</p>
      </form>
    </Card>
  );
}

function OfSession({ id }: { id: string }) {
  const mayRead = useMay("transcripts:read");
  return (
    <p className="flex flex-wrap gap-x-4 gap-y-1">
      <Link to="/sessions/$id" params={{ id }} className="text-accent underline">
        What Rollcall knows of this call
      </Link>
      {mayRead && (
        <Link to="/sessions/$id/transcript" params={{ id }} className="text-accent underline">
          Its transcript
        </Link>
      )}
    </p>
  );
}

const NAMES = { agent: "Agent", caller: "You" };

function Said({ said, speaking }: { said: readonly Segment[]; speaking: readonly string[] }) {
  const log = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [said]);
  return (
    <Card title="Said" aside={<span className="text-xs text-quiet">{speaking.map((one) => `${NAMES[one as keyof typeof NAMES]} …`).join(" ")}</span>}>
      {/* Who can't hear the agent reads it here. */}
      <div ref={log} role="log" aria-live="polite" aria-label="What is said" tabIndex={0} className="max-h-96 min-h-24 space-y-1.5 overflow-y-auto">
        {said.length === 0 && <p className="text-quiet">What you and the agent say appears here.</p>}
        {said.map(({ id, who, text, final }) => (
          <p key={id} className={clsx("break-words whitespace-pre-wrap", !final && "text-quiet")}>
            <b className="mr-2 text-xs text-quiet">{NAMES[who]}</b>
            {text}
          </p>
        ))}
      </div>
    </Card>
  );
}

function Write({ call }: { call: Call }) {
  return (
    <form
      aria-label="Write to the agent"
      className="flex items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        const form = event.currentTarget;
        const text = String(new FormData(form).get("text") ?? "").trim();
        if (text) void call.write(text).then(() => form.reset());
      }}
    >
      <Labelled label="Write instead" className="min-w-0 flex-1">
        <input name="text" autoComplete="off" className={`${FIELD} w-full`} />
      </Labelled>
      <button type="submit" className={BUTTONS.plain}>
        Send
      </button>
    </form>
  );
}
