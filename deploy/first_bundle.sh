#!/bin/sh
# The first bundle of a new installation: trains the demo and publishes its users and videos, each only where it is
# not there yet. Publishing writes nothing that the store holds already, so this mends a store that was emptied.
#
#   FULCRUM_MODELS     folder of bundles, as the service is told; /models where absent
#   FULCRUM_FEATURES   the store, as the service is told, such as redis://redis:6379/0
set -eu

: "${FULCRUM_FEATURES:?expected the store to publish into, such as redis://redis:6379/0}"
bundle=${FULCRUM_MODELS:-/models}/demo

if [ -f "$bundle/manifest.json" ]; then
    echo "bundle $bundle is there already" >&2
else
    fulcrum train --recipe demo --out "$bundle" --run "$(mktemp -d)/run"
fi
fulcrum publish "$bundle" --to "$FULCRUM_FEATURES"
