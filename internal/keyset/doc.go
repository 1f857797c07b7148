// Package keyset holds the keys of a worker: one file with two independent keysets. The
// sealing keyset (AEAD, AES-256-GCM) encrypts the secrets in the journal. The look-up
// keyset (PRF, HMAC-SHA-256) makes keyed digests by which sealed values are found again.
//
// # Guarantees
//
//   - A sealed text opens only with the same associated data, which names the
//     row it belongs to: a ciphertext that was moved to another row is refused.
//   - Every sealed text and every digest names its key ([KeyID]), so that a key
//     which some row still needs can be recognised.
//   - After a rotation the new primary seals and digests; all older keys still
//     open, and [Set.MACs] returns a digest under every key.
//   - A file that group or world can read is refused; [Create] never replaces a
//     file.
//
// # Limits
//
// The loss of the keyset file is the loss of every secret that is sealed with it; there is
// no way back. Unless a wrapper encrypts the keys, only the permissions and the disk
// protect them.
package keyset
