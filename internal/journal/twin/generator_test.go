package twin

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// shops is how many each account has.
const shops = 4

var (
	accounts = []string{"default", "second"}
	reasons  = []string{"rights", "outcome_unknown", "unsent", "rejected"}
)

// A partition is one that events are read from.
type partition struct {
	topic string
	part  int
	next  int64
}

// A held is an operation as it was claimed or sent some time ago. The caller may have
// lost it since.
type held struct {
	journal.ClaimedOperation
	state   journal.State // as far as is known
	attempt journal.AttemptID
	check   journal.AttemptID // that began with the save of a response
}

// A generator makes the calls of workers and operators, and invalid ones.
type generator struct {
	*twin
	partitions []*partition
	events     []journal.Event // that were ingested
	made       int             // so many ids
	takeovers  int64           // so many times events were taken over
	held       []*held
	checks     []journal.AttemptID
	reviews    []journal.Review
	pending    []journal.OutboxRow
	intents    []journal.PendingIntent
	doomed     []journal.Destruction
	announced  []journal.PublishedEvent
	sentTo     []byte // the MAC of the address that was written to last
	circuits   map[string]journal.Circuit
	pruned     time.Time // when it was last said for how long the caller was at work
	actions    []action
	weights    int
	gathers    bool // calls wait for those that they are to be in one transaction with
	gathered   []gathered
	holds      int64 // events that have held the writers
}

type action struct {
	weight int
	do     func()
}

func newGenerator(w *twin) *generator {
	g := &generator{
		twin: w, pruned: w.clock.at, circuits: map[string]journal.Circuit{},
		partitions: []*partition{{topic: schemas.TypeProviderSelected}, {topic: schemas.TypeCodeEntered, part: 2, next: 7}},
	}
	g.actions = []action{
		{14, g.ingest}, {22, g.claim}, {10, g.send}, {8, g.receive}, {24, g.apply}, {2, g.check}, {4, g.endAttempt}, {3, g.expire}, {3, g.free},
		{5, g.claimReviews}, {6, g.endReview}, {3, g.moveCredential}, {4, g.pendingOut}, {4, g.markPublished}, {1, g.relayLease}, {4, g.appendIntent}, {3, g.pendingIntents}, {4, g.endIntent}, {3, g.claimDestructions}, {4, g.endDestruction}, {3, g.remind},
		{3, g.circuit}, {3, g.trial}, {3, g.pruneResponses}, {5, g.prune}, {1, g.report}, {1, g.registerKeys}, {2, g.reseal}, {1, g.audit}, {10, g.read}, {1, g.reopen}, {1, g.rare},
		{1, g.recovery}, {4, g.replay}, {1, g.reissue},
	}
	for _, a := range g.actions {
		g.weights += a.weight
	}
	return g
}

// call makes a call of both journals, or notes it for the transaction that is gathered.
func (g *generator) call(method string, args ...any) ([]any, error) {
	g.Helper()
	if g.gathers {
		return nil, g.gather(method, args)
	}
	return g.twin.call(method, args...)
}

func (g *generator) n(below int) int  { return g.random.IntN(below) }
func (g *generator) oneIn(n int) bool { return g.random.IntN(n) == 0 }
func (g *generator) within(d time.Duration) time.Duration {
	return time.Duration(g.random.Int64N(d.Microseconds())+1) * time.Microsecond
}

func pick[E any](g *generator, list []E) E { return list[g.n(len(list))] }

// recent picks one of the last few, mostly.
func recent[E any](g *generator, list []E) (e E, ok bool) {
	if len(list) == 0 {
		return e, false
	}
	if !g.oneIn(6) {
		list = list[max(0, len(list)-6):]
	}
	return pick(g, list), true
}

func (g *generator) uuid(name string) uuid.UUID {
	g.made++
	return uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "%s %d %d", name, g.seed, g.made))
}

