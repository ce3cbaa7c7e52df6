import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";

import { ApiError, api, body } from "../api/client";
import { Icon } from "../ui/icons";

/** Finds a session by its id, or sessions by their room or caller. */
async function find(text: string): Promise<{ id: string } | { room: string } | { caller: string } | null> {
  try {
    const session = await body(api.GET("/v1/sessions/{session_id}", { params: { path: { session_id: text } } }));
    return { id: session.session_id };
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
  }
  const found = async (query: { room_name: string } | { participant_identity: string }) =>
    (await body(api.GET("/v1/sessions", { params: { query: { ...query, limit: 2 } } }))).sessions;
  const inRoom = await found({ room_name: text });
  if (inRoom.length === 1 && inRoom[0]) return { id: inRoom[0].session_id };
  if (inRoom.length) return { room: text };
  return (await found({ participant_identity: text })).length ? { caller: text } : null;
}

export function Find() {
  const navigate = useNavigate();
  const input = useRef<HTMLInputElement>(null);
  const [trouble, setTrouble] = useState<string | null>(null);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.closest("input, textarea, select, [contenteditable]");
      const palette = event.key === "k" && (event.metaKey || event.ctrlKey);
      if (!palette && (event.key !== "/" || typing)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);

  async function submit() {
    const text = input.current?.value.trim();
    if (!text) return;
    setTrouble(null);
    try {
      const found = await find(text);
      if (!found) setTrouble(`There is no session with this id, room or caller: ${text}`);
      else if ("id" in found) await navigate({ to: "/sessions/$id", params: { id: found.id } });
      else await navigate({ to: "/", search: found });
    } catch (error) {
      setTrouble(error instanceof Error ? error.message : String(error));
    }
  }

  return (
    <form
      role="search"
      className="relative min-w-0 flex-1 sm:max-w-xs"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Icon name="search" className="absolute top-1/2 left-2 size-3.5 -translate-y-1/2 text-quiet" />
      <input
        ref={input}
        type="search"
        aria-label="Find a session by its id, room or caller"
        aria-keyshortcuts="/"
        placeholder="Session, room or caller   /"
        onChange={() => setTrouble(null)}
        className="w-full rounded-md border border-edge bg-page py-1 pr-2 pl-7 text-sm placeholder:text-quiet"
      />
      {trouble && (
        <p role="alert" className="absolute top-full right-0 left-0 z-20 mt-1 rounded-md border border-line bg-card px-2 py-1.5 text-bad shadow-lg">
          {trouble}
        </p>
      )}
    </form>
  );
}
