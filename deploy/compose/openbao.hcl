# OpenBao for full.yaml: it initializes itself at its first start, and unseals itself with the key in a file. This is
# for a trial on one machine; in production unseal with a KMS or by hand.
ui            = false
api_addr      = "http://127.0.0.1:8200"
cluster_addr  = "https://127.0.0.1:8201"

storage "raft" {
  path    = "/openbao/file"
  node_id = "one"
}

# The worker shares its network, and nobody else reaches it: loopback needs no TLS.
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}

seal "static" {
  current_key_id = "1"
  current_key    = "file:///run/secrets/openbao-seal.key"
}

initialize "worker" {
  request "mount" {
    operation = "update"
    path      = "sys/mounts/secret"
    data      = { type = "kv", options = { version = "2" } }
  }
  request "policy" {
    operation = "update"
    path      = "sys/policies/acl/invoicebox-worker"
    data = {
      policy = { eval_type = "string", eval_source = "file", path = "/openbao/policy.hcl" }
    }
  }
  request "approle" {
    operation = "update"
    path      = "sys/auth/approle"
    data      = { type = "approle" }
  }
  request "role" {
    operation = "update"
    path      = "auth/approle/role/invoicebox-worker"
    data      = { token_policies = "invoicebox-worker", token_ttl = "1h" }
  }
  request "role-id" {
    operation = "update"
    path      = "auth/approle/role/invoicebox-worker/role-id"
    data = {
      role_id = { eval_type = "string", eval_source = "file", path = "/run/secrets/openbao-role-id" }
    }
  }
  request "secret-id" {
    operation = "update"
    path      = "auth/approle/role/invoicebox-worker/custom-secret-id"
    data = {
      secret_id = { eval_type = "string", eval_source = "file", path = "/run/secrets/openbao-secret-id" }
    }
  }
}