func (g *generator) seal(text string) []byte {
	b, err := g.keys.Seal([]byte(text), keyset.AssociatedData("twin", text))
	if err != nil {
		g.Fatal(err)
	}
	return b
}

// moment is an instant about now; sometimes the zero time.
func (g *generator) moment(ahead time.Duration) time.Time {
	switch g.n(5) {
	case 0:
		return time.Time{}
	case 1:
		return g.clock.at
	}
	return g.clock.at.Add(g.within(ahead))
}

func (g *generator) account() string {
	if g.oneIn(40) {
		return "foreign"
	}
	if g.oneIn(4) {
		return accounts[1]
	}
	return accounts[0]
}

func (g *generator) shop() journal.ShopKey {
	return journal.ShopKey{Account: g.account(), Shop: fmt.Sprint("shop-", g.n(shops))}
}

func (g *generator) kind() journal.Kind { return journal.Invite + journal.Kind(g.n(2)) } // #nosec G115 -- 0 or 1

func (g *generator) draft(shop journal.ShopKey, operation uuid.UUID, run int) journal.Draft {
	typ := pick(g, []string{schemas.TypeInvited, schemas.TypeActivated, schemas.TypeInvitationFailed, schemas.TypeActivationFailed})
	return journaltest.MakeDraft(schemas.EventID(operation, run, typ), typ, shop)
}

func (g *generator) permits() []journal.Permit {
	ps := []journal.Permit{{RateLimit: "account/" + accounts[0], Limit: 8, Window: 20 * time.Second, Slack: 5 * time.Second}, {RateLimit: "egress", Limit: 12, Window: 10 * time.Second, Slack: time.Minute}}
	return ps[:1+g.n(2)]
}

func (g *generator) end() *journal.AttemptEnd {
	e := &journal.AttemptEnd{At: g.clock.at.Add(-g.within(time.Second)), Outcome: pick(g, []string{"done", "rejected", "unknown"}), Reason: pick(g, []string{"", "limit"})}
	switch g.n(4) {
	case 0:
		e.NotSent = true
	case 1:
		e.At = time.Time{}
	default:
		e.Answered, e.Status, e.Code, e.RequestID = true, 200+g.n(300), "code", fmt.Sprint("req-", g.made)
	}
	return e
}

// begin prepares the journals for the calls that follow.
func (g *generator) begin() {
	_, _ = g.call("SetKeysetCheck", []byte("check"))
	keys := []journal.Key{{Purpose: journal.KeySealing, ID: 1}, {Purpose: journal.KeyLookup, ID: 2}}
	_, _ = g.call("RegisterKeys", keys, keys)
	for i, name := range accounts {
		_, _ = g.call("EnsureAccount", name, fmt.Sprint("partner-", i))
	}
	g.readCircuits()
	_, _ = g.call("EnsureAccount", accounts[0], "partner-9")
	var ps []journal.Position
	for _, p := range g.partitions {
		ps = append(ps, journal.Position{Topic: p.topic, Partition: p.part, Next: p.next})
	}
	_, _ = g.call("InitPositions", ps)
	g.authenticate()
	// Shops that one batch inserts get ids in any order, and operations that are due at the
	// same moment are claimed in that order. So each shop is inserted by a batch of its own.
	for _, account := range accounts {
		for i := range shops {
			_ = g.deliver(journal.ShopKey{Account: account, Shop: fmt.Sprint("shop-", i)})
		}
	}
	_ = g.deliver(journal.ShopKey{Account: accounts[1], Shop: "fresh"})
}

// deliver ingests one new event, and a dead letter. The planner decides by the name of the shop.
func (g *generator) deliver(shop journal.ShopKey) error {
	return g.deliverAs("fresh", journal.Activate, shop)
}

