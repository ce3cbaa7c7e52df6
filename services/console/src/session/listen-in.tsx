import { useEffect, useState, useSyncExternalStore } from "react";

import { Icon } from "../ui/icons";
import { BUTTONS } from "../ui/parts";
import { Listener } from "./listener";

/** Hears the session's room. Nobody in it sees that; the audit trail does. */
export function ListenIn({ session }: { session: string }) {
  const [listener] = useState(() => new Listener());
  const hearing = useSyncExternalStore(listener.watch, listener.look);
  useEffect(() => listener.stop, [listener, session]);
  const off = hearing.at === "off" || hearing.at === "failed";
  return (
    <>
      {hearing.at === "failed" && (
        <span role="alert" className="text-bad">
          {hearing.why}
        </span>
      )}
      {hearing.at === "on" && (
        <span role="status" className="flex items-center gap-1 font-medium">
          <Icon name="dot" className="size-4 text-good" />
          You hear the call
        </span>
      )}
      <button type="button" className={BUTTONS.plain} disabled={hearing.at === "joining"} onClick={() => (off ? void listener.start(session) : listener.stop())}>
        {off ? "Listen in" : hearing.at === "joining" ? "Joining …" : "Stop listening"}
      </button>
    </>
  );
}
