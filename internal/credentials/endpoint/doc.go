// Package endpoint lets the services that read the results get the credentials behind a
// reference: GET /v1/credentials?ref=REFERENCE, on a listener of its own.
//
// # Guarantees
//
//   - A caller is known by a bearer token or by its certificate, and reads only the shops
//     that the callers file allows. For all other shops it gets the same response, whether
//     they exist or not; nothing is looked up for them.
//   - A secret is sent only after its audit entry was committed. Requests that are
//     refused because of the reference have an entry too. Requests without a known
//     caller, and those above a caller's rate, have none, so that they cannot fill the
//     journal; metrics count them.
//   - Only the current version that `activated` has announced is sent. An older one gets
//     the reference of the current one.
//   - No log line, metric, audit entry or error contains a secret.
//   - Callers do not delay other work: at most [maxReads] requests read at once, and
//     their audit entries are committed together, one commit at a time.
//
// # Failures
//
//	the journal cannot be read, or the audit not be written   503 with Retry-After
//	too many requests at once                                 503 with Retry-After
//	the keyset lacks the key, or the row is damaged           500; a retry does not help
//	the secret was deleted from its store                     the same
//	the callers file, or a token's, becomes invalid           the earlier callers stay in use
//
// docs/credentials.md is the guide for callers, schemas/openapi.yaml the description for programs.
package endpoint
