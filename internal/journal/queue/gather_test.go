package queue

import (
	"testing"
	"testing/synctest"
	"time"
)

// A transaction waits for more requests as long as the one before it took, and no longer
// than that.
func TestGather(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  int           // requests of the transaction before
		took   time.Duration // by it
		there  int           // requests that wait at its end
		coming int           // and one millisecond later
		closes bool          // one millisecond later
		want   int           // requests that are taken
		after  time.Duration // the end of the transaction before
	}{
		{name: "for as long as the last took", first: 2, took: 3 * time.Millisecond, there: 1, coming: 1, want: 2, after: 3 * time.Millisecond},
		{name: "not longer than the bound", first: 2, took: time.Second, there: 1, coming: 1, want: 2, after: maxSpan},
		{name: "not after a single request", first: 1, took: 3 * time.Millisecond, there: 1, coming: 1, want: 1},
		{name: "not when enough wait", first: 2, took: 3 * time.Millisecond, there: enough, coming: 1, want: enough},
		{name: "until enough have come", first: 2, took: 3 * time.Millisecond, there: 1, coming: enough - 1, want: enough, after: time.Millisecond},
		{name: "until it is closed", first: 2, took: 3 * time.Millisecond, there: 1, closes: true, want: 1, after: time.Millisecond},
		{name: "then for the first", first: 2, took: time.Microsecond, coming: 1, want: 1, after: time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := New[int]()
				put := func(n int) {
					for range n {
						if err := q.Put(0, 0); err != nil {
							t.Error(err)
						}
					}
				}
				put(c.first)
				q.Take(nil)
				<-time.After(c.took)
				put(c.there)
				ended := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					<-time.After(time.Millisecond)
					put(c.coming)
					if c.closes {
						q.Close()
					}
				}()
				got := len(q.Take(nil))
				if after := time.Since(ended); got != c.want || after != c.after {
					t.Errorf("%d requests after %v, want %d after %v", got, after, c.want, c.after)
				}
				<-done
			})
		})
	}
}
