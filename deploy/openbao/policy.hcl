# What the worker needs in OpenBao or Vault, and no more: `bao policy write invoicebox-worker policy.hcl`.
# "secret" is the mount of --vault-mount. A worker with accounts of its own can be given their folders only:
# secret/data/invoicebox/ACCOUNT/*.

# Store a version, and read back what an answer that was lost has stored. A path that does not exist yet needs create.
path "secret/data/invoicebox/*" {
  capabilities = ["create", "update", "read"]
}

# Set how many versions a new path keeps.
path "secret/metadata/invoicebox/*" {
  capabilities = ["create", "update"]
}

# Destroy the versions of a shop that was disconnected, and those that newer ones have replaced.
path "secret/destroy/invoicebox/*" {
  capabilities = ["update"]
}

# A token may look at itself and renew itself. The default policy permits both; this is for tokens without it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

# See that the mount is KV version 2.
path "sys/internal/ui/mounts/secret" {
  capabilities = ["read"]
}
