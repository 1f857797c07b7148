package twin

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

func (g *generator) claimReviews() {
	r := journal.ReviewRequest{Account: g.account(), Limit: g.n(4), Lease: g.within(time.Minute), Routine: g.oneIn(2)}
	if g.oneIn(3) {
		r.Horizon = g.within(10 * time.Minute)
	}
	if got, err := g.call("ClaimReviews", r); err == nil {
		g.reviews = append(g.reviews, got[0].(journal.ClaimedReviews).Reviews...)
	}
}

func (g *generator) endReview() {
	v, ok := recent(g, g.reviews)
	if !ok {
		return
	}
	e := journal.ReviewEnd{
		Ref: v.Ref, Answer: journal.ReviewAnswer(g.n(3)), State: journal.CredentialState(1 + g.n(3)), Due: g.moment(time.Hour), Routine: g.oneIn(2), // #nosec G115 -- small
	}
	for range g.n(2) {
		typ := pick(g, []string{schemas.TypeCredentialsVerified, schemas.TypeCredentialsInvalid})
		e.Publish = append(e.Publish, journaltest.MakeDraft(schemas.EventID(v.Operation, v.Events, typ), typ, v.Credential.Shop))
	}
	if g.oneIn(3) {
		e.Move = &journal.ActivationMove{From: journal.Done, To: pick(g, []journal.State{journal.Done, journal.Superseded, journal.Attention, journal.Planned}), Was: pick(g, append([]string{""}, reasons...)), Reason: "moved"}
	}
	if g.oneIn(4) {
		e.Audit = &journal.AuditEntry{Actor: "worker", Act: "review"}
	}
	if g.oneIn(20) {
		e.Ref.Claim++
	}
	_, _ = g.call("EndReview", e)
}

func (g *generator) moveCredential() {
	v, ok := recent(g, g.reviews)
	if !ok {
		return
	}
	k := v.Credential.Shop
	if g.oneIn(20) {
		k.Shop = "nobody"
	}
	got, err := g.call("CurrentCredential", k)
	if err != nil {
		return
	}
	c := got[0].(journal.CurrentCredential)
	store := pick(g, []string{schemas.StoreSealed, schemas.StoreOpenBao})
	m := journal.CredentialMove{
		Ref: c.Ref, Audit: journal.AuditEntry{Actor: "ann", Act: "credentials.moved"},
		Credential: journal.Credential{Shop: k, Version: c.NextVersion + int64(g.n(2)), Reference: fmt.Sprintf("ref+%s://moved?version=%d", store, c.NextVersion), MerchantID: c.Credential.MerchantID},
	}
	if store == schemas.StoreSealed {
		m.Credential.Sealed = g.seal("moved")
	}
	for m.ReviewEvents = range 1 + g.n(2) {
		m.Publish = append(m.Publish, journaltest.MakeDraft(g.uuid("moved"), schemas.TypeActivated, k))
	}
	if g.oneIn(2) {
		m.DestroyAt = c.ActivatedAt.Add(time.Hour)
	}
	switch g.n(12) {
	case 0:
		m.Ref.Claim++
	case 1:
		m.Credential.Version = c.Credential.Version
	case 2:
		m.Credential.MerchantID = "another"
	}
	_, _ = g.call("MoveCredential", m)
}

func (g *generator) pendingOut() {
	after := int64(0)
	if len(g.pending) > 0 && g.oneIn(4) {
		after = pick(g, g.pending).Row
	}
	limit, bytes := 1+g.n(8), 1<<g.n(12)
	if !g.orderly["outbox"] || !g.orderly["outbox_pending"] { // events of different shops that were written together have no order
		after, limit, bytes = 0, 1000, 1<<30
	}
	if got, err := g.call("Pending", rawID{"outbox", after}, limit, bytes); err == nil {
		g.pending = got[0].([]journal.OutboxRow)
	}
}

