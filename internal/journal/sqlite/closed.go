package sqlite

// closed is for how long an account's gate was not open: the microseconds of
// earlier times, and since when it is closed now (0 while it is open). Only
// differences of the sum are used: what an operation's run began with, and what
// there is now.
type closed struct{ before, since int64 }

func (c closed) total(now int64) int64 {
	if c.since == 0 {
		return c.before
	}
	return c.before + max(0, now-c.since)
}

// loadClosed reads it for all accounts. A clock that went back since the gate
// closed makes that moment the present one.
func (w *writer) loadClosed(now int64) error {
	w.closed = make(map[int64]closed)
	if _, err := w.conn.exec("UPDATE account SET closed_since = ? WHERE closed_since > ?", now, now); err != nil {
		return err
	}
	return w.conn.each("SELECT id, closed, closed_since FROM account", nil, func(r row) error {
		c := closed{before: r.int(1)}
		if !r.null(2) {
			c.since = r.int(2)
		}
		w.closed[r.int(0)] = c
		return nil
	})
}

// closedTotal is what a run that begins now remembers.
func (t *tx) closedTotal(account int64) int64 { return t.j.writer.closed[account].total(t.now) }
