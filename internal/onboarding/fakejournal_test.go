package onboarding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// fakeJournal keeps in memory what the pool needs of a journal, and fails on
// demand: that is what it is for. What a real one promises is tested elsewhere.
type fakeJournal struct {
	mu       sync.Mutex
	changed  chan struct{}
	ops      []*fakeOp
	accounts map[string]*journal.Account
	ledger   map[string][]*fakePermit
	attempts journal.AttemptID
	open     map[journal.AttemptID][]*fakePermit
	emails   []*fakeEmail
	creds    map[journal.ShopKey][]journal.Credential
	active   map[journal.ShopKey]*journal.ActiveView
	invited  map[journal.ShopKey]int
	events   []fakeEvent
	steps    []string // from→to, in order
	notes    []string // of the audit
	erased   []time.Time
	claims   []journal.ClaimRequest
	intents  []*journal.Intent
	asked    chan struct{}
	dues     int
	lists    int // of the accounts
	turns    int
	commit   time.Duration // every write takes so long
	closed   map[string]fakeClosed
	reviews  map[journal.ShopKey]*fakeReview
	inRow    int

	// fault is asked before (done false) and after each step; its error is
	// what the caller gets.
	fault func(step string, done bool) error
}

type fakePermit struct{ back time.Time } // zero: still out

type fakeOp struct {
	journal.ClaimedOperation
	id       int64
	due      time.Time
	lease    time.Time
	held     bool
	late     bool // receipts are to be compared
	verified time.Time
	last     bool          // queued behind all that is queued
	turn     int           // place in the lane
	closedAt time.Duration // closed time of the account when it was planned
	receipts int
	probes   int
	attempt  journal.AttemptID
	version  int64 // that its credentials were announced with before a restore
}

type fakeEvent struct {
	journal.Draft
	op      uuid.UUID
	message schemas.Message
}

func newFakeJournal(accounts ...string) *fakeJournal {
	f := &fakeJournal{
		changed: make(chan struct{}, 1), asked: make(chan struct{}, 1), accounts: map[string]*journal.Account{}, ledger: map[string][]*fakePermit{},
		open: map[journal.AttemptID][]*fakePermit{}, creds: map[journal.ShopKey][]journal.Credential{},
		active: map[journal.ShopKey]*journal.ActiveView{}, invited: map[journal.ShopKey]int{},
	}
	for _, a := range accounts {
		f.accounts[a] = &journal.Account{Name: a, Gate: journal.Gate{State: journal.GateOpen}}
	}
	return f
}

func (f *fakeJournal) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// step runs one write with the faults around it.
func (f *fakeJournal) step(ctx context.Context, name string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	commit := f.commit
	f.mu.Unlock()
	if commit > 0 {
		time.Sleep(commit)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		if err := f.fault(name, false); err != nil {
			return err
		}
	}
	err := do()
	if err == nil && f.fault != nil {
		err = f.fault(name, true)
	}
	return err
}

// add plans an operation, its value sealed as the consumer does.
func (f *fakeJournal) add(keys *keyset.Set, kind journal.Kind, account, shop, value string) *fakeOp {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.insert(keys, kind, account, shop, value)
}

// insert is add for those that hold the lock.
func (f *fakeJournal) insert(keys *keyset.Set, kind journal.Kind, account, shop, value string) *fakeOp {
	domain, scope := keyset.DomainAddress, shop
	if kind == journal.Activate {
		domain, scope = keyset.DomainCode, ""
	}
	mac, err := keys.MAC(domain, keyset.SubjectText(account, value))
	if err != nil {
		panic(err)
	}
	sealed, err := keys.Seal([]byte(value), keyset.SubjectRow(kind.String(), account, shop, mac))
	if err != nil {
		panic(err)
	}
	f.turns++
	op := &fakeOp{id: int64(len(f.ops) + 1), turn: f.turns}
	op.ClaimedOperation = journal.ClaimedOperation{
		Ref: journal.ClaimRef{Operation: op.id}, UUID: schemas.OperationID(kind.String(), account, scope, mac, 0), Kind: kind, SubjectMAC: mac,
		State: journal.Queued, Shop: journal.ShopKey{Account: account, Shop: shop}, Run: 1, Sealed: sealed, Planned: time.Now(),
		EventID: fmt.Sprintf("event-%d", op.id), EventTime: time.Now(),
	}
	op.closedAt = f.closedFor(account)
	f.ops = append(f.ops, op)
	f.advance(op.Shop)
	f.signal()
	return op
}

