package journaltest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var intake = []part{
	// Positions begin once.
	{"PositionsBeginOnce", func(f *fixture) {
		f.ok(f.j.InitPositions(f.ctx, []journal.Position{{Topic: topic, Partition: 0, Next: 99}, {Topic: topic, Partition: 1, Next: 7}, {Topic: "other", Partition: 0, Next: 1}}))
		f.crash()
		got, err := f.j.Positions(f.ctx)
		f.ok(err)
		diff(f.T, []journal.Position{{Topic: "other", Partition: 0, Next: 1}, {Topic: topic, Partition: 0, Next: 0}, {Topic: topic, Partition: 1, Next: 7}}, got)
	}},
	// A position knows the batch behind it.
	{"BatchMark", func(f *fixture) {
		behind := func(when string, want *journal.BatchMark) {
			f.Helper()
			got, err := f.j.Positions(f.ctx)
			f.ok(err)
			if len(got) != 1 {
				f.Fatalf("%s: %d positions", when, len(got))
			}
			diff(f.T, want, got[0].Behind)
		}
		take := func(from int64, m *journal.BatchMark) {
			f.Helper()
			_, err := f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: from, Next: from + 1, Behind: m})
			f.ok(err)
		}
		behind("begun", nil)
		first := &journal.BatchMark{Last: 5, Epoch: 7, CRC: 1<<32 - 1}
		take(0, first)
		f.crash()
		behind("taken", first)
		unknown := &journal.BatchMark{Last: 0, Epoch: -1, CRC: 0}
		take(1, unknown)
		behind("no epoch", unknown)
		if _, err := f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: 1, Next: 2, Behind: first}); err == nil {
			f.Error("a batch was taken twice")
		}
		behind("refused", unknown)
		take(2, nil)
		behind("not known", nil)
		take(3, first)
		f.recover(restorer)
		f.ok(f.j.ResetPositions(f.ctx, []journal.Position{{Topic: topic, Next: 9}}))
		behind("not set back", first)
		f.ok(f.j.ResetPositions(f.ctx, []journal.Position{{Topic: topic, Next: 1}}))
		behind("set back", nil)
	}},
	// An event without a time has none in the view of its shop.
	{"EventWithoutTime", func(f *fixture) {
		e := f.address("s", "e1", "a@x.test")
		e.Time = time.Time{}
		f.ingest(e)
		var got []journal.OperationView
		f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
			got = v.Open
			return journal.Plan{}
		}
		f.ingest(f.address("s", "e2", "b@x.test"))
		if len(got) != 1 || !got[0].EventTime.IsZero() {
			f.Errorf("%+v", got)
		}
	}},
	// A batch begins where the journal stands.
	{"BatchBeginsAtPosition", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@x.test"))
		e := f.address("s2", "e2", "b@x.test")
		for name, b := range map[string]journal.Batch{
			"behind":        {Topic: topic, From: 0, Next: 2, Events: []journal.Event{e}},
			"ahead":         {Topic: topic, From: 2, Next: 3, Events: []journal.Event{e}},
			"backwards":     {Topic: topic, From: 1, Next: 0, Events: []journal.Event{e}},
			"not begun":     {Topic: topic, Partition: 5, From: 0, Next: 1, Events: []journal.Event{e}},
			"unknown topic": {Topic: "nowhere", From: 0, Next: 1, Events: []journal.Event{e}},
		} {
			if _, err := f.j.Ingest(f.ctx, b); err == nil {
				f.Errorf("%s: taken", name)
			} else {
				want(f.T, err, journal.ErrPosition)
			}
		}
		if s := stats(f); s.Events != 1 {
			f.Fatalf("%d events, want 1", s.Events)
		}
		f.ingest(e)
	}},
	// Of two batches for one place one is taken.
	{"ConcurrentBatches", func(f *fixture) {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			e := f.address("s", fmt.Sprint("e", i), fmt.Sprintf("%d@x.test", i))
			wg.Go(func() {
				_, errs[i] = f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: 0, Next: 1, Events: []journal.Event{e}})
			})
		}
		wg.Wait()
		taken := 0
		for _, err := range errs {
			if err == nil {
				taken++
				continue
			}
			want(f.T, err, journal.ErrPosition)
		}
		if s := stats(f); taken != 1 || s.Events != 1 {
			f.Fatalf("%d batches taken, %d events", taken, s.Events)
		}
	}},
	// An event is taken once.
	{"EventOnce", func(f *fixture) {
		e := f.address("s", "e1", "a@x.test")
		diff(f.T, journal.Ingested{Accepted: 1, Repeated: 1, Known: []int{1}}, f.ingest(e, e))
		f.crash()
		diff(f.T, journal.Ingested{Repeated: 1, Known: []int{0}}, f.ingest(e))
		if s := stats(f); s.Events != 1 || s.DeadLetters != 0 {
			f.Fatalf("stats are %+v", s)
		}
	}},
	// An id with other content is a dead letter.
	{"ReusedID", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		diff(f.T, journal.Ingested{Reused: 1, Known: []int{0}}, f.ingest(f.address("s", "e1", "b@x.test")))
		ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 10})
		f.ok(err)
		if len(ls) != 1 || ls[0].Reason != "id_reused" || ls[0].EventID != "e1" || ls[0].Offset != 1 || len(ls[0].Sealed) == 0 || ls[0].Topic != topic {
			f.Fatalf("dead letters are %+v", ls)
		}
		if out := pending(f); len(out) != 1 || out[0].Type != schemas.TypeDeadLetter {
			f.Fatalf("outbox is %+v", out)
		}
	}},
	// A digest under an older key is recognised.
	{"DigestUnderOlderKey", func(f *fixture) {
		e := f.address("s", "e1", "a@x.test")
		f.ingest(e)
		// As after a rotation: a new primary's digest stands first.
		rotated := e
		newer := append([]byte{9, 9, 9, 9}, make([]byte, 16)...)
		rotated.Digests = [][]byte{newer, e.Digests[0]}
		rotated.SubjectMACs = [][]byte{newer, e.SubjectMACs[0]}
		diff(f.T, journal.Ingested{Repeated: 1, Known: []int{0}}, f.ingest(rotated))
		var seen journal.ShopView
		f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
			seen = v
			return journal.Plan{}
		}
		again := f.address("s", "e2", "a@x.test")
		again.SubjectMACs = [][]byte{newer, again.SubjectMACs[0]}
		f.ingest(again)
		if seen.Same == nil || !seen.Same.SameSubject || len(seen.Open) != 1 || !seen.Open[0].SameSubject {
			f.Fatalf("the planner saw %+v", seen)
		}
	}},
	// Past a bound dead letters keep position and digest.
	{"DeadLetterBound", func(f *fixture) {
		sealed, err := f.keys.Seal([]byte("record"), "letter")
		f.ok(err)
		size := int64(len(sealed))
		n := 0
		take := func(letters int, keep journal.LetterBounds, events ...journal.Event) journal.Ingested {
			b := f.batch(events...)
			b.Keep = keep
			for range letters {
				b.DeadLetters = append(b.DeadLetters, journal.DeadLetter{
					Offset: b.Next, EventID: fmt.Sprint("e", n), Reason: "not_json", Size: 1, Digest: []byte("digest"), Sealed: sealed,
					Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)), schemas.TypeDeadLetter, journal.ShopKey{}),
				})
				n++
				b.Next++
			}
			f.next = b.Next
			got, err := f.j.Ingest(f.ctx, b)
			f.ok(err)
			return got
		}
		diff(f.T, journal.Ingested{Unkept: 1}, take(3, journal.LetterBounds{Number: 2}))
		diff(f.T, journal.Ingested{Unkept: 1}, take(1, journal.LetterBounds{Number: 2}))
		diff(f.T, journal.Ingested{Unkept: 1}, take(2, journal.LetterBounds{Bytes: 3*size + 1}))
		diff(f.T, journal.Ingested{}, take(1, journal.LetterBounds{}))
		f.ingest(f.address("s", "reused", "a@x.test"))
		diff(f.T, journal.Ingested{Reused: 1, Unkept: 1, Known: []int{0}}, take(0, journal.LetterBounds{Number: 4}, f.address("s", "reused", "b@x.test")))
		ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 100})
		f.ok(err)
		var marks []byte
		for _, l := range ls {
			if len(l.Sealed) > 0 {
				marks = append(marks, 'k')
			} else {
				marks = append(marks, '-')
			}
			if len(l.Digest) == 0 || l.Announce.Type != schemas.TypeDeadLetter {
				f.Fatalf("%+v", l)
			}
		}
		diff(f.T, "-k-k--kk", string(marks))
	}},
	// A dead letter that was rolled back leaves room for a record.
	{"RolledBackDeadLetter", func(f *fixture) {
		sealed, err := f.keys.Seal([]byte("record"), "letter")
		f.ok(err)
		take := func(events ...journal.Event) (journal.Ingested, error) {
			b := f.batch(events...)
			b.Keep = journal.LetterBounds{Number: 2}
			b.DeadLetters = []journal.DeadLetter{{
				Offset: b.Next, Reason: "not_json", Size: 1, Sealed: sealed,
				Announce: MakeDraft(uuid.New(), schemas.TypeDeadLetter, journal.ShopKey{}),
			}}
			b.Next++
			got, err := f.j.Ingest(f.ctx, b)
			if f.next = b.Next; err != nil {
				f.next = b.From
			}
			return got, err
		}
		got, err := take()
		f.ok(err)
		diff(f.T, journal.Ingested{}, got)
		f.ingest(f.address("s", "e1", "a@x.test"))
		// The database refuses the operation: there is one with its id.
		f.plan = func(journal.Event, journal.ShopView) journal.Plan {
			return journal.Plan{New: &journal.NewOperation{UUID: operationID(f.address("s", "e1", "a@x.test"), 0)}}
		}
		if _, err := take(f.address("s", "e2", "b@x.test")); err == nil {
			f.Fatal("two operations have one id")
		}
		got, err = take()
		f.ok(err)
		diff(f.T, journal.Ingested{}, got)
	}},
	// A dead letter that was pruned leaves room for a record.
	{"PrunedDeadLetter", func(f *fixture) {
		sealed, err := f.keys.Seal([]byte("record"), "letter")
		f.ok(err)
		take := func() journal.Ingested {
			b := f.batch()
			b.Keep = journal.LetterBounds{Number: 2}
			b.DeadLetters = []journal.DeadLetter{{
				Offset: b.Next, Reason: "not_json", Size: 1, Sealed: sealed,
				Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, b.Next)), schemas.TypeDeadLetter, journal.ShopKey{}),
			}}
			b.Next++
			f.next = b.Next
			got, err := f.j.Ingest(f.ctx, b)
			f.ok(err)
			return got
		}
		diff(f.T, journal.Ingested{}, take())
		diff(f.T, journal.Ingested{}, take())
		for _, o := range pending(f) {
			f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: o.Row}}))
		}
		f.clock.advance(24 * time.Hour)
		diff(f.T, journal.Ingested{Unkept: 1}, take())
		pruned, err := f.j.Prune(f.ctx, journal.Prune{What: journal.PruneDeadLetters, Keep: time.Hour, Limit: 10, Uptime: 24 * time.Hour})
		if err != nil || pruned.Rows == 0 {
			f.Fatal(pruned, err)
		}
		diff(f.T, journal.Ingested{}, take())
	}},
	// Dead letters are found by their shop.
	{"DeadLettersOfShop", func(f *fixture) {
		b := f.batch()
		for i, l := range []journal.DeadLetter{
			{Shop: journal.ShopKey{Account: "main", Shop: "s-1"}, Key: "other"},
			{Shop: journal.ShopKey{Account: "second", Shop: "s-1"}},
			{Shop: journal.ShopKey{Shop: "s-1"}},
			{Key: "s-1"},
			{Shop: journal.ShopKey{Account: "main", Shop: "s-2"}, Key: "s-1"},
			{},
		} {
			l.Offset, l.Reason = int64(i), "missing"
			l.Announce = MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)), schemas.TypeDeadLetter, journal.ShopKey{})
			b.DeadLetters = append(b.DeadLetters, l)
		}
		b.Next = int64(len(b.DeadLetters))
		_, err := f.j.Ingest(f.ctx, b)
		f.ok(err)
		offsets := func(shop string, limit int) (list []int64) {
			ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Shop: journal.ShopKey{Account: "main", Shop: shop}, Limit: limit})
			f.ok(err)
			for _, l := range ls {
				list = append(list, l.Offset)
				diff(f.T, b.DeadLetters[l.Offset].Shop, l.Shop)
				diff(f.T, b.DeadLetters[l.Offset].Key, l.Key)
			}
			return list
		}
		diff(f.T, []int64{3, 2, 0}, offsets("s-1", 10))
		diff(f.T, []int64{3}, offsets("s-1", 1))
		diff(f.T, []int64{4}, offsets("s-2", 10))
		diff(f.T, []int64(nil), offsets("s-3", 10))
	}},
	// Dead letters are found by reason, topic, time and number.
	{"DeadLetterFilter", func(f *fixture) {
		letter := func(i int, reason string) journal.DeadLetter {
			return journal.DeadLetter{Offset: int64(i), Reason: reason,
				Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)), schemas.TypeDeadLetter, journal.ShopKey{})}
		}
		began := f.clock.now()
		for i, reason := range []string{"missing", "not_json", "missing"} {
			b := f.batch()
			b.DeadLetters, b.Next = []journal.DeadLetter{letter(i, reason)}, f.next+1
			f.next = b.Next
			_, err := f.j.Ingest(f.ctx, b)
			f.ok(err)
			f.clock.advance(time.Hour)
		}
		offsets := func(filter journal.DeadLetterFilter) (list []int64) {
			if filter.Limit == 0 {
				filter.Limit = 10
			}
			ls, err := f.j.DeadLetters(f.ctx, filter)
			f.ok(err)
			for _, l := range ls {
				list = append(list, l.Offset)
			}
			return list
		}
		diff(f.T, []int64{2, 1, 0}, offsets(journal.DeadLetterFilter{}))
		diff(f.T, []int64{2, 0}, offsets(journal.DeadLetterFilter{Reason: "missing"}))
		diff(f.T, []int64{2, 1, 0}, offsets(journal.DeadLetterFilter{Topic: topic}))
		diff(f.T, []int64(nil), offsets(journal.DeadLetterFilter{Topic: "another"}))
		diff(f.T, []int64{2, 1}, offsets(journal.DeadLetterFilter{Since: began.Add(time.Hour)}))
		diff(f.T, []int64{0}, offsets(journal.DeadLetterFilter{Until: began.Add(time.Hour)}))
		diff(f.T, []int64{1}, offsets(journal.DeadLetterFilter{Since: began.Add(time.Hour), Until: began.Add(2 * time.Hour), Reason: "not_json"}))
		ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Reason: "missing", Limit: 1})
		f.ok(err)
		diff(f.T, []int64{2}, offsets(journal.DeadLetterFilter{ID: ls[0].ID}))
		diff(f.T, []int64{0}, offsets(journal.DeadLetterFilter{Reason: "missing", Before: ls[0].ID}))
	}},
	// Dead letters are kept and announced.
	{"DeadLetterEvent", func(f *fixture) {
		sealed, err := f.keys.Seal([]byte("record"), "letter")
		f.ok(err)
		b := f.batch()
		for i := range 3 {
			l := journal.DeadLetter{
				Offset: int64(i), EventID: fmt.Sprint("e", i), Reason: "not_json", Where: "data", Time: f.clock.now(), Size: 10 + i, Digest: []byte("digest"), Sealed: sealed,
				Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)), schemas.TypeDeadLetter, journal.ShopKey{}),
			}
			if i == 2 {
				l.Sealed, l.EventID = nil, ""
			}
			b.DeadLetters = append(b.DeadLetters, l)
		}
		b.Next = 3
		_, err = f.j.Ingest(f.ctx, b)
		f.ok(err)
		f.crash()
		ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 2})
		f.ok(err)
		if len(ls) != 2 || ls[0].EventID != "" || ls[0].Sealed != nil || ls[1].EventID != "e1" || ls[1].Size != 11 || !ls[1].Time.Equal(f.clock.now()) ||
			string(ls[1].Digest) != "digest" || ls[1].Announce.ID != b.DeadLetters[1].Announce.ID || !ls[1].Received.Equal(f.clock.now()) {
			f.Fatalf("dead letters are %+v", ls)
		}
		if !ls[1].Kept || ls[0].Kept || string(ls[1].Sealed) != string(sealed) {
			f.Fatalf("records are %+v", ls)
		}
		bare, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{NoRecords: true, Limit: 2})
		f.ok(err)
		ls[1].Sealed = nil
		diff(f.T, ls, bare)
		ls, err = f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Before: ls[1].ID, Limit: 10})
		f.ok(err)
		if len(ls) != 1 || ls[0].EventID != "e0" {
			f.Fatalf("the next page is %+v", ls)
		}
		out := pending(f)
		if len(out) != 3 || string(out[0].Message.Value) != fmt.Sprintf("%s 0", b.DeadLetters[0].Announce.ID) {
			f.Fatalf("outbox is %+v", out)
		}
		if s := stats(f); s.DeadLetters != 3 || s.Events != 0 {
			f.Fatalf("stats are %+v", s)
		}
	}},
	// An empty batch moves the position and leaves nothing else.
	{"EmptyBatch", func(f *fixture) {
		before := stats(f)
		b := journal.Batch{Topic: topic, From: 0, Next: 5000}
		for i := range 1000 {
			b.Deselected = append(b.Deselected, shopKey(fmt.Sprint("stranger", i)), journal.ShopKey{Account: "unknown", Shop: "s"})
		}
		_, err := f.j.Ingest(f.ctx, b)
		f.ok(err)
		ps, err := f.j.Positions(f.ctx)
		f.ok(err)
		diff(f.T, []journal.Position{{Topic: topic, Next: 5000}}, ps)
		diff(f.T, before, stats(f))
		_, err = f.j.Shop(f.ctx, shopKey("stranger1"))
		want(f.T, err, journal.ErrNotFound)
	}},
	// An unknown account fails the batch.
	{"UnknownAccount", func(f *fixture) {
		e := MakeEvent(f.T, f.keys, journal.Invite, journal.ShopKey{Account: "unknown", Shop: "s"}, "e", "a@x.test", f.clock.now())
		_, err := f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: 0, Next: 2, Events: []journal.Event{f.address("s", "e1", "a@x.test"), e}})
		want(f.T, err, journal.ErrNotFound)
		if s := stats(f); s.Events != 0 {
			f.Fatal("a part of the batch was kept")
		}
		f.ingest(f.address("s", "e1", "a@x.test"))
	}},
	// Deselected shops lose what was never sent.
	{"DeselectedShop", testDeselected},
}