func (g *generator) deliverAs(name string, kind journal.Kind, shop journal.ShopKey, deselected ...journal.ShopKey) error {
	g.made++
	p := g.partitions[0]
	e := journaltest.MakeEvent(g.T, g.keys, kind, shop, fmt.Sprintf("%s%d-%d", name, g.seed, g.made), fmt.Sprint(name, " ", g.made), g.clock.at)
	e.Offset = p.next
	b := journal.Batch{Topic: p.topic, Partition: p.part, From: p.next, Next: p.next + 2, Events: []journal.Event{e}, Deselected: deselected, DeadLetters: []journal.DeadLetter{{
		Offset: p.next + 1, Reason: "not_json", Time: g.clock.at, Announce: journaltest.MakeDraft(g.uuid("letter"), schemas.TypeDeadLetter, journal.ShopKey{}),
	}}}
	_, err := g.call("Ingest", b)
	if err == nil {
		p.next = b.Next
	}
	return err
}

func (g *generator) authenticate() {
	_, _ = g.call("Authenticate", journal.Authenticator(func(o journal.OutboxRow) ([]byte, error) {
		return fmt.Appendf(nil, "mac %s %d", o.Event, o.Sequence), nil
	}))
}

// step advances the clock and makes a call.
func (g *generator) step() {
	if g.oneIn(3) {
		d := g.within(time.Second)
		switch g.n(60) {
		case 0:
			d = g.within(time.Hour)
		case 1, 2, 3:
			d = g.within(2 * time.Minute)
		}
		g.clock.at = g.clock.at.Add(d)
	}
	k := g.n(g.weights)
	for _, a := range g.actions {
		if k -= a.weight; k < 0 {
			a.do()
			return
		}
	}
}

func (g *generator) ingest() {
	p := pick(g, g.partitions)
	b := journal.Batch{Topic: p.topic, Partition: p.part, From: p.next, Next: p.next, Keep: journal.LetterBounds{Number: 6, Bytes: 4000}}
	reused := false
	var news []journal.Event
	for range g.n(5) {
		var e journal.Event
		again := false
		if old, ok := recent(g, g.events); ok && g.oneIn(6) {
			e, again = old, true
			// The same id with other content; the dead letters of two would have no order.
			if !reused && g.oneIn(3) {
				e.Digests, reused = g.macs("other"), true
			}
		} else {
			g.made++
			shop, kind := g.shop(), g.kind()
			e = journaltest.MakeEvent(g.T, g.keys, kind, shop, fmt.Sprintf("e%d-%d", g.seed, g.made), g.subject(kind, shop), g.clock.at)
			if shop.Account == "foreign" && !g.oneIn(8) {
				continue
			}
		}
		e.Offset = b.Next
		id := e.ID
		offset, digest, sealed, at := e.Offset, e.Digests[0], e.Sealed, g.clock.at
		e.ReusedLetter = func() (journal.DeadLetter, error) {
			return journal.DeadLetter{
				Offset: offset, EventID: id, Reason: "id_reused", Where: "id", Time: at, Size: 42, Digest: digest, Sealed: sealed,
				Announce: journaltest.MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "reused %s %d", id, offset)), schemas.TypeDeadLetter, journal.ShopKey{}),
			}, nil
		}
		b.Next++
		b.Events = append(b.Events, e)
		if !again {
			news = append(news, e)
		}
	}
	for range g.n(3) {
		l := journal.DeadLetter{
			Offset: b.Next, EventID: "bad", Reason: "not_json", Where: "data", Time: g.moment(time.Second), Size: 3 + g.n(9), Digest: g.macs("letter")[0], Sealed: g.seal("record"),
			Announce: journaltest.MakeDraft(g.uuid("letter"), schemas.TypeDeadLetter, journal.ShopKey{}),
		}
		switch g.n(4) {
		case 0:
			l.Sealed, l.Digest, l.EventID = nil, nil, ""
		case 1:
			l.Shop, l.Key = g.shop(), "key"
		case 2:
			l.Key = "shop-1"
		}
		b.Next++
		b.DeadLetters = append(b.DeadLetters, l)
	}
	if g.oneIn(3) {
		for range 1 + g.n(2) {
			b.Deselected = append(b.Deselected, g.shop())
			b.Next++
		}
	}
	if g.oneIn(2) {
		b.Behind = &journal.BatchMark{Last: b.Next + 3, Epoch: int32(g.n(3)) - 1, CRC: g.random.Uint32()} // #nosec G115 -- small
	}
	if g.oneIn(25) {
		b.From++
	}
	if _, err := g.call("Ingest", b); err == nil {
		p.next = b.Next
		g.events = append(g.events, news...)
	}
}