func (f *fakeJournal) Accounts(context.Context) ([]journal.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	var out []journal.Account
	for _, a := range f.accounts {
		f.closedFor(a.Name) // a test may have set its gate
		out = append(out, *a)
	}
	return out, nil
}

func (f *fakeJournal) SetGate(ctx context.Context, account string, g journal.Gate, was *journal.Gate) error {
	return f.step(ctx, "set_gate", func() error {
		if now := f.accounts[account].Gate; was != nil && (cmp.Or(now.State, journal.GateOpen) != was.State || now.Reason != was.Reason) {
			return journal.ErrStale
		}
		f.closedFor(account)
		f.accounts[account].Gate = g
		f.closedFor(account)
		return nil
	})
}

func (f *fakeJournal) ReserveTrial(ctx context.Context, account string, was journal.Gate, until time.Time) error {
	return f.step(ctx, "take_trial", func() error {
		g := &f.accounts[account].Gate
		if g.State != was.State || g.Reason != was.Reason || g.Until.After(time.Now()) && !g.Until.Equal(was.Until) {
			return journal.ErrStale
		}
		g.Until = until
		return nil
	})
}

func (f *fakeJournal) Changed() <-chan struct{} { return f.changed }

func (f *fakeJournal) Due(context.Context) ([]journal.Due, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dues++
	first := map[journal.Due]time.Time{}
	for _, op := range f.ops {
		if stage := op.stage(); stage != 0 && !op.held {
			key := journal.Due{Account: op.Shop.Account, Kind: op.Kind, Stage: stage}
			if at, ok := first[key]; !ok || op.due.Before(at) {
				first[key] = op.due
			}
		}
	}
	var out []journal.Due
	for d, at := range first {
		d.At = at
		out = append(out, d)
	}
	return out, nil
}

func (f *fakeJournal) Claim(ctx context.Context, r journal.ClaimRequest) (out []journal.ClaimedOperation, err error) {
	err = f.step(ctx, "claim", func() error {
		f.claims = append(f.claims, r)
		now := time.Now()
		ready := slices.DeleteFunc(slices.Clone(f.ops), func(op *fakeOp) bool {
			return op.held || op.Kind != r.Kind || op.Shop.Account != r.Account || op.stage() != r.Stage || op.due.After(now)
		})
		slices.SortStableFunc(ready, func(a, b *fakeOp) int { return cmp.Compare(a.due.UnixNano(), b.due.UnixNano()) })
		for _, op := range ready[:min(r.Limit, len(ready))] {
			op.held, op.lease = true, now.Add(r.Lease)
			op.Ref.Claim++
			if r.Stage == journal.Call {
				f.move(op, journal.Claimed)
			}
			op.NextVersion = int64(len(f.creds[op.Shop]) + 1)
			if op.version != 0 {
				op.NextVersion = op.version
			}
			op.Active = f.active[op.Shop]
			op.Known = f.known(op)
			op.GateClosed = f.closedFor(r.Account) - op.closedAt
			op.Stored = f.stored(op)
			op.Activating = slices.ContainsFunc(f.ops, func(o *fakeOp) bool {
				return o.Shop == op.Shop && o.Kind == journal.Activate && (o.State == journal.Stored || o.State == journal.Received)
			})
			op.Newer = op.Unknowns > 0 && slices.ContainsFunc(f.ops, func(o *fakeOp) bool {
				return o.Shop == op.Shop && o.Kind == op.Kind && o.State == journal.Queued && !o.last
			})
			out = append(out, op.ClaimedOperation)
		}
		return nil
	})
	return out, err
}

func (f *fakeJournal) move(op *fakeOp, to journal.State) {
	f.steps = append(f.steps, fmt.Sprintf("%d %v→%v", op.id, op.State, to))
	op.State = to
}

func (f *fakeJournal) AvailablePermits(_ context.Context, p journal.Permit) (int, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		if err := f.fault("free "+p.Ledger, false); err != nil {
			return 0, time.Time{}, err
		}
	}
	n, next := f.free(p)
	return n, next, nil
}

