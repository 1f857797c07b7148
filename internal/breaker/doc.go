// Package breaker is the circuit breaker of a partner account. It decides whether calls
// may be made for the account. All replicas share its state in the journal.
//
//	active       calls are made
//	throttled    Invoicebox answered 429, or reported that no request is left
//	backing off  the server or the network failed five times in a row
//	paused       the token, the rights, the address or the responses are wrong, or an
//	             operator paused it
//
// [SignalOf] translates a response into a signal, and a table in rules.go says what a
// signal does to each state. When a throttled or backing-off time is over, one trial call is made: a
// [Group] reserves it in the journal, so that one of several replicas makes it. Before
// the trial of a breaker that backs off, the account's token is checked, because that check changes
// nothing at Invoicebox.
//
// A slow start bounds the activations in flight until one of them was stored: a code is
// spent even if its response cannot be used.
//
// # Guarantees
//
//   - An open breaker fails no operation. The engine claims none while it is open.
//   - A pause that another process or an operator made is not undone by what this
//     process learned before it.
//   - At most one trial call is in flight in a process. A process that dies in its trial
//     delays the next one by the time of a call.
//
// Consecutive refusals and unusable responses are counted in memory: a restart counts
// from zero.
package breaker
