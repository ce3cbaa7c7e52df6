/** Which sessions the browser's tabs show, as far as the leading tab has heard. */
export class Wants {
  private readonly tabs = new Map<string, { sessions: readonly string[]; heard: number }>();

  constructor(
    private readonly most: number,
    private readonly forgetAfterMs: number,
  ) {}

  /** Notes what a tab shows. True: it shows a session that it did not show before, whose history it needs. */
  hear(tab: string, sessions: readonly string[], now: number): boolean {
    const before = this.tabs.get(tab)?.sessions ?? [];
    this.tabs.set(tab, { sessions, heard: now });
    return sessions.some((session) => !before.includes(session));
  }

  forget(tab: string) {
    this.tabs.delete(tab);
  }

  /** The sessions to follow, those of the tabs that were heard last first; tabs that are silent for long are gone. */
  sessions(now: number): string[] {
    for (const [tab, { heard }] of this.tabs) if (now - heard > this.forgetAfterMs) this.tabs.delete(tab);
    const latest = [...this.tabs.values()].sort((a, b) => b.heard - a.heard);
    return [...new Set(latest.flatMap(({ sessions }) => sessions))].slice(0, this.most);
  }
}