// subject is an address, or a code that is mostly the shop's own.
func (g *generator) subject(kind journal.Kind, shop journal.ShopKey) string {
	switch {
	case kind == journal.Invite:
		return fmt.Sprintf("address-%d", g.n(3))
	case g.oneIn(8):
		return "shared code"
	}
	return fmt.Sprintf("code-%s-%d", shop.Shop, g.n(3))
}

func (g *generator) macs(text string) [][]byte {
	b, err := g.keys.MACs(keyset.DomainContent, []byte(text))
	if err != nil {
		g.Fatal(err)
	}
	return b
}

func (g *generator) claim() {
	r := journal.ClaimRequest{Account: g.account(), Kind: g.kind(), Stage: journal.Call + journal.Stage(g.n(2)), Limit: 1 + g.n(4), Lease: 30*time.Second + g.within(time.Minute), Owner: fmt.Sprint("worker-", g.n(3))} // #nosec G115 -- 0 or 1
	got, err := g.call("Claim", r)
	if err != nil {
		return
	}
	for _, o := range got[0].([]journal.ClaimedOperation) {
		h := &held{ClaimedOperation: o, state: o.State}
		g.held = append(g.held, h)
		if g.oneIn(3) {
			continue
		}
		// Most are worked on at once.
		if o.State == journal.Claimed {
			g.sendOf(h)
		}
		if h.state == journal.Sending && o.Kind == journal.Activate && g.oneIn(2) {
			g.receiveFor(h)
		}
		if !g.oneIn(3) {
			g.applyTo(h)
		}
		if h.state == journal.Stored {
			g.applyTo(h)
		}
		if h.attempt != 0 && o.Kind == journal.Activate && (h.state == journal.Unknown || g.oneIn(4)) {
			g.receiveFor(h) // late
		}
	}
	if len(g.held) > 40 {
		g.held = slices.Clone(g.held[len(g.held)-40:])
	}
}

// of picks a held operation that is probably in one of some states.
func (g *generator) of(states ...journal.State) (*held, bool) {
	var list []*held
	for _, h := range g.held {
		if slices.Contains(states, h.state) || g.oneIn(60) {
			list = append(list, h)
		}
	}
	return recent(g, list)
}

// ref is that of a held operation, sometimes a wrong one.
func (g *generator) ref(h *held) journal.ClaimRef {
	r := h.Ref
	switch g.n(60) {
	case 0:
		r.Claim--
	case 1:
		r.Operation = 999_999
	}
	return r
}

func (g *generator) send() {
	if h, ok := g.of(journal.Claimed); ok {
		g.sendOf(h)
	}
}

func (g *generator) sendOf(h *held) {
	s := journal.AttemptStart{Ref: g.ref(h), Attempt: h.Attempts + 1, Flagged: h.Doubt, Probe: h.Unknowns > 0, SendBy: g.within(5 * time.Second), Deadline: 5*time.Second + g.within(30*time.Second), Permits: g.permits()}
	if h.Kind == journal.Invite && !g.oneIn(4) {
		s.Address = &journal.AddressRule{MAC: h.SubjectMAC, MACs: [][]byte{h.SubjectMAC}, CoolDown: g.within(time.Hour), Without: []string{"rejected"}}
		if g.sentTo != nil { // as if it was of the same address, by another key
			s.Address.MACs = append(s.Address.MACs, g.sentTo)
		}
	}
	switch g.n(90) {
	case 0:
		s.Attempt++
	case 1:
		s.Deadline = 0
	case 2:
		s.Permits[0].Window = 0
	case 3:
		s.Permits = append(s.Permits, s.Permits[0])
	}
	got, err := g.call("BeginAttempt", s)
	switch {
	case err == nil:
		h.attempt, h.state = got[0].(journal.AttemptID), journal.Sending
		h.Attempts++
		if s.Address != nil {
			g.sentTo = h.SubjectMAC
		}
	case errors.Is(err, journal.ErrStale) && !g.oneIn(8):
		g.held = slices.DeleteFunc(g.held, func(o *held) bool { return o == h })
	}
}

