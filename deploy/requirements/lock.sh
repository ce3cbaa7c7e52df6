#!/usr/bin/env bash
# Cut the locks of the images out of requirements/runtime.txt and requirements/voice.txt.
# To be run whenever those change: an image whose lock differs from them is not built.
set -euo pipefail
cd "$(dirname "$0")"

locks=../../requirements
uv=${UV:-../../.venv/bin/uv}

for image in control agent inference; do
    echo "locking $image" >&2
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links \
        -c "$locks/runtime.txt" -c "$locks/voice.txt" "$image.in" -o "$image.txt"
done