func (g *generator) markPublished() {
	var rows []journal.Published
	for _, o := range g.pending {
		if g.oneIn(3) {
			continue
		}
		p := journal.Published{Row: o.Row, Partition: g.n(2), Offset: int64(g.n(1000)) - 1}
		rows = append(rows, p)
		if len(g.announced) < 30 && o.Sequence > 0 {
			o.Message.Partition, o.Message.Offset = p.Partition, p.Offset
			g.announced = append(g.announced, journal.PublishedEvent{Event: o.Event, Type: o.Type, Sequence: o.Sequence, At: g.clock.at, Message: o.Message})
		}
	}
	_, _ = g.call("MarkPublished", rows)
}

func (g *generator) relayLease() {
	switch g.n(4) {
	case 0:
		_, _ = g.call("ReleaseLease")
		g.pendingOut()
		g.markPublished()
		if !g.oneIn(4) {
			_, _ = g.call("AcquireLease")
		}
	case 1:
		_, _ = g.call("LeaseReleased")
	default:
		_, _ = g.call("AcquireLease")
	}
}

func (g *generator) intentEnd(id int64) journal.IntentEnd {
	e := journal.IntentEnd{ID: id, State: pick(g, []journal.IntentState{journal.IntentPerformed, journal.IntentRefused}), Result: "result", Detail: "detail", Audit: journal.AuditEntry{Actor: "anna", Act: "ended"}}
	if g.oneIn(30) {
		e.State = journal.IntentWaiting
	}
	return e
}

func (g *generator) appendIntent() {
	i := journal.Intent{UUID: g.uuid("intent"), At: g.moment(time.Second), Actor: "anna", Act: pick(g, []string{"enter", "retry", "pause"}), Account: g.account(), Note: "ticket 7"}
	if h, ok := recent(g, g.held); ok && !g.oneIn(3) {
		i.Operation, i.MerchantID, i.MAC = h.UUID, "m", []byte("mac")
		if g.oneIn(2) {
			i.Sealed = g.seal("token")
		}
	}
	if g.oneIn(3) {
		i.Act, i.Operation, i.MerchantID, i.Sealed = "disconnect", uuid.Nil, "", nil
		i.Shop = fmt.Sprint("shop-", g.n(shops+1))
	} else if got, err := g.call("Operations", journal.OperationFilter{State: journal.Attention, Limit: 5}); err == nil && g.oneIn(2) {
		if list := got[0].([]journal.OperationRecord); len(list) > 0 {
			i.Operation = pick(g, list).UUID
		}
	}
	switch g.n(20) {
	case 0:
		i.Operation = g.uuid("nobody")
	case 1:
		i.Act = ""
	case 2:
		if p, ok := recent(g, g.intents); ok {
			i.UUID = p.UUID
		}
	}
	_, _ = g.call("AppendIntent", i, journal.AuditEntry{Actor: "anna", Act: i.Act + ".asked", Subject: i.Operation.String()})
	_, _ = g.call("IntentsChanged")
	_, _ = g.call("OutboxChanged")
}

func (g *generator) pendingIntents() {
	if got, err := g.call("PendingIntents", 1+g.n(10), []int64(nil)); err == nil {
		g.intents = got[0].([]journal.PendingIntent)
	}
}

// endIntent performs or refuses what a person asked for.
func (g *generator) endIntent() {
	p, ok := recent(g, g.intents)
	if !ok {
		return
	}
	end := g.intentEnd(p.ID)
	if p.ShopID != 0 && !g.oneIn(8) {
		g.actOnShop(p, end)
		return
	}
	if p.Target == nil && p.ShopID == 0 && !g.gathers && g.oneIn(2) { // an import needs the answers of its calls
		g.importShop(end)
		return
	}
	if p.Target == nil || g.oneIn(6) {
		if g.oneIn(2) {
			circuit := g.newCircuit()
			end.Circuit = &circuit
		}
		_, _ = g.call("EndIntent", end)
		return
	}
	h := &held{ClaimedOperation: p.Target.ClaimedOperation, state: p.Target.State}
	if len(targets[h.state]) == 0 {
		return
	}
	t := g.transition(h)
	t.Intent = &end
	_, _ = g.call("Apply", t)
}

