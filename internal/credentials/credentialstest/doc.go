// Package credentialstest is the conformance suite of credential stores: what
// every store promises to those who announce its references.
//
// It holds a store to these: a secret comes back whole under the reference that
// was prepared for it, shops and versions are kept apart whatever characters
// the shop's id has, preparing the same again is no error, what cannot be
// stored is refused before anything is announced, and all of it holds when many
// prepare at the same time. It says nothing about durability, which is the
// journal's, and nothing about how well a store keeps its secrets from others.
//
// A store runs it from its own tests with [Run] and a [Fixture].
package credentialstest
