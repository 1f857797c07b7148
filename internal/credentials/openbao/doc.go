// Package openbao stores merchant ids and tokens in a KV version 2 mount of OpenBao or
// HashiCorp Vault, where other services read them with the tools of those servers.
//
// A shop's secret is at <mount>/invoicebox/<account>/<shop>. Its members are merchantId
// and token, and account, shopId, operation, schema and proof. Proof is a MAC with a
// look-up key of the keyset, by which the store recognises its own secrets.
//
// # Guarantees
//
//   - Writes are create-only or compare-and-set. A secret is never written over one
//     that this service did not write: that is credentials.ErrConflict.
//   - The same secret of the same operation is stored once, under one version,
//     however often Prepare is called and whichever responses were lost.
//   - A secret that was changed by hand, or written by another program, is never returned
//     as the shop's: that is credentials.ErrUnreadable.
//   - Ready fails when Prepare could not succeed. It reads the path, and writes to it
//     with a version that no secret can have: the server checks token, policy, mount
//     and quotas for a write to this path, and stores nothing.
//   - The client repeats no request, and follows no redirect: a token goes to the
//     configured address and to no other.
//   - No error, log line or metric holds a part of a secret, or text that the server
//     wrote.
//
// # Limits
//
// The server counts the versions. They can differ from the journal's, for example if
// earlier secrets of the shop are sealed in the journal. References and events have the
// server's versions. The server retains [MaxVersions] versions of a path.
//
// # Failures
//
//	sealed, unreachable, slow, standby, quota    a temporary error; nothing is lost, the secret stays in the journal's response
//	the token or the policy does not permit it   the same; Ready fails before a code is spent
//	the answer of a write is lost                the next Prepare finds the secret and adopts it
//	another writer's secret is at the path       credentials.ErrConflict
//	a version was destroyed, or changed by hand  credentials.ErrUnreadable
package openbao
