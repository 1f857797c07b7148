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
	// outageOver is how long nothing may have failed before an outage of the journal
	// has ended: longer than any loop waits before its next try.
	outageOver = 2 * errorCap
	// unsavedAgain is how often it is said that answers are not durable yet.
	unsavedAgain = time.Minute
)

// An outage is a time in which the journal's database is gone, full or refused.
// Everybody who needs it waits and tries again; that is said once when it begins
// and once when it is over, however many wait.
type outage struct {
	log *slog.Logger

	mu     sync.Mutex
	class  error // nil: there is none
	since  time.Time
	last   time.Time // of what failed
	failed int

	unsaved int // answers that wait to be durable
	said    time.Time
}

// outageClasses are the errors that pass without anybody being wrong; the last
// only by a recovery.
var outageClasses = []error{journal.ErrUnreachable, journal.ErrFull, journal.ErrDisk, journal.ErrReplaced, journal.ErrCopy}

func outageClass(err error) error {
	for _, c := range outageClasses {
		if errors.Is(err, c) {
			return c
		}
	}
	return nil
}

// fails says what failed, or that an outage has begun.
func (o *outage) fails(level slog.Level, words string, err error, attrs ...any) {
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
		o.since, o.failed = now, 0
	}
	o.class, o.last = class, now
	o.failed++
	o.mu.Unlock()
	if begins || changed {
		o.log.Error("the journal is not there: all that needs it waits and goes on by itself", "op", words, "err", err)
	}
	o.log.Debug(words, attrs...) //nolint:sloglint // each caller's own constant
}

// works is told now and then by who has just used all of the journal.
func (o *outage) works() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.class == nil || time.Since(o.last) < outageOver {
		return
	}
	o.class = nil
	o.log.Info("the journal is there again", "gone_for", o.last.Sub(o.since).Round(time.Millisecond).String(), "failed", o.failed)
}

// keeps counts the answers that are not durable yet; first of its own tries or
// not.
func (o *outage) keeps(first bool, err error, attrs []any) {
	o.mu.Lock()
	if first {
		o.unsaved++
	}
	waiting, now := o.unsaved, time.Now()
	say := o.said.IsZero() || now.Sub(o.said) >= unsavedAgain
	if say {
		o.said = now
	}
	o.mu.Unlock()
	if say {
		o.log.Error("A RECEIVED ANSWER IS NOT DURABLE YET: do not stop this process; make the journal writable", append(attrs, "waiting", waiting, "err", err)...)
	}
}

// kept takes one of those off.
func (o *outage) kept() {
	o.mu.Lock()
	o.unsaved--
	over := o.unsaved == 0
	if over {
		o.said = time.Time{}
	}
	o.mu.Unlock()
	if over {
		o.log.Info("all received answers are durable")
	}
}
