import { useEffect, useState } from "react";

import { Icon } from "../ui/icons";

const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const KEY = "rollcall-theme";
const ICONS = { system: "system", light: "sun", dark: "moon" } as const;

const prefersDark = () => matchMedia("(prefers-color-scheme: dark)");

/** A button for the next theme. `public/theme.js` sets the chosen one before the first paint. */
export function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(() => THEMES.find((each) => each === localStorage.getItem(KEY)) ?? "system");

  useEffect(() => {
    localStorage.setItem(KEY, theme);
    const apply = () => {
      const dark = theme === "dark" || (theme === "system" && prefersDark().matches);
      document.documentElement.dataset.theme = dark ? "dark" : "light";
    };
    apply();
    const media = prefersDark();
    media.addEventListener("change", apply);
    return () => media.removeEventListener("change", apply);
  }, [theme]);

  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
  const label = `Theme: ${theme}. Change to ${next}`;
  return (
    <button type="button" onClick={() => setTheme(next)} aria-label={label} title={label} className="inline-flex size-7 items-center justify-center rounded text-quiet hover:bg-raised hover:text-text">
      <Icon name={ICONS[theme]} />
    </button>
  );
}