// actOnShop disconnects a shop, if it is active, or only ends the action.
func (g *generator) actOnShop(p journal.PendingIntent, end journal.IntentEnd) {
	cancel, finish, at := g.oneIn(2), g.oneIn(2), g.clock.at
	var destroyAt time.Time
	if !g.oneIn(4) {
		destroyAt = at.Add(g.within(20 * time.Minute))
	}
	draft := g.draft(journal.ShopKey{Account: p.Account, Shop: p.Shop}, g.uuid("disconnected"), 1)
	unfit, erase := g.oneIn(30), g.oneIn(4)
	id := p.ShopID
	if g.oneIn(20) {
		id = 1 << 40
	}
	sides := map[*side]journal.ShopSituation{}
	var mu sync.Mutex
	_, _ = g.call("ActOnShop", perSide(func(s *side) any {
		own, ended := g.own(s, id, end)
		return journal.ShopAction{Shop: own, Decide: func(x journal.ShopSituation) journal.ShopChange {
			mu.Lock()
			sides[s] = x
			mu.Unlock()
			change := journal.ShopChange{Intent: ended}
			if x.Active == nil && !unfit {
				return change
			}
			change.Disconnect = &journal.Disconnect{At: at, DestroyAt: destroyAt, Reason: "disconnected", Publish: []journal.Draft{draft}}
			for _, o := range x.Operations {
				switch {
				case cancel && stored.Cancellable(o.State):
					change.Disconnect.Cancel = append(change.Disconnect.Cancel, o.ID)
				case finish && o.State == journal.Attention, unfit:
					change.Disconnect.End = append(change.Disconnect.End, o.ID)
				}
			}
			change.Erase = erase
			return change
		}}
	}))
	if erase {
		g.eraseDetails(p.ShopID)
	}
	if left, ok := sides[g.sides[0]]; ok && !g.gathers {
		g.equal("ActOnShop", g.compareValues("what the decision saw", left, sides[g.sides[1]]))
	}
}

// own returns the id of a shop, and the end of an action, as a side has them.
func (g *generator) own(s *side, shop int64, end journal.IntentEnd) (int64, journal.IntentEnd) {
	if other := g.ids.right; s == g.sides[1] {
		if n, ok := other["shop"][shop]; ok {
			shop = n
		}
		if n, ok := other["intent"][end.ID]; ok {
			end.ID = n
		}
	}
	return shop, end
}

// importShop imports a shop for an action on its account, now and then one that is active.
func (g *generator) importShop(end journal.IntentEnd) {
	k := journal.ShopKey{Account: accounts[0], Shop: fmt.Sprint("shop-", g.n(shops))}
	id := g.uuid("import")
	e := journaltest.MakeEvent(g.T, g.keys, journal.Activate, k, "import "+id.String(), id.String(), g.clock.at)
	got, err := g.call("CurrentCredential", k)
	version := int64(1)
	if err == nil {
		version = got[0].(journal.CurrentCredential).NextVersion
	}
	x := journal.ShopImport{Event: e, Operation: id, Reason: "imported", Made: journal.Transition{
		To: journal.Done, Intent: &end, Active: &journal.ActiveUpdate{At: g.clock.at}, Publish: []journal.Draft{g.draft(k, g.uuid("imported"), 1)},
		Credential: &journal.Credential{Shop: k, Version: version, Reference: "imported", MerchantID: "m-" + id.String(), Sealed: g.seal("imported")},
	}}
	if got, err := g.call("ImportShop", x); err != nil && got[0].(int64) > 0 {
		x.Made.Credential.Version = got[0].(int64)
		_, _ = g.call("ImportShop", x)
	}
}

