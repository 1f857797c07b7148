// Package breaker is the circuit breaker of a partner account.
package breaker