func (f *fakeJournal) takePermits(ps []journal.Permit) (journal.AttemptID, error) {
	for _, p := range ps {
		if n, next := f.free(p); n == 0 {
			return 0, &journal.NoPermitError{Ledger: p.Ledger, Next: next}
		}
	}
	f.attempts++
	for _, p := range ps {
		u := &fakePermit{}
		f.ledger[p.Ledger] = append(f.ledger[p.Ledger], u)
		f.open[f.attempts] = append(f.open[f.attempts], u)
	}
	return f.attempts, nil
}

// endAttempt uses the default window and slack: no test has others.
func (f *fakeJournal) endAttempt(id journal.AttemptID, end journal.AttemptEnd) {
	for _, u := range f.open[id] {
		u.back = end.At.Add(DefaultWindow)
		switch {
		case end.NotSent:
			u.back = end.At
		case !end.Answered:
			u.back = u.back.Add(DefaultSlack)
		}
	}
	delete(f.open, id)
	f.emailEnded(id, end)
}

func (f *fakeJournal) own(r journal.ClaimRef, from journal.State) (*fakeOp, error) {
	op := f.ops[r.Operation-1]
	if !op.held || op.Ref != r || op.State != from {
		return nil, journal.ErrStale
	}
	return op, nil
}

func (f *fakeJournal) BeginAttempt(ctx context.Context, s journal.AttemptStart) (id journal.AttemptID, err error) {
	err = f.step(ctx, "send", func() error {
		op, err := f.own(s.Ref, journal.Claimed)
		if err != nil || s.Attempt != op.Attempts+1 {
			return journal.ErrStale
		}
		if err := f.cooled(op, s.Address); err != nil {
			return err
		}
		if id, err = f.takePermits(s.Permits); err != nil {
			return err
		}
		if s.Address != nil {
			f.emails = append(f.emails, &fakeEmail{account: op.Shop.Account, mac: string(s.Address.MAC), op: op.id, attempt: id, at: time.Now(), open: true})
		}
		op.Attempts++
		op.attempt = id
		if s.Probe {
			op.probes++
			if !s.Flagged {
				return errors.New("a probe that is not flagged")
			}
		}
		f.move(op, journal.Sending)
		return nil
	})
	return id, err
}

func (f *fakeJournal) BeginCheck(ctx context.Context, c journal.Check) (id journal.AttemptID, err error) {
	err = f.step(ctx, "start_check", func() (err error) { id, err = f.takePermits(c.Permits); return err })
	return id, err
}

func (f *fakeJournal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (s journal.State, mine bool, check journal.AttemptID, err error) {
	if s, mine, err = f.SaveResponse(ctx, r); err == nil && mine {
		err = f.step(ctx, "start_check", func() (err error) {
			check, err = f.takePermits(c.Permits)
			if _, none := errors.AsType[*journal.NoPermitError](err); none {
				err = nil
			}
			return err
		})
	}
	return s, mine, check, err
}

func (f *fakeJournal) SaveResponse(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error) {
	err = f.step(ctx, "receive", func() error {
		op := f.ops[r.Ref.Operation-1]
		f.endAttempt(r.Attempt, r.End)
		op.receipts++
		receipt := &journal.StoredReceipt{Operation: op.UUID, Attempt: r.Attempt, Sealed: r.Sealed, SealedFor: r.SealedFor, At: time.Now()}
		if op.Receipt != nil && op.Receipt.Attempt == r.Attempt { // a second try after an error
			s, mine = op.State, op.held && op.Ref == r.Ref && op.State == journal.Received
			return nil
		}
		switch {
		case op.held && op.Ref == r.Ref && op.State == journal.Sending:
			f.move(op, journal.Received)
			op.Receipt, mine = receipt, true
		case op.Receipt == nil && (op.State <= journal.Sending || op.State == journal.Unknown || op.State == journal.Attention):
			op.due = time.Now()
			if op.State == journal.Sending { // another request is under way
				op.due = op.due.Add(DefaultRequestDeadline + DefaultSlack)
			}
			f.move(op, journal.Received)
			op.Receipt, op.held = receipt, false
			op.Ref.Claim++
			f.signal()
		default:
			op.Late = append(op.Late, *receipt)
			op.late, op.due = true, time.Now()
			if !op.State.Open() {
				op.held = false
				op.Ref.Claim++
			}
			f.signal()
		}
		s = op.State
		return nil
	})
	return s, mine, err
}
