#!/bin/sh
# Run a command that trusts the build's secret ca_bundle, where one was given.
set -eu
bundle=/run/secrets/ca_bundle
if [ -s "$bundle" ]; then
  export PIP_CERT="$bundle" SSL_CERT_FILE="$bundle" REQUESTS_CA_BUNDLE="$bundle"
fi
exec "$@"
