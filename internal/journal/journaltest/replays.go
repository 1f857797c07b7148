package journaltest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// lettersAt ingests dead letters that keep their record, and returns their numbers.
func (f *fixture) lettersAt(n int) (ids []int64) {
	f.Helper()
	sealed, err := f.keys.Seal([]byte("record"), "letter")
	f.ok(err)
	b := f.batch()
	for range n {
		b.DeadLetters = append(b.DeadLetters, journal.DeadLetter{
			Offset: b.Next, EventID: "bad", Reason: "unknown_account", Size: 1, Digest: []byte("digest"), Sealed: sealed,
			Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, b.Next)), schemas.TypeDeadLetter, journal.ShopKey{}),
		})
		b.Next++
	}
	f.next = b.Next
	_, err = f.j.Ingest(f.ctx, b)
	f.ok(err)
	ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: n})
	f.ok(err)
	for i := range ls {
		ids = append(ids, ls[len(ls)-1-i].ID)
	}
	return ids
}

func (f *fixture) askReplays(ids ...int64) int {
	f.Helper()
	n, err := f.j.AskReplays(f.ctx, ids, time.Second, journal.AuditEntry{Actor: "anna", Act: "asked"})
	f.ok(err)
	return n
}

func (f *fixture) dueReplays() []journal.DeadLetterRecord {
	f.Helper()
	due, err := f.j.DueReplays(f.ctx, 10)
	f.ok(err)
	return due
}

func (f *fixture) letter(id int64) journal.DeadLetterRecord {
	f.Helper()
	ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{ID: id, Limit: 1})
	f.ok(err)
	if len(ls) != 1 {
		f.Fatalf("dead letter %d is not there", id)
	}
	return ls[0]
}