// eraseDetails erases what the audit trail has about a shop.
func (g *generator) eraseDetails(shop int64) {
	_, _ = g.call("EraseAuditDetails", rawID{"shop", shop}, []string{"credentials."}, journal.AuditEntry{At: g.clock.at, Act: "erase.details", Subject: "a shop"})
	g.cover.methods["Scrub"]++ // its result differs
	g.both(func(_ int, s *side) {
		if _, err := s.j.Scrub(g.Context()); err != nil {
			g.Errorf("%s: %v", s.name, err)
		}
	})
}

func (g *generator) claimDestructions() {
	if got, err := g.call("ClaimDestructions", 1+g.n(4), g.within(2*time.Minute)); err == nil {
		g.doomed = append(g.doomed, got[0].([]journal.Destruction)...)
	}
}

// remind asks about due reminders. The planner decides by what it sees.
func (g *generator) remind() {
	again, horizon := g.within(10*time.Minute), g.within(20*time.Minute)+time.Second
	at := g.clock.at
	_, _ = g.call("Remind", 1+g.n(4), horizon, journal.ReminderPlanner(func(x journal.Invitation) journal.ReminderPlan {
		p := journal.ReminderPlan{Next: at.Add(again)}
		switch {
		case x.Answered, x.Newer, x.Reminders > 2:
			return journal.ReminderPlan{}
		case !x.Ahead:
			p.Reminders = x.Reminders + 1
			p.Publish = []journal.Draft{journaltest.MakeDraft(schemas.EventID(x.Operation, x.Run, fmt.Sprint("reminder", x.Reminders)), schemas.TypeUnanswered, x.Shop)}
		}
		return p
	}))
}

func (g *generator) endDestruction() {
	if d, ok := recent(g, g.doomed); ok {
		if g.oneIn(10) {
			d.Credential.Version++
		}
		_, _ = g.call("EndDestruction", d, journal.AuditEntry{Actor: "worker", Act: "destroyed"})
	}
}

func (g *generator) newCircuit() journal.Circuit {
	s := journal.Circuit{State: pick(g, []journal.CircuitState{journal.CircuitActive, journal.CircuitActive, journal.CircuitThrottled, journal.CircuitBackingOff, journal.CircuitPaused}), Since: g.moment(time.Second)}
	if s.State != journal.CircuitActive {
		s.Reason, s.Count = pick(g, []string{"429", "person"}), g.n(5)
	}
	if s.State == journal.CircuitThrottled || s.State == journal.CircuitBackingOff {
		s.Until = g.moment(time.Minute)
	}
	if g.oneIn(40) {
		s.State = "ajar"
	}
	return s
}

func (g *generator) circuit() {
	name, s := g.account(), g.newCircuit()
	var was *journal.Circuit
	if known, ok := g.circuits[name]; ok && g.oneIn(2) {
		was = &known
	}
	if _, err := g.call("SetCircuit", name, s, was); err == nil {
		g.circuits[name] = s
	}
}

func (g *generator) readCircuits() {
	if got, err := g.call("Accounts"); err == nil {
		for _, a := range got[0].([]journal.Account) {
			g.circuits[a.Name] = a.Circuit
		}
	}
}

func (g *generator) trial() {
	name := g.account()
	if g.oneIn(2) {
		g.readCircuits()
	}
	was, until := g.circuits[name], g.moment(time.Minute)
	if g.oneIn(4) {
		was.Until = was.Until.Add(g.within(20 * time.Millisecond))
	}
	if _, err := g.call("ReserveTrial", name, was, until); err == nil {
		was.Until = until
		g.circuits[name] = was
	}
}

func (g *generator) pruneResponses() {
	g.forgetting = journal.PruneResponses
	p := journal.Prune{What: g.forgetting, Keep: g.within(10 * time.Minute), Limit: 1 + g.n(6)}
	if h, ok := recent(g, g.held); ok && g.oneIn(4) {
		p.After = int64(h.attempt)
	}
	_, _ = g.call("Prune", p)
}

