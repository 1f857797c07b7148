package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

var reads = []part{
	// Stats count what is not done.
	{"Stats", func(f *fixture) {
		start := f.clock.now()
		f.ingest(f.address("s1", "e1", "a@x.test"), f.address("s1", "e2", "b@x.test"), f.code("s2", "e3", "1"), f.code("s3", "e4", "2"), f.code("s4", "e5", "3"))
		os := f.claim(journal.Activate, journal.Call, 3)
		f.finish(os[0], f.draft(os[0], "x"))
		f.apply(journal.Transition{Ref: os[1].Ref, From: journal.Claimed, To: journal.Attention, Reason: "request_rejected"})
		f.clock.advance(time.Minute)
		s := stats(f)
		diff(f.T, journal.Stats{
			Operations: map[journal.StatKey]int64{
				{Account: account, Kind: journal.Invite, State: journal.Planned}:     1,
				{Account: account, Kind: journal.Invite, State: journal.Queued}:      1,
				{Account: account, Kind: journal.Activate, State: journal.Claimed}:   1,
				{Account: account, Kind: journal.Activate, State: journal.Attention}: 1,
			},
			Attention: map[string]int64{"request_rejected": 1}, OldestDue: map[journal.DueKey]time.Time{{Account: account, Kind: journal.Invite}: start, {Account: account, Kind: journal.Activate}: {}}, Outbox: 1, OldestOut: start, Events: 5,
		}, s)
		if s, err := f.j.Stats(f.ctx); err != nil || s.Bytes <= 0 {
			f.Fatal(s.Bytes, err)
		}
		f.claim(journal.Invite, journal.Call, 1)
		if s := stats(f); len(s.OldestDue) != 2 || !s.OldestDue[journal.DueKey{Account: account, Kind: journal.Invite}].IsZero() || !s.OldestReceived.IsZero() {
			f.Fatalf("due since %v, unstored since %v", s.OldestDue, s.OldestReceived)
		}
		o, id := f.sending(f.code("s5", "e6", "4"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		saved := f.clock.now()
		f.clock.advance(time.Minute)
		if s := stats(f); !s.OldestReceived.Equal(saved) {
			f.Fatalf("unstored since %v, want %v", s.OldestReceived, saved)
		}
	}},
	// Operations are listed by what one asks for.
	{"OperationFilter", testFilters},
	// What is not there is not found.
	{"NotFound", func(f *fixture) {
		_, err := f.j.Operation(f.ctx, uuid.New())
		want(f.T, err, journal.ErrNotFound)
		_, err = f.j.Shop(f.ctx, shopKey("nobody"))
		want(f.T, err, journal.ErrNotFound)
		_, err = f.j.Credential(f.ctx, shopKey("nobody"), 0)
		want(f.T, err, journal.ErrNotFound)
		f.ingest(f.address("s", "e", "a@x.test"))
		_, err = f.j.Credential(f.ctx, shopKey("s"), 0)
		want(f.T, err, journal.ErrNotFound)
		_, err = f.j.Shop(f.ctx, journal.ShopKey{Account: "nobody", Shop: "s"})
		want(f.T, err, journal.ErrNotFound)
	}},
	// Kept responses are listed with their attempts.
	{"Responses", func(f *fixture) {
		_, err := f.j.Responses(f.ctx, uuid.New())
		want(f.T, err, journal.ErrNotFound)
		o, id := f.sending(f.code("s", "e1", "1"))
		if list, err := f.j.Responses(f.ctx, o.UUID); err != nil || len(list) != 0 {
			f.Fatal(list, err)
		}
		r := f.receipt(o, id, "answer")
		_, _, err = f.j.SaveResponse(f.ctx, r)
		f.ok(err)
		list, err := f.j.Responses(f.ctx, o.UUID)
		f.ok(err)
		if len(list) != 1 || list[0].Attempt != id || list[0].Number != 1 || list[0].Operation != o.UUID || string(list[0].Sealed) != string(r.Sealed) || list[0].At.IsZero() {
			f.Fatalf("listed are %+v", list)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done})
	}},
	// An attempt's reason is kept.
	{"AttemptReason", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		end := journal.AttemptEnd{Answered: true, At: f.clock.now(), Status: 422, Outcome: "our_fault", Code: "validation", RequestID: "r", Reason: "partner_id_refused"}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: "request_rejected", Attempt: id, End: &end})
		d := f.state(o.UUID)
		if len(d.Tries) != 1 || d.Tries[0].End == nil || d.Tries[0].End.Reason != "partner_id_refused" || d.Tries[0].End.RequestID != "r" {
			f.Fatalf("tries are %+v", d.Tries)
		}
	}},
	// A shop's history is whole.
	{"ShopHistory", func(f *fixture) {
		// Shop ids are compared byte for byte.
		for _, shop := range []string{"a/b", "A/B", "магазин", "a b", "..", "😀", "a/b "} {
			o := activate(f, shop, "code-"+shop, "m-"+shop)
			h, err := f.j.Shop(f.ctx, shopKey(shop))
			f.ok(err)
			if h.Shop.Shop != shop || len(h.Events) != 1 || len(h.Operations) != 1 || len(h.Output) != 1 || h.Active == nil || h.Active.MerchantID != "m-"+shop {
				f.Fatalf("the history is %+v", h)
			}
			d := h.Operations[0]
			if d.UUID != o.UUID || len(d.Tries) != 1 || len(d.Events) != 1 || len(d.Output) != 1 || d.Output[0].Event != h.Active.Event {
				f.Fatalf("the operation is %+v", d)
			}
			diff(f.T, d, f.state(o.UUID))
		}
	}},
	// Shops are listed by how far they have come.
	{"ShopsByStage", func(f *fixture) {
		activate(f, "active-1", "1", "m-1")
		f.ingest(f.address("other", "e-other", "a@x.test"), f.address("invited", "e-invited", "b@x.test"))
		os := f.claim(journal.Invite, journal.Call, 2)
		for _, o := range os {
			if o.Shop.Shop == "invited" {
				id := f.send(o)
				f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200), Invited: &journal.InvitedUpdate{At: f.clock.now(), InvitationID: "i"}})
			}
		}
		activate(f, "active-2", "2", "m-2")
		names := func(filter journal.ShopFilter) (names []string, last journal.ShopRecord) {
			f.Helper()
			list, err := f.j.Shops(f.ctx, filter)
			f.ok(err)
			for _, s := range list {
				names, last = append(names, s.Shop.Shop), s
			}
			return names, last
		}
		for _, c := range []struct {
			filter journal.ShopFilter
			want   []string
		}{
			{journal.ShopFilter{Limit: 10}, []string{"active-2", "invited", "other", "active-1"}},
			{journal.ShopFilter{Limit: 2}, []string{"active-2", "invited"}},
			{journal.ShopFilter{Limit: 10, Stage: journal.ActiveShop}, []string{"active-2", "active-1"}},
			{journal.ShopFilter{Limit: 10, Stage: journal.InvitedShop}, []string{"invited"}},
			{journal.ShopFilter{Limit: 10, Stage: journal.OtherShop}, []string{"other"}},
			{journal.ShopFilter{Limit: 10, State: journal.CredentialVerified}, nil},
			{journal.ShopFilter{Limit: 10, State: journal.CredentialPending}, []string{"active-2", "active-1"}},
			{journal.ShopFilter{Limit: 10, Since: f.clock.now().Add(time.Second)}, nil},
			{journal.ShopFilter{Limit: 10, Since: f.clock.now()}, []string{"active-2", "invited", "active-1"}},
			{journal.ShopFilter{Limit: 10, Merchant: "m-1"}, []string{"active-1"}},
			{journal.ShopFilter{Limit: 10, Account: account}, []string{"active-2", "invited", "other", "active-1"}},
			{journal.ShopFilter{Limit: 10, Account: "nobody"}, nil},
		} {
			got, _ := names(c.filter)
			want := c.want
			if c.filter == (journal.ShopFilter{Limit: 2}) {
				_, last := names(c.filter)
				rest, _ := names(journal.ShopFilter{Before: last.ID, Limit: 10})
				got, want = append(got, rest...), append(want, "other", "active-1")
			}
			// Two shops of one batch have no order.
			slices.Sort(got)
			slices.Sort(want)
			diff(f.T, want, got)
		}
		_, one := names(journal.ShopFilter{Limit: 10, Merchant: "m-1"})
		if one.Version != 1 || one.Reference == "" || one.ActiveAt.IsZero() || one.Shop != shopKey("active-1") {
			f.Errorf("the active shop is %+v", one)
		}
		if _, one = names(journal.ShopFilter{Limit: 10, Stage: journal.InvitedShop}); one.InvitedAt.IsZero() || one.Version != 0 || one.Reference != "" {
			f.Errorf("the invited shop is %+v", one)
		}
	}},
	// The audit is read from its end.
	{"AuditFromEnd", func(f *fixture) {
		for i := range 5 {
			f.ok(f.j.AppendAudit(f.ctx, journal.AuditEntry{At: f.clock.now().Add(time.Duration(i)), Actor: "a", Act: "resolve", Subject: fmt.Sprint(i), Detail: "d"}))
		}
		f.ok(f.j.AppendAudit(f.ctx, journal.AuditEntry{Act: "now"}))
		f.crash()
		page, err := f.j.Audit(f.ctx, 0, 2)
		f.ok(err)
		if len(page) != 2 || page[0].Act != "now" || !page[0].At.Equal(f.clock.now()) || page[1].Subject != "4" || page[1].ID >= page[0].ID {
			f.Fatalf("the first page is %+v", page)
		}
		page, err = f.j.Audit(f.ctx, page[1].ID, 10)
		f.ok(err)
		if len(page) != 4 || page[3].Subject != "0" || page[3].Actor != "a" || page[3].Detail != "d" {
			f.Fatalf("the second page is %+v", page)
		}
	}},
	// The audit is a chain without gaps.
	{"AuditChain", func(f *fixture) {
		f.ingest(f.address("s", "e", "a@x.test"))
		o := f.claimed(journal.Invite, journal.Call)
		f.ok(f.j.AppendAudit(f.ctx, journal.AuditEntry{Act: "first"}, journal.AuditEntry{Act: "second", Subject: "s"}))
		// An entry of a failed step leaves no gap.
		want(f.T, f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: "nobody"}, journal.AuditEntry{Act: "never"}), journal.ErrNotFound)
		f.ok(f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "probe", Operation: o.UUID}, journal.AuditEntry{Actor: "anna", Act: "probe.asked"}))
		f.crash()
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				f.ok(f.j.AppendAudit(f.ctx, journal.AuditEntry{Actor: "b", Act: "read", Subject: fmt.Sprint(i)}))
			})
		}
		all.Wait()
		var last journal.AuditEntry
		for range 10 {
			page, err := f.j.AuditAfter(f.ctx, last.ID, 7)
			f.ok(err)
			for _, e := range page {
				if next := journal.NextAudit(last.ID, last.Hash, e); next.ID != e.ID || !bytes.Equal(next.Hash, e.Hash) || !bytes.Equal(e.Digest, journal.DetailDigest(e.Salt, e.Detail)) {
					f.Fatalf("entry %d is %+v, and does not follow %d", e.ID, e, last.ID)
				}
				last = e
			}
		}
		if last.ID != 43 {
			f.Fatalf("the last entry is %+v", last)
		}
	}},
	// A context that has ended is obeyed.
	{"EndedContext", func(f *fixture) {
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		_, err := f.j.Stats(ctx)
		if !errors.Is(err, context.Canceled) {
			f.Errorf("stats: %v", err)
		}
		_, err = f.j.Ingest(ctx, f.batch(f.address("s", "e", "a@x.test")))
		if !errors.Is(err, context.Canceled) {
			f.Errorf("ingest: %v", err)
		}
		if s := stats(f); s.Events != 0 {
			f.Error("a call that was cancelled before it began was carried out")
		}
	}},
}

