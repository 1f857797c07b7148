package steps

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

// maxQueuedCodes bounds how many of a shop's queued activations the planner sees: a
// shop that was sent thousands of codes must not slow down its intake. The planner reads
// none of them, but the lane passes to the first.
const maxQueuedCodes = 4

// The operations that the planner sees, with columns of their bodies and of the events
// that began their runs.
const (
	viewColumns = `SELECT o.id, o.account, o.shop, o.kind, o.state, o.stage, o.due_at, o.lane, o.claim, o.leased, o.replica, o.run, o.attempts, o.waits, o.doubt,
			o.unknowns, o.late, o.event, o.lane_order, o.restored, o.open_time, o.planned, o.changed, o.last_attempt, o.receipt, o.received, o.version, o.stored_at,
			o.verified, o.reason, o.owner, o.check_open, o.check_slack, o.check_ledgers, o.check_grain, o.check_from, b.uuid, b.generation, b.mac, e.event_time, s.name AS shop_name `
	// SQLite loads a row by its key before it changes it, because most are in memory.
	liteColumns = `SELECT o.id, o.account, o.shop, o.kind, o.state, o.lane, o.run, o.attempts, o.doubt, o.event, o.lane_order, o.changed, o.reason,
			b.uuid, b.generation, b.mac, e.event_time, s.name AS shop_name `
	viewJoins = " JOIN event b ON b.id = o.id JOIN shop s ON s.id = o.shop LEFT JOIN event e ON e.id = o.event"
	liteJoins = " CROSS JOIN event b ON b.id = o.id CROSS JOIN shop s ON s.id = o.shop LEFT JOIN event e ON e.id = o.event"

	// viewHeld locks the operations that another replica could claim meanwhile. The
	// other operations of a shop change only under the lock of the shop.
	viewHeld Query = `SELECT id FROM operation WHERE shop = ANY($1) AND id = ANY(ARRAY(
			SELECT id FROM operation WHERE shop = ANY($1) AND lane IN (1, 3) UNION ALL
			SELECT k.id FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS x(scope, kind, mac)
				CROSS JOIN LATERAL (SELECT id FROM event WHERE key_scope = x.scope AND kind = x.kind AND mac = x.mac OFFSET 0) k))
		ORDER BY id FOR NO KEY UPDATE
-- sqlite:
`
	// viewOpen finds the open operations of shops, on SQLite of one shop.
	viewOpen Query = viewColumns + `FROM unnest($1::bigint[]) AS x(shop) CROSS JOIN LATERAL (
			(SELECT * FROM operation WHERE shop = x.shop AND lane IN (1, 3, 4)) UNION ALL
			(SELECT * FROM operation WHERE shop = x.shop AND lane = 2 AND kind = 1) UNION ALL
			(SELECT * FROM operation WHERE shop = x.shop AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT $2)) o` + viewJoins + `
-- sqlite:
` + liteColumns + `FROM (
			SELECT id AS found FROM operation WHERE shop = $1 AND lane = 1 UNION ALL
			SELECT id FROM operation WHERE shop = $1 AND lane = 3 UNION ALL
			SELECT id FROM operation WHERE shop = $1 AND lane = 4 UNION ALL
			SELECT id FROM operation WHERE shop = $1 AND lane = 2 AND kind = 1 UNION ALL
			SELECT id FROM (SELECT id FROM operation WHERE shop = $1 AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT $2)) x
		CROSS JOIN operation o ON o.id = x.found` + liteJoins
	viewThese Query = viewColumns + "FROM operation o" + viewJoins + ` WHERE o.id = ANY($1)
-- sqlite:
` + liteColumns + "FROM json_each($1) x CROSS JOIN operation o ON o.id = x.value" + liteJoins
	// viewOwners finds the operations that own keys, for each key the newest generation.
	// It looks up each key by itself, because with "mac = ANY" the server may read all
	// rows of an account.
	viewOwners Query = viewColumns + `, x.n FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) WITH ORDINALITY AS x(scope, kind, mac, n)
		CROSS JOIN LATERAL (SELECT id FROM event WHERE key_scope = x.scope AND kind = x.kind AND mac = x.mac ORDER BY generation DESC LIMIT 1) k
		JOIN operation o ON o.id = k.id` + viewJoins + `
-- sqlite:
`
	keyOwner    Query = "SELECT id FROM event WHERE key_scope = $1 AND kind = $2 AND mac = $3 ORDER BY generation DESC LIMIT 1"
	activeUUIDs Query = "SELECT b.id, b.uuid FROM shop s CROSS JOIN event b WHERE s.id = ANY($1) AND b.id = s.active_operation"
	openTimes   Query = "SELECT id, open_time, open_since FROM account WHERE id = ANY($1)"
)

