package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// DeadLetters are the dead letters that are to be replayed.
type DeadLetters interface {
	DueReplays(ctx context.Context, limit int) ([]journal.DeadLetterRecord, error)
	Replay(ctx context.Context, r journal.Replay) (journal.ReplayOutcome, error)
}

const (
	replayPoll  = 500 * time.Millisecond // how often new requests are read
	replayPause = 5 * time.Second        // after a failure of the journal or the keys
	replayPage  = 20                     // bounds the records in memory
	maxGap      = time.Second            // between two records of one request: that of the lowest rate
)

// RunReplays replays dead letters until ctx ends, and then returns nil. It processes each
// record when it is due, as if it had just been read at its position.
func (c *Consumer) RunReplays(ctx context.Context, letters DeadLetters) error {
	var last pace
	for failing := false; ; {
		wait := replayPoll
		err := c.replayDue(ctx, letters, &last)
		if err != nil && ctx.Err() == nil {
			if !failing {
				c.log.Error("cannot replay dead letters; trying again", "err", err)
			}
			wait = replayPause
		}
		failing = err != nil
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// A pace keeps the rate when many records are overdue, because no worker ran for a while:
// as much time lies between two of them as between the times at which they were due.
type pace struct {
	due, taken time.Time // of the last record
}

// wait returns for how long a record waits that is due at an instant.
func (p *pace) wait(due time.Time) time.Duration {
	wait := time.Until(due)
	if gap := due.Sub(p.due); gap > 0 && gap <= maxGap {
		wait = max(wait, gap-time.Since(p.taken))
	}
	return wait
}

// replayDue replays the records that are due now or within replayPoll.
func (c *Consumer) replayDue(ctx context.Context, letters DeadLetters, last *pace) error {
	for {
		if ok, _ := c.canFetch(); !ok {
			return nil
		}
		page, err := letters.DueReplays(ctx, replayPage)
		if err != nil {
			return err
		}
		for _, l := range page {
			wait := last.wait(l.ReplayDue)
			if wait > replayPoll {
				return nil
			}
			if !pause(ctx, wait) {
				return nil
			}
			last.due, last.taken = l.ReplayDue, time.Now()
			if err := c.replay(ctx, letters, l); err != nil && !errors.Is(err, journal.ErrStale) {
				return fmt.Errorf("dead letter %d: %w", l.ID, err)
			}
		}
		if len(page) == 0 {
			return nil
		}
	}
}

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (c *Consumer) replay(ctx context.Context, letters DeadLetters, l journal.DeadLetterRecord) error {
	r, err := c.decodeLetter(l)
	if err != nil {
		return err
	}
	began := time.Now()
	outcome, err := letters.Replay(ctx, r)
	if err != nil {
		return err
	}
	if r.Event != nil {
		var known []int
		if outcome != journal.ReplayAccepted {
			known = []int{0}
		}
		c.config.traceIngested(l.Topic, l.Partition, []journal.Event{*r.Event}, known, began)
	}
	c.metrics.replays.WithLabelValues(string(outcome)).Inc()
	return nil
}

// decodeLetter decodes the record of a dead letter. A record of another provider
// cancels nothing: newer events of its shop may have been accepted since.
func (c *Consumer) decodeLetter(l journal.DeadLetterRecord) (journal.Replay, error) {
	r := journal.Replay{ID: l.ID, Replays: l.Replays, Topic: l.Topic, Partition: l.Partition}
	m, err := OpenLetter(c.config.Keys, l)
	if err != nil {
		c.log.Error("the record of a dead letter cannot be opened: it was moved or edited in the database, or the keyset lacks its key; it stays a dead letter", "dead_letter", l.ID, "err", err)
		r.Failed = &l.DeadLetter
		return r, nil
	}
	input, err := c.config.Decoder.Decode(m)
	if _, ok := errors.AsType[*schemas.IgnoredError](err); ok {
		return r, nil
	}
	if invalid, ok := errors.AsType[*schemas.InvalidError](err); ok {
		r.Failed = failedAgain(invalid)
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("consumer: decode a record: %w", err)
	}
	b := &batcher{config: &c.config, now: time.Now, reused: &reusedDeadLetters{}}
	event, err := b.event(m, input, journal.ShopKey{Account: input.Account, Shop: input.Shop})
	if err != nil {
		return r, err
	}
	event.ReusedLetter = func() (journal.DeadLetter, error) {
		return *failedAgain(&schemas.InvalidError{Reason: schemas.ReasonIDReused, EventID: input.ID, Account: input.Account, Shop: input.Shop}), nil
	}
	r.Event = &event
	return r, nil
}

func failedAgain(invalid *schemas.InvalidError) *journal.DeadLetter {
	return &journal.DeadLetter{
		EventID: invalid.EventID, Reason: string(invalid.Reason), Where: invalid.Where, Shop: journal.ShopKey{Account: invalid.Account, Shop: invalid.Shop},
	}
}
