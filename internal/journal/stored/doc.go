// Package stored defines the values that both databases of the journal store in the same
// form: the numbers of lanes, exits and circuit breakers, and headers as bytes. A move
// between the databases copies rows unchanged, so the forms must never differ. A number
// never gets another meaning.
package stored
