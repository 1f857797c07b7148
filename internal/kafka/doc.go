// Package kafka connects to Kafka and administers topics: addresses, TLS, SASL,
// deadlines, topic metadata, and explanations of the client library's errors. Package
// consumer and package producer use it.
//
// # Guarantees
//
//   - Every connection has a dial time-out. Every request through [Cluster.Client] has a
//     deadline; the library's own default for a produce request is 500 ms, whatever the
//     context says.
//   - A password is read for each authentication and certificates for each connection, so
//     that a changed file needs no restart.
//   - [Wrap] explains an error of the library by a class of a closed set ([ErrorClass], fit for
//     a metric label) and a sentence that says what to check. "Unexpected EOF", for
//     example, usually means that the broker expects TLS or SASL.
//   - An error from an address to which no connection could be opened names that address
//     and the cause, also when a deadline cut the request short ([Cluster.ExplainUnreachable]).
//   - A request whose API the broker does not offer fails with kafka.UnsupportedVersion and
//     the API's name. The library would send version 0 of it, and the broker would close
//     the connection.
//   - SASL PLAIN without TLS opens connections to loopback addresses only. Configured and
//     advertised addresses are compared by their form; the name localhost is resolved here
//     and not by a resolver. [Cluster.PlaintextBrokers] names the other brokers without TLS.
//   - If brokers limit the time of an authenticated session (connections.max.reauth.ms),
//     connections authenticate again before a request when four fifths of the time are over
//     (KIP-368). The library does not, and a lost group connection is a rebalance.
//   - No error contains a password.
//
// # Limits
//
// Connections and requests are not retried, and no fault is final here: callers decide
// that. Only [TopicStates] and [CreateTopics] retry, until their context ends.
package kafka
