/** What is being said in a call, by the segments of LiveKit's transcriptions. */

export type Who = "agent" | "caller";
export type Segment = { id: string; who: Who; text: string; final: boolean };

const SHOWN = 50;

/** Puts a segment in its place: the text of a known one is replaced, and a new one comes last. Empty ones are left out. */
export function heard(before: readonly Segment[], segment: Segment): readonly Segment[] {
  if (!segment.text.trim()) return before;
  const at = before.findIndex(({ id }) => id === segment.id);
  if (at < 0) return [...before, segment].slice(-SHOWN);
  return before.map((known, index) => (index === at ? segment : known));
}
