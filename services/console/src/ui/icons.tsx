/** Small drawings of 16 by 16. They always stand beside a word, so readers of screens skip them. */

const PATHS = {
  check: "M3 8.5l3.2 3.2L13 5",
  cross: "M4 4l8 8M12 4l-8 8",
  clock: "M8 4.5V8l2.3 1.6M8 14A6 6 0 108 2a6 6 0 000 12z",
  dot: "M8 10.5a2.5 2.5 0 100-5 2.5 2.5 0 000 5z",
  stop: "M4.5 4.5h7v7h-7z",
  minus: "M4 8h8",
  copy: "M6 6h7v7H6zM10 6V3H3v7h3",
  search: "M7 11.5a4.5 4.5 0 100-9 4.5 4.5 0 000 9zM10.5 10.5L14 14",
  down: "M4 6l4 4 4-4",
  left: "M10 3L5 8l5 5",
  sun: "M8 10.5a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM8 1.5v1.8M8 12.7v1.8M1.5 8h1.8M12.7 8h1.8M3.4 3.4l1.3 1.3M11.3 11.3l1.3 1.3M12.6 3.4l-1.3 1.3M4.7 11.3l-1.3 1.3",
  moon: "M13 9.5A5.5 5.5 0 116.5 3a4.5 4.5 0 006.5 6.5z",
  system: "M2.5 3.5h11v7h-11zM6 13.5h4M8 10.5v3",
  out: "M6 3H3v10h3M10 5l3 3-3 3M13 8H6.5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, className = "size-4" }: { name: IconName; className?: string }) {
  return (
    <svg viewBox="0 0 16 16" className={className} aria-hidden="true" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round">
      <path d={PATHS[name]} />
    </svg>
  );
}
