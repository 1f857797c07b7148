package steps

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/keyset"
)

// Apply makes a transition. Afterwards the caller still holds the operation until it
// is claimed again, which is possible from Due on.
//
// A transition from a state beside the lane into one that holds it becomes Queued if
// another operation holds the lane by then.
func (j *Journal) Apply(ctx context.Context, tr journal.Transition) error {
	switch tr.To {
	case journal.Planned, journal.Waiting, journal.Received, journal.Stored, journal.Unknown, journal.Attention, journal.Done, journal.Superseded:
	default:
		return fmt.Errorf("journal: no transition leads to %v", tr.To)
	}
	return j.db.Write(ctx, &Request{
		Needs: Needs{Operations: []int64{tr.Ref.Operation}, Missing: journal.ErrStale},
		Load:  func(l *Loader) { l.transition(&tr) },
		Do:    func(u *Unit) error { return u.apply(&tr) },
	})
}

// transition names the rows that a transition needs.
func (l *Loader) transition(tr *journal.Transition) {
	l.operations = append(l.operations, tr.Ref.Operation)
	if tr.Attempt > 0 && tr.End != nil {
		l.attempts = append(l.attempts, int64(tr.Attempt))
	}
	if tr.Intent != nil {
		l.intents = append(l.intents, tr.Intent.ID)
	}
	l.IDs(OutboxIDs, len(tr.Publish))
	shop, ok := l.u.tx.ShopOf(tr.Ref.Operation)
	if !ok {
		return
	}
	if len(tr.Publish) > 0 || tr.Credential != nil || tr.Invited != nil || tr.Active != nil || tr.Current != 0 {
		l.shops = append(l.shops, shop)
	}
	if tr.From.HoldsLane() && !tr.To.HoldsLane() {
		l.releasing = append(l.releasing, shop)
	}
	for i := range tr.Publish {
		l.events = append(l.events, eventKey{shop, tr.Publish[i].ID})
	}
	if tr.Supersede != "" {
		l.succeeding, l.unsent = append(l.succeeding, tr.Ref.Operation), merged(l.unsent, tr.Unsent)
	}
	if tr.Invited != nil {
		l.bodies, l.begun = append(l.bodies, tr.Ref.Operation), append(l.begun, tr.Ref.Operation)
	}
	if c := tr.Credential; c != nil {
		l.merchants = append(l.merchants, merchantKey{c.Shop.Account, c.MerchantID})
	}
}

