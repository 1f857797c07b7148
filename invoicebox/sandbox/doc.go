// Package sandbox simulates the partner API of Invoicebox, as documented and as
// it may really be. It misbehaves on purpose and is no product: its state lives
// in memory only, its admin handler asks for no password, its tokens are made
// from a seed that it tells everybody.
//
// # What it guarantees
//
//   - Every request to the API is counted before anything is decided, and noted
//     with its response before the last byte of that response leaves. A second
//     request for a code is seen even where it is refused.
//   - An effect (an e-mail sent, a code spent) happens at one instant, under a
//     lock, and is counted by address and by code. A code is spent once by the
//     account that used it first, unless a setting or a plant says otherwise.
//   - The count of requests in sliding windows is exact: it is kept from the
//     instants themselves, not from buckets.
//   - All chance comes from the seed, what it is for, and how many-th request of
//     its kind it is: the same values meet the same fate in any order. Only the
//     spells of the profile hostile depend on the time since the start.
//
// # What it does not
//
// It does not know shops, so it cannot tell that two codes belong to one. It
// keeps the first Options.MaxRecords requests and codes and addresses (a million
// each, about 500 bytes for both together); it counts requests beyond them without keeping
// them, and answers unknown codes and addresses beyond them with 503
// sandbox_full. It tells 10,000 IP addresses apart and counts the rest as
// "other". Which error codes a wrong, used or expired code gives is documented
// nowhere: those here are ours, and settings.
//
// # The way of a request
//
//	arrival ── latency ──▶ effect ── delay ──▶ answer, whole or cut
//	    └── counted towards the limits: on arrival, with the effect, or between
//
// At the effect the first of these that applies decides: a limit that is used
// up (429, at the moment of counting), a planted answer, a route or header that
// is wrong, the token, the signature, the body, the fault that the value names
// ([Faults]), the fault that the profile draws, and last the ordinary handling.
//
// A client that goes away changes nothing: the request is counted and has its
// effect when its time comes, as on a server that does not notice.
package sandbox
