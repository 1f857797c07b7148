// Package steps is what a journal does, written once for all databases. A step
// loads the rows that it needs, decides over them in Go, and changes them; the
// database saves what has changed. Requests that wait at the same time are decided
// one after the other and saved together.
//
// A [Unit] holds the rows of one transaction. Rows of the common steps are loaded
// for all requests at once; a row that was not named before is loaded when it is
// asked for, which costs PostgreSQL a round trip and changes nothing else.
package steps
