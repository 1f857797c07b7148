// Package invoicebox is a client for the partner API of Invoicebox: it invites
// a shop, activates it with the code that the shop entered, and checks a token.
//
// A call returns an [Exchange]: what was sent and what came back, not parsed. The
// caller saves it where it has to ([Exchange.MarshalReceipt]), asks [Classify] what it
// means, and reads its values with [ParseInvitation], [ParseActivation] and
// [ParseCheck], or both at once with [ReadInvitation], [ReadActivation] and [ReadCheck]. The meaning of every response is one table, [OutcomeRules], which
// docs/outcomes.md shows.
//
// # Guarantees
//
//   - One call writes at most one request. It tries again only if the first try wrote
//     nothing, the send-by instant and the deadline are not over, and the failure may
//     be temporary.
//   - Exchange.Written counts the bytes of the request that the network accepted,
//     inside TLS, without handshakes and the proxy's CONNECT. It is 0 only if the
//     server cannot have received a byte of the request.
//   - A request is written before its send-by instant, or never: the clock is read
//     right before the write, in the goroutine that writes. A process that is stopped
//     between the two (SIGSTOP) writes late; the caller's slack covers that.
//   - After Exchange.Finished nothing of the call is on a connection of this client:
//     the response was complete, or the connection is closed.
//   - A call with an effect uses a connection that was used in the last four seconds,
//     or a new one. An idle connection is dropped if it has ended or if anything arrived
//     on it. Data that arrived before a request never becomes its response.
//   - HTTP/1.1 only; no redirect is followed; no idempotency header is sent. The client
//     asks for no content coding (Accept-Encoding: identity), and decodes gzip and
//     deflate if the server uses them.
//   - The parser tolerates a byte order mark, text around the object, white space,
//     invalid UTF-8 and duplicate members in parts that are not read, numbers for ids
//     and tokens, and an empty error beside the data. HTML is never read as JSON.
//   - Everything has a bound: the call (Options.Deadline, with connect and body), the
//     headers (64 KiB) and the body (Options.MaxResponseBytes, and 64 KiB after decoding),
//     interim responses (5), and the wait that a response asks for ([MaxRetryAfter]).
//   - No error, log line, classification or String method contains a token, a code, an e-mail
//     address or a key. Of a response they contain only status, request id and business
//     code, each only in a harmless form and without the secrets of the request.
//
// # Limits
//
// The client does not wait: Retry-After and rate limit headers become numbers in the
// [Classification]. It counts no requests, does not know of earlier attempts, and does not wipe
// memory.
//
// # The life of a call
//
//	values and settings checked ──bad──▶ bad_value, bad_setting          Written = 0
//	      │
//	connection: recent idle one, else dial ──fails──▶ dns, connect, tls, proxy ─┐ Written = 0
//	      │            ▲                                                        │
//	      │            └───────────────── once more, after 20 to 150 ms ────────┘
//	send-by and deadline checked ──late──▶ send_by_passed, deadline      Written = 0
//	      │
//	one write ──nothing accepted──▶ as above;  ──partly, then failed──▶ connection_reset, …
//	      │
//	status line ──none──▶ connection_lost, deadline, not_http …          unknown
//	      │
//	headers, body ──cut, too large──▶ Status is known, BodyComplete = false
//	      │
//	complete: the connection is kept for the next call
//
// # Why not http.Transport
//
// net/http writes the heads of requests, once, and parses responses, and go-retryablehttp retries; the
// connections are managed here. http.Transport resends a request by itself when an idle
// connection is dead, although each request needs a permit; writes in another
// goroutine, so that neither the send-by instant nor the count of bytes is exact; loses
// the status if a later header is invalid; and logs unsolicited data of an idle
// connection, which can be the end of a token. The cost: no SOCKS proxies and no HTTP/2.
package invoicebox
