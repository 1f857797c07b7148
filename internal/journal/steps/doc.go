// Package steps implements the methods of a journal once for all databases. A step
// loads the rows that it needs, decides in Go, and changes them. Requests that wait
// at the same time share one transaction: they run one after the other, and their
// changes are saved together. A request gets the same answer as after transactions of
// the requests before it.
//
// A [Unit] holds the rows of one transaction. Most requests name the rows that they
// need ([Request.Load]), and these are loaded for all requests at once. Any other
// row is loaded when a request asks for it, which costs one more round trip on
// PostgreSQL.
//
// A [Database] opens transactions ([Tx]) that load and save rows. It also
// implements whatever differs between the databases: locks, the clock, the counts
// of permits, the relay lease, and the checks that a recovery needs.
package steps
