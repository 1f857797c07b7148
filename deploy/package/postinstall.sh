#!/bin/sh
# Makes the service's user. The service is not started: it needs settings, a keyset and a token first.
set -e
if command -v systemd-sysusers >/dev/null; then systemd-sysusers invoicebox-worker.conf; fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
