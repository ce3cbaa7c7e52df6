import { BUTTONS } from "./parts";

interface Pages {
  hasNextPage: boolean;
  isFetchingNextPage: boolean;
  fetchNextPage: () => Promise<unknown>;
}

/** The button that loads the next page of a list; nothing after the last one. */
export function More({ pages: { hasNextPage, isFetchingNextPage, fetchNextPage }, label = "More" }: { pages: Pages; label?: string }) {
  if (!hasNextPage) return null;
  return (
    <button type="button" className={BUTTONS.plain} disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
      {label}
    </button>
  );
}
