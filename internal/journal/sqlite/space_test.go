package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
)

// A disk is what the tests below need of one.
type disk struct {
	*testing.T
	j     *Journal
	keys  *keyset.Set
	next  int64
	audit int // entries that were acknowledged
}

func newDisk(t *testing.T, j *Journal) *disk {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{T: t, j: j, keys: keys}
	d.ok(j.EnsureAccount(t.Context(), benchAccount, "p"))
	d.ok(j.InitPositions(t.Context(), []journal.Position{{Topic: benchTopic}}))
	return d
}

func (d *disk) ok(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *disk) ingest() error {
	shop := journal.ShopKey{Account: benchAccount, Shop: fmt.Sprint("s", d.next)}
	e := journaltest.MakeEvent(d.T, d.keys, journal.Activate, shop, fmt.Sprint("e", d.next), fmt.Sprint("c", d.next), time.Now())
	e.Offset = d.next
	_, err := d.j.Ingest(d.Context(), journal.Batch{Topic: benchTopic, From: d.next, Next: d.next + 1, Events: []journal.Event{e}})
	if err == nil {
		d.next++
	}
	return err
}

func (d *disk) claim() ([]journal.ClaimedOperation, error) {
	return d.j.Claim(d.Context(), journal.ClaimRequest{Account: benchAccount, Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Minute})
}

func (d *disk) send(o journal.ClaimedOperation) (journal.AttemptID, error) {
	return d.j.BeginAttempt(d.Context(), journal.AttemptStart{Ref: o.Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Second,
		Permits: []journal.Permit{{RateLimit: "l", Limit: 10, Window: time.Second}}})
}

func (d *disk) receive(o journal.ClaimedOperation, id journal.AttemptID) error {
	sealed, err := d.keys.Seal([]byte(strings.Repeat("x", 64<<10)), "row")
	d.ok(err)
	_, mine, err := d.j.SaveResponse(d.Context(), journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: journal.AttemptEnd{Answered: true, Status: 200}})
	if err == nil && !mine {
		d.Error("the receipt is not its sender's")
	}
	return err
}

// Below the reserve no call begins, and all that ends can be written.
func TestTheReserveIsForEnds(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 30)
	o := options(filepath.Join(t.TempDir(), "j.db"))
	o.Reserve = 1 << 20
	o.DiskFree = func(string) (int64, error) {
		if n := free.Load(); n >= 0 {
			return n, nil
		}
		return 0, errors.New("not known")
	}
	clock := time.Now()
	o.Now = func() time.Time { clock = clock.Add(spaceFor); return clock }
	d := newDisk(t, mustOpen(t, o))
	for range 3 {
		d.ok(d.ingest())
	}
	first, err := d.claim()
	d.ok(err)
	second, err := d.claim()
	d.ok(err)
	id, err := d.send(first[0])
	d.ok(err)

	free.Store(o.Reserve - 1)
	if _, err := d.claim(); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a claim for a call: %v", err)
	}
	if _, err := d.send(second[0]); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a send: %v", err)
	}
	d.ok(d.receive(first[0], id))
	d.ok(d.j.Apply(t.Context(), journal.Transition{Ref: first[0].Ref, From: journal.Received, To: journal.Received}))
	settling, err := d.j.Claim(t.Context(), journal.ClaimRequest{Account: benchAccount, Kind: journal.Activate, Stage: journal.Settle, Limit: 1, Lease: time.Minute})
	d.ok(err)
	d.ok(d.j.Apply(t.Context(), journal.Transition{Ref: settling[0].Ref, From: journal.Received, To: journal.Done}))
	r, err := d.j.Capacity(t.Context())
	d.ok(err)
	if r.Free != o.Reserve-1 || r.Used < 64<<10 || r.Outbox != 0 {
		t.Errorf("%+v", r)
	}

	free.Store(-1) // nobody can say
	if r, err = d.j.Capacity(t.Context()); err != nil || r.Free != -1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := d.send(second[0]); err != nil {
		t.Errorf("a send where nobody knows what is free: %v", err)
	}
	free.Store(o.Reserve)
	if _, err := d.claim(); err != nil {
		t.Errorf("a claim with room: %v", err)
	}
}

// A disk that is really full: what is asked for fails by its name, what was
// acknowledged is there, and when there is room again all goes on.
func TestAReallyFullDisk(t *testing.T) {
	journaltest.OnSmallDisk(t, 4<<20, func(t *testing.T, folder string) {
		path := filepath.Join(folder, "j.db")
		j, err := Open(t.Context(), options(path))
		if err != nil {
			t.Fatal(err)
		}
		d := newDisk(t, j)
		d.ok(d.ingest())
		claimed, err := d.claim()
		d.ok(err)
		id, err := d.send(claimed[0])
		d.ok(err)
		for round := range 3 {
			drop := journaltest.Ballast(t, folder, 0)
			full := func(what string, do func() error) {
				t.Helper()
				for range 1000 { // the log may have room that was used before
					switch err := do(); {
					case errors.Is(err, journal.ErrFull):
						return
					case err != nil:
						t.Fatalf("%s on a full disk: %v", what, err)
					}
				}
				t.Fatalf("%s never fails on a full disk", what)
			}
			full("an audit entry", func() error {
				err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "x", Detail: strings.Repeat("x", 4000)})
				if err == nil {
					d.audit++
				}
				return err
			})
			full("intake", d.ingest)
			if round == 0 {
				full("a receipt", func() error { return d.receive(claimed[0], id) })
			}
			if _, err := j.Stats(t.Context()); err != nil {
				t.Errorf("a look on a full disk: %v", err)
			}
			if r, err := j.Capacity(t.Context()); err != nil || r.Free > 64<<10 {
				t.Errorf("%+v, %v", r, err)
			}
			drop()
			d.ok(d.ingest())
		}
		d.ok(d.receive(claimed[0], id))
		d.ok(j.Close())
		j = mustOpen(t, options(path))
		entries, err := j.Audit(t.Context(), 0, 1000)
		positions, posErr := j.Positions(t.Context())
		if err != nil || posErr != nil || len(entries) != d.audit || positions[0].Next != d.next {
			t.Errorf("%d of %d entries, positions %+v of %d: %v, %v", len(entries), d.audit, positions, d.next, err, posErr)
		}
		if err := j.inWriter(t.Context(), func(t *tx) error {
			r, err := t.one("PRAGMA integrity_check")
			if err == nil && r.text(0) != "ok" {
				err = errors.New(r.text(0))
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// A copy for which there is no room says so once, and leaves nothing behind.
func TestACopyOnAFullDisk(t *testing.T) {
	journaltest.OnSmallDisk(t, 128<<10, func(t *testing.T, folder string) {
		j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
		for range 50 {
			if err := j.AppendAudit(t.Context(), journal.AuditEntry{Act: "seen", Detail: strings.Repeat("x", 8<<10)}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := j.Backup(t.Context(), filepath.Join(folder, "copy.db"))
		if !errors.Is(err, errNoRoom) || strings.Contains(err.Error(), "not an error") || strings.Contains(err.Error(), "\n") {
			t.Errorf("it gives %v", err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("it leaves %v, %v", left, err)
		}
	})
}