func (g *generator) prune() {
	g.forgetting = journal.PruneResponses + journal.PruneTarget(g.n(len(journal.PruneTargets()))) // #nosec G115 -- small
	p := journal.Prune{What: g.forgetting, Keep: g.within(40 * time.Minute), Limit: 1 + g.n(30)}
	// Of several workers none can have been at work for longer than the time that has passed.
	if worked := g.clock.at.Sub(g.pruned); worked > 0 && g.oneIn(2) {
		p.Uptime, g.pruned = g.within(worked), g.clock.at
	}
	if g.oneIn(30) {
		p.What = 99
	}
	if !g.fresh(g.forgetting) {
		return
	}
	if p.What == journal.PruneResults && !g.orderly["outbox"] {
		p.Limit = 1000 // as in pendingOut
	}
	got, err := g.call("Prune", p)
	if err != nil {
		return
	}
	if next := got[0].(journal.Pruned).Next; next != 0 {
		p.After, p.Uptime = next, 0
		_, _ = g.call("Prune", p)
	}
}

// fresh makes a new row of a kind: where ids go on from the newest row that one stays,
// and where they do not it is forgotten as others are.
func (g *generator) fresh(what journal.PruneTarget) bool {
	var err error
	switch what {
	case journal.PruneResponses:
	case journal.PruneAttempts:
		_, err = g.call("BeginCheck", journal.Check{Account: accounts[0], SendBy: time.Second, Deadline: time.Second})
	case journal.PruneIntents:
		_, err = g.call("AppendIntent", journal.Intent{UUID: g.uuid("intent"), Actor: "anna", Act: "pause", Account: accounts[0]}, journal.AuditEntry{Actor: "anna"})
	default:
		err = g.deliver(journal.ShopKey{Account: accounts[1], Shop: "fresh"})
	}
	return err == nil
}

func (g *generator) report() {
	id := uuid.NewSHA1(uuid.Nil, []byte("worker")) // a file has one at a time
	if g.oneIn(3) {
		_, _ = g.call("EndReport", id)
		return
	}
	_, _ = g.call("ReportWorker", journal.WorkerReport{Worker: id, Owner: "worker", Facts: []byte("facts")})
}

func (g *generator) registerKeys() {
	key := journal.Key{Purpose: journal.KeySealing + journal.KeyPurpose(g.n(2)), ID: uint32(g.n(4))} // #nosec G115 -- small
	have := []journal.Key{key}
	if g.oneIn(2) {
		have = append(have, journal.Key{Purpose: journal.KeySealing, ID: 1})
	}
	_, _ = g.call("RegisterKeys", []journal.Key{key}, have)
}

// reseal seals all values of a column again. Only PostgreSQL refuses it to a process that
// never had the relay lease.
func (g *generator) reseal() {
	if _, err := g.call("AcquireLease"); err != nil {
		return
	}
	r := journal.Reseal{Column: pick(g, journal.SealedColumns()), Key: uint32(1 + g.n(3)), Limit: 1000} // #nosec G115 -- small
	if g.oneIn(30) {
		r.Column = 99
	}
	refuses := g.oneIn(5)
	_, _ = g.call("Reseal", r, journal.Sealer(func(row string, sealed []byte) ([]byte, error) {
		if refuses {
			return nil, keyset.ErrOpen
		}
		if r.Column == journal.SealedCheck {
			row = "check" // it names the identity, which differs
		}
		sum := sha256.Sum256(append([]byte(row), sealed...))
		return append(binary.BigEndian.AppendUint32([]byte{1}, r.Key), sum[:]...), nil
	}))
}

func (g *generator) audit() {
	e := journal.AuditEntry{At: g.moment(time.Second), Actor: "anna", Act: "note", Subject: "subject", Detail: "detail"}
	_, _ = g.call("AppendAudit", []journal.AuditEntry{e, {At: e.At, Act: "another"}})
}

