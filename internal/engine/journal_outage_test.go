package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// A ledger of log lines.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), words)
}

// The database goes and comes back, at any moments, with many shops under way:
// no code and no e-mail is sent twice, every token is stored, nobody has to look,
// no window holds more than the limit, and the log stays short.
// INVOICEBOX_TEST_OUTAGE=full makes each outage a minute long and cuts the
// network, too.
func TestOutage_ServiceWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	const shops, limit, window = 150, 150, 3 * time.Second
	lasts, full := 1500*time.Millisecond, os.Getenv("INVOICEBOX_TEST_OUTAGE") == "full"
	if full {
		lasts = time.Minute
	}
	server := pgtest.Start(t)
	proxy := server.Proxy(t)
	url := proxy.URL(server, server.Database(t, ""))
	o := calm()
	o.Latency, o.Window = 150*time.Millisecond, window
	s := newService(t, o)
	var log lines
	s.open = func() (journal.Journal, error) {
		return postgres.Open(s.Context(), postgres.Options{URL: url, Planner: onboarding.NewPlanner(onboarding.PlannerOptions{Now: time.Now}), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	}
	s.change = func(c *engine.Config) {
		c.Accounts[0].Requests, c.Accounts[0].Window = limit, window
		c.Slack, c.QuietPeriod = time.Second, time.Second
		c.RequestDeadline = 2 * time.Second
		c.Lease = 8 * time.Second // a minute outlasts it
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}
	s.start()
	var events []journal.Event
	for i := range shops {
		shop := fmt.Sprint("shop-", i)
		events = append(events, s.event(journal.Invite, shop, fmt.Sprint("i", i), fmt.Sprintf("s%d@example.com", i)),
			s.event(journal.Activate, shop, fmt.Sprint("a", i), fmt.Sprint("code-", i)))
	}
	s.ingest(events...)

	outages := []func(){
		func() { server.Down(syscall.SIGQUIT); <-time.After(lasts); server.Up(t) },
		func() { server.Down(syscall.SIGINT); <-time.After(lasts); server.Up(t) },
	}
	if full {
		outages = append(outages, func() { proxy.Cut(); <-time.After(lasts); proxy.Heal() })
	}
	for i, gone := range outages {
		for had := s.box.Effects().Requests; s.box.Effects().Requests < min(had+20, shops); {
			<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond) // #nosec G404 -- any moment
		}
		used := cpu(t)
		began := time.Now()
		gone()
		t.Logf("outage %d: %v, %v of processor time", i+1, time.Since(began).Round(time.Millisecond), cpu(t)-used)
	}
	over := time.Now()
	s.settled(3 * time.Minute)
	t.Logf("all done %v after it", time.Since(over).Round(time.Millisecond))

	effects := s.box.Effects()
	for _, a := range effects.Activations {
		if a.Requests != 1 || a.Effects != 1 || a.Overlaps != 0 {
			t.Errorf("code %+v", a)
		}
	}
	for _, i := range effects.Invitations {
		if i.Effects != 1 {
			t.Errorf("invitation %+v", i)
		}
	}
	activated := 0
	for _, e := range s.published() {
		if a, ok := e.Data.(schemas.Activated); ok && s.resolves(a, "code-"+e.Subject[len("shop-"):]) {
			activated++
		}
	}
	if activated != shops || len(effects.Activations) != shops {
		t.Errorf("%d of %d activations are announced and resolve; %d codes were sent", activated, shops, len(effects.Activations))
	}
	stats, err := s.j.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k, n := range stats.Operations {
		if k.State == journal.Attention {
			t.Errorf("%d in attention: %+v", n, k)
		}
	}
	for _, a := range s.box.Windows().Accounts {
		if a.Peak > limit {
			t.Errorf("a window held %d requests", a.Peak)
		}
	}
	s.finish()
	if n := log.count("level=ERROR"); n == 0 || n > 4*len(outages) {
		t.Errorf("%d errors were logged", n)
	}
	if n := log.count("level=WARN"); n > 20 {
		t.Errorf("%d warnings were logged", n)
	}
	if t.Failed() {
		t.Log(log.all.String())
	}
}

// settle waits until no operation is open.
func (s *service) settle(limit time.Duration) {
	s.Helper()
	end := time.Now().Add(limit)
	for {
		stats, err := s.j.Stats(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		open := int64(0)
		for k, n := range stats.Operations {
			if k.State.Open() {
				open += n
			}
		}
		if open == 0 {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("after %v: %v", limit, stats.Operations)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// settled is settle where reads may still fail.
func (s *service) settled(limit time.Duration) {
	s.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
		_, err := s.j.Stats(ctx)
		cancel()
		if err == nil {
			s.settle(time.Until(end))
			return
		}
	}
	s.Fatal("the journal does not come back")
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
