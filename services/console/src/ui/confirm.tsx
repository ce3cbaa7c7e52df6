import { useState } from "react";

import { BUTTONS } from "./parts";

type Wish = {
  /** What the button says before it asks once more. */
  label: string;
  /** What is done then, as the second button says it: "Yes, …". */
  yes: string;
  busy?: boolean;
  /** What it is about, for readers of screens: a page may have several of these buttons. */
  of?: string;
  onYes: () => void;
};

/** A button for what can't be undone: it asks once more. */
export function Confirm({ label, yes, busy, of, onYes }: Wish) {
  const [asked, setAsked] = useState(false);
  const about = of && <span className="sr-only"> {of}</span>;
  if (!asked) {
    return (
      <button type="button" className={BUTTONS.plain} disabled={busy} onClick={() => setAsked(true)}>
        {label} …{about}
      </button>
    );
  }
  return (
    <>
      <button
        type="button"
        autoFocus
        className={BUTTONS.danger}
        disabled={busy}
        onClick={() => {
          setAsked(false);
          onYes();
        }}
      >
        Yes, {yes}
        {about}
      </button>
      <button type="button" className={BUTTONS.plain} onClick={() => setAsked(false)}>
        No{about}
      </button>
    </>
  );
}
