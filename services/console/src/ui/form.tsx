import { clsx } from "clsx";
import { useState } from "react";

import { BUTTONS, Command } from "./parts";

export const FIELD = "rounded-md border border-edge bg-card px-2 py-1 text-sm placeholder:text-quiet";

/** A field of a form under its name, with what to write into it. */
export function Labelled({ label, hint, className, children }: { label: string; hint?: string; className?: string; children: React.ReactNode }) {
  return (
    <label className={clsx("block space-y-0.5", className)}>
      <span className="block text-xs font-semibold text-quiet">{label}</span>
      {children}
      {hint && <span className="block text-xs text-quiet">{hint}</span>}
    </label>
  );
}

/** A form behind a button, so that a page shows first what there is. */
export function Unfolding({ label, children }: { label: string; children: (close: () => void) => React.ReactNode }) {
  const [open, setOpen] = useState(false);
  if (open) return <>{children(() => setOpen(false))}</>;
  return (
    <p>
      <button type="button" className={BUTTONS.chosen} onClick={() => setOpen(true)}>
        {label}
      </button>
    </p>
  );
}

/** A secret that is shown this once. */
export function Secret({ title, secret, what, children, onDone }: { title: string; secret: string; what: string; children: React.ReactNode; onDone: () => void }) {
  return (
    <section role="status" className="space-y-2 rounded-lg border border-warn bg-card p-3">
      <h2 className="font-semibold">{title}</h2>
      <Command label={what}>{secret}</Command>
      <p className="text-quiet">{children}</p>
      <button type="button" className={BUTTONS.plain} onClick={onDone}>
        I have copied it
      </button>
    </section>
  );
}

/** Why an order to the API failed, beside the button that gave it. */
export function Refusal({ error }: { error: Error | null }) {
  if (!error) return null;
  return (
    <span role="alert" className="text-bad">
      {error.message}
    </span>
  );
}
