package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
)

// An outage is what happens to a database, and how long a call may take at most
// while it lasts. It returns when the database is there again.
type outage struct {
	name   string
	happen func(b *bed, p *pgtest.Proxy, during func())
	silent bool // steps do not have to fail meanwhile
	full   bool // only in the full run
}

// full asks for all outages, each a minute long.
func full() bool { return os.Getenv("INVOICEBOX_TEST_OUTAGE") == "full" }

// lasts is how long an outage takes.
func lasts() time.Duration {
	if full() {
		return time.Minute
	}
	return 700 * time.Millisecond
}

var outages = []outage{
	{name: "the network is cut without a word", happen: func(_ *bed, p *pgtest.Proxy, during func()) {
		p.Cut()
		during()
		p.Heal()
	}},
	{name: "the server hangs", happen: func(b *bed, _ *pgtest.Proxy, during func()) {
		b.server.Freeze(b)
		during()
		b.server.Thaw(b)
	}, silent: true}, // shorter than what a commit may take
	{name: "the server stops", happen: func(b *bed, _ *pgtest.Proxy, during func()) {
		b.server.Down(syscall.SIGINT)
		during()
		b.server.Up(b)
	}},
	{name: "the server crashes", happen: func(b *bed, _ *pgtest.Proxy, during func()) {
		b.server.Down(syscall.SIGQUIT)
		during()
		b.server.Up(b)
	}, full: true},
	{name: "the server is killed", happen: func(b *bed, _ *pgtest.Proxy, during func()) {
		b.server.Down(syscall.SIGKILL)
		during()
		b.server.Up(b)
	}},
	{name: "others use up the connections", happen: func(b *bed, p *pgtest.Proxy, during func()) {
		var held []*pgx.Conn
		for {
			c, err := pgx.Connect(b.Context(), b.server.URL("postgres"))
			if err != nil {
				break
			}
			held = append(held, c)
		}
		_, err := held[0].Exec(b.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", b.database())
		b.ok(err)
		during()
		for _, c := range held {
			_ = c.Close(context.Background())
		}
	}, silent: true}, // who is faster gets the connections that were ended
	{name: "the server becomes read only", happen: func(b *bed, _ *pgtest.Proxy, during func()) {
		name := pgx.Identifier{b.database()}.Sanitize()
		b.server.Exec(b, "postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
		b.end(b.database())
		during()
		b.server.Exec(b, "postgres", "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	}},
	{name: "statements are canceled", happen: func(b *bed, _ *pgtest.Proxy, during func()) {
		for range 20 {
			b.server.Exec(b, "postgres", "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = '"+b.database()+"' AND state <> 'idle'")
		}
		during()
	}, silent: true},
	{name: "answers take long", happen: func(_ *bed, p *pgtest.Proxy, during func()) {
		p.Slow(50 * time.Millisecond) // in each direction
		during()
		p.Slow(0)
	}, silent: true},
}

func (b *bed) database() string {
	c, err := pgx.ParseConfig(b.url)
	b.ok(err)
	return c.Database
}

// Whatever happens to the database: each call ends within its bound, says that
// the database cannot be reached and nothing else, and by itself all goes on
// afterwards; no request is made twice, and all that is due is done.
func TestOutages(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "max_connections=30")
	for _, x := range outages {
		t.Run(x.name, func(t *testing.T) {
			if x.full && !full() {
				t.Skip("INVOICEBOX_TEST_OUTAGE=full runs it")
			}
			b := newBed(t, server)
			p := server.Proxy(t)
			b.url = p.URL(server, b.url)
			survive(b, x, p)
		})
	}
}

// A record is what the replicas of an outage saw.
type record struct {
	mu      sync.Mutex
	sent    map[int64]int
	failed  int
	other   []error
	longest time.Duration
}

func (r *record) call(f func() error) error {
	began := time.Now()
	err := f()
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.longest = max(r.longest, took)
	switch {
	case err == nil, errors.Is(err, journal.ErrStale):
	case errors.Is(err, journal.ErrUnreachable):
		r.failed++
	default:
		r.other = append(r.other, err)
	}
	return err
}

func survive(b *bed, x outage, p *pgtest.Proxy) {
	const n = 150
	js := []*Journal{b.quick(), b.quick()}
	b.codes(js[0], n)
	r := &record{sent: make(map[int64]int)}
	ctx, stop := context.WithCancel(b.Context())
	var all sync.WaitGroup
	for _, j := range js {
		for range 3 {
			all.Go(func() {
				for ctx.Err() == nil {
					r.work(j)
				}
			})
		}
		all.Go(func() {
			for ctx.Err() == nil {
				_ = r.call(func() error { _, err := j.Stats(context.Background()); return err })
				<-time.After(50 * time.Millisecond)
			}
		})
	}
	<-time.After(100 * time.Millisecond)
	x.happen(b, p, func() { <-time.After(lasts()) })
	over := time.Now()
	b.eventually("not all is done", func() bool {
		s, err := js[0].Stats(b.Context())
		return err == nil && len(s.Operations) == 0
	})
	b.eventually("a replica does not hear of new work", func() bool {
		emptied(js[1].Changed())
		b.codes(js[0], 1)
		select {
		case <-js[1].Changed():
			return true
		case <-time.After(500 * time.Millisecond):
			return false
		}
	})
	b.Logf("all done %v after it was over; %d calls failed; the longest took %v", time.Since(over).Round(time.Millisecond), r.failed, r.longest.Round(time.Millisecond))
	stop()
	all.Wait()
	for id, times := range r.sent {
		if times > 1 {
			b.Errorf("operation %d was sent %d times", id, times)
		}
	}
	for _, err := range r.other {
		b.Errorf("a call failed otherwise: %v", err)
	}
	if r.failed == 0 && !x.silent {
		b.Error("nobody noticed")
	}
	// One batch that is under way, and its own.
	if bound := 2*quick.commit + quick.commit + time.Second; r.longest > bound {
		b.Errorf("a call took %v", r.longest)
	}
}

// work takes operations as far as it can; what fails is left to whoever looks
// when the lease has ended.
func (r *record) work(j *Journal) {
	ctx := context.Background()
	_ = r.call(func() error { _, _, err := j.ReleaseExpiredLeases(ctx); return err })
	claim := func(stage journal.Stage) (got []journal.ClaimedOperation) {
		_ = r.call(func() (err error) {
			got, err = j.Claim(ctx, journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: stage, Limit: 3, Lease: 2 * time.Second, Owner: "test"})
			return err
		})
		return got
	}
	for _, o := range claim(journal.Settle) {
		_ = r.call(func() error { return j.Apply(ctx, journal.Transition{Ref: o.Ref, From: o.State, To: journal.Done}) })
	}
	due := claim(journal.Call)
	if len(due) == 0 {
		<-time.After(10 * time.Millisecond)
	}
	for _, o := range due {
		var id journal.AttemptID
		err := r.call(func() (err error) {
			id, err = j.BeginAttempt(ctx, journal.AttemptStart{Ref: o.Ref, Attempt: o.Attempts + 1, SendBy: time.Second, Deadline: time.Second})
			return err
		})
		if err != nil {
			_ = r.call(func() error {
				return j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned})
			})
			continue
		}
		r.mu.Lock()
		r.sent[o.Ref.Operation]++
		r.mu.Unlock()
		_ = r.call(func() error {
			return j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: &journal.AttemptEnd{Answered: true, At: time.Now()}})
		})
	}
}

// Errors of a database that cannot be reached say so, and hold nothing else of
// its address.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	follower := server.Follower(t)
	for name, url := range map[string]string{
		"nobody listens": "postgres://someone:geheim@127.0.0.1:1/database?sslmode=disable",
		"a standby":      follower.URL("postgres"),
		"no database":    server.URL("none"),
	} {
		j, err := Open(t.Context(), Options{URL: url, Planner: journaltest.Plain, bounds: quick})
		if err == nil {
			_ = j.Close()
		}
		if !errors.Is(err, journal.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		for _, word := range []string{"geheim", "someone", "127.0.0.1", "none"} {
			if text := fmt.Sprint(err); strings.Contains(text, word) {
				t.Errorf("%s: the error holds %q: %v", name, word, err)
			}
		}
		t.Log(name, ": ", err)
	}
}
