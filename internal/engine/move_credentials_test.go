package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// A memoryStore keeps secrets outside of the journal, as a server does: one version for
// each operation.
type memoryStore struct {
	mu       sync.Mutex
	versions map[journal.ShopKey][]credentials.Secret
	fail     error // of Prepare
	locked   error // of Destroy
}

func newMemoryStore() *memoryStore {
	return &memoryStore{versions: map[journal.ShopKey][]credentials.Secret{}}
}

func (m *memoryStore) Ready(context.Context, journal.ShopKey) error { return nil }

func (m *memoryStore) Prepare(_ context.Context, in credentials.Secret) (credentials.Prepared, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return credentials.Prepared{}, m.fail
	}
	ref, err := in.ReferenceIn(schemas.StoreOpenBao, "secret")
	if err != nil {
		return credentials.Prepared{}, err
	}
	list := m.versions[in.Shop]
	number := 0
	for i, s := range list {
		if s.Operation == in.Operation && s.Token.Equal(in.Token) {
			number = i + 1
		}
	}
	if number == 0 {
		m.versions[in.Shop] = append(list, in)
		number = len(list) + 1
	}
	ref = ref.Pinned(int64(number))
	return credentials.Prepared{Reference: ref, Row: journal.Credential{Shop: in.Shop, Version: max(in.Version, int64(number)), Reference: ref.String(), MerchantID: in.MerchantID}}, nil
}

func (m *memoryStore) Read(_ context.Context, row journal.Credential) (credentials.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ref, err := schemas.ParseReference(row.Reference)
	if err != nil || int(ref.Version) > len(m.versions[row.Shop]) {
		return credentials.Secret{}, credentials.ErrUnreadable
	}
	return m.versions[row.Shop][ref.Version-1], nil
}

// Name gives "openbao".
func (m *memoryStore) Name() string { return schemas.StoreOpenBao }

func (m *memoryStore) Destroy(_ context.Context, row journal.Credential) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked != nil {
		return m.locked
	}
	ref, err := schemas.ParseReference(row.Reference)
	if err == nil && int(ref.Version) <= len(m.versions[row.Shop]) {
		m.versions[row.Shop][ref.Version-1] = credentials.Secret{}
	}
	return err
}

func (m *memoryStore) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// lock makes Destroy fail; nil: no more.
func (m *memoryStore) lock(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked = err
}

// tokens are those that the store has of a shop.
func (m *memoryStore) tokens(shop journal.ShopKey) (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.versions[shop] {
		if !s.Token.IsZero() {
			list = append(list, s.Token.Reveal())
		}
	}
	return list
}

// withStores gives a harness the stores sealed and openbao.
func (h *harness) withStores() *memoryStore {
	bao, sealed := newMemoryStore(), credentials.NewSealed(h.keys)
	h.cfg.Stores = map[string]Store{schemas.StoreSealed: sealed, schemas.StoreOpenBao: bao}
	h.cfg.Credentials = credentials.NewStores(sealed, nil, map[string]credentials.Store{schemas.StoreSealed: sealed, schemas.StoreOpenBao: bao})
	return bao
}

func (h *harness) moves(store string, op *operation) *journal.Intent {
	act, _ := onboarding.MoveActionTo(store)
	i := journal.Intent{Act: string(act)}
	if op != nil {
		i.Operation = op.UUID
	}
	return h.j.ask(h.keys, i, "")
}

// brokenMoves fails some moves, before or after their commit.
type brokenMoves struct {
	*testJournal
	mu   sync.Mutex
	next []error // before the commit, where it is not errAfterCommit
}

var errAfterCommit = errors.New("the answer of the database is lost")

func (b *brokenMoves) MoveCredential(ctx context.Context, m journal.CredentialMove) error {
	b.mu.Lock()
	var fail error
	if len(b.next) > 0 {
		fail, b.next = b.next[0], b.next[1:]
	}
	b.mu.Unlock()
	if fail != nil && !errors.Is(fail, errAfterCommit) {
		return fail
	}
	return errors.Join(b.testJournal.MoveCredential(ctx, m), fail)
}

