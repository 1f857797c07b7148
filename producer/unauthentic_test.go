package producer_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// Rows that no worker wrote so are not published and stay in the outbox; the rows
// of the same shop and of others behind them do not wait.
func testRelayHoldsBackUnauthenticRows(t *testing.T) {
	t.Run("HoldsRowsThatAreNotAuthentic", func(t *testing.T) {
		c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
		o := newOutbox()
		var repaired atomic.Bool
		log := &lockedLog{}
		r := start(t, c, o, func(config *producer.Config) {
			config.BlockedRetry = 200 * time.Millisecond
			config.Logger = slog.New(slog.NewTextHandler(log, nil))
			config.Authentic = func(row journal.OutboxRow) error {
				if bytes.HasPrefix(row.Message.Value, []byte("forged")) && !repaired.Load() {
					return keyset.ErrOpen
				}
				return nil
			}
		})
		const forged = 600 // more than a page
		o.add(schemas.TypeInvited, "shop", "0")
		for i := range forged {
			o.add(schemas.TypeInvited, "shop", fmt.Sprint("forged ", i))
		}
		o.add(schemas.TypeInvited, "shop", "1")
		o.add(schemas.TypeActivated, "other", "2")
		eventually(t, "all others are published", func() bool { return o.left() == forged })
		if got := values(c.ReadAll(t, schemas.TypeInvited))["shop"]; !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("published %q", got)
		}
		ok, word := r.Ready()
		eventually(t, "the word of readiness", func() bool {
			ok, word = r.Ready()
			return strings.Contains(word, fmt.Sprintf("%d outbox rows are not authentic", forged))
		})
		if !ok {
			t.Errorf("not ready: %s", word)
		}
		if n := metrictest.Sum(t, r.registry, "invoicebox_worker_outbox_not_authentic"); n != forged {
			t.Errorf("the metric is %v", n)
		}
		// The next look at all rows logs none of them again.
		before := log.count("is not authentic")
		o.add(schemas.TypeInvited, "shop", "3")
		eventually(t, "the next row", func() bool { return o.left() == forged })
		if n := log.count("is not authentic"); n != before || n != 100 {
			t.Errorf("%d lines, then %d", before, n)
		}
		repaired.Store(true)
		eventually(t, "the repaired rows", func() bool { return o.left() == 0 })
		eventually(t, "the metric", func() bool { return metrictest.Sum(t, r.registry, "invoicebox_worker_outbox_not_authentic") == 0 })
	})
}
