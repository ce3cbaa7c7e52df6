import { useTitle } from "./title";

/** The heading of a page that scrolls as a whole, and what it says at its right. */
export function PageHead({ title, aside }: { title: string; aside?: React.ReactNode }) {
  useTitle(title);
  return (
    <header className="flex flex-wrap items-center justify-between gap-3">
      <h1 className="text-lg font-semibold">{title}</h1>
      {aside}
    </header>
  );
}

export function PageBody({ children }: { children: React.ReactNode }) {
  return <div className="mx-auto w-full max-w-6xl space-y-3 p-3">{children}</div>;
}
