import type { Room } from "livekit-client";

import { api, body } from "../api/client";
import { join, leave, loadSdk, playVoices } from "../talk/sdk";

export type Hearing = { at: "off" } | { at: "joining" } | { at: "on" } | { at: "failed"; why: string };

/** Listens in to one session at a time, unseen by those in its room. */
export class Listener {
  private hearing: Hearing = { at: "off" };
  private room: Room | null = null;
  // Who stops while the room is being joined is not to hear it afterwards.
  private turns = 0;
  private readonly watchers = new Set<() => void>();

  readonly look = () => this.hearing;

  readonly watch = (changed: () => void) => {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  };

  async start(session: string) {
    const mine = (this.turns += 1);
    this.show({ at: "joining" });
    try {
      const sdk = await loadSdk();
      const granted = await body(api.POST("/v1/sessions/{session_id}/listeners", { params: { path: { session_id: session } } }));
      if (mine !== this.turns) return;
      const room = new sdk.Room({ disconnectOnPageLeave: true });
      this.room = room;
      playVoices(sdk, room);
      room.on(sdk.RoomEvent.Disconnected, () => mine === this.turns && this.stop());
      await join(sdk, room, granted);
      if (mine === this.turns) this.show({ at: "on" });
      else leave(room);
    } catch (error) {
      if (mine === this.turns) this.show({ at: "failed", why: error instanceof Error ? error.message : String(error) });
    }
  }

  readonly stop = () => {
    this.turns += 1;
    if (this.room) leave(this.room);
    this.room = null;
    this.show({ at: "off" });
  };

  private show(hearing: Hearing) {
    this.hearing = hearing;
    for (const changed of this.watchers) changed();
  }
}
