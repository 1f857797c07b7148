// Package credentials keeps what an activation brings: a shop's merchant id and
// token, version by version.
//
// # What it guarantees
//
//   - Prepare returns only when the secret is where its reference says, or,
//     for a store that keeps it in the journal, when the row that makes it so
//     is ready: the store prepares, the journal commits that row together with
//     the operation's outcome and the event that announces it. So an event
//     never names a reference that does not resolve.
//   - A reference is pinned to its version and a version is never overwritten.
//     Preparing the same secret for the same version again is no error: a
//     worker that died between the two steps does both again.
//   - A sealed secret opens only as the account, shop and version that it was
//     sealed for: a row that was moved or renamed is refused.
//   - No error and no log line holds a part of a secret.
//
// # What it does not
//
// It does not decide which version is the current one, checks no token and
// publishes nothing: packages engine and onboarding do. They also decide when a
// version is destroyed: someone may still resolve an event that names an older one.
//
// # Stores
//
// [Sealed] keeps the secret in the journal's own database, encrypted with the
// worker's keyset. Package openbao keeps it in OpenBao or Vault. Package
// credentialstest tests both. Package endpoint lets subscribers read a token.
//
// # Failures
//
//	the keyset lacks the key      Open fails with ErrUnreadable; nothing is lost as long as the key exists somewhere
//	the row was moved or damaged  ErrUnreadable
//	the shop or version is odd    ErrInvalid, before anything is stored
package credentials
