#!/usr/bin/env bash
# Make a Railway project with everything of Rollcall in it: PostgreSQL, Redis, and a service for each process.
# Run it from a checkout, once, after `railway login`. docs/railway.md tells each step.
#
#     LIVEKIT_URL=wss://… LIVEKIT_API_KEY=… LIVEKIT_API_SECRET=… deploy/railway/setup.sh OWNER/REPOSITORY
set -euo pipefail

say() { printf '\033[36mrailway: %s\033[0m\n' "$*" >&2; }
fail() { printf '\033[31mrailway: %s\033[0m\n' "$*" >&2; exit 1; }

repository=${1:-}
[ -n "$repository" ] || fail "say which repository on GitHub Railway is to build: $0 OWNER/REPOSITORY"
command -v railway >/dev/null || fail "install Railway's command line first: npm install --global @railway/cli"
for name in LIVEKIT_URL LIVEKIT_API_KEY LIVEKIT_API_SECRET; do
    [ -n "${!name:-}" ] || fail "set $name: LiveKit Cloud shows it under Settings, API keys"
done
railway whoami >/dev/null || fail "run 'railway login' first"

livekit=("LIVEKIT_URL=$LIVEKIT_URL" "LIVEKIT_API_KEY=$LIVEKIT_API_KEY" "LIVEKIT_API_SECRET=$LIVEKIT_API_SECRET")
# Railway puts these together when a service starts; they stay inside of the private network.
redis='REDIS_URL=${{Redis.REDIS_URL}}'
database='DATABASE_URL=${{Postgres.DATABASE_URL}}'

add() { # SERVICE VARIABLE…
    local service=$1 variables=() variable
    shift
    for variable in "ROLLCALL_SERVICE=$service" "$@"; do variables+=(--variables "$variable"); done
    say "adding the service $service"
    railway add --service "$service" --repo "$repository" "${variables[@]}"
}

say "making the project"
railway init --name rollcall
say "adding PostgreSQL and Redis"
railway add --database postgres
railway add --database redis

add api "${livekit[@]}" "$redis" "$database" API_AUTH=keys
add dispatcher "${livekit[@]}" "$redis" "$database"
add verifier "${livekit[@]}" "$redis" "$database"
add transcripts "$redis" "$database"
add webhooks "$redis" "$database"
add agent "${livekit[@]}" "$redis" AGENT_DRAIN_TIMEOUT_S=600

say "in the settings of each service, set the path of its config file: /deploy/railway/SERVICE.json"
say "then give the api a domain (railway domain --service api --port 8080), and read on in docs/railway.md"
