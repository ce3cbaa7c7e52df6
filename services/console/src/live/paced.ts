/** Does something for what was named, at once, and then at most every `gapMs` for all that was named meanwhile. */
export class Paced<T> {
  private readonly named = new Map<string, T>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private last = -Infinity;

  constructor(
    private readonly gapMs: number,
    private readonly act: (all: T[]) => void,
  ) {}

  name(all: readonly T[]) {
    for (const each of all) this.named.set(String(each), each);
    if (this.named.size && this.timer === undefined) this.timer = setTimeout(this.flush, Math.max(0, this.last + this.gapMs - Date.now()));
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.named.clear();
  }

  private readonly flush = () => {
    this.timer = undefined;
    this.last = Date.now();
    const all = [...this.named.values()];
    this.named.clear();
    this.act(all);
  };
}