// An intake holds what a transaction has loaded for the intake of events and does not
// change.
type intake struct {
	positions map[partition]*position
	inbox     map[[32]byte][]byte // digests of the events that are in the inbox
	shops     map[journal.ShopKey]int64
	open      map[int64][]int64         // open operations of the loaded shops
	codes     map[int64]int             // upper bound of the queued codes among them
	owners    map[subjectKey]int64      // of the loaded keys; 0: none
	about     map[int64]*about          // operations that the planner may see
	seen      map[int64]*rows.Operation // those of them that are not changed
	rows      rows.Scanner[viewRow]
	times     map[int64]int64     // of events that began runs
	active    map[int64]uuid.UUID // of current activations
	openTimes map[int64]openTime
	fresh     map[int64]bool        // new shops
	kept      *journal.LetterBounds // dead letters that keep their record
	keys      []journal.Key         // that were recorded
}

func newIntake() intake {
	return intake{
		positions: make(map[partition]*position), inbox: make(map[[32]byte][]byte), shops: make(map[journal.ShopKey]int64), open: make(map[int64][]int64),
		owners: make(map[subjectKey]int64), about: make(map[int64]*about), seen: make(map[int64]*rows.Operation), times: make(map[int64]int64),
		active: make(map[int64]uuid.UUID), openTimes: make(map[int64]openTime), fresh: make(map[int64]bool), codes: make(map[int64]int),
	}
}

// about holds the columns of an operation that never change.
type about struct {
	uuid       uuid.UUID
	generation int64
	mac        []byte
	shop       string // its name
}

// A subjectKey is an address or a code with its scope: the shop of an invitation, the
// account of an activation.
type subjectKey struct {
	scope int64
	kind  journal.Kind
	mac   string
}

func keyScope(k journal.Kind, account, shop int64) int64 {
	if k == journal.Activate {
		return account
	}
	return shop
}

// An intakeLoad collects what batches need.
type intakeLoad struct {
	partitions      []partition
	identities      [][]byte
	shops, accounts []int64
	keys            []subjectKey
	letters         bool
}

// ask appends the queries for what batches need, each once.
func (l *intakeLoad) ask(asks []Ask, u *Unit) []Ask {
	if len(l.identities) > 0 {
		asks = append(asks, Ask{Query: inboxKnown, Args: []any{l.identities}, Each: u.foundIdentity})
	}
	if len(l.partitions) == 0 {
		return asks
	}
	if shops := u.unseenShops(l.shops); len(shops) > 0 || len(l.keys) > 0 {
		scopes, kinds, macs := make([]int64, len(l.keys)), make([]int64, len(l.keys)), make([][]byte, len(l.keys))
		for i, k := range l.keys {
			scopes[i], kinds[i], macs[i] = k.scope, int64(k.kind), []byte(k.mac)
			u.intake.owners[k] = 0
		}
		asks = append(asks, Ask{Query: viewHeld, Args: []any{shops, scopes, kinds, macs}, Each: func([]string, []any) error { return nil }})
		asks = append(asks, u.askOpen(shops, shops))
		asks = append(asks, Ask{Query: viewOwners, Args: []any{scopes, kinds, macs}, Each: func(columns []string, values []any) error {
			r, err := u.saw(columns, values)
			if err == nil {
				u.intake.owners[l.keys[r.Number-1]] = r.ID
			}
			return err
		}})
		asks = append(asks, u.askActive(shops))
	}
	if len(l.accounts) > 0 {
		slices.Sort(l.accounts)
		asks = append(asks, u.askOpenTime(slices.Compact(l.accounts)))
	}
	names, parts := make([]string, len(l.partitions)), make([]int64, len(l.partitions))
	for i, p := range l.partitions {
		names[i], parts[i] = p.topic, int64(p.part)
		u.intake.positions[p] = nil
	}
	asks = append(asks, Ask{Query: positionsHeld, Args: []any{names, parts}, Each: u.foundPosition})
	if l.letters {
		asks = append(asks, u.askKept())
	}
	return append(asks, u.askKeys())
}