func testFilters(f *fixture) {
	f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
	f.ingest(
		f.address("s1", "e1", "a@x.test"), f.code("s1", "e2", "1"), f.address("s2", "e3", "a@x.test"), f.code("s3", "e4", "2"),
		MakeEvent(f.T, f.keys, journal.Invite, journal.ShopKey{Account: "second", Shop: "s1"}, "e5", "a@x.test", f.clock.now()),
	)
	os := f.claim(journal.Invite, journal.Call, 2)
	f.finish(os[1])
	f.apply(journal.Transition{Ref: f.claimed(journal.Activate, journal.Call).Ref, From: journal.Claimed, To: journal.Attention, Reason: "r"})
	for name, x := range map[string]struct {
		filter journal.OperationFilter
		want   []string
	}{
		"all":            {journal.OperationFilter{}, []string{"e5", "e4", "e3", "e2", "e1"}},
		"account":        {journal.OperationFilter{Account: "second"}, []string{"e5"}},
		"shop":           {journal.OperationFilter{Shop: "s1"}, []string{"e5", "e2", "e1"}},
		"account, shop":  {journal.OperationFilter{Account: account, Shop: "s1"}, []string{"e2", "e1"}},
		"kind":           {journal.OperationFilter{Kind: journal.Activate}, []string{"e4", "e2"}},
		"done":           {journal.OperationFilter{State: journal.Done}, []string{"e3"}},
		"attention":      {journal.OperationFilter{State: journal.Attention}, []string{"e4"}},
		"claimed":        {journal.OperationFilter{State: journal.Claimed}, []string{"e1"}},
		"queued":         {journal.OperationFilter{State: journal.Queued}, []string{"e2"}},
		"open":           {journal.OperationFilter{OpenOnly: true}, []string{"e5", "e4", "e2", "e1"}},
		"open of a kind": {journal.OperationFilter{OpenOnly: true, Kind: journal.Invite, Account: account}, []string{"e1"}},
		"nobody":         {journal.OperationFilter{Account: "nobody"}, nil},
		"no shop":        {journal.OperationFilter{Shop: "s"}, nil},
	} {
		x.filter.Limit = 100
		got, err := f.j.Operations(f.ctx, x.filter)
		f.ok(err)
		var ids []string
		for _, o := range got {
			ids = append(ids, o.Event)
		}
		if fmt.Sprint(ids) != fmt.Sprint(x.want) {
			f.Errorf("%s: %v, want %v", name, ids, x.want)
		}
		// The same in pages of one.
		x.filter.Limit = 1
		var paged []string
		for {
			got, err := f.j.Operations(f.ctx, x.filter)
			f.ok(err)
			if len(got) == 0 {
				break
			}
			if len(got) != 1 {
				f.Fatalf("%s: a page of %d", name, len(got))
			}
			paged, x.filter.Before = append(paged, got[0].Event), got[0].ID
		}
		if fmt.Sprint(paged) != fmt.Sprint(x.want) {
			f.Errorf("%s in pages: %v, want %v", name, paged, x.want)
		}
	}
}