func (g *generator) receive() {
	var list []*held
	for _, h := range g.held {
		if h.attempt != 0 && h.Kind == journal.Activate {
			list = append(list, h)
		}
	}
	if h, ok := recent(g, list); ok {
		g.receiveFor(h)
	}
}

// targets are the states that a caller may choose from each.
var targets = map[journal.State][]journal.State{
	journal.Queued:     {journal.Done, journal.Superseded, journal.Attention},
	journal.Planned:    {journal.Planned, journal.Done, journal.Superseded, journal.Attention},
	journal.Waiting:    {journal.Planned, journal.Waiting, journal.Done, journal.Superseded, journal.Attention},
	journal.Claimed:    {journal.Planned, journal.Waiting, journal.Attention, journal.Done, journal.Superseded, journal.Unknown},
	journal.Sending:    {journal.Planned, journal.Waiting, journal.Waiting, journal.Unknown, journal.Unknown, journal.Attention, journal.Attention, journal.Done, journal.Done, journal.Superseded, journal.Stored},
	journal.Received:   {journal.Received, journal.Stored, journal.Stored, journal.Stored, journal.Stored, journal.Attention, journal.Attention, journal.Done, journal.Done, journal.Done, journal.Unknown, journal.Planned, journal.Waiting, journal.Superseded},
	journal.Stored:     {journal.Stored, journal.Done, journal.Done, journal.Done, journal.Attention, journal.Attention, journal.Attention, journal.Superseded, journal.Planned, journal.Waiting, journal.Received},
	journal.Unknown:    {journal.Unknown, journal.Planned, journal.Planned, journal.Waiting, journal.Attention, journal.Done, journal.Superseded},
	journal.Attention:  {journal.Planned, journal.Planned, journal.Received, journal.Received, journal.Done, journal.Superseded, journal.Unknown, journal.Attention, journal.Stored, journal.Waiting},
	journal.Done:       {journal.Done, journal.Attention, journal.Superseded, journal.Planned, journal.Received},
	journal.Superseded: {journal.Superseded, journal.Done, journal.Attention, journal.Planned},
}

func (g *generator) apply() {
	h, ok := g.of(journal.Claimed, journal.Sending, journal.Received, journal.Stored, journal.Unknown, journal.Attention, journal.Done, journal.Superseded)
	if ok && (h.state != journal.Claimed || g.oneIn(3)) { // most are sent
		g.applyTo(h)
	}
}

func (g *generator) applyTo(h *held) {
	t := g.transition(h)
	_, err := g.call("Apply", t)
	switch {
	case err == nil:
		h.state = t.To
	case errors.Is(err, journal.ErrStale) && !g.oneIn(8):
		g.held = slices.DeleteFunc(g.held, func(o *held) bool { return o == h })
	}
}

// target chooses the state for a transition, and prefers transitions that were not made yet.
func (g *generator) target(from journal.State) journal.State {
	list := targets[from]
	news := slices.DeleteFunc(slices.Clone(list), func(to journal.State) bool { return from == to || g.walked[[2]journal.State{from, to}] })
	if len(news) > 0 && g.oneIn(2) {
		list = news
	}
	return pick(g, list)
}

