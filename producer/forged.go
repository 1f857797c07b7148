package producer

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// forgedLogged bounds how many rows that are not authentic are logged, each once.
const forgedLogged = 100

// forged are the rows of the outbox that no worker wrote so. They stay in the
// outbox, and the others do not wait for them.
type forged struct {
	rows   map[int64]struct{}
	logged int
	// Now and then they are read again: they may have been repaired or taken away.
	again   time.Time
	looking bool
	seen    map[int64]struct{} // of this look
}

// authentic reports whether a row may be published. One that may not is logged
// once.
func (r *Relay) authentic(row journal.Outgoing) bool {
	f := &r.forged
	_, known := f.rows[row.Row]
	err := r.config.Authentic(row)
	if err == nil {
		if known {
			delete(f.rows, row.Row)
			r.countForged()
		}
		return true
	}
	if f.looking {
		f.seen[row.Row] = struct{}{}
	}
	if known {
		return false
	}
	if f.rows == nil {
		f.rows = map[int64]struct{}{}
	}
	if len(f.rows) == 0 {
		f.again = time.Now().Add(r.config.StoppedRetry)
	}
	f.rows[row.Row] = struct{}{}
	if f.logged++; f.logged <= forgedLogged {
		r.log.Error("a row of the outbox is not authentic: it is not published and stays there; find out who can write the database",
			"table", "outbox", "row", row.Row, "event", row.Event.String(), "type", row.Type, "err", err)
	}
	r.countForged()
	return false
}

// lookAgain begins a look at the rows that are not authentic, when it is time.
func (r *Relay) lookAgain(now time.Time, wait func(time.Time)) {
	f := &r.forged
	switch {
	case len(f.rows) == 0 || f.looking:
	case now.Before(f.again):
		wait(f.again)
	default:
		f.looking, f.seen = true, map[int64]struct{}{}
		for row := range f.rows {
			r.back(row)
		}
	}
}

// looked ends a look: all rows were read.
func (r *Relay) looked() {
	f := &r.forged
	if !f.looking {
		return
	}
	f.rows, f.seen, f.looking, f.again = f.seen, nil, false, time.Now().Add(r.config.StoppedRetry)
	r.countForged()
}

func (r *Relay) countForged() {
	r.metrics.forged.Set(float64(len(r.forged.rows)))
	r.status.forge(len(r.forged.rows))
}
