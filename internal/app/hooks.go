package app

import (
	"context"
	"net"

	"invoicebox-worker/internal/journal"
)

// Hooks are where a test, or a program that tries the service under faults,
// reaches between the service and what lies outside of it; others leave them zero. Kafka has its own: kafka.Config.Dial.
type Hooks struct {
	// DialInvoicebox makes the connections to Invoicebox, below TLS; nil: TCP.
	DialInvoicebox func(ctx context.Context, network, address string) (net.Conn, error)
	// Journal gets the journal as soon as it is open and gives what the parts
	// use in its place; nil: the journal itself. Close is asked of what it gives.
	Journal func(journal.Journal) journal.Journal
	// JournalMark tells a journal's file from its copies; see sqlite.Options.Mark.
	JournalMark func(path string) string
	// Proven: the settings of all accounts count as right, so that a new account makes as
	// many calls at once as the concurrency permits.
	Proven bool
}

// through gives what the parts use for the journal.
func (s *Hooks) through(j journal.Journal) journal.Journal {
	if s.Journal == nil {
		return j
	}
	return s.Journal(j)
}