func (g *generator) transition(h *held) journal.Transition {
	t := journal.Transition{Ref: g.ref(h), From: h.state, To: g.target(h.state), Reason: pick(g, reasons), Doubt: g.oneIn(6), Compared: g.oneIn(2), Verified: g.oneIn(3)}
	if t.To.Open() {
		t.Due = g.moment(3 * time.Minute)
	}
	if g.oneIn(40) {
		t.From = journal.Waiting
	}
	if t.From == journal.Sending || g.oneIn(12) {
		t.Attempt = h.attempt
		if h.attempt != 0 {
			t.End = g.end()
		}
	}
	if h.check != 0 && t.Verified {
		t.Attempt, t.End, h.check = h.check, g.end(), 0
	}
	if t.To == journal.Planned {
		t.Behind = g.oneIn(2)
		t.NewRun = !h.state.Open() || g.oneIn(6)
		t.Probe = t.NewRun && g.oneIn(2)
	}
	if g.oneIn(4) {
		t.Supersede = "newer"
		for _, r := range reasons {
			if g.oneIn(2) {
				t.Over = append(t.Over, r)
			}
			if g.oneIn(4) {
				t.Unsent = append(t.Unsent, r)
			}
		}
	}
	if (h.state == journal.Attention || h.state == journal.Received) && g.oneIn(3) {
		t.Entered, t.EnteredFor = g.seal("entered"), "person"
	}
	for range g.n(3) {
		t.Publish = append(t.Publish, g.draft(h.Shop, h.UUID, h.Run))
	}
	if g.oneIn(8) {
		t.Audit = &journal.AuditEntry{At: g.moment(time.Second), Actor: "worker", Act: "note", Subject: h.UUID.String(), Detail: "текст"}
	}
	g.effects(h, &t)
	return t
}

// effects adds what a transition does to the shop.
func (g *generator) effects(h *held, t *journal.Transition) {
	switch {
	case h.Kind == journal.Invite:
		if t.To == journal.Done && !g.oneIn(4) {
			t.Invited = &journal.InvitedUpdate{At: g.clock.at, InvitationID: fmt.Sprint("inv-", g.made)}
			if g.oneIn(2) {
				t.Invited.Remind = g.moment(10 * time.Minute)
			}
		}
	case t.To == journal.Stored && h.state != journal.Stored, t.To == journal.Done && h.state != journal.Stored && !g.oneIn(3):
		version := h.NextVersion
		if g.oneIn(6) {
			version = max(1, version-1+int64(g.n(4)))
		}
		merchant := "m-" + h.Shop.Shop
		if g.oneIn(8) {
			merchant = pick(g, merchants)
		}
		t.Credential = &journal.Credential{Shop: h.Shop, Version: version, Reference: fmt.Sprintf("ref+sealed://invoicebox/%s?version=%d", h.Shop.Shop, version), MerchantID: merchant, Sealed: g.seal("token"), Proof: g.macs("proof")[0]}
		if g.oneIn(10) {
			t.Credential.Sealed = nil
		}
	}
	if h.Kind == journal.Activate && t.To == journal.Done && (t.Credential != nil || h.state == journal.Stored || g.oneIn(12)) {
		event := g.draft(h.Shop, h.UUID, h.Run)
		t.Publish = append(t.Publish, event)
		t.Active = &journal.ActiveUpdate{At: g.clock.at, DestroyAt: g.moment(10 * time.Minute), Event: event.ID, Review: g.moment(time.Minute)}
		if g.oneIn(8) {
			t.Active.Event = uuid.Nil
		}
		if g.oneIn(2) {
			t.Active.Replaced = &journal.ActivationMove{From: journal.Done, To: pick(g, []journal.State{journal.Done, journal.Superseded, journal.Attention}), Was: pick(g, append([]string{""}, reasons...)), Reason: "replaced"}
		}
	}
	if g.oneIn(4) && h.Active != nil {
		t.Current = max(1, h.Active.Version-int64(g.n(2)))
	}
}

func (g *generator) check() {
	c := journal.Check{Account: g.account(), SendBy: g.within(time.Second), Deadline: time.Second + g.within(20*time.Second), Permits: g.permits()}
	if got, err := g.call("BeginCheck", c); err == nil {
		g.checks = append(g.checks, got[0].(journal.AttemptID))
	}
}