// unseenShops returns the shops whose open operations are not loaded, by id.
func (u *Unit) unseenShops(shops []int64) []int64 {
	var unseen []int64
	for _, s := range shops {
		if _, ok := u.intake.open[s]; !ok {
			u.intake.open[s] = []int64{}
			unseen = append(unseen, s)
		}
	}
	slices.Sort(unseen)
	return unseen
}

// askOpen queries the open operations of shops. Arg is the shops as an argument of the
// database's query.
func (u *Unit) askOpen(shops []int64, arg any) Ask {
	for _, s := range shops {
		u.intake.open[s] = []int64{}
	}
	return Ask{Query: viewOpen, Args: []any{arg, maxQueuedCodes}, Each: func(columns []string, values []any) error {
		o, err := u.saw(columns, values)
		if err == nil {
			u.intake.open[o.Shop] = append(u.intake.open[o.Shop], o.ID)
			if queuedCode(&o.Operation) {
				u.intake.codes[o.Shop]++
			}
		}
		return err
	}}
}

func (u *Unit) askActive(shops []int64) Ask {
	return Ask{Query: activeUUIDs, Args: []any{shops}, Each: func(_ []string, values []any) error {
		id, _ := values[0].(int64)
		b, _ := values[1].([]byte)
		u.intake.active[id] = asUUID(b)
		return nil
	}}
}

// A viewRow is an operation that was loaded for the planner.
type viewRow struct {
	rows.Operation
	UUID       []byte `db:"uuid"`
	Generation int64  `db:"generation"`
	MAC        []byte `db:"mac"`
	EventTime  int64  `db:"event_time"`
	ShopName   string `db:"shop_name"`
	Number     int64  `db:"n"` // of the key that it was found by
}

// saw stores an operation that was loaded. PostgreSQL reads the whole row, so that the
// operation can be changed if this transaction has locked its shop.
func (u *Unit) saw(columns []string, values []any) (*viewRow, error) {
	r, err := u.intake.rows.Scan(columns, values)
	if err != nil {
		return nil, err
	}
	u.intake.about[r.ID] = &about{uuid: asUUID(r.UUID), generation: r.Generation, mac: r.MAC, shop: r.ShopName}
	u.intake.times[r.Event] = r.EventTime
	if _, held := u.intake.open[r.Shop]; held && u.j.lists {
		u.operations.found(r.ID, &r.Operation)
	} else {
		u.intake.seen[r.ID] = &r.Operation
	}
	return r, nil
}

// found stores a loaded row unless there is one already.
func (s *entities[T]) found(key int64, row *T) {
	if e, made := s.at(key); made {
		e.keep(row)
	}
}

// shop finds a shop and inserts it if it is new.
func (u *Unit) shop(k journal.ShopKey) *rows.Shop {
	id, ok := u.intake.shops[k]
	if !ok {
		var made *rows.Shop
		var err error
		id, made, err = u.tx.MakeShop(k)
		u.check(err)
		u.intake.shops[k] = id
		if made != nil {
			u.intake.open[id], u.intake.fresh[id] = []int64{}, true
			u.undo(func() { delete(u.intake.shops, k) })
			return u.shops.add(u, id, *made)
		}
	}
	s := u.shops.get(u, id)
	if s == nil {
		u.abort(fmt.Errorf("journal: shop %d does not exist", id))
	}
	return s
}

