package twin

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/schemas"
)

// recovery recovers the journals as if they were copies, and opens them again in between.
func (g *generator) recovery() {
	g.recover()
	if g.oneIn(2) {
		g.reopen()
		g.recover()
	}
	for range 1 + g.n(3) {
		_, _ = g.call("ImportPublished", g.takenOver())
	}
	if g.oneIn(2) {
		p := pick(g, g.partitions)
		back := max(0, p.next-int64(g.n(3)))
		if _, err := g.call("ResetPositions", []journal.Position{{Topic: p.topic, Partition: p.part, Next: back}}); err == nil {
			p.next = back
		}
	}
	for range g.n(3) {
		g.ingest()
	}
	for _, last := range []bool{false, true} {
		if last && g.oneIn(3) {
			g.reopen()
			g.recover()
		}
		for after, pages := int64(0), 0; pages == 0 || after != 0; pages++ {
			got, err := g.call("Restore", last, rawID{"operation", after}, 1+g.n(6))
			if err != nil {
				break
			}
			after = got[0].(int64)
		}
	}
	_, _ = g.call("PublishedOffsets")
	_, _ = g.call("RecoveryDue")
	end := journal.RecoveryEnd{Identity: g.uuid("identity"), Check: []byte("fits"), Audit: journal.AuditEntry{Actor: "anna", Act: "recover"}}
	if g.oneIn(2) {
		end.Asked = func(i journal.Intent) (journal.IntentEnd, bool) {
			return journal.IntentEnd{ID: i.ID, State: journal.IntentRefused, Result: "restored", Audit: journal.AuditEntry{Act: i.Act + ".refused"}}, i.Act != "enter"
		}
	}
	if _, err := g.call("EndRecovery", end); err == nil {
		g.recovering = false
	}
	_, _ = g.call("Identity")
	_, _ = g.call("Origin")
}

func (g *generator) recover() {
	g.recovering = true
	_, _ = g.call("Recover", perSide(func(s *side) any { return journal.Restorer(s.restorer) }))
}

// takenOver returns events that were published after the copy was made: of operations
// that the journal has, and of others.
//
// No sequence of a shop is given twice, and those of one call are in any order.
func (g *generator) takenOver() (as []journal.PublishedEvent) {
	const most = 3
	g.takeovers++
	order := g.random.Perm(most)
	for i := range g.n(most + 1) {
		e, ok := recent(g, g.events)
		if !ok {
			return nil
		}
		typ := schemas.TypeActivated
		if e.Kind == journal.Invite {
			typ = schemas.TypeInvited
		}
		a := journal.PublishedEvent{Type: typ, Shop: e.Shop, Operation: newUUID(e, 0), Causation: e.ID, Sequence: 1000*g.takeovers + int64(100*order[i]), At: g.clock.at.Add(-g.within(time.Minute))}
		switch g.n(8) {
		case 0:
			a.Operation, a.Shop.Shop = g.uuid("unknown"), fmt.Sprint("new-", g.n(2))
		case 1:
			a.Type = schemas.TypeCredentialsInvalid
		case 2:
			a = journal.PublishedEvent{Type: schemas.TypeDeadLetter, At: a.At}
		}
		a.Event = schemas.EventID(a.Operation, 1, a.Type)
		if a.Type == schemas.TypeDeadLetter {
			a.Event = g.uuid("letter")
		}
		if a.Type == schemas.TypeActivated || a.Type == schemas.TypeCredentialsInvalid {
			a.Version = int64(1 + g.n(4))
			if g.oneIn(2) {
				ref := schemas.Reference{Store: schemas.StoreVault, Mount: "secret", Account: a.Shop.Account, Shop: a.Shop.Shop, Version: a.Version}
				a.Reference = ref.String()
			}
		}
		a.Message = schemas.Message{Partition: g.n(2), Offset: int64(g.n(500)), Key: []byte(a.Shop.Shop), Value: fmt.Appendf(nil, "published %s", a.Event), Headers: []schemas.Header{{Key: "h", Value: []byte("v")}}}
		if !slices.ContainsFunc(as, func(o journal.PublishedEvent) bool { return o.Event == a.Event }) || g.oneIn(3) {
			as = append(as, a)
		}
	}
	return as
}

// closed closes the journals and calls their methods afterwards.
func (g *generator) closed() {
	g.lastTour()
	_, _ = g.call("Close")
	shop := journal.ShopKey{Account: accounts[0], Shop: "shop-1"}
	for _, c := range []struct {
		method string
		args   []any
	}{
		{"KeysetCheck", nil}, {"SetKeysetCheck", []any{[]byte("check")}}, {"UsedKeys", nil}, {"EnsureAccount", []any{"third", "partner"}}, {"Accounts", nil},
		{"SetCircuit", []any{accounts[0], journal.Circuit{State: journal.CircuitActive}, nil}}, {"Positions", nil}, {"Ingest", []any{journal.Batch{Topic: schemas.TypeCodeEntered}}},
		{"Capacity", nil}, {"Due", nil}, {"Claim", []any{journal.ClaimRequest{Account: accounts[0], Kind: journal.Invite, Stage: journal.Call, Limit: 1, Lease: time.Second}}},
		{"ReleaseExpiredLeases", nil}, {"AvailablePermits", []any{g.permits()[0]}}, {"Prune", []any{journal.Prune{What: journal.PruneEvents, Limit: 1}}}, {"PendingIntents", []any{1, []int64(nil)}},
		{"Pending", []any{int64(0), 1, 1}}, {"AcquireLease", nil}, {"ReleaseLease", nil}, {"RecoveryDue", nil}, {"PublishedOffsets", nil}, {"WorkerReports", nil}, {"UnknownSince", nil},
		{"Stats", nil}, {"Operations", []any{journal.OperationFilter{Limit: 1}}}, {"Operation", []any{uuid.New()}}, {"Shop", []any{shop}}, {"Preview", []any{journaltest.MakeEvent(g.T, g.keys, journal.Activate, shop, "closed", "code", g.clock.at)}}, {"Credential", []any{shop, int64(0)}},
		{"DeadLetters", []any{journal.DeadLetterFilter{Shop: shop, Limit: 1}}}, {"Intents", []any{journal.IntentFilter{Limit: 1}}}, {"AppendAudit", []any{[]journal.AuditEntry{{}}}}, {"AuditAfter", []any{int64(0), 1}}, {"PublishedCredential", []any{shop}}, {"Shops", []any{journal.ShopFilter{Limit: 1}}},
		{"Audit", []any{int64(0), 1}}, {"Close", nil},
	} {
		_, _ = g.call(c.method, c.args...)
	}
}