// merged appends those of more that are not in list.
func merged(list, more []string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

func (u *Unit) apply(tr *journal.Transition) error {
	o := u.operations.get(u, tr.Ref.Operation)
	if o == nil || o.State != tr.From || o.Claim != tr.Ref.Claim {
		return journal.ErrStale
	}
	to := u.target(o, tr)
	u.move(o, tr, to)
	if err := u.operatorChanges(o, tr); err != nil {
		return err
	}
	var err error
	switch {
	case tr.End == nil || tr.Attempt == 0:
	case tr.Attempt == -journal.AttemptID(o.ID):
		err = u.endCheckOf(o.ID, *tr.End)
	default:
		_, err = u.endAttempt(tr.Attempt, *tr.End)
	}
	if err != nil {
		return err
	}
	if tr.Supersede != "" {
		u.supersedeOlder(o, tr)
	}
	if (tr.From.HoldsLane() || tr.Behind) && !to.HoldsLane() {
		u.releaseLane(o.Shop)
	}
	if err := u.remember(o, tr); err != nil {
		return err
	}
	if tr.Audit != nil {
		u.audit(*tr.Audit)
	}
	return nil
}

// target returns the state that a transition leads to.
func (u *Unit) target(o *rows.Operation, tr *journal.Transition) journal.State {
	to := tr.To
	switch {
	case tr.Behind && to == journal.Planned:
		if u.queued(o.Shop) { // the next operation is planned when the lane is released
			to = journal.Queued
		}
	case to.HoldsLane() && !tr.From.HoldsLane() && journal.StageOf(to) == journal.Call:
		if u.held(o.Shop) {
			to = journal.Queued
		}
	}
	return to
}

// move sets the state and the columns that a transition changes.
func (u *Unit) move(o *rows.Operation, tr *journal.Transition, to journal.State) {
	// An unknown outcome is in doubt, whatever the caller set.
	o.Doubt = o.Doubt || tr.Doubt || to == journal.Unknown || tr.Probe
	o.Late = o.Late && (to.Open() || !tr.Compared)
	o.Reason = tr.Reason
	if tr.Verified {
		o.Verified = u.now
	}
	if to == journal.Unknown && tr.From == journal.Sending {
		o.Unknowns++
	}
	if to == journal.Waiting {
		o.Waits++
	}
	if to == journal.Received {
		o.Received = true
	}
	if to == journal.Stored && tr.From != journal.Stored {
		o.StoredAt = u.now
	}
	if tr.Credential != nil {
		o.Version = tr.Credential.Version
	}
	u.enter(o, to, u.stampOrNow(tr.Due))
	if tr.Behind && to == journal.Queued {
		o.Lane = stored.LaneLast
	}
}

const versionOf Query = "SELECT version AS id FROM credential WHERE shop = $1 AND version = $2"

// operatorChanges makes the changes of operator actions, after the move.
func (u *Unit) operatorChanges(o *rows.Operation, tr *journal.Transition) error {
	if tr.Intent != nil {
		if err := u.endIntent(*tr.Intent); err != nil {
			return err
		}
	}
	if tr.NewRun {
		last, err := u.tx.Last(EventIDs)
		u.check(err)
		o.Run, o.Waits, o.Planned, o.OpenTime, o.LaneOrder = o.Run+1, 0, u.now, u.openTotal(o.Account), stored.LaneOrder(last)+1
		if tr.Probe {
			o.Unknowns = max(o.Unknowns, 1)
		}
	}
	if tr.Entered == nil {
		return nil
	}
	key, err := keyset.SealingKey(tr.Entered)
	if err != nil {
		return fmt.Errorf("journal: response is not sealed: %w", err)
	}
	// The id is from the series of attempts: it has a place in their order, and no
	// attempt has the same id.
	id := u.next(AttemptIDs)
	u.insert(u.j.tables.attempt, &rows.Attempt{ID: id, Account: o.Account, Operation: o.ID, Replica: u.tx.Replica(), Grain: 1,
		Started: u.now, SendBy: u.now, Deadline: u.now, Ended: u.now, NotSent: true, Answer: tr.Entered, AnswerKey: int64(key), AnswerAt: u.now, SealedFor: tr.EnteredFor})
	o.Receipt, o.Received = id, true
	return nil
}

// siblings finds, for operations that are about to succeed, the others of their shop
// and kind that this may supersede.
const siblings Query = `SELECT o.id AS operation, x.id FROM operation o CROSS JOIN operation x /*+ INDEXED BY operation_doubt */
		WHERE o.id = ANY($1) AND x.shop = o.shop AND x.kind = o.kind AND x.doubt = 1 AND x.id <> o.id UNION ALL
	SELECT o.id, x.id FROM operation o CROSS JOIN operation x /*+ INDEXED BY operation_attention */
		WHERE o.id = ANY($1) AND x.state = 20 AND x.shop = o.shop AND x.kind = o.kind AND x.doubt = 0 AND x.reason = ANY($2) AND x.id <> o.id`

func (u *Unit) askSiblings(operations []int64, unsent []string) Ask {
	for _, id := range operations {
		u.siblings[id] = []int64{}
	}
	return Ask{Query: siblings, Args: []any{operations, unsent}, Each: func(_ []string, values []any) error {
		of, _ := values[0].(int64)
		id, _ := values[1].(int64)
		u.siblings[of] = append(u.siblings[of], id)
		return nil
	}}
}

// supersedeOlder supersedes the siblings for which nothing was sent, and those in
// doubt whose outcome this operation settles.
func (u *Unit) supersedeOlder(o *rows.Operation, tr *journal.Transition) {
	if _, ok := u.siblings[o.ID]; !ok {
		// A later transition of the operation may name more reasons.
		defer delete(u.siblings, o.ID)
		u.flush()
		u.load(u.askSiblings([]int64{o.ID}, append([]string{}, tr.Unsent...)))
	}
	ids := u.siblings[o.ID]
	// Earlier requests of the transaction may have changed others since.
	for _, e := range u.operations.touched {
		if x := &e.row; e.exists && x.Shop == o.Shop && x.Kind == o.Kind && x.ID != o.ID && !slices.Contains(ids, x.ID) {
			ids = append(ids, x.ID)
		}
	}
	for _, id := range ids {
		x := u.operations.get(u, id)
		if x == nil {
			continue
		}
		stands := x.Doubt && x.LaneOrder < o.LaneOrder && (x.Lane == stored.LaneLast || x.State == journal.Attention && !x.Received && slices.Contains(tr.Over, x.Reason))
		if stands || x.State == journal.Attention && slices.Contains(tr.Unsent, x.Reason) {
			u.supersede(x, tr.Supersede)
		}
	}
}

// remember updates the shop's row: its credential, its last invitation, its current
// activation, and its events.
func (u *Unit) remember(o *rows.Operation, tr *journal.Transition) error {
	if len(tr.Publish) == 0 && tr.Credential == nil && tr.Invited == nil && tr.Active == nil && tr.Current == 0 {
		return nil
	}
	s := u.shops.get(u, o.Shop)
	if s == nil {
		return fmt.Errorf("journal: operation %d has no shop", o.ID)
	}
	active := s.ActiveVersion
	if tr.Current != 0 && active > tr.Current {
		return journal.ErrOlderVersion
	}
	if c := tr.Credential; c != nil {
		if err := u.store(o, s, c); err != nil {
			return err
		}
		if s.MerchantID == "" {
			s.MerchantID = c.MerchantID
		}
		s.Version = max(s.Version, c.Version)
	}
	if t := tr.Invited; t != nil {
		b := u.bodies.get(u, o.ID)
		at := u.eventTime(o.ID)
		s.InvitedOperation, s.InvitedAt, s.InvitationID, s.InvitedMAC, s.InvitedEventTime = o.ID, u.clock.Stamp(t.At), t.InvitationID, b.MAC, at
		s.RemindDue, s.Reminded = u.clock.StampUp(t.Remind), 0
	}
	if t := tr.Active; t != nil {
		if o.Version == 0 {
			return fmt.Errorf("journal: operation %d has not stored a credential that could become current", o.ID)
		}
		if o.Version < active {
			return journal.ErrOlderVersion
		}
		before := *s
		s.ActiveOperation, s.ActiveAt, s.ActiveEvent, s.ActiveVersion = o.ID, u.clock.Stamp(t.At), eventID(t.Event), o.Version
		if err := u.beginReview(o, s, before, tr); err != nil {
			return err
		}
		s.DisconnectedAt, s.RemindDue = 0, 0
		u.replaceSecrets(s, before, t.DestroyAt)
	}
	return u.emit(s, o.ID, tr.Publish)
}

// eventTimes finds the times of the events that began the runs of operations.
const eventTimes Query = "SELECT o.id, e.event_time AS n FROM operation o JOIN event e ON e.id = o.event WHERE o.id = ANY($1)"

func (u *Unit) askEventTimes(operations []int64) Ask {
	for _, id := range operations {
		u.times[id] = 0 // if the event was pruned
	}
	return Ask{Query: eventTimes, Args: []any{operations}, Each: func(_ []string, values []any) error {
		id, _ := values[0].(int64)
		u.times[id], _ = values[1].(int64)
		return nil
	}}
}

// eventTime returns the time of the event that began an operation's run, 0 if the
// event was pruned.
func (u *Unit) eventTime(operation int64) int64 {
	if _, ok := u.times[operation]; !ok {
		u.load(u.askEventTimes([]int64{operation}))
	}
	return u.times[operation]
}

// store inserts a credential.
func (u *Unit) store(o *rows.Operation, s *rows.Shop, c *journal.Credential) error {
	account := u.accountName(s.Account)
	if c.Version < 1 || c.MerchantID == "" || c.Shop.Shop != s.Name || c.Shop.Account != account {
		return fmt.Errorf("journal: credential belongs to another shop, or has no version or merchant id")
	}
	if s.MerchantID == "" {
		other := u.merchantOwner(merchantKey{c.Shop.Account, c.MerchantID})
		if other != 0 {
			return journal.ErrMerchantConflict
		}
	} else if s.MerchantID != c.MerchantID {
		return journal.ErrMerchantConflict
	}
	var key int64
	if c.Sealed != nil {
		k, err := keyset.SealingKey(c.Sealed)
		if err != nil {
			return fmt.Errorf("journal: credential is not sealed: %w", err)
		}
		key = int64(k)
	}
	taken := u.versionTaken(s, c.Version)
	if taken {
		return journal.ErrVersionTaken
	}
	u.insert(u.j.tables.credential, &rows.Credential{Shop: s.ID, Version: c.Version, Operation: o.ID, Created: u.now, Reference: c.Reference, MerchantID: c.MerchantID,
		Secret: c.Sealed, SecretKey: key, Proof: c.Proof})
	return nil
}

type merchantKey struct{ account, merchant string }

const (
	merchantOwner Query = "SELECT s.id FROM account a JOIN shop s ON s.account = a.id WHERE a.name = $1 AND s.merchant_id = $2"
	// merchantOwners is for databases that accept lists of texts.
	merchantOwners Query = `SELECT x.account, x.merchant, s.id FROM unnest($1::text[], $2::text[]) AS x(account, merchant) JOIN account a ON a.name = x.account
		CROSS JOIN LATERAL (SELECT id FROM shop WHERE account = a.id AND merchant_id = x.merchant OFFSET 0) s
-- sqlite:
`
)

func (u *Unit) askMerchants(keys []merchantKey) Ask {
	accounts, merchants := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		accounts[i], merchants[i] = k.account, k.merchant
		u.owners[k] = 0
	}
	return Ask{Query: merchantOwners, Args: []any{accounts, merchants}, Each: func(_ []string, values []any) error {
		var k merchantKey
		k.account, _ = values[0].(string)
		k.merchant, _ = values[1].(string)
		u.owners[k], _ = values[2].(int64)
		return nil
	}}
}

// merchantOwner finds the shop that has a merchant id, 0 for none. It does not see a
// shop that got the id in this transaction; the unique index rejects a second one.
func (u *Unit) merchantOwner(k merchantKey) int64 {
	if owner, ok := u.owners[k]; ok {
		return owner
	}
	// The query does not need the changes so far, see above.
	u.load(askingInts(merchantOwner, func(id int64) { u.owners[k] = id }, k.account, k.merchant))
	return u.owners[k]
}

// versionTaken reports whether a shop has a credential of this version. A version
// above the shop's newest is free.
func (u *Unit) versionTaken(s *rows.Shop, version int64) bool {
	if version > s.Version {
		return false
	}
	return firstInt(u, versionOf, s.ID, version) != 0
}

func eventID(id uuid.UUID) []byte {
	if id == uuid.Nil {
		return nil
	}
	return id[:]
}