func (g *generator) endAttempt() {
	id := journal.AttemptID(999_999)
	if k, ok := recent(g, g.checks); ok && g.oneIn(2) {
		id = k
	} else if h, ok := recent(g, g.held); ok && h.attempt != 0 {
		id = h.attempt
	} else if !g.oneIn(10) {
		return
	}
	_, _ = g.call("EndAttempt", id, *g.end())
}

func (g *generator) expire() { _, _ = g.call("ReleaseExpiredLeases") }

func (g *generator) free() { _, _ = g.call("AvailablePermits", pick(g, g.permits())) }

// read makes a call that changes nothing.
func (g *generator) read() {
	shop := g.shop()
	operation := g.uuid("nobody")
	if h, ok := recent(g, g.held); ok {
		shop, operation = h.Shop, h.UUID
	}
	if g.oneIn(30) {
		operation = g.uuid("nobody")
	}
	before := rawID{"", 0}
	reads := []func(){
		func() { _, _ = g.call("Accounts") }, func() { _, _ = g.call("Positions") }, func() { _, _ = g.call("Capacity") }, func() { _, _ = g.call("Due") },
		func() { _, _ = g.call("Stats") }, func() { _, _ = g.call("PublishedOffsets") }, func() { _, _ = g.call("UsedKeys") }, func() { _, _ = g.call("KeysetCheck") },
		func() { _, _ = g.call("UnknownSince") }, func() { _, _ = g.call("WorkerReports") }, func() { _, _ = g.call("RecoveryDue") }, func() { _, _ = g.call("Changed") },
		func() { _, _ = g.call("OutboxChanged") }, func() { _, _ = g.call("LeaseReleased") },
		func() { _, _ = g.call("Operation", operation) }, func() { _, _ = g.call("Operation", operation) }, func() { _, _ = g.call("Responses", operation) },
		func() { _, _ = g.call("Shop", shop) }, func() { _, _ = g.call("Shop", g.shop()) }, func() {
			version := int64(g.n(3))
			_, _ = g.call("Credential", shop, version)
			_, _ = g.call("PublishedCredential", shop)
			_, _ = g.call("CredentialVersion", shop, fmt.Sprintf("ref+sealed://invoicebox/%s?version=%d", shop.Shop, version))
			_, _ = g.call("Shops", journal.ShopFilter{Stage: journal.ShopStage(version), State: journal.CredentialState(g.n(4)), Limit: 20}) // #nosec G115 -- small
		},
		func() {
			kind := g.kind()
			e, ok := recent(g, g.events)
			if !ok || g.oneIn(2) {
				e = journaltest.MakeEvent(g.T, g.keys, kind, shop, fmt.Sprint("previewed-", g.n(1000)), g.subject(kind, shop), g.clock.at)
			}
			_, _ = g.call("Preview", e)
		},
		func() { g.readLetters(shop) },
		func() {
			_, _ = g.call("DeadLetters", journal.DeadLetterFilter{Shop: journal.ShopKey{Account: "nobody", Shop: "shop-1"}, Limit: 5})
		},
		func() {
			n := 1 + g.n(10)
			_, _ = g.call("Audit", before, n)
			_, _ = g.call("AuditAfter", int64(n), 3)
		},
		func() {
			f := journal.OperationFilter{Limit: 1 + g.n(20), OpenOnly: g.oneIn(3)}
			if g.oneIn(2) {
				f.Account = shop.Account
			}
			if g.oneIn(4) {
				f.Shop = shop.Shop
			}
			if g.oneIn(4) {
				f.Kind = g.kind()
			}
			if g.oneIn(4) {
				f.State = pick(g, []journal.State{journal.Queued, journal.Attention, journal.Done})
			}
			got, err := g.call("Operations", f)
			if err == nil {
				if list := got[0].([]journal.OperationRecord); len(list) > 0 {
					f.Before = list[len(list)-1].ID
					_, _ = g.call("Operations", f)
				}
			}
		},
		func() {
			f := journal.IntentFilter{Limit: 1 + g.n(9)}
			switch g.n(4) {
			case 0:
				f.Operation = operation
			case 1:
				f.Account = accounts[g.n(2)]
			}
			_, _ = g.call("Intents", f)
		},
	}
	pick(g, reads)()
	if g.oneIn(4) {
		_, _ = g.call("Identity")
	}
}

