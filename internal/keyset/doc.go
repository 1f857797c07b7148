// Package keyset holds the keys of a worker: one file, two keysets that share
// nothing. The sealing keyset (AEAD, AES-256-GCM) encrypts what must not lie
// open in the journal; the look-up keyset (PRF, HMAC-SHA-256) makes keyed
// digests by which sealed values are found again.
//
// # What it guarantees
//
//   - A sealed text opens only with the same associated data, which names the
//     row it belongs to: a ciphertext that was moved to another row is refused.
//   - Every sealed text and every digest names its key ([KeyID]), so that a key
//     which some row still needs can be recognised.
//   - After a rotation the new primary seals and digests; all older keys still
//     open, and [Set.MACs] gives a digest under every key.
//   - A file that group or world can read is refused; [Create] never replaces a
//     file.
//
// # What it does not
//
// A lost keyset file is the loss of every secret sealed with it; there is no
// way back. The file's bytes are not encrypted: its permissions and the disk
// protect it.
package keyset
