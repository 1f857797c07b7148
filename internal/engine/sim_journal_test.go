package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// simFaults are the faults of the surroundings, while they are on.
type simFaults struct {
	on      bool
	broken  string    // how the journal is: "", "down", "full" (writes fail), "slow"
	until   time.Time // when that ends
	store   bool      // the credential store is not ready
	storeTo time.Time
}

// simJournal is the real journal, with stops and faults around every call.
type simJournal struct {
	Journal
	s *sim
	w *simWorker
}

// call makes one call of the journal: anything may happen before it and after
// it, it may fail, and it may fail after it was done.
func (s *sim) call(ctx context.Context, name string, writes bool, f func() error) error {
	s.pause()
	if s.faults.on && s.current.task && s.rng.IntN(80) == 0 {
		s.stall(5 * time.Minute)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	fault := s.rng.IntN(60)
	down := s.faults.broken == "down" || s.faults.broken == "full" && writes
	if s.faults.on && (down || fault == 0) {
		s.note("%s fails", name)
		s.counts["journal error"]++
		return fmt.Errorf("%s: %w", name, errSimulated)
	}
	err := f()
	late := time.Time{}
	if s.faults.broken == "slow" {
		late = time.Now().Add(s.within(8 * time.Second))
	}
	s.block(late, nil)
	if s.faults.on && fault == 1 && writes {
		s.note("%s was done, and fails", name)
		s.counts["journal error after commit"]++
		return fmt.Errorf("%s: %w", name, errSimulated)
	}
	if e := ctx.Err(); e != nil && !late.IsZero() {
		return e
	}
	return err
}

func (j *simJournal) Accounts(ctx context.Context) (out []journal.Account, err error) {
	err = j.s.call(ctx, "Accounts", false, func() (err error) {
		out, err = j.s.j.Accounts(ctx)
		return err
	})
	return out, err
}

func (j *simJournal) SetCircuit(ctx context.Context, account string, g journal.Circuit, was *journal.Circuit) error {
	return j.s.call(ctx, "SetCircuit", true, func() error {
		j.s.note("circuit breaker of %s: %s %s", account, g.State, g.Reason)
		j.s.counts["circuit breaker "+string(g.State)]++
		return j.s.j.SetCircuit(ctx, account, g, was)
	})
}

func (j *simJournal) ReserveTrial(ctx context.Context, account string, was journal.Circuit, until time.Time) error {
	return j.s.call(ctx, "ReserveTrial", true, func() error {
		err := j.s.j.ReserveTrial(ctx, account, was, until)
		j.s.note("trial of %s: %v", account, err)
		return err
	})
}

func (j *simJournal) Due(ctx context.Context) (out []journal.Due, err error) {
	err = j.s.call(ctx, "Due", false, func() (err error) {
		out, err = j.s.j.Due(ctx)
		return err
	})
	return out, err
}

func (j *simJournal) Claim(ctx context.Context, r journal.ClaimRequest) (ops []journal.ClaimedOperation, err error) {
	err = j.s.call(ctx, "Claim", true, func() (err error) {
		ops, err = j.s.j.Claim(ctx, r)
		for i := range ops {
			j.s.model.claimed(&ops[i], r.Lease)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return ops, nil
}

func (j *simJournal) ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error) {
	err = j.s.call(ctx, "ReleaseExpiredLeases", true, func() (err error) {
		planned, unknown, err = j.s.j.ReleaseExpiredLeases(ctx)
		if planned+unknown > 0 {
			j.s.note("leases end: %d planned, %d unknown", planned, unknown)
			j.s.counts["lease ended"] += planned + unknown
		}
		return err
	})
	return planned, unknown, err
}

func (j *simJournal) AvailablePermits(ctx context.Context, p journal.Permit) (n int, next time.Time, err error) {
	err = j.s.call(ctx, "AvailablePermits", false, func() (err error) {
		n, next, err = j.s.j.AvailablePermits(ctx, p)
		return err
	})
	return n, next, err
}

func (j *simJournal) BeginAttempt(ctx context.Context, m journal.AttemptStart) (id journal.AttemptID, err error) {
	at := time.Now()
	err = j.s.call(ctx, "BeginAttempt", true, func() (err error) {
		id, err = j.s.j.BeginAttempt(ctx, m)
		j.s.note("Send operation %d attempt %d flagged %v probe %v: %v", m.Ref.Operation, m.Attempt, m.Flagged, m.Probe, err)
		if err == nil {
			j.s.model.sent(id, m, at)
		}
		return err
	})
	return id, err
}

func (j *simJournal) BeginCheck(ctx context.Context, c journal.Check) (id journal.AttemptID, err error) {
	err = j.s.call(ctx, "BeginCheck", true, func() (err error) {
		id, err = j.s.j.BeginCheck(ctx, c)
		return err
	})
	return id, err
}

func (j *simJournal) EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	return j.s.call(ctx, "EndAttempt", true, func() error { return j.s.j.EndAttempt(ctx, id, end) })
}

func (j *simJournal) SaveResponse(ctx context.Context, r journal.Receipt) (state journal.State, mine bool, err error) {
	err = j.s.call(ctx, "SaveResponse", true, func() (err error) {
		state, mine, err = j.s.j.SaveResponse(ctx, r)
		j.s.note("Receive for operation %d: now %v, mine %v, %v", r.Ref.Operation, state, mine, err)
		if err == nil {
			j.s.model.received(r, mine)
		}
		return err
	})
	return state, mine, err
}

func (j *simJournal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (state journal.State, mine bool, id journal.AttemptID, err error) {
	err = j.s.call(ctx, "SaveResponse", true, func() (err error) {
		state, mine, id, err = j.s.j.SaveResponseAndBeginCheck(ctx, r, c)
		j.s.note("Receive for operation %d: now %v, mine %v, check %d, %v", r.Ref.Operation, state, mine, id, err)
		if err == nil {
			j.s.model.received(r, mine)
		}
		return err
	})
	return state, mine, id, err
}

func (j *simJournal) Prune(ctx context.Context, p journal.Prune) (got journal.Pruned, err error) {
	err = j.s.call(ctx, "Prune", true, func() (err error) {
		got, err = j.s.j.Prune(ctx, p)
		return err
	})
	return got, err
}

func (j *simJournal) Apply(ctx context.Context, tr journal.Transition) error {
	return j.s.call(ctx, "Apply", true, func() error {
		err := j.s.j.Apply(ctx, tr)
		j.s.note("Apply operation %d: %v to %v (%s) behind %v: %v", tr.Ref.Operation, tr.From, tr.To, tr.Reason, tr.Behind, err)
		if err == nil {
			j.s.model.applied(tr)
		}
		return err
	})
}

// simKeys seal in a way that every run repeats.
type simKeys struct{}

func (simKeys) mask(row string) byte {
	m := byte(0x5a)
	for i := range len(row) {
		m = m*31 + row[i]
	}
	return m
}

func (k simKeys) Seal(text []byte, row string) ([]byte, error) {
	out := append([]byte{1, 0, 0, 0, 7}, k.mask(row))
	for _, b := range text {
		out = append(out, b^0x5a)
	}
	return out, nil
}

func (k simKeys) Open(sealed []byte, row string) ([]byte, error) {
	if len(sealed) < 6 || sealed[5] != k.mask(row) {
		return nil, keyset.ErrOpen
	}
	var out []byte
	for _, b := range sealed[6:] {
		out = append(out, b^0x5a)
	}
	return out, nil
}

func (simKeys) MACs(domain string, text []byte) ([][]byte, error) {
	sum := sha256.Sum256([]byte(domain + "\x00" + string(text)))
	return [][]byte{append([]byte{0, 0, 0, 9}, sum[:16]...)}, nil
}

func (k simKeys) authenticate(domain string, parts ...[]byte) []byte {
	macs, _ := k.MACs(domain, bytes.Join(parts, []byte{0}))
	return macs[0]
}

func (k simKeys) Verify(mac []byte, domain string, parts ...[]byte) error {
	if macs, _ := k.MACs(domain, bytes.Join(parts, []byte{0})); !keyset.SameMAC(macs, mac) {
		return keyset.ErrOpen
	}
	return nil
}

// simStore keeps secrets in the journal's row, as credentials.Sealed does.
type simStore struct{ s *sim }

var errNotReady = errors.New("the store is not ready")

func (x *simStore) Ready(context.Context, journal.ShopKey) error {
	x.s.pause()
	if x.s.faults.store {
		return errNotReady
	}
	return nil
}

func (x *simStore) Prepare(_ context.Context, in credentials.Secret) (credentials.Prepared, error) {
	x.s.pause()
	if x.s.faults.store {
		return credentials.Prepared{}, errNotReady
	}
	ref := schemas.Reference{Store: schemas.StoreSealed, Mount: schemas.SealedMount, Account: in.Shop.Account, Shop: in.Shop.Shop, Version: in.Version}
	sealed, err := x.s.keys.Seal([]byte(in.MerchantID+"\x00"+in.Token.Reveal()), simRow(in.Shop, in.Version))
	return credentials.Prepared{Reference: ref, Row: journal.Credential{
		Shop: in.Shop, Version: in.Version, Reference: ref.String(), MerchantID: in.MerchantID, Sealed: sealed, At: time.Now().UTC(),
	}}, err
}

func (x *simStore) Read(_ context.Context, c journal.Credential) (credentials.Secret, error) {
	x.s.pause()
	if x.s.faults.store {
		return credentials.Secret{}, errNotReady
	}
	text, err := x.s.keys.Open(c.Sealed, simRow(c.Shop, c.Version))
	merchant, token, ok := strings.Cut(string(text), "\x00")
	if err != nil || !ok {
		return credentials.Secret{}, credentials.ErrUnreadable
	}
	return credentials.Secret{Shop: c.Shop, Version: c.Version, MerchantID: merchant, Token: secret.New(token)}, nil
}

// Destroy does nothing, as that of credentials.Sealed.
func (x *simStore) Destroy(context.Context, journal.Credential) error {
	x.s.pause()
	if x.s.faults.store {
		return errNotReady
	}
	return nil
}

func simRow(k journal.ShopKey, version int64) string {
	return keyset.CredentialAAD(k.Account, k.Shop, version)
}
