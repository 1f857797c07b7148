#!/bin/sh
# Makes secrets/ beside this file: a new keyset, the token that the sandbox
# accepts (published in the API's documentation, so it is no secret), and for
# full.yaml OpenBao's unseal key and the worker's log-in there. The worker in
# the container is user 65532 and refuses files that others can read.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
[ -e secrets/keyset.json ] || (cd ../.. && go run ./cmd/invoicebox-worker keys create --keyset-file deploy/compose/secrets/keyset.json)
rm -f secrets/token # it may belong to the container's user by now
printf 'b37c4c689295904ed21eee5d9a48d42e\n' > secrets/token
# They belong to OpenBao's volume: with new ones, remove that first.
[ -e secrets/openbao-seal.key ] || head -c 32 /dev/urandom > secrets/openbao-seal.key
for id in role-id secret-id; do
    [ -e "secrets/openbao-$id" ] || head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "secrets/openbao-$id"
done
chmod 0400 secrets/*
if [ "$(id -u)" = 0 ]; then
    chown -R 65532:65532 secrets
else
    echo "Now give the files to the container's user: sudo chown -R 65532:65532 $(pwd)/secrets"
fi
