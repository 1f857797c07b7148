package postgres

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

// A disk of the server that is full, and has room again: what was acknowledged is
// there, once, and what was refused is said to wait.
func TestTheServersDiskIsFull(t *testing.T) {
	t.Parallel()
	server, fill := pgtest.StartOnSmallDisk(t, 200<<20, "min_wal_size=32MB", "max_wal_size=48MB")
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{TB: t, server: server, url: server.Database(t, ""), keys: keys}
	j, err := Open(t.Context(), Options{URL: b.url, Planner: journaltest.Plain, bounds: quick})
	b.ok(err)
	defer func() { b.ok(j.Close()) }()
	b.ok(j.EnsureAccount(t.Context(), "default", "partner"))
	b.ok(j.InitPositions(t.Context(), []journal.Position{{Topic: topic}}))
	b.codes(j, 50)
	o := b.claim(j, journal.Call, 1, time.Hour)[0]
	id, err := send(j, o, permit(10, time.Hour))
	b.ok(err)
	answer := journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: b.sealed(o), End: journal.AttemptEnd{Answered: true, Status: 200}}

	giveBack := fill()
	took, words, fails := 0, map[string]bool{}, 0
	for range 400 {
		if _, err := j.Ingest(t.Context(), b.batch(100)); err != nil {
			if !journal.Waits(err) {
				t.Fatalf("%T %v", err, err)
			}
			words[err.Error()] = true
			if fails++; fails == 5 {
				break
			}
			continue
		}
		b.next += 100
		took += 100
	}
	if fails == 0 {
		t.Fatalf("%d events were taken, and the disk is full", took)
	}
	_, _, err = j.SaveResponse(t.Context(), answer)
	t.Logf("%d events taken beside a full disk; then: %v; the answer: %v; the server has ended: %v", took, words, err, server.Ended())
	if err != nil && !journal.Waits(err) {
		t.Errorf("the answer: %v", err)
	}
	giveBack()
	if server.Ended() {
		server.Up(t)
	}
	b.eventually("the answer is not kept", func() bool {
		_, _, err := j.SaveResponse(t.Context(), answer)
		return err == nil
	})
	b.eventually("nothing is taken", func() bool {
		ps, err := j.Positions(t.Context())
		if err != nil {
			return false
		}
		if ps[0].Next != b.next && ps[0].Next != b.next+100 {
			t.Fatalf("the journal stands at %d, %d were acknowledged", ps[0].Next, b.next)
		}
		b.next = ps[0].Next // nobody knew of the last
		_, err = j.Ingest(t.Context(), b.batch(100))
		return err == nil
	})
	b.next += 100
	s, err := j.Stats(t.Context())
	b.ok(err)
	open := int64(0)
	for _, n := range s.Operations {
		open += n
	}
	if open != b.next {
		t.Errorf("%d operations of %d events", open, b.next)
	}
	if _, err := j.Ingest(t.Context(), journal.Batch{Topic: topic, From: 0, Next: 1}); !errors.Is(err, journal.ErrPosition) {
		t.Errorf("an old batch: %v", err)
	}
}

// batch is the next n events, each a new shop's code.
func (b *bed) batch(n int) journal.Batch {
	b.Helper()
	batch := journal.Batch{Topic: topic, From: b.next, Next: b.next + int64(n)}
	for i := range n {
		id := fmt.Sprint(b.next + int64(i))
		e := journaltest.MakeEvent(b, b.keys, journal.Activate, journal.ShopKey{Account: "default", Shop: "shop-" + id}, id, "code-"+id, time.Now())
		e.Offset = b.next + int64(i)
		batch.Events = append(batch.Events, e)
	}
	return batch
}
