package engine_test

import (
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A token that is verified late does not take the shop back from a code that
// was activated meanwhile, whatever comes of it: it ends without an event.
func TestOrder_NewerActivationStays(t *testing.T) {
	for _, word := range []string{"pending-token-2-", "bad-token-"} {
		t.Run(word, func(t *testing.T) {
			s := newService(t, calm())
			first, second := word+"a", "code-b"
			for _, code := range []string{first, second} {
				if err := s.box.AddCode(sandbox.Code{Code: code, MerchantID: "merchant-1", Token: "token-" + code}); err != nil {
					t.Fatal(err)
				}
			}
			s.start()
			defer s.finish()
			s.ingest(s.event(journal.Activate, "shop", "1", first))
			for deadline := time.After(20 * time.Second); ; {
				if stats, err := s.j.Stats(t.Context()); err != nil {
					t.Fatal(err)
				} else if stats.Operations[journal.StatKey{Account: "default", Kind: journal.Activate, State: journal.Stored}] == 1 {
					break
				}
				select {
				case <-deadline:
					t.Fatal("the first code's credentials are not stored")
				case <-time.After(5 * time.Millisecond):
				}
			}
			s.ingest(s.event(journal.Activate, "shop", "2", second))
			s.settle(30 * time.Second)
			events := s.published()
			if len(events) != 1 {
				t.Fatalf("%d events: %+v", len(events), events)
			}
			if a, ok := events[0].Data.(schemas.Activated); !ok || !s.resolves(a, second) {
				t.Errorf("published %+v", events[0].Data)
			}
			history, err := s.j.Shop(t.Context(), journal.ShopKey{Account: "default", Shop: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			if history.Active == nil || history.Active.Version != 2 {
				t.Errorf("the shop's current credentials are %+v", history.Active)
			}
			if got := history.Operations[0]; got.State != journal.Superseded || got.Reason != "newer_code" {
				t.Errorf("the first operation is %s, %s", got.State, got.Reason)
			}
		})
	}
}
