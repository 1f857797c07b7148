#!/bin/sh
# Makes secrets/ beside this file: a new keyset, and the token that the sandbox
# accepts (published in the API's documentation, a secret of nobody). The
# worker in the container is user 65532 and refuses files that others can read.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
[ -e secrets/keyset.json ] || (cd ../.. && go run ./cmd/invoicebox-worker keys create --keyset-file deploy/compose/secrets/keyset.json)
rm -f secrets/token # it may belong to the container's user by now
printf 'b37c4c689295904ed21eee5d9a48d42e\n' > secrets/token
chmod 0400 secrets/token secrets/keyset.json
if [ "$(id -u)" = 0 ]; then
    chown -R 65532:65532 secrets
else
    echo "Now give the files to the container's user: sudo chown -R 65532:65532 $(pwd)/secrets"
fi
