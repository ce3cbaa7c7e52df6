import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "../api/client";
import { LIVE, type Session } from "../api/types";
import { useMay } from "../shell/me";
import { Confirm } from "../ui/confirm";
import { Refusal } from "../ui/form";
import { ListenIn } from "./listen-in";

/** What can be done to a session. Ending it asks once more. */
export function Actions({ session }: { session: Session }) {
  const mayEnd = useMay("sessions:write");
  const mayHear = useMay("transcripts:read");
  const queries = useQueryClient();
  const path = { session_id: session.session_id };
  const end = useMutation({
    mutationFn: () => body(api.DELETE("/v1/sessions/{session_id}", { params: { path } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["session", session.session_id] }),
  });
  if (!LIVE.has(session.status)) return null;
  return (
    <div className="flex flex-wrap items-center gap-2">
      {mayHear && session.status === "active" && <ListenIn session={session.session_id} />}
      <Refusal error={end.error} />
      {mayEnd && <Confirm label="End session" yes="end this session" busy={end.isPending} onYes={() => end.mutate()} />}
    </div>
  );
}