// reopen ends all attempts before it opens the journals again: SQLite knows at an opening
// that earlier processes cannot send any more, and PostgreSQL does not.
func (g *generator) reopen() {
	for _, id := range slices.Clone(g.underWay) {
		_, _ = g.call("EndAttempt", journal.AttemptID(id), *g.end())
	}
	_, _ = g.call("ReleaseLease") // of a process that is gone another waits for it
	g.open()
	g.authenticate()
}

// rareSteps makes calls that each journal gets only a few times.
func (g *generator) rareSteps() {
	for _, do := range g.rareCalls() {
		do()
	}
}

func (g *generator) rare() { pick(g, g.rareCalls())() }

func (g *generator) rareCalls() []func() {
	foreign := journal.ShopKey{Account: "foreign", Shop: "shop-1"}
	return []func(){
		func() { _, _ = g.call("AssumeRateLimitUsed") },
		func() {
			_, _ = g.call("KeyRows", []journal.Key{{Purpose: journal.KeySealing, ID: 1}, {Purpose: journal.KeyLookup, ID: 2}})
		},
		func() { _ = g.deliver(foreign) },
		func() {
			was := journal.Circuit{State: journal.CircuitPaused, Reason: "nobody"}
			for _, account := range []string{accounts[0], foreign.Account} {
				_, _ = g.call("SetCircuit", account, journal.Circuit{State: journal.CircuitActive}, &was)
				_, _ = g.call("ReserveTrial", account, was, g.moment(time.Minute))
			}
			_, _ = g.call("SetCircuit", foreign.Account, journal.Circuit{State: journal.CircuitActive}, nil)
			_, _ = g.call("Changed")
		},
		func() {
			i := journal.Intent{UUID: g.uuid("intent"), Actor: "anna", Act: "pause", Account: accounts[0]}
			_, _ = g.call("AppendIntent", i, journal.AuditEntry{Actor: "anna"})
			_, _ = g.call("AppendIntent", i, journal.AuditEntry{Actor: "anna"})
			_, _ = g.call("SaveResponse", journal.Receipt{Ref: journal.ClaimRef{Operation: 1, Claim: 1}, Attempt: 999_999, Sealed: g.seal("answer")})
		},
		func() { // without the lease nothing is published
			g.pendingOut()
			_, _ = g.call("AcquireLease")
			_, _ = g.call("ReleaseLease")
			_, _ = g.call("Pending", rawID{"outbox", 0}, 1, 1)
			_, _ = g.call("MarkPublished", []journal.Published{{Row: 999_999}})
			_, _ = g.call("AcquireLease")
		},
		func() {
			_, _ = g.call("ReportWorker", journal.WorkerReport{Worker: uuid.NewSHA1(uuid.Nil, []byte("worker")), Owner: "worker"})
			_, _ = g.call("EndReport", uuid.NewSHA1(uuid.Nil, []byte("worker")))
		},
		func() { _, _ = g.call("RaiseFloor", int64(g.n(6))) },
		func() { _, _ = g.call("SetKeysetCheck", []byte("another")) },
		func() { _, _ = g.call("ImportPublished", []journal.PublishedEvent{}) },
		func() { _, _ = g.call("ResetPositions", []journal.Position{}) },
		func() { _, _ = g.call("Restore", true, rawID{"operation", 0}, 1) },
		func() { _, _ = g.call("EndRecovery", journal.RecoveryEnd{}) },
	}
}