// A view is the planner's view, and the rows of its open operations in the same order.
type view struct {
	journal.ShopView
	open []*rows.Operation
}

// view returns the view of an event's shop, with the changes so far.
func (u *Unit) view(s *rows.Shop, e *journal.Event) (v view) {
	v.open = u.openOf(s.ID)
	for _, o := range v.open {
		v.Open = append(v.Open, u.operationView(o, s, e))
	}
	if v.Invited = invitedView(s); v.Invited != nil {
		v.Invited.SameAddress = among(s.InvitedMAC, e.SubjectMACs)
	}
	v.Active, v.Disconnected = activeView(s, u.activeUUID(s)), displayTimeOrZero(s.DisconnectedAt)
	v.Same = u.ownerView(s, e)
	return v
}

// openOf lists the open operations of a locked shop, in the order in which their runs
// began.
func (u *Unit) openOf(shop int64) []*rows.Operation {
	if _, ok := u.intake.open[shop]; !ok {
		arg := any(shop)
		if u.j.lists {
			arg = []int64{shop}
		}
		u.load(u.askOpen([]int64{shop}, arg))
		u.addTouched(shop)
	}
	var open []*rows.Operation
	for _, id := range u.intake.open[shop] {
		if o := u.operation(id); o != nil && o.State.Open() {
			open = append(open, o)
		}
	}
	slices.SortFunc(open, func(a, b *rows.Operation) int {
		return cmp.Or(cmp.Compare(a.LaneOrder, b.LaneOrder), cmp.Compare(a.ID, b.ID))
	})
	return open
}

// operation returns an operation with the changes so far, nil if it is not loaded. The
// caller must not change it.
func (u *Unit) operation(id int64) *rows.Operation {
	if o, ok := u.operations.known(id); ok {
		return o
	}
	return u.intake.seen[id]
}

// addOpen adds an operation to the open ones of its shop, within the bound of queued
// codes.
func (u *Unit) addOpen(o *rows.Operation) {
	ids := u.intake.open[o.Shop]
	if slices.Contains(ids, o.ID) {
		return
	}
	if queuedCode(o) {
		if u.intake.codes[o.Shop] >= maxQueuedCodes {
			return
		}
		u.intake.codes[o.Shop]++
	}
	u.intake.open[o.Shop] = append(ids, o.ID)
	u.undo(func() { u.intake.open[o.Shop] = ids })
}

func queuedCode(o *rows.Operation) bool {
	return o.Kind == journal.Activate && o.Lane == stored.LaneQueued
}

// openedElsewhere adds operations that other requests of the transaction have opened
// since the open ones were loaded.
func (u *Unit) openedElsewhere() {
	for _, e := range u.operations.touched {
		if o := &e.row; e.exists && o.State.Open() {
			if _, ok := u.intake.open[o.Shop]; ok {
				u.addOpen(o)
			}
		}
	}
}

// addTouched is openedElsewhere for a shop whose open operations were just loaded.
func (u *Unit) addTouched(shop int64) {
	for _, e := range u.operations.touched {
		if o := &e.row; e.exists && o.Shop == shop && o.State.Open() {
			u.addOpen(o)
		}
	}
}

// aboutOf returns the columns of an operation that never change.
func (u *Unit) aboutOf(o *rows.Operation) *about {
	if a, ok := u.intake.about[o.ID]; ok {
		return a
	}
	u.see(o.ID)
	a, ok := u.intake.about[o.ID]
	if !ok {
		u.abort(fmt.Errorf("journal: operation %d has no body", o.ID))
	}
	return a
}

// see loads one operation for the planner.
func (u *Unit) see(id int64) {
	u.load(Ask{Query: viewThese, Args: []any{[]int64{id}}, Each: func(columns []string, values []any) error {
		_, err := u.saw(columns, values)
		return err
	}})
}

