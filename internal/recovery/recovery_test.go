package recovery

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

func TestReplayClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &ReplayClock{}
		var seen time.Time
		plan := clock.Planner(func(journal.Event, journal.ShopView) journal.Plan {
			seen = clock.Now()
			return journal.Plan{}
		})
		now := time.Now()
		for name, x := range map[string]struct{ event, want time.Time }{
			"ReplayedEvent":    {now.Add(-time.Hour), now.Add(-time.Hour)},
			"EventWithoutTime": {time.Time{}, now},
			"FutureEvent":      {now.Add(time.Hour), now},
		} {
			if plan(journal.Event{Time: x.event}, journal.ShopView{}); !seen.Equal(x.want) {
				t.Errorf("%s: planned at %v, want %v", name, seen, x.want)
			}
		}
	})
}

func TestDecodePublished(t *testing.T) {
	const source, account = "/invoicebox-worker", "default"
	event := func(change func(*schemas.Event)) schemas.Message {
		e := schemas.Event{
			ID: "7f1d9f0e-54b5-5d39-a5c3-3ad4dcd2a1f0", Source: source, Type: schemas.TypeInvitationFailed, Subject: "shop-1", Sequence: 7,
			Time: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), CausationID: "c-1", OperationID: "1d7a0c4e-0a5b-5e0e-9a44-2f9b6c1d0b7e",
			Data: schemas.InvitationFailed{ShopID: "shop-1", PartnerAccount: account, Reason: schemas.FailureProviderChanged, Action: schemas.ActionNone, Final: true},
		}
		change(&e)
		m, err := schemas.Encode(e, schemas.FormatBinary)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	accounts := []journal.Account{{Name: account}}
	good := event(func(*schemas.Event) {})
	got, ok := decodePublished(good, schemas.TypeInvitationFailed, source, accounts)
	want := journal.ShopKey{Account: account, Shop: "shop-1"}
	if !ok || got.Shop != want || got.Sequence != 7 || got.Causation != "c-1" {
		t.Errorf("%+v, %v", got, ok)
	}
	ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: "secret", Account: account, Shop: "shop-1", Version: 2}
	activated := event(func(e *schemas.Event) {
		e.Type = schemas.TypeActivated
		e.Data = schemas.Activated{
			ShopID: "shop-1", PartnerAccount: account, MerchantID: "m", ActivatedAt: e.Time, Verification: schemas.VerificationVerified,
			Credentials: schemas.Credentials{Ref: ref.String(), Store: ref.Store, Key: ref.Key(), Version: 2, Fields: []string{schemas.FieldMerchantID, schemas.FieldToken}},
		}
	})
	if got, ok := decodePublished(activated, schemas.TypeActivated, source, accounts); !ok || got.Shop != want || got.Version != 2 || got.Reference != ref.String() {
		t.Errorf("%+v, %v", got, ok)
	}
	for name, x := range map[string]struct {
		message  schemas.Message
		accounts []journal.Account
	}{
		"ForeignSource":  {event(func(e *schemas.Event) { e.Source = "/another" }), accounts},
		"UnknownAccount": {good, []journal.Account{{Name: "another"}}},
		"NoEvent":        {schemas.Message{Value: []byte("{}")}, accounts},
	} {
		if got, ok := decodePublished(x.message, schemas.TypeInvitationFailed, source, x.accounts); ok {
			t.Errorf("%s: taken for an event of this service: %+v", name, got)
		}
	}
	if _, ok := decodePublished(good, schemas.TypeActivated, source, accounts); ok {
		t.Error("an event of another topic is accepted")
	}
}

func TestCheckLoss(t *testing.T) {
	lost := []consumer.OffsetRange{{Topic: "in", Partition: 2, From: 5, To: 9}}
	r := &recoverer{o: &Options{}, log: slog.New(slog.DiscardHandler), report: &Report{}}
	if err := r.checkLoss(nil); err != nil {
		t.Errorf("without a loss: %v", err)
	}
	if err := r.checkLoss(lost); !errors.Is(err, consumer.ErrRecordsLost) {
		t.Errorf("a loss that was not accepted: %v", err)
	}
	r.o.AcceptLoss, r.report.Lost = true, nil
	if err := r.checkLoss(lost); err != nil || !slices.Equal(r.report.Lost, lost) {
		t.Errorf("an accepted loss: %v, reported %v", err, r.report.Lost)
	}
}
