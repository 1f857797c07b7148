package endpoint

import (
	"context"
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	auditBatch  = 256 // entries of one commit
	auditWithin = 5 * time.Second
)

// An auditor writes the entries of waiting requests together, so that many of them need
// one commit.
type auditor struct {
	journal Journal
	queue   chan audited
}

// audited is an entry for which a request waits.
type audited struct {
	entry journal.AuditEntry
	done  chan<- error
}

func newAuditor(j Journal) *auditor {
	return &auditor{journal: j, queue: make(chan audited, maxReads)}
}

// write returns after the commit of the entry. If ctx ends first, the entry may still be
// written.
func (a *auditor) write(ctx context.Context, e journal.AuditEntry) error {
	done := make(chan error, 1)
	select {
	case a.queue <- audited{e, done}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run writes until ctx ends.
func (a *auditor) run(ctx context.Context) {
	for {
		var batch []audited
		select {
		case <-ctx.Done():
			return
		case one := <-a.queue:
			batch = append(batch, one)
		}
		for more := true; more && len(batch) < auditBatch; {
			select {
			case one := <-a.queue:
				batch = append(batch, one)
			default:
				more = false
			}
		}
		var entries []journal.AuditEntry
		for _, one := range batch {
			entries = append(entries, one.entry)
		}
		// An entry is written even if its request has ended meanwhile.
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditWithin)
		err := a.journal.AppendAudit(writing, entries...)
		cancel()
		for _, one := range batch {
			one.done <- err
		}
	}
}
