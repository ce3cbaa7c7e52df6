import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, body } from "../api/client";
import { LIVE, type Session } from "../api/types";
import { useMay } from "../shell/me";
import { BUTTONS } from "../ui/parts";

/** What can be done to a session. Ending it asks once more. */
export function Actions({ session }: { session: Session }) {
  const mayEnd = useMay("sessions:write");
  const [asked, setAsked] = useState(false);
  const queries = useQueryClient();
  const path = { session_id: session.session_id };
  const end = useMutation({
    mutationFn: () => body(api.DELETE("/v1/sessions/{session_id}", { params: { path } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["session", session.session_id] }),
  });
  if (!mayEnd || !LIVE.has(session.status)) return null;
  return (
    <div className="flex items-center gap-2">
      {end.error && (
        <span role="alert" className="text-bad">
          {end.error.message}
        </span>
      )}
      {asked ? (
        <>
          <button type="button" className={BUTTONS.danger} disabled={end.isPending} onClick={() => end.mutate()}>
            Yes, end this session
          </button>
          <button type="button" className={BUTTONS.plain} onClick={() => setAsked(false)}>
            No
          </button>
        </>
      ) : (
        <button type="button" className={BUTTONS.plain} onClick={() => setAsked(true)}>
          End session …
        </button>
      )}
    </div>
  );
}
