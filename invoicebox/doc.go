// Package invoicebox is a client for the partner API of Invoicebox: it invites
// a shop, activates it with the code that the shop entered, and checks a token.
//
// A call gives an [Exchange]: what was sent, what came back, unparsed. The
// caller makes that durable where it has to ([Exchange.MarshalReceipt]), asks
// [Classify] what it means, and takes the values out of it with
// [ParseInvitation], [ParseActivation] and [ParseCheck]. What means what is one
// table, [Outcomes].
//
// # What it guarantees
//
//   - One call writes at most one request. A second try happens inside a call
//     only where nothing was written by the first, the send-by instant and the
//     deadline are still to come, and the failure may pass.
//   - Exchange.Written counts the bytes of the request that the network took,
//     inside TLS, without handshakes and without the proxy's CONNECT. It is 0
//     only where the server cannot have seen a byte of the request.
//   - A request is written before its send-by instant, or never: the clock is
//     looked at right before the write, in the goroutine that writes. (A process
//     that is stopped between the two, for example by SIGSTOP, is late
//     all the same: that is what the slack of the caller's times is for.)
//   - After Exchange.Finished nothing of the call is on a connection of ours:
//     its answer was complete, or its connection is closed.
//   - A call with an effect goes over a connection that was used in the last
//     four seconds, or over a new one. Before an idle one is used, it is looked
//     at: one that has ended, or on which anything has come unasked, is dropped.
//     What has arrived before a request is written never becomes its answer.
//   - HTTP/1.1 only; redirects are never followed; no idempotency header
//     is sent. No content coding is asked for (Accept-Encoding: identity); gzip
//     and deflate are undone all the same, before anything is read.
//   - A body is read in spite of a byte order mark, text around its object (a
//     PHP warning), bytes that are not UTF-8 and members that stand twice where
//     nothing is read, a number for an id or token, white space around them, and
//     an empty error beside the data. A page of HTML is never read as JSON.
//   - Everything has a bound: the call (Options.Deadline, connect and body
//     included), an answer's headers (64 KiB) and body (Options.MaxAnswerBytes,
//     and 64 KiB after its coding was undone), interim answers (5), what an
//     answer can ask to wait ([MaxRetryAfter]).
//   - No error, log line, verdict or String method of this package shows a
//     token, a code, an e-mail address, a key, or a byte of an answer beyond its
//     status, its request id and its business code, each held to a harmless
//     form and dropped where it repeats a secret of the request.
//
// # What it does not do
//
// It does not wait: Retry-After and the rate limit headers become numbers in
// the [Verdict]. It keeps to no limit and counts no requests, knows nothing of
// doubt from earlier attempts, and does not say whether a shop is invited: that
// is the caller's business. It does not wipe memory.
//
// # The life of a call
//
//	values and settings checked ──bad──▶ bad_value, bad_setting          Written = 0
//	      │
//	connection: fresh idle one, else dial ──fails──▶ dns, connect, tls, proxy ─┐ Written = 0
//	      │            ▲                                                       │
//	      │            └───────────────── once more, after 20 to 150 ms ───────┘
//	send-by and deadline looked at ──late──▶ send_by_passed, deadline    Written = 0
//	      │
//	one write ──took nothing──▶ as above;  ──took something, failed──▶ connection_reset, …
//	      │
//	status line ──none──▶ connection_lost, deadline, not_http …          unknown
//	      │
//	headers, body ──cut, too large──▶ Status is known, BodyComplete = false
//	      │
//	complete: the connection is kept for the next call
//
// # Outcomes
//
// The first row that fits decides. What its class leads to for an operation is
// the caller's table; so is a refusal that comes after doubt.
//
//	row                      calls                        status                class                  fault       doubt  only where
//	value_unsendable         all                          none                  our_fault              request     -      nothing written; bad_value
//	nothing_written          all                          none                  not_executed           -           -      nothing written
//	lost                     invite, activate             none                  unknown                -           yes    -
//	lost_check               check, check_own             none                  unknown                -           -      -
//	too_early                all                          425                   not_executed           -           -      -
//	limited                  all                          429                   limited                -           -      -
//	request_timeout          invite, activate             408                   probably_not_executed  -           yes    -
//	unavailable              invite, activate             503                   probably_not_executed  -           yes    -
//	check_put_off            check, check_own             408, 503              not_executed           -           -      -
//	token_of_nobody          check                        2xx                   refused                -           -      a null user id
//	own_token_of_nobody      check_own                    2xx                   unauthorized           -           -      a null user id
//	done                     all                          2xx                   done                   -           -      good
//	unreadable_cut           all                          2xx                   unreadable             -           -      broken, short, too large, with an error, or lacking a member; body_cut, connection_lost, connection_reset, deadline, canceled
//	unreadable_large         all                          2xx                   unreadable             -           -      broken, short, too large, with an error, or lacking a member; body_too_large
//	unreadable               all                          2xx                   unreadable             -           -      broken, short, too large, with an error, or lacking a member
//	token_refused            check                        401                   refused                -           -      -
//	token_forbidden          check                        403                   refused                -           -      the code unauthorized or forbidden
//	token_forbidden_by_code  check                        403                   refused                -           -      a business code; fields empty or naming the shop's own value
//	unauthorized             invite, activate, check_own  401                   unauthorized           -           -      -
//	forbidden                all                          403                   our_fault              rights      -      -
//	refused                  invite, activate             400, 404, 409, 422    refused                -           -      a business code; fields empty or naming the shop's own value
//	account_refused          invite, activate             400, 404, 409, 422    our_fault              rights      -      the code unauthorized or forbidden
//	partner_id_refused       all                          4xx                   our_fault              partner_id  -      a business code; fields naming partnerId
//	redirected               all                          3xx                   our_fault              address     -      -
//	wrong_address            all                          404 to 405, 410, 421  our_fault              address     -      no business code (HTML, empty, cut, …_http_exception)
//	request_refused          all                          4xx                   our_fault              request     -      -
//	server_error             invite, activate             5xx                   unknown                -           yes    -
//	server_error_check       check, check_own             5xx                   unknown                -           -      -
//	odd_status               all                          1 to 199, 600 to 999  unknown                -           yes    -
//
// # Why not http.Transport
//
// The retry loop is go-retryablehttp's, requests are written and answers are
// parsed by net/http; but connections are handled here. http.Transport sends a
// request again by itself when an idle connection turns out to be dead (also a
// check, which has its permit for one request); hands requests to a buffering
// goroutine, so that neither the send-by instant nor the count of bytes can be
// had where the write happens; keeps no status where the headers after it are
// broken; and prints what comes unasked on an idle connection, up to its whole
// buffer, through the standard logger: after an answer longer than its
// Content-Length that would be the rest of a token. What is lost is small:
// SOCKS proxies, HTTP/2, and connections that are dialled for one request and
// used by another.
//
// go-retryablehttp itself closes all idle connections after any failed call.
// The round tripper that it gets here has no method for that.
package invoicebox
