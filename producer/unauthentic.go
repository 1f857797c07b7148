package producer

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// maxLoggedUnauthentic bounds how many rows that are not authentic are logged, each
// once.
const maxLoggedUnauthentic = 100

// unauthenticRows are the rows of the outbox that differ from what a worker wrote. They
// stay in the outbox; other rows do not wait for them.
type unauthenticRows struct {
	rows   map[int64]struct{}
	logged int
	// They are read again at intervals: they may have been repaired or deleted.
	recheckAt  time.Time
	rechecking bool
	seen       map[int64]struct{} // in this recheck
}

// authentic reports whether a row may be published. It logs each other row once.
func (r *Relay) authentic(row journal.OutboxRow) bool {
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
		r.log.Error("an outbox row is not authentic and is not published; find out who can write to the database",
			"table", "outbox", "row", row.Row, "event", row.Event.String(), "type", row.Type, "err", err)
	}
	r.countUnauthentic()
	return false
}

// recheckUnauthentic starts reading the rows that are not authentic again, when it is
// time.
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

// endRecheck ends a recheck: all rows were read.
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
