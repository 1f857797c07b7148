package app

import (
	"context"
	"net"

	"invoicebox-worker/internal/journal"
)

// Hooks let a test, or a program that injects faults, intercept the service's
// connections and its journal; others leave them zero. Kafka has its own:
// kafka.Config.Dial.
type Hooks struct {
	// DialInvoicebox makes the connections to Invoicebox, below TLS; nil: TCP.
	DialInvoicebox func(ctx context.Context, network, address string) (net.Conn, error)
	// Journal gets the open journal and returns the one that the parts use; nil: the
	// journal itself. The returned one is closed.
	Journal func(journal.Journal) journal.Journal
	// JournalMark distinguishes a journal's file from its copies; see
	// sqlite.Options.Mark.
	JournalMark func(path string) string
	// Proven: the settings of all accounts count as right, so that a new account makes as
	// many calls at once as the concurrency permits.
	Proven bool
}

// wrapJournal returns the journal that the parts use.
func (s *Hooks) wrapJournal(j journal.Journal) journal.Journal {
	if s.Journal == nil {
		return j
	}
	return s.Journal(j)
}
