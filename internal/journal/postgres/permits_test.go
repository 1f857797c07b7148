package postgres

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
)

// Rows of permits are changed in one order, or replicas wait for each other in a
// circle.
func TestPermitsChangeInOrder(t *testing.T) {
	b := newBatch(&Journal{}, nil)
	for i := range int64(50) {
		b.permits.changed[bucket{1, i}], b.permits.changed[bucket{1, 100 + i}] = -1, 1
	}
	b.permitsEnd()
	if len(b.queued) != 1 {
		t.Fatalf("%d statements", len(b.queued))
	}
	if froms := b.queued[0].args[1].([]int64); len(froms) != 100 || !slices.IsSorted(froms) {
		t.Errorf("%v", froms)
	}
}

// Replicas count a ledger at the same moment and take what is left: one of them finds
// with its commit that it has to count again.
func TestReplicasTakeTheLastPermitsTogether(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	js := []*Journal{b.open(), b.open(), b.open()}
	for round := range 20 {
		p := permit(2+round%3, time.Hour)
		p.RateLimit = fmt.Sprint("round/", round)
		var all sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for _, j := range slices.Repeat(js, 4) {
			all.Go(func() {
				_, err := j.BeginCheck(t.Context(), journal.Check{Account: "default", SendBy: time.Minute, Deadline: time.Hour, Permits: []journal.Permit{p}})
				if _, none := errors.AsType[*journal.NoPermitError](err); none {
					return
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				taken++
			})
		}
		all.Wait()
		if taken != p.Limit {
			t.Errorf("%d permits were given, the limit is %d", taken, p.Limit)
		}
	}
}

// The cool-down of an address holds for all replicas: the ledger is locked before they
// look when the address was used last.
func TestReplicasKeepACoolDown(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	js := []*Journal{b.open(), b.open()}
	for round := range 20 {
		batch := journal.Batch{Topic: topic, From: b.next, Next: b.next + 2}
		for i := range js {
			shop := journal.ShopKey{Account: "default", Shop: fmt.Sprintf("shop-%d-%d", round, i)}
			e := journaltest.MakeEvent(t, b.keys, journal.Invite, shop, shop.Shop, fmt.Sprint("address-", round), time.Now())
			e.Offset = b.next + int64(i)
			batch.Events = append(batch.Events, e)
		}
		b.next = batch.Next
		_, err := js[0].Ingest(t.Context(), batch)
		b.ok(err)
		var begun atomic.Int64
		var all sync.WaitGroup
		for _, j := range js {
			os, err := j.Claim(t.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Invite, Stage: journal.Call, Limit: 1, Lease: time.Hour})
			b.ok(err)
			if len(os) != 1 {
				t.Fatalf("claimed %d", len(os))
			}
			s := journal.AttemptStart{Ref: os[0].Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Minute, Permits: []journal.Permit{permit(5000, time.Minute)},
				Address: &journal.AddressRule{MAC: os[0].SubjectMAC, MACs: [][]byte{os[0].SubjectMAC}, CoolDown: time.Hour}}
			all.Go(func() {
				switch _, err := j.BeginAttempt(t.Context(), s); {
				case err == nil:
					begun.Add(1)
				default:
					if _, cool := errors.AsType[*journal.AddressCoolDownError](err); !cool {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if n := begun.Load(); n != 1 {
			t.Errorf("%d attempts at one address", n)
		}
	}
}