func testDeselected(f *fixture) {
	// s1: planned, with a code behind it. s2: sending. s3: waiting. s4: waiting in doubt. s5: another shop.
	f.ingest(f.address("s2", "e2", "2@x.test"))
	sent := f.claimed(journal.Invite, journal.Call)
	f.send(sent)
	for _, x := range []struct {
		shop  string
		doubt bool
	}{{"s3", false}, {"s4", true}} {
		o, id := f.sending(f.address(x.shop, "e"+x.shop, x.shop+"@x.test"))
		f.apply(journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Waiting, Due: f.clock.now().Add(1e12), Doubt: x.doubt, Attempt: id, End: f.answered(429),
		})
	}
	f.ingest(f.address("s1", "e1", "1@x.test"), f.code("s1", "c1", "111"), f.address("s5", "e5", "5@x.test"))
	f.crash() // which shops have invitations is known after it too
	b := f.batch()
	b.Next++
	f.next++
	b.Deselected = []journal.ShopKey{shopKey("s1"), shopKey("s2"), shopKey("s3"), shopKey("s4"), shopKey("s9")}
	signalled(f.j.Changed())
	_, err := f.j.Ingest(f.ctx, b)
	f.ok(err)
	if !signalled(f.j.Changed()) {
		f.Error("the code behind became due without a signal")
	}
	states := func(shop string) (got []journal.State) {
		h, err := f.j.Shop(f.ctx, shopKey(shop))
		f.ok(err)
		for _, o := range h.Operations {
			got = append(got, o.State)
		}
		return got
	}
	for shop, want := range map[string][]journal.State{
		"s1": {journal.Superseded, journal.Planned}, "s2": {journal.Unknown}, "s3": {journal.Superseded}, "s4": {journal.Waiting}, "s5": {journal.Planned},
	} {
		diff(f.T, want, states(shop))
	}
	if out := pending(f); len(out) != 0 {
		f.Fatalf("%d events were published", len(out))
	}
	// A canceled invitation can be requested again, and canceled again.
	for i := range 2 {
		f.ingest(f.address("s3", fmt.Sprint("again", i), "s3@x.test"))
		diff(f.T, []journal.State{journal.Planned}, states("s3"))
		b := f.batch()
		b.Next++
		f.next++
		b.Deselected = []journal.ShopKey{shopKey("s3"), shopKey("s3")}
		_, err := f.j.Ingest(f.ctx, b)
		f.ok(err)
		diff(f.T, []journal.State{journal.Superseded}, states("s3"))
	}
}

func stats(f *fixture) journal.Stats {
	f.Helper()
	s, err := f.j.Stats(f.ctx)
	f.ok(err)
	s.Bytes = 0
	return s
}

func pending(f *fixture) []journal.OutboxRow {
	f.Helper()
	out, err := f.j.Pending(f.ctx, 0, 1000, 1<<20)
	f.ok(err)
	return out
}
