// Package credentialstest is the conformance suite of credential stores. It tests that:
//
// A secret is returned whole under the reference that was prepared for it. Shops and
// versions are distinguished, whatever characters the shop's id contains. A repeated
// Prepare is no error. A secret that cannot be stored is refused before anything is
// announced. All of that holds for concurrent calls.
//
// It tests neither durability, for which the journal is responsible, nor how well a store
// protects its secrets.
//
// A store runs it from its own tests with [Run] and a [Fixture].
package credentialstest
