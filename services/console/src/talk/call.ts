import type { DisconnectReason, LocalAudioTrack, Participant, Room, TextStreamReader } from "livekit-client";

import { api, body, partly } from "../api/client";
import type { Schemas } from "../api/types";
import { type Phase, causeIn, isOn, noMicrophone, whyFailed } from "./phase";
import { type Segment, heard } from "./said";
import { type Sdk, join, leave, loadSdk, playVoices } from "./sdk";

export type Wanted = { agent: string; metadata: string; microphone: boolean };

/** What the page shows of a call. `session` is known once Rollcall has reserved it. */
export type Shown = { phase: Phase; session: string | null; said: readonly Segment[]; muted: boolean; hears: boolean; speaking: readonly string[] };

const NOTHING: Shown = { phase: { at: "idle" }, session: null, said: [], muted: false, hears: true, speaking: [] };
// What livekit-agents reads and writes in a room.
const STATE = "lk.agent.state";
const CAPTIONS = "lk.transcription";
const CHAT = "lk.chat";

/** One call after the other from this page: the microphone, the session, the room, and what is said in it. */
export class Call {
  private shown = NOTHING;
  private room: Room | null = null;
  // Who hangs up while the code for calls is loaded gets no call afterwards.
  private calls = 0;
  private readonly watchers = new Set<() => void>();

  readonly look = () => this.shown;

  readonly watch = (changed: () => void) => {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  };

  /** Calls an agent. The microphone comes first: a session that can't be used costs an agent. */
  async start(wanted: Wanted) {
    if (isOn(this.shown.phase)) return;
    this.show({ ...NOTHING, phase: { at: "preparing" }, muted: !wanted.microphone, hears: wanted.microphone });
    const mine = (this.calls += 1);
    let room: Room | null = null;
    try {
      const sdk = await loadSdk();
      if (mine !== this.calls) return;
      room = this.room = new sdk.Room({ disconnectOnPageLeave: true });
      const microphone = wanted.microphone ? await this.openMicrophone(sdk, room) : null;
      await this.join(sdk, room, wanted, microphone);
    } catch (error) {
      if (mine === this.calls) this.end(room, { at: "failed", why: error instanceof Error ? error.message : String(error) });
    }
  }

  hangUp() {
    this.calls += 1;
    if (isOn(this.shown.phase)) this.end(this.room, { at: "over", why: "You have hung up" });
  }

  async mute(muted: boolean) {
    await this.room?.localParticipant.setMicrophoneEnabled(!muted);
    this.show({ muted });
  }

  async write(text: string) {
    const sent = await this.room?.localParticipant.sendText(text, { topic: CHAT });
    if (sent) this.show({ said: heard(this.shown.said, { id: sent.id, who: "caller", text, final: true }) });
  }

  private async openMicrophone(sdk: Sdk, room: Room): Promise<LocalAudioTrack> {
    const track = await sdk.createLocalAudioTrack({ echoCancellation: true, noiseSuppression: true }).catch((error: unknown) => {
      throw new Error(noMicrophone(error));
    });
    // Who has left the page, or has hung up meanwhile, is not to be listened to.
    if (room !== this.room) track.stop();
    return track;
  }

  private async join(sdk: Sdk, room: Room, wanted: Wanted, microphone: LocalAudioTrack | null) {
    if (room !== this.room) return;
    try {
      this.show({ phase: { at: "reserving" } });
      const granted = await body(api.POST("/v1/token", { body: partly<Schemas["TokenRequest"]>({ room_config: partly<Schemas["RoomConfig"]>({ agents: [partly<Schemas["AgentWish"]>({ agent_name: wanted.agent || null, metadata: wanted.metadata || null })] }) }) }));
      if (room !== this.room) return;
      this.show({ phase: { at: "connecting" }, session: granted.session_id });
      this.listen(sdk, room);
      await join(sdk, room, granted);
      if (microphone) await room.localParticipant.publishTrack(microphone, { source: sdk.Track.Source.Microphone });
      this.lookForAgent(room);
    } catch (error) {
      microphone?.stop();
      throw error;
    }
  }

  private listen(sdk: Sdk, room: Room) {
    const { RoomEvent, DisconnectReason: Reason } = sdk;
    const look = () => this.lookForAgent(room);
    let cause: string | null = null;
    playVoices(sdk, room);
    room
      .on(RoomEvent.ParticipantConnected, look)
      .on(RoomEvent.ParticipantDisconnected, look)
      .on(RoomEvent.ParticipantAttributesChanged, look)
      .on(RoomEvent.ActiveSpeakersChanged, (speakers) => this.show({ speaking: speakers.map(who) }))
      .on(RoomEvent.RoomMetadataChanged, (metadata) => {
        cause = causeIn(metadata) ?? cause;
      })
      .on(RoomEvent.Disconnected, (reason) => this.end(room, cause === null ? { at: "over", why: whyOver(reason, Reason) } : { at: "failed", why: whyFailed(cause, this.shown.phase) }));
    room.registerTextStreamHandler(CAPTIONS, (reader, { identity }) => void this.read(room, reader, identity));
  }

  private lookForAgent(room: Room) {
    if (room !== this.room || room.state !== "connected") return;
    const agent = [...room.remoteParticipants.values()].find((participant) => participant.isAgent);
    this.show({ phase: agent ? { at: "talking", agent: agent.attributes[STATE] ?? "" } : { at: "waiting" } });
  }

  /** A stream brings one segment: an agent's word by word, a caller's as a whole, and anew as it grows. */
  private async read(room: Room, reader: TextStreamReader, identity: string) {
    const about = reader.info.attributes ?? {};
    const segment = { id: about["lk.segment_id"] ?? reader.info.id, who: identity === room.localParticipant.identity ? ("caller" as const) : ("agent" as const) };
    let text = "";
    const hear = (final: boolean) => this.show({ said: heard(this.shown.said, { ...segment, text, final }) });
    try {
      for await (const piece of reader) {
        text += piece;
        hear(false);
      }
      // An agent says at the end of its stream that this was all.
      hear(reader.info.attributes?.["lk.transcription_final"] !== "false");
    } catch {
      // The connection broke off in the middle of it: what came is shown.
    }
  }

  private end(room: Room | null, phase: Phase) {
    if (room !== this.room) return;
    this.room = null;
    if (room) leave(room);
    this.show({ phase, speaking: [] });
  }

  private show(changes: Partial<Shown>) {
    this.shown = { ...this.shown, ...changes };
    for (const changed of this.watchers) changed();
  }
}

function who(participant: Participant): string {
  return participant.isLocal ? "caller" : "agent";
}

function whyOver(reason: DisconnectReason | undefined, { ROOM_DELETED, PARTICIPANT_REMOVED, DUPLICATE_IDENTITY, CLIENT_INITIATED }: Sdk["DisconnectReason"]): string {
  if (reason === ROOM_DELETED || reason === PARTICIPANT_REMOVED) return "The session has ended";
  if (reason === DUPLICATE_IDENTITY) return "Somebody else joined as this caller";
  if (reason === CLIENT_INITIATED) return "You have hung up";
  return "The connection to LiveKit is lost";
}
