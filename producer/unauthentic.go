package producer

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// maxLoggedUnauthentic bounds how many rows that are not authentic are logged, each once.
const maxLoggedUnauthentic = 100

// unauthentic are the rows of the outbox that no worker wrote so. They stay in the
// outbox, and the others do not wait for them.
type unauthenticRows struct {
	rows   map[int64]struct{}
	logged int
	// Now and then they are read again: they may have been repaired or taken away.
	recheckAt  time.Time
	rechecking bool
	seen       map[int64]struct{} // of this look
}

// authentic reports whether a row may be published. One that may not is logged
// once.
func (r *Relay) authentic(row journal.Outgoing) bool {
	f := &r.unauthentic
	_, known := f.rows[row.Row]
	err := r.config.Authentic(row)
	if err == nil {
		if known {
			delete(f.rows, row.Row)
			r.countUnauthentic()
		}
		return true
	}
	if f.rechecking {
		f.seen[row.Row] = struct{}{}
	}
	if known {
		return false
	}
	if f.rows == nil {
		f.rows = map[int64]struct{}{}
	}
	if len(f.rows) == 0 {
		f.recheckAt = time.Now().Add(r.config.BlockedRetry)
	}
	f.rows[row.Row] = struct{}{}
	if f.logged++; f.logged <= maxLoggedUnauthentic {
		r.log.Error("a row of the outbox is not authentic: it is not published and stays there; find out who can write the database",
			"table", "outbox", "row", row.Row, "event", row.Event.String(), "type", row.Type, "err", err)
	}
	r.countUnauthentic()
	return false
}

// topicPollInterval begins a look at the rows that are not authentic, when it is time.
func (r *Relay) recheckUnauthentic(now time.Time, wait func(time.Time)) {
	f := &r.unauthentic
	switch {
	case len(f.rows) == 0 || f.rechecking:
	case now.Before(f.recheckAt):
		wait(f.recheckAt)
	default:
		f.rechecking, f.seen = true, map[int64]struct{}{}
		for row := range f.rows {
			r.rewindCursor(row)
		}
	}
}

// endRecheck ends a look: all rows were read.
func (r *Relay) endRecheck() {
	f := &r.unauthentic
	if !f.rechecking {
		return
	}
	f.rows, f.seen, f.rechecking, f.recheckAt = f.seen, nil, false, time.Now().Add(r.config.BlockedRetry)
	r.countUnauthentic()
}

func (r *Relay) countUnauthentic() {
	r.metrics.unauthentic.Set(float64(len(r.unauthentic.rows)))
	r.status.setUnauthentic(len(r.unauthentic.rows))
}