// A move whose journal or store fails at each of its steps is made once: one secret in the
// store, one event.
func TestMoveCredentials(t *testing.T) {
	down := errors.New("down")
	for name, broken := range map[string][]error{
		"nothing fails": nil, "before the commit": {down}, "after the commit": {errAfterCommit}, "the shop changes": {journal.ErrStale, journal.ErrVersionTaken},
		"again and again": {down, errAfterCommit, down, journal.ErrStale, errAfterCommit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, good)
				b.cfg.DestroyAfter = 10 * time.Minute
				bao := b.withStores()
				b.cfg.Journal = &brokenMoves{testJournal: b.j, next: broken}
				const shops = 3
				var ops []*operation
				for i := range shops {
					ops = append(ops, b.add(journal.Activate, fmt.Sprintf("shop-%d", i), fmt.Sprintf("code-%d", i)))
				}
				b.start()
				b.until(time.Minute, "active", b.j.settled)
				bao.setFail(down)
				i := b.moves(schemas.StoreOpenBao, nil)
				time.Sleep(time.Minute)
				synctest.Wait()
				if b.j.intent(i).State != journal.IntentWaiting {
					t.Fatal("the move has ended although the store is down")
				}
				bao.setFail(nil)
				got := b.ended(i, onboarding.ResultMoved)
				// What was committed before an error is not counted again.
				if len(broken) == 0 && !strings.HasSuffix(got.Detail, "credentials of 3 shop(s) were moved") {
					t.Errorf("the result is %s", got.Detail)
				}
				again := b.ended(b.moves(schemas.StoreOpenBao, nil), onboarding.ResultMoved)
				if !strings.HasSuffix(again.Detail, "credentials of 0 shop(s) were moved") {
					t.Errorf("again: %s", again.Detail)
				}
				for i, op := range ops {
					b.expect(op, journal.Done, onboarding.ReasonActivated, eventActive, eventActive)
					a := decoded(t, b.j.eventsOf(op)[1]).(schemas.Activated)
					if a.Credentials.Ref != fmt.Sprintf("ref+openbao://secret/invoicebox/default/shop-%d?version=1", i) || len(bao.versions[op.Shop]) != 1 {
						t.Errorf("announced %+v, stored %d", a, len(bao.versions[op.Shop]))
					}
				}
				// And back, one by one.
				b.ended(b.moves(schemas.StoreSealed, ops[0]), onboarding.ResultMoved)
				if a := decoded(t, b.j.eventsOf(ops[0])[2]).(schemas.Activated); a.Credentials.Store != schemas.StoreSealed || a.Credentials.Version != 3 {
					t.Errorf("announced %+v", a)
				}
				b.ended(b.moves(schemas.StoreVault, nil), onboarding.ResultNoStore)
				// What the moves left behind is destroyed.
				time.Sleep(b.cfg.DestroyAfter + time.Minute)
				synctest.Wait()
				for i, op := range ops {
					if sealed, there := b.sealedRow(op, 1).Sealed, bao.versions[op.Shop][0].MerchantID != ""; sealed != nil || there != (i > 0) {
						t.Errorf("shop %d: sealed %v, in the store %v", i, sealed != nil, there)
					}
				}
				b.finish()
				b.expect(ops[1], journal.Done, onboarding.ReasonActivated, eventActive, eventActive)
				if strings.Contains(b.log.String(), "token-") {
					t.Error("the log contains a token")
				}
			})
		})
	}
}

// A shop is disconnected while its credentials are copied. The log names the copy.
func TestMoveCredentials_Disconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		bao := b.withStores()
		op := b.add(journal.Activate, "shop-1", "code-1")
		held := &heldMove{testJournal: b.j, reached: make(chan struct{}), pass: make(chan struct{})}
		b.cfg.Journal = held
		b.start()
		b.until(time.Minute, "active", b.j.settled)
		i := b.moves(schemas.StoreOpenBao, nil)
		<-held.reached
		b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultDisconnected)
		close(held.pass)
		got := b.ended(i, onboarding.ResultNotMoved)
		if !strings.Contains(got.Detail, "the shop has no credentials in use") || len(bao.tokens(op.Shop)) != 1 {
			t.Errorf("the result is %s; the store has %d tokens", got.Detail, len(bao.tokens(op.Shop)))
		}
		if !strings.Contains(b.log.String(), `ref="ref+openbao://secret/invoicebox/default/shop-1?version=1`) {
			t.Error("the log does not name the copy")
		}
		b.finish()
	})
}

// heldMove commits a move only when it may pass.
type heldMove struct {
	*testJournal
	reached, pass chan struct{}
}

func (h *heldMove) MoveCredential(ctx context.Context, m journal.CredentialMove) error {
	close(h.reached)
	<-h.pass
	return h.testJournal.MoveCredential(ctx, m)
}

// What cannot be moved stays where it is, is counted, and is not announced.
func TestMoveCredentials_Left(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		bao := b.withStores()
		bao.fail = fmt.Errorf("%w: secret/invoicebox/default/shop-1", credentials.ErrConflict)
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Minute, "active", b.j.settled)
		got := b.ended(b.moves(schemas.StoreOpenBao, nil), onboarding.ResultNotMoved)
		if !strings.Contains(got.Detail, "of 1 they stay: the store has somebody else's secret") {
			t.Errorf("the result is %s", got.Detail)
		}
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventActive)
	})
}

// Credentials that were announced as invalid stay invalid at their new place.
func TestMoveCredentials_Invalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused bool
		var mu sync.Mutex
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			mu.Lock()
			defer mu.Unlock()
			if op == invoicebox.Check && refused {
				return answer{status: 401}
			}
			return good(op, value, n)
		})
		b.withStores()
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.until(time.Minute, "active", b.j.settled)
		mu.Lock()
		refused = true
		mu.Unlock()
		b.until(72*time.Hour, "invalid", func() bool { return len(b.j.eventsOf(op)) == 2 })
		b.ended(b.moves(schemas.StoreOpenBao, nil), onboarding.ResultMoved)
		events := b.j.eventsOf(op)
		if len(events) != 4 || events[2].Type != schemas.TypeActivated || events[3].Type != schemas.TypeCredentialsInvalid {
			t.Fatalf("%d events", len(events))
		}
		moved, invalid := decoded(t, events[2]).(schemas.Activated), decoded(t, events[3]).(schemas.CredentialsInvalid)
		if moved.Verification != schemas.VerificationPending || moved.Credentials.Store != schemas.StoreOpenBao || invalid.Credentials.Ref != moved.Credentials.Ref {
			t.Errorf("announced %+v and %+v", moved, invalid)
		}
		b.finish()
		ids := map[uuid.UUID]bool{}
		for _, e := range b.j.eventsOf(op) {
			ids[e.Event] = true
		}
		if len(ids) != 4 {
			t.Errorf("%d ids of 4 events", len(ids))
		}
	})
}
