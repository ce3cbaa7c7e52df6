import type { Room } from "livekit-client";

export type Sdk = typeof import("livekit-client");

/** LiveKit's client, which is as large as all the rest of the console: it comes when it is needed. Throws an error for people. */
export async function loadSdk(): Promise<Sdk> {
  const sdk = await import("livekit-client").catch(() => {
    throw new Error("The console could not load the code for calls. Load the page again.");
  });
  sdk.setLogLevel("warn");
  return sdk;
}

/** Joins a room; throws an error for people. */
export async function join(sdk: Sdk, room: Room, { server_url: url, participant_token: token }: { server_url: string; participant_token: string }) {
  try {
    await room.connect(url, token);
  } catch (error) {
    throw error instanceof sdk.ConnectionError ? new Error(`LiveKit can't be reached from this browser at ${url}: ${error.message}. LIVEKIT_PUBLIC_URL sets the address for clients.`) : error;
  }
}

// A room that was closed by the server has no participants any more, but their elements are still in the page.
const playing = new WeakMap<Room, Set<HTMLMediaElement>>();

/** Plays the voices of a room that is about to be joined, until `leave`. */
export function playVoices({ RoomEvent, Track }: Sdk, room: Room) {
  const elements = new Set<HTMLMediaElement>();
  playing.set(room, elements);
  room
    .on(RoomEvent.TrackSubscribed, (track) => {
      if (track.kind !== Track.Kind.Audio) return;
      const element = track.attach();
      elements.add(element);
      document.body.append(element);
    })
    .on(RoomEvent.TrackUnsubscribed, (track) => track.detach().forEach((element) => element.remove()));
}

/** Leaves a room and its voices. */
export function leave(room: Room) {
  for (const element of playing.get(room) ?? []) element.remove();
  void room.disconnect();
}
