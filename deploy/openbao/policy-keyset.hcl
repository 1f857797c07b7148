# What the worker needs in OpenBao or Vault for --keyset-wrap transit/invoicebox-worker, and no more:
# `bao policy write invoicebox-worker-keyset policy-keyset.hcl`. A worker that also stores secrets there needs policy.hcl too.

# Read the keyset file.
path "transit/decrypt/invoicebox-worker" {
  capabilities = ["update"]
}

# Write it: keys create, keys rotate, keys drop, keys wrap. A worker alone does not need this.
path "transit/encrypt/invoicebox-worker" {
  capabilities = ["update"]
}

# A token may look at itself and renew itself.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
