// Package engine executes operations.
package engine
