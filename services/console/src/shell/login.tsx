import { useState } from "react";

import { BUTTONS, Command } from "../ui/parts";
import { useEntry } from "./me";

/** Asks for an API key, and exchanges it for a cookie. The page keeps the key nowhere. */
export function LogIn() {
  const { logIn } = useEntry();
  const [trouble, setTrouble] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  async function submit(form: HTMLFormElement) {
    const key = String(new FormData(form).get("key") ?? "").trim();
    setBusy(true);
    setTrouble(null);
    try {
      await logIn(key);
    } catch (error) {
      setTrouble(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  }

  return (
    <main className="mx-auto mt-[12vh] max-w-md px-4">
      <form
        className="space-y-4 rounded-lg border border-line bg-card p-6"
        onSubmit={(event) => {
          event.preventDefault();
          void submit(event.currentTarget);
        }}
      >
        <h1 className="text-xl font-semibold">Rollcall</h1>
        <label className="block space-y-1">
          <span className="font-medium">API key</span>
          <input
            name="key"
            type="password"
            required
            autoFocus
            autoComplete="off"
            spellCheck={false}
            aria-describedby="key-help"
            className="w-full rounded-md border border-edge bg-page px-2 py-1.5 font-mono"
          />
        </label>
        {trouble && (
          <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-bad">
            {trouble}
          </p>
        )}
        <button type="submit" disabled={busy} className={`${BUTTONS.chosen} w-full py-1.5`}>
          {busy ? "Logging in …" : "Log in"}
        </button>
        <div id="key-help" className="space-y-2 text-quiet">
          <p>The key is exchanged for a cookie. You stay logged in for 12 hours after your last look, at most 7 days. What you may see is what the key may read.</p>
          <p>To make a key for yourself:</p>
          <Command>rollcall keys create anna --role transcripts</Command>
        </div>
      </form>
    </main>
  );
}
