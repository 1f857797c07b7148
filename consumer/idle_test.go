package consumer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"
)

// A partition that waits for something that ends by itself does not make the consumer
// idle.
func TestIdle(t *testing.T) {
	started := func(ctx context.Context, c *Consumer) *partition {
		p := &partition{g: &generation{c: c, fetchCtx: ctx}}
		p.moved()
		c.readers.Store(p, nil)
		return p
	}
	idle := func(t *testing.T, c *Consumer, want time.Duration) {
		t.Helper()
		synctest.Wait()
		if got := c.Idle(); got != want {
			t.Errorf("idle for %v, want %v", got, want)
		}
	}
	const long = 10 * time.Minute
	t.Run("NoPartition", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { idle(t, &Consumer{}, 0) })
	})
	t.Run("LongestOfAll", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := &Consumer{}
			started(t.Context(), c)
			<-time.After(long)
			started(t.Context(), c)
			<-time.After(time.Second)
			idle(t, c, long+time.Second)
		})
	})
	t.Run("BrokerThrottles", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := &Consumer{}
			p := started(t.Context(), c)
			b := &broker{f: &fetcher{ctx: t.Context()}, waiting: []*pendingFetch{{reader: &p.reader}}}
			go b.waitThrottle(long)
			<-time.After(long - time.Minute + time.Millisecond)
			idle(t, c, time.Millisecond)
			<-time.After(long + time.Minute)
			idle(t, c, long+time.Millisecond)
		})
	})
	t.Run("WaitsForMemory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := &Consumer{fetcher: &fetcher{decompressMemory: semaphore.NewWeighted(1)}}
			if !c.fetcher.decompressMemory.TryAcquire(1) {
				t.Fatal("no memory")
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			for range 2 {
				p := started(ctx, c)
				go func() { ended <- p.process(fetchResult{memory: 1}) }()
			}
			other := started(t.Context(), c)
			<-time.After(long)
			other.moved()
			idle(t, c, 0) // it has the memory
			c.readers.Delete(other)
			idle(t, c, long) // nobody has it
			cancel()
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			idle(t, c, 0)
		})
	})
}
