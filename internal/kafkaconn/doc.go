// Package kafkaconn is how the worker reaches Kafka: addresses, TLS, SASL and
// deadlines in one place, and the client library's errors put into plain words.
// It exists because both edges, consumer and producer, need the same, and
// neither may import the other.
//
// # What it guarantees
//
//   - Every connection has a dial time-out and, where it is made through
//     [Conn.Client], every request has a deadline: the library's own default
//     for a produce request is 500 ms, whatever the context says.
//   - A password is read anew for each authentication, certificates for each
//     connection, so that a changed file needs no restart.
//   - [Explain] turns what the library says into a word of a closed set
//     ([Class], fit for a metric label) and a sentence that says what to look
//     at. "Unexpected EOF" is what a broker's wish for TLS or SASL looks like.
//   - An error that comes from an address to which no connection could be opened
//     names that address and the cause, also when a deadline cut the request
//     short ([Conn.Unreached]).
//   - A request whose API the broker does not offer fails with
//     kafka.UnsupportedVersion and the API's name. The library would send
//     version 0 of it, and the broker would close the connection.
//   - SASL PLAIN without TLS opens connections to loopback addresses only.
//     Configured and advertised addresses are compared by their form; the name
//     localhost is resolved here and not by a resolver. [Conn.Plaintext] names
//     the other brokers that are spoken to without TLS.
//   - Brokers that limit how long an authenticated session lasts
//     (connections.max.reauth.ms) interrupt nothing: connections authenticate
//     again before a request when four fifths of the time are over (KIP-368).
//     The library does not, and the loss of a group's connection is a rebalance.
//   - No error holds a password.
//
// # What it does not
//
// It does not retry, and it does not decide which fault is final: that is the
// caller's business, who knows what is at stake.
package kafkaconn