func (u *Unit) operationView(o *rows.Operation, s *rows.Shop, e *journal.Event) journal.OperationView {
	a := u.aboutOf(o)
	shop := e.Shop
	if o.Shop != s.ID {
		shop.Shop = a.shop
	}
	return journal.OperationView{
		ID: o.ID, UUID: a.uuid, Kind: o.Kind, Shop: shop, State: o.State, Reason: o.Reason, Generation: int(a.generation), Run: int(o.Run), Attempts: int(o.Attempts),
		Doubt: o.Doubt, SameSubject: among(a.mac, e.SubjectMACs), Changed: displayTime(o.Changed), EventTime: displayTime(u.intake.times[o.Event]),
	}
}

func among(mac []byte, macs [][]byte) bool {
	return slices.ContainsFunc(macs, func(m []byte) bool { return bytes.Equal(m, mac) })
}

// ownerView returns the view of the operation that owns the event's address or code,
// under any of the look-up keys.
func (u *Unit) ownerView(s *rows.Shop, e *journal.Event) *journal.OperationView {
	newest := int64(0)
	for _, mac := range e.SubjectMACs {
		newest = max(newest, u.owner(subjectKey{keyScope(e.Kind, s.Account, s.ID), e.Kind, string(mac)}))
	}
	if newest == 0 {
		return nil
	}
	o := u.operation(newest)
	if o == nil {
		u.abort(fmt.Errorf("journal: operation %d owns an address or code and does not exist", newest))
	}
	v := u.operationView(o, s, e)
	return &v
}

// owner finds the operation that owns an address or code, 0 for none.
func (u *Unit) owner(k subjectKey) int64 {
	id, ok := u.intake.owners[k]
	if ok || u.intake.fresh[k.scope] && k.kind == journal.Invite {
		return id
	}
	u.load(askingInts(keyOwner, func(owner int64) { id = owner }, k.scope, int64(k.kind), []byte(k.mac)))
	u.intake.owners[k] = id
	if _, ok := u.intake.about[id]; !ok && id != 0 {
		u.see(id)
	}
	return id
}

// owns records that a new operation owns an address or code.
func (u *Unit) owns(k subjectKey, id int64) {
	before, looked := u.intake.owners[k]
	if b, ok := u.intake.about[before]; ok && b.generation > u.intake.about[id].generation {
		return
	}
	u.intake.owners[k] = id
	u.undo(func() {
		if delete(u.intake.owners, k); looked {
			u.intake.owners[k] = before
		}
	})
}

// activeUUID returns the UUID of the shop's current activation.
func (u *Unit) activeUUID(s *rows.Shop) uuid.UUID {
	id, ok := u.intake.active[s.ActiveOperation]
	if ok || s.ActiveOperation == 0 {
		return id
	}
	b := u.bodies.get(u, s.ActiveOperation)
	if b == nil {
		return uuid.Nil
	}
	u.intake.active[s.ActiveOperation] = asUUID(b.UUID)
	return u.intake.active[s.ActiveOperation]
}

// An openTime is for how long an account's circuit breaker was open, in microseconds up
// to since, and since when it is not active now (0 while it is active).
type openTime struct{ before, since int64 }

func (u *Unit) askOpenTime(accounts []int64) Ask {
	return Ask{Query: openTimes, Args: []any{accounts}, Each: func(_ []string, values []any) error {
		var c openTime
		id, _ := values[0].(int64)
		c.before, _ = values[1].(int64)
		c.since, _ = values[2].(int64)
		u.intake.openTimes[id] = c
		return nil
	}}
}

// openTotal returns for how long an account's circuit breaker was open in total. A
// run stores the value at its start.
func (u *Unit) openTotal(account int64) int64 {
	c, ok := u.intake.openTimes[account]
	if a, known := u.accounts.known(account); known {
		c, ok = openTime{a.OpenTime, a.OpenSince}, true
	}
	if !ok {
		u.load(u.askOpenTime([]int64{account}))
		c = u.intake.openTimes[account]
	}
	if c.since == 0 {
		return c.before
	}
	return c.before + max(0, u.now-c.since)
}