var replays = []part{
	// Dead letters are purged, but for those that are needed.
	{"Purge", func(f *fixture) {
		ids := f.lettersAt(5)
		entry := journal.AuditEntry{Actor: "anna", Act: "purged", Detail: "why"}
		purge := func() int {
			n, err := f.j.PurgeDeadLetters(f.ctx, ids, entry)
			f.ok(err)
			return n
		}
		diff(f.T, 0, purge()) // their events are not published
		for _, o := range pending(f) {
			f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: o.Row}}))
		}
		f.askReplays(ids[0])
		diff(f.T, 3, purge())
		diff(f.T, 0, purge())
		ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 10})
		f.ok(err)
		if len(ls) != 2 || ls[0].ID != ids[4] || ls[1].ID != ids[0] {
			f.Errorf("left: %+v", ls)
		}
		entries, err := f.j.Audit(f.ctx, 0, 1)
		f.ok(err)
		if len(entries) != 1 || entries[0].Detail != "3 deleted; why" {
			f.Errorf("the audit trail is %+v", entries)
		}
	}},
	// Dead letters that were purged beside the worker leave room for records.
	{"PurgeMakesRoom", func(f *fixture) {
		sealed, err := f.keys.Seal([]byte("record"), "letter")
		f.ok(err)
		ids := f.lettersAt(2)
		for _, o := range pending(f) {
			f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: o.Row}}))
		}
		take := func() journal.Ingested {
			b := f.batch()
			b.Keep = journal.LetterBounds{Number: 2}
			b.DeadLetters = []journal.DeadLetter{{Offset: b.Next, Reason: "not_json", Sealed: sealed,
				Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, b.Next)), schemas.TypeDeadLetter, journal.ShopKey{})}}
			b.Next++
			f.next = b.Next
			got, err := f.j.Ingest(f.ctx, b)
			f.ok(err)
			return got
		}
		diff(f.T, journal.Ingested{Unkept: 1}, take())
		n, err := f.j.PurgeDeadLetters(f.ctx, ids, journal.AuditEntry{Act: "purged"})
		f.ok(err)
		diff(f.T, 2, n)
		f.clock.advance(2 * time.Minute)
		diff(f.T, journal.Ingested{}, take())
	}},
	// Replays are due one after the other, behind those that wait.
	{"OneAfterAnother", func(f *fixture) {
		ids := f.lettersAt(4)
		diff(f.T, 2, f.askReplays(ids[1], ids[0]))
		diff(f.T, 1, f.askReplays(ids[0], ids[2])) // the first waits already
		f.crash()
		due := f.dueReplays()
		var order []int64
		for i, l := range due {
			order = append(order, l.ID)
			if apart := l.ReplayDue.Sub(due[0].ReplayDue).Round(time.Millisecond); apart != time.Duration(i)*time.Second {
				f.Errorf("replay %d is due %s after the first", i, apart)
			}
		}
		diff(f.T, ids[:3], order)
		if wait := due[0].ReplayDue.Sub(f.clock.now()); wait > time.Second {
			f.Errorf("the first is due in %s", wait)
		}
	}},
	// The event of a replayed record is in the inbox once.
	{"EventOnce", func(f *fixture) {
		ids := f.lettersAt(2)
		f.askReplays(ids...)
		e := f.address("s", "e1", "a@x.test")
		r := journal.Replay{ID: ids[0], Topic: topic, Event: &e}
		got, err := f.j.Replay(f.ctx, r)
		f.ok(err)
		diff(f.T, journal.ReplayAccepted, got)
		f.crash()
		_, err = f.j.Replay(f.ctx, r)
		want(f.T, err, journal.ErrStale)
		r.ID = ids[1]
		got, err = f.j.Replay(f.ctx, r)
		f.ok(err)
		diff(f.T, journal.ReplayRepeated, got)
		diff(f.T, journal.Ingested{Repeated: 1, Known: []int{0}}, f.ingest(e))
		if s := stats(f); s.Events != 1 {
			f.Errorf("%d events", s.Events)
		}
		for _, id := range ids {
			if l := f.letter(id); l.Replays != 1 || l.Replayed.IsZero() || !l.ReplayDue.IsZero() || l.Sealed != nil {
				f.Errorf("dead letter %d is %+v", id, l)
			}
		}
		diff(f.T, 0, f.askReplays(ids...))
		open, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Open: true, Limit: 10})
		f.ok(err)
		diff(f.T, 0, len(open))
		diff(f.T, 0, len(f.dueReplays()))
	}},
	// The consumer, and two replicas that replay, take an event once.
	{"ConcurrentReplays", func(f *fixture) {
		id := f.lettersAt(1)[0]
		f.askReplays(id)
		e := f.address("s", "e1", "a@x.test")
		var ingested journal.Ingested
		var outcomes [2]journal.ReplayOutcome
		var errs [3]error
		b := f.batch(e)
		var made sync.WaitGroup
		made.Go(func() { ingested, errs[0] = f.j.Ingest(f.ctx, b) })
		for n := range outcomes {
			made.Go(func() { outcomes[n], errs[1+n] = f.j.Replay(f.ctx, journal.Replay{ID: id, Topic: topic, Event: &e}) })
		}
		made.Wait()
		f.ok(errs[0])
		accepted := ingested.Accepted
		for n, outcome := range outcomes {
			switch {
			case errs[1+n] == nil && outcome == journal.ReplayAccepted:
				accepted++
			case errs[1+n] == nil && outcome == journal.ReplayRepeated:
			default:
				want(f.T, errs[1+n], journal.ErrStale)
			}
		}
		if accepted != 1 || (errs[1] == nil) == (errs[2] == nil) {
			f.Errorf("accepted %d times, errors %v", accepted, errs)
		}
		if l := f.letter(id); l.Replays != 1 || l.Replayed.IsZero() {
			f.Errorf("the dead letter is %+v", l)
		}
	}},
	// A record that fails again stays a dead letter, until it failed too often.
	{"FailsAgain", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		id := f.lettersAt(1)[0]
		reused := f.address("s", "e1", "b@x.test")
		reused.ReusedLetter = func() (journal.DeadLetter, error) {
			return journal.DeadLetter{EventID: "e1", Reason: "id_reused", Shop: journal.ShopKey{Account: account, Shop: "s"}}, nil
		}
		for n := range journal.MaxReplays {
			diff(f.T, 1, f.askReplays(id))
			r := journal.Replay{ID: id, Replays: n, Topic: topic, Failed: &journal.DeadLetter{Reason: "missing", Where: "/shopId"}}
			if n == 1 {
				r.Failed, r.Event = nil, &reused
			}
			got, err := f.j.Replay(f.ctx, r)
			f.ok(err)
			diff(f.T, journal.ReplayFailed, got)
			l := f.letter(id)
			reason := "missing"
			if n == 1 {
				reason = "id_reused"
				diff(f.T, journal.ShopKey{Account: account, Shop: "s"}, l.Shop)
			}
			if l.Reason != reason || l.Replays != n+1 || l.Sealed == nil || !l.Replayed.IsZero() || !l.ReplayDue.IsZero() {
				f.Errorf("after %d replays: %+v", n+1, l)
			}
		}
		diff(f.T, 0, f.askReplays(id))
		if out := pending(f); len(out) != 1 { // nothing but the event of the dead letter
			f.Errorf("%d events wait to be published", len(out))
		}
	}},
	// A record that is ignored is no dead letter any more, and other dead letters are not replayed.
	{"IgnoredRecord", func(f *fixture) {
		ids := f.lettersAt(2)
		_, err := f.j.Replay(f.ctx, journal.Replay{ID: ids[0], Topic: topic})
		want(f.T, err, journal.ErrStale)
		f.askReplays(ids[0])
		_, err = f.j.Replay(f.ctx, journal.Replay{ID: ids[0], Replays: 1, Topic: topic})
		want(f.T, err, journal.ErrStale)
		got, err := f.j.Replay(f.ctx, journal.Replay{ID: ids[0], Topic: topic})
		f.ok(err)
		diff(f.T, journal.ReplayIgnored, got)
		if l := f.letter(ids[1]); l.Replays != 0 || l.Sealed == nil {
			f.Errorf("the other one is %+v", l)
		}
		entries, err := f.j.Audit(f.ctx, 0, 10)
		f.ok(err)
		if len(entries) != 2 || entries[0].Act != "dead-letters.replayed" || entries[0].Detail != "ignored" || entries[1].Actor != "anna" {
			f.Errorf("the audit trail is %+v", entries)
		}
	}},
}
