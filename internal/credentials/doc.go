// Package credentials stores a shop's merchant id and token, version by version.
//
// # Guarantees
//
//   - Prepare returns when the secret is stored under its reference. A store in the
//     journal returns the row to store: the journal commits it together with the
//     operation's outcome and the event that announces it. So an event
//     never names a reference that does not resolve.
//   - A reference is pinned to its version and a version is never overwritten.
//     Preparing the same secret for the same version again is no error, because a
//     worker that died between the two steps repeats both.
//   - A sealed secret opens only as the account, shop and version that it was
//     sealed for: a row that was moved or renamed is refused.
//   - No error and no log line holds a part of a secret.
//
// # Limits
//
// The package does not decide which version is current, checks no token and publishes
// nothing: packages engine and onboarding do. They also decide when a version is
// destroyed, because a subscriber may still resolve an event with an older one.
//
// # Stores
//
// [Sealed] stores the secret in the journal's own database, encrypted with the worker's
// keyset. Package openbao stores it in OpenBao or Vault. Package credentialstest tests
// both. Package endpoint lets subscribers read a token.
//
// # Failures
//
//	the keyset lacks the key      Open fails with ErrUnreadable; nothing is lost as long as the key exists somewhere
//	the row was moved or damaged  ErrUnreadable
//	a shop or version is invalid  ErrInvalid, before anything is stored
package credentials
