#!/usr/bin/env bash
# Makes docs/demo.svg from a run of the demo: the moments around the death of the worker, and the summary.
# Needs Go and, on its first run, the module proxy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
freeze=github.com/charmbracelet/freeze@v0.2.2

output=$(mktemp)
trap 'rm -f "$output"' EXIT
go run ./cmd/invoicebox-demo --plain --seed 183978 |
  awk '{ lines[NR] = $0 } /KILLED/ { killed = NR } /^Results / { table = NR } /^shop-.* was announced/ { over = NR }
    END {
      print "$ go run ./cmd/invoicebox-demo --plain"
      for (i = killed - 5; i <= killed + 5; i++) print lines[i]
      print " …"
      for (i = table; i < over - 1; i++) print lines[i]
    }' >"$output"
go run "$freeze" "$output" --language text --output docs/demo.svg --theme github-dark --background '#0d1117' \
  --font.family 'ui-monospace,monospace' --font.size 13 --padding 16 --margin 0 </dev/null
