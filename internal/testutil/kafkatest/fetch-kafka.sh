#!/usr/bin/env bash
# Puts the jars of Apache Kafka into a folder, with Maven, and prints that folder.
#
#   fetch-kafka.sh [FOLDER]          default: ${XDG_CACHE_HOME:-~/.cache}/invoicebox-worker/kafka-VERSION
#   fetch-kafka.sh --record FOLDER   the same after a change of versions: also writes the new kafka.sha256
#
# A folder whose jars have the recorded digests is used as it is, without network. Tests find it through
# INVOICEBOX_TEST_KAFKA.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../../.ci/versions
. "$here/../../../.ci/versions"

record=
if [ "${1:-}" = --record ]; then
  record=yes
  shift
fi
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/invoicebox-worker/kafka-$KAFKA_VERSION}
digests=$here/kafka.sha256

fail() {
  printf 'fetch-kafka.sh: %s\n' "$*" >&2
  exit 1
}
digest() {
  if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}
# good: the folder holds exactly the recorded jars.
good() {
  [ -d "$1" ] && (cd "$1" && digest -- *.jar 2>/dev/null) | cmp -s - "$digests"
}

if [ -z "$record" ] && good "$folder"; then
  printf '%s\n' "$folder"
  exit 0
fi
command -v mvn >/dev/null || fail "Maven (mvn) is needed to fetch the jars"

mkdir -p "$(dirname "$folder")"
new=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$new"' EXIT
mvn --batch-mode --quiet --strict-checksums --no-transfer-progress -f "$here/pom.xml" \
  -Dkafka.version="$KAFKA_VERSION" -Dscala.version="$SCALA_VERSION" -Dlog4j.version="$LOG4J_VERSION" \
  -DoutputDirectory="$new" -DincludeScope=runtime \
  "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" >&2 ||
  fail "Maven could not fetch Apache Kafka $KAFKA_VERSION"
if [ -n "$record" ]; then
  (cd "$new" && digest -- *.jar) >"$digests"
fi
good "$new" || fail "the fetched jars differ from $digests; after a change of versions run it with --record"
chmod 755 "$new"
rm -rf "$folder"
mv "$new" "$folder"
printf '%s\n' "$folder"