func (g *generator) receiveFor(h *held) {
	r := journal.Receipt{Ref: g.ref(h), Attempt: h.attempt, Sealed: g.seal("answer"), SealedFor: pick(g, []string{"", "for"}), End: *g.end()}
	switch g.n(40) {
	case 0:
		r.Sealed = []byte("x")
	case 1:
		r.Attempt = 999_999
	}
	if r.SealedFor != "" {
		c := journal.Check{Account: accounts[0], SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{{RateLimit: "checks", Limit: 2, Window: 20 * time.Second}}}
		if got, err := g.call("SaveResponseAndBeginCheck", r, c); err == nil && got[1].(bool) {
			h.state = journal.Received
			if id := got[2].(journal.AttemptID); id != 0 {
				h.check, g.checks = id, append(g.checks, id)
			}
		}
		return
	}
	if got, err := g.call("SaveResponse", r); err == nil && got[1].(bool) {
		h.state = journal.Received
	}
}

// reissue ends the first intent that waits with the newest result of its operation.
func (g *generator) reissue() {
	got, err := g.call("PendingIntents", 5, []int64(nil))
	if err != nil {
		return
	}
	if list := got[0].([]journal.PendingIntent); len(list) > 0 {
		_, _ = g.call("EndIntent", journal.IntentEnd{ID: list[0].ID, State: journal.IntentPerformed, Reissue: true})
	}
}

// readLetters lists dead letters, and then the page after the first.
func (g *generator) readLetters(shop journal.ShopKey) {
	f := journal.DeadLetterFilter{Limit: 1 + g.n(10)}
	switch g.n(4) {
	case 0:
		f.Shop = shop
	case 1:
		f.Reason, f.Topic = "id_reused", schemas.TypeCodeEntered
	case 2:
		f.Since, f.Until = g.clock.at.Add(-time.Minute), g.clock.at
	}
	got, err := g.call("DeadLetters", f)
	if err != nil {
		return
	}
	if list := got[0].([]journal.DeadLetterRecord); len(list) > 0 {
		f.Before = list[len(list)-1].ID
		_, _ = g.call("DeadLetters", f)
		_, _ = g.call("DeadLetters", journal.DeadLetterFilter{ID: f.Before, Limit: 1})
	}
}

// replay asks for replays of dead letters, and takes the record of one that waits.
func (g *generator) replay() {
	got, err := g.call("DeadLetters", journal.DeadLetterFilter{Limit: 1 + g.n(1000), Open: g.oneIn(2)})
	if err != nil {
		return
	}
	var left []int64
	for _, l := range got[0].([]journal.DeadLetterRecord) {
		left = append(left, l.ID)
	}
	ids := perSide(func(s *side) any {
		ids := slices.Clone(left)
		for i, id := range ids {
			if other, ok := g.ids.right["dead_letter"][id]; ok && s == g.sides[1] {
				ids[i] = other
			}
		}
		return ids
	})
	if len(left) > 0 {
		_, _ = g.call("AskReplays", ids, g.within(time.Minute), journal.AuditEntry{Actor: "anna", Act: "asked"})
	}
	if len(left) > 0 && g.oneIn(12) {
		_, _ = g.call("PurgeDeadLetters", ids, journal.AuditEntry{Actor: "anna", Act: "purged"})
	}
	got, err = g.call("DueReplays", 1+g.n(3))
	if err != nil {
		return
	}
	due := got[0].([]journal.DeadLetterRecord)
	if len(due) == 0 {
		return
	}
	r := journal.Replay{ID: due[0].ID, Replays: due[0].Replays, Topic: due[0].Topic, Partition: due[0].Partition}
	switch g.n(4) {
	case 0:
		r.Failed = &journal.DeadLetter{EventID: "bad", Reason: "missing", Where: "/shopId", Shop: g.shop()}
	case 1:
		r.Replays++
	case 2:
		g.made++
		shop, kind := g.shop(), g.kind()
		e := journaltest.MakeEvent(g.T, g.keys, kind, shop, fmt.Sprintf("replayed%d-%d", g.seed, g.made), g.subject(kind, shop), g.clock.at)
		r.Event = &e
	}
	_, _ = g.call("Replay", r)
}
