package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	// outageEnd is the time without a failure after which an outage of the journal has
	// ended. It is longer than any loop waits before its next attempt.
	outageEnd = 2 * errorCap
	// pendingLogInterval is how often unsaved responses are logged.
	pendingLogInterval = time.Minute
)

// A journalOutage is a time in which the journal's database is unreachable, full or
// refuses access. Every caller waits and retries. The begin and the end of the outage
// are logged once each.
type journalOutage struct {
	log *slog.Logger

	mu       sync.Mutex
	class    error // nil: there is none
	since    time.Time
	last     time.Time // failure
	failures int

	pending         int // responses that are not saved yet
	pendingLoggedAt time.Time
}

// outageClasses are the errors of an outage. The last one ends only by a recovery.
var outageClasses = []error{journal.ErrUnreachable, journal.ErrFull, journal.ErrDisk, journal.ErrReplaced, journal.ErrCopy}

func outageClass(err error) error {
	for _, c := range outageClasses {
		if errors.Is(err, c) {
			return c
		}
	}
	return nil
}

// failed logs a failure, or the begin of an outage.
func (o *journalOutage) failed(level slog.Level, words string, err error, attrs ...any) {
	attrs = append(attrs, "err", err)
	class := outageClass(err)
	if class == nil {
		o.log.Log(context.Background(), level, words, attrs...) //nolint:sloglint // each caller's own constant
		return
	}
	o.mu.Lock()
	begins, now := o.class == nil, time.Now()
	changed := !begins && !errors.Is(class, o.class)
	if begins {
		o.since, o.failures = now, 0
	}
	o.class, o.last = class, now
	o.failures++
	o.mu.Unlock()
	if begins || changed {
		o.log.Error("the journal is unavailable; operations wait and resume by themselves", "op", words, "err", err)
	}
	o.log.Debug(words, attrs...) //nolint:sloglint // each caller's own constant
}

// recovered is called at times after a successful use of the whole journal.
func (o *journalOutage) recovered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.class == nil || time.Since(o.last) < outageEnd {
		return
	}
	o.class = nil
	o.log.Info("the journal is available again", "gone_for", o.last.Sub(o.since).Round(time.Millisecond).String(), "failed", o.failures)
}

// responsePending counts the responses that are not saved yet; first is set at the
// first failure of a response.
func (o *journalOutage) responsePending(first bool, err error, attrs []any) {
	o.mu.Lock()
	if first {
		o.pending++
	}
	waiting, now := o.pending, time.Now()
	say := o.pendingLoggedAt.IsZero() || now.Sub(o.pendingLoggedAt) >= pendingLogInterval
	if say {
		o.pendingLoggedAt = now
	}
	o.mu.Unlock()
	if say {
		o.log.Error("a received response is not saved yet: do not stop this process; make the journal writable", append(attrs, "waiting", waiting, "err", err)...)
	}
}

// responseSaved subtracts a saved response.
func (o *journalOutage) responseSaved() {
	o.mu.Lock()
	o.pending--
	over := o.pending == 0
	if over {
		o.pendingLoggedAt = time.Time{}
	}
	o.mu.Unlock()
	if over {
		o.log.Info("all received responses are saved")
	}
}
