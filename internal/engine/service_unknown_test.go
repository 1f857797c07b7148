package engine_test

import (
	"testing"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Over the real journal: a lost answer, a restart in the quiet period, and a
// second code that makes the probe needless, or, refused, lets it be made.
func TestService_NewerCodeOverRealJournal(t *testing.T) {
	s := newService(t, calm())
	s.change = func(c *engine.Config) {
		c.RequestDeadline, c.Lease = time.Second, 2*time.Second
		c.Slack, c.QuietPeriod = 100*time.Millisecond, 500*time.Millisecond
	}
	s.start()
	s.ingest(
		s.event(journal.Activate, "shop-1", "a1", "lost-answer-1"), s.event(journal.Activate, "shop-2", "a2", "error500-2"),
		s.event(journal.Invite, "shop-3", "i3", "reset-3@example.com"),
	)
	s.await("three unknown", func(st journal.Stats) bool { return states(st)[journal.Unknown] == 3 })
	s.finish()
	s.start()
	s.ingest(
		s.event(journal.Activate, "shop-1", "b1", "code-1"), s.event(journal.Activate, "shop-2", "b2", "rejected-2"),
		s.event(journal.Invite, "shop-3", "j3", "new@example.com"),
	)
	s.settle(30 * time.Second)
	want := map[string]int{
		"shop-1 " + schemas.TypeActivated: 1, "shop-2 " + schemas.TypeActivationFailed: 1, "shop-2 " + schemas.TypeActivated: 1, "shop-3 " + schemas.TypeInvited: 1,
	}
	for _, e := range s.published() {
		want[e.Subject+" "+e.Type]--
		if a, ok := e.Data.(schemas.Activated); ok && e.Subject == "shop-1" && !s.resolves(a, "code-1") {
			t.Error("shop-1's activation is not the newer code's")
		}
	}
	for event, n := range want {
		if n != 0 {
			t.Errorf("%s: %d events too few", event, n)
		}
	}
	requests := map[string]int{}
	for _, a := range s.box.Effects().Activations {
		requests[a.Code] = a.Requests
	}
	for _, i := range s.box.Effects().Invitations {
		requests[i.Identifier] = i.Requests
	}
	for value, n := range map[string]int{"lost-answer-1": 1, "code-1": 1, "error500-2": 2, "rejected-2": 1, "reset-3@example.com": 1, "new@example.com": 1} {
		if requests[value] != n {
			t.Errorf("%s was sent %d times, want %d", value, requests[value], n)
		}
	}
	for shop, superseded := range map[string]int{"shop-1": 1, "shop-2": 0, "shop-3": 1} {
		h, err := s.j.Shop(t.Context(), journal.ShopKey{Account: "default", Shop: shop})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, o := range h.Operations {
			if o.State == journal.Superseded {
				n++
			}
			for i, a := range o.Tries {
				if a.Probe != (i > 0) {
					t.Errorf("%s: try %d of %s: probe %v", shop, i, o.UUID, a.Probe)
				}
			}
		}
		if n != superseded {
			t.Errorf("%s: %d operations are superseded, want %d", shop, n, superseded)
		}
	}
	s.finish()
}

func states(st journal.Stats) map[journal.State]int64 {
	n := map[journal.State]int64{}
	for k, many := range st.Operations {
		n[k.State] += many
	}
	return n
}

func (s *service) await(what string, cond func(journal.Stats) bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		st, err := s.j.Stats(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		if cond(st) {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("not %s: %v", what, st.Operations)
		}
	}
}
