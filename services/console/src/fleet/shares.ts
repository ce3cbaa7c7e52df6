/** The shares of an agent's pools, as they are typed: whole percents by pool. */

type Typed = { shares: { [pool: string]: number }; total: number; problem: string | null };

/** Reads what stands in the fields. `problem` says why these shares can't be set. */
export function readShares(typed: readonly (readonly [pool: string, text: string])[]): Typed {
  const shares = Object.fromEntries(typed.map(([pool, text]) => [pool, Number(text || 0)]));
  const total = Object.values(shares).reduce((sum, share) => sum + share, 0);
  const whole = Object.values(shares).every((share) => Number.isInteger(share) && share >= 0);
  const problem = !whole ? "A share is a whole number of percent." : total === 100 ? null : `Together they must be 100 %, and are ${total} %.`;
  return { shares, total, problem };
}

/** The pool without a name has to be called something. */
export const poolName = (pool: string): string => pool || "(no name)";
