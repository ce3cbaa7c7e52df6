import { clsx } from "clsx";
import { DropdownMenu } from "radix-ui";

import { Icon } from "./icons";
import { BUTTONS } from "./parts";

type Wish<T extends string> = {
  label: string;
  all: readonly T[];
  chosen: readonly T[];
  word?: (each: T) => string;
  onChange: (chosen: T[]) => void;
};

/** A button that opens a list of which several may be chosen. */
export function Choice<T extends string>({ label, all, chosen, word = (each) => each, onChange }: Wish<T>) {
  const [first, ...others] = chosen;
  const said = first === undefined ? label : `${label}: ${word(first)}${others.length ? ` and ${others.length} more` : ""}`;
  return (
    // Not modal: that would put a style element into the page, which its content security policy forbids.
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger className={first === undefined ? BUTTONS.plain : BUTTONS.chosen}>
        {said}
        <Icon name="down" className="size-3" />
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content align="start" sideOffset={4} aria-label={label} className="z-20 max-h-96 min-w-44 overflow-auto rounded-md border border-line bg-card p-1 shadow-lg">
          {all.map((each) => (
            <DropdownMenu.CheckboxItem
              key={each}
              checked={chosen.includes(each)}
              onSelect={(event) => event.preventDefault()}
              onCheckedChange={(on) => onChange(all.filter((other) => (other === each ? on : chosen.includes(other))))}
              className="flex cursor-pointer items-center gap-2 rounded px-2 py-1 outline-none data-[highlighted]:bg-raised"
            >
              <span className={clsx("flex size-4 items-center justify-center rounded border border-edge", chosen.includes(each) && "border-accent bg-accent text-card")}>
                <DropdownMenu.ItemIndicator>
                  <Icon name="check" className="size-3" />
                </DropdownMenu.ItemIndicator>
              </span>
              {word(each)}
            </DropdownMenu.CheckboxItem>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
