import { Link } from "@tanstack/react-router";

import { Empty } from "../ui/parts";

export function NotFound() {
  return (
    <Empty title="There is no such page" heading="h1">
      <p className="text-center">
        <Link to="/" className="text-accent underline">
          All sessions
        </Link>
      </p>
    </Empty>
  );
}
