package producer

import (
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	// forgedAgain is how often rows that are not authentic are read again.
	forgedAgain = time.Minute
	// forgedLogged bounds how many of them are logged, each once.
	forgedLogged = 100
)

// forged are the rows of the outbox that no worker wrote so. They stay in the
// outbox, and the others do not wait for them.
type forged struct {
	rows  map[int64]struct{} // as of the last look at all rows
	seen  map[int64]struct{} // of this look
	again time.Time
}

// authentic tells whether a row may be published. One that may not is logged
// once.
func (r *Relay) authentic(row journal.Outgoing) bool {
	err := r.config.Authentic(row)
	if err == nil {
		return true
	}
	f := &r.forged
	if f.seen == nil {
		f.seen = map[int64]struct{}{}
	}
	_, known := f.rows[row.Row]
	_, seen := f.seen[row.Row]
	f.seen[row.Row] = struct{}{}
	if !known && !seen && len(f.rows)+len(f.seen) <= forgedLogged {
		r.log.Error("a row of the outbox is not authentic: it is not published and stays there; find out who can write the database",
			"table", "outbox", "row", row.Row, "event", row.Event.String(), "type", row.Type, "err", err)
	}
	r.forgedNow(max(len(f.rows), len(f.seen)))
	return false
}

// looked notes that all rows were read.
func (r *Relay) looked(now time.Time) {
	r.forged = forged{rows: r.forged.seen, again: now.Add(forgedAgain)}
	r.forgedNow(len(r.forged.rows))
}

func (r *Relay) forgedNow(n int) {
	r.metrics.forged.Set(float64(n))
	r.status.forge(n)
}
