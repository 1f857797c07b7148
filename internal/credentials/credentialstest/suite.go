package credentialstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// A Fixture is a store with functions that read and occupy its places.
type Fixture struct {
	Store credentials.Store
	// Resolve reads the secret that a prepared reference names, as a subscriber would.
	Resolve func(ctx context.Context, p credentials.Prepared) (credentials.Secret, error)
	// Occupy stores another writer's secret in the place of a shop's; nil if nobody else
	// can write. A store with Occupy has its own numbers: its references have the store's
	// versions, and rows the journal's.
	Occupy func(shop journal.ShopKey)
}

// Shops are shop ids that every store has to distinguish.
var Shops = []string{
	"1", "shop-1", "Shop-1", "..", ".", "a/b", "a%2Fb", "магазин", "🛍", " space ", "b32-mfrgg", strings.Repeat("x", schemas.MaxShopBytes),
}

// Run tests a store. Fresh returns an empty one.
func Run(t *testing.T, fresh func(t *testing.T) Fixture) {
	t.Run("a secret comes back whole", func(t *testing.T) { comesBack(t, fresh(t)) })
	t.Run("shops and versions are kept apart", func(t *testing.T) { keptApart(t, fresh(t)) })
	t.Run("the same again is no error", func(t *testing.T) { sameAgain(t, fresh(t)) })
	t.Run("what cannot be stored is refused", func(t *testing.T) { refused(t, fresh(t)) })
	t.Run("at the same time", func(t *testing.T) { concurrent(t, fresh(t)) })
	t.Run("once for each operation", func(t *testing.T) { onceForOperation(t, fresh(t)) })
	t.Run("another writer's secret stays", func(t *testing.T) { occupied(t, fresh(t)) })
	t.Run("a destroyed version is gone, and no other", func(t *testing.T) { destroyed(t, fresh(t)) })
}

func sample(shop string, version int64) credentials.Secret {
	return credentials.Secret{
		Shop: journal.ShopKey{Account: "default", Shop: shop}, Version: version, Operation: uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "%s/%d", shop, version)),
		MerchantID: fmt.Sprintf("m-%d", version), Token: secret.New(fmt.Sprintf("token:%s:%d", shop, version)),
	}
}

// resolved compares the secret that a reference names with the stored one. Its version is
// the store's.
func (f Fixture) resolved(t *testing.T, p credentials.Prepared, want credentials.Secret) {
	t.Helper()
	got, err := f.Resolve(t.Context(), p)
	if err != nil {
		t.Errorf("shop %q: resolve: %v", want.Shop.Shop, err)
		return
	}
	want.Version = p.Reference.Version
	same(t, got, want)
}

// same compares secrets unencrypted, which is permitted in a test.
func same(t *testing.T, got, want credentials.Secret) {
	t.Helper()
	type open struct {
		Shop       journal.ShopKey
		Version    int64
		MerchantID string
		Token      string
	}
	if d := cmp.Diff(open{want.Shop, want.Version, want.MerchantID, want.Token.Reveal()},
		open{got.Shop, got.Version, got.MerchantID, got.Token.Reveal()}); d != "" {
		t.Errorf("another secret came back (-want +got):\n%s", d)
	}
}

func comesBack(t *testing.T, f Fixture) {
	for _, shop := range Shops {
		want := sample(shop, 3)
		if err := f.Store.Ready(t.Context(), want.Shop); err != nil {
			t.Fatalf("shop %q: not ready: %v", shop, err)
		}
		p, err := f.Store.Prepare(t.Context(), want)
		if err != nil {
			t.Fatalf("shop %q: %v", shop, err)
		}
		ref, err := schemas.ParseReference(p.Row.Reference)
		if err != nil || ref != p.Reference {
			t.Errorf("shop %q: the row's reference %q is not the prepared one (%v)", shop, p.Row.Reference, err)
		}
		if ref.Store != f.Store.Name() || f.Occupy == nil && ref.Version != 3 || ref.Version < 1 || ref.Field != "" || ref.Shop != shop || ref.Account != "default" {
			t.Errorf("shop %q: the reference %+v is not pinned to it", shop, ref)
		}
		if p.Row.Shop != want.Shop || p.Row.Version != 3 || p.Row.MerchantID != want.MerchantID {
			t.Errorf("shop %q: the row is another's", shop)
		}
		if strings.Contains(string(p.Row.Sealed), want.Token.Reveal()) || strings.Contains(p.Row.Reference, want.Token.Reveal()) {
			t.Errorf("shop %q: the token lies open in the row", shop)
		}
		f.resolved(t, p, want)
		got, err := f.Store.Read(t.Context(), p.Row)
		if err != nil {
			t.Fatalf("shop %q: read: %v", shop, err)
		}
		same(t, got, want)
		p.Row.Shop.Shop += "-other"
		if _, err = f.Store.Read(t.Context(), p.Row); err == nil {
			t.Errorf("shop %q: its secret was read for another shop", shop)
		}
	}
}

func keptApart(t *testing.T, f Fixture) {
	var prepared []credentials.Prepared
	var want []credentials.Secret
	keys := map[string]bool{}
	for _, shop := range Shops {
		for version := int64(1); version <= 2; version++ {
			s := sample(shop, version)
			p, err := f.Store.Prepare(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			prepared, want = append(prepared, p), append(want, s)
			if keys[p.Row.Reference] {
				t.Errorf("the reference %q names two secrets", p.Row.Reference)
			}
			keys[p.Row.Reference] = true
		}
	}
	for i, p := range prepared {
		f.resolved(t, p, want[i])
	}
}

func sameAgain(t *testing.T, f Fixture) {
	s := sample("shop-1", 1)
	for range 2 {
		p, err := f.Store.Prepare(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		f.resolved(t, p, s)
	}
}

// onceForOperation: the journal may not have committed the row, and gives the operation
// another version the next time. Meanwhile other operations of the shop were prepared.
func onceForOperation(t *testing.T, f Fixture) {
	if f.Occupy == nil {
		t.Skip("nothing is stored before the journal commits the row")
	}
	first := sample("shop-1", 1)
	stored, err := f.Store.Prepare(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	for version := int64(2); version <= 3; version++ {
		if _, err := f.Store.Prepare(t.Context(), sample("shop-1", version)); err != nil {
			t.Fatal(err)
		}
	}
	first.Version = 4
	again, err := f.Store.Prepare(t.Context(), first)
	if err != nil || again.Reference != stored.Reference || again.Row.Version != 4 {
		t.Fatalf("the same secret is stored at %v and at %v, row version %d: %v", stored.Reference, again.Reference, again.Row.Version, err)
	}
	f.resolved(t, again, first)
	// An operator may enter another token for the same operation.
	other := first
	other.Token = secret.New("entered-token")
	entered, err := f.Store.Prepare(t.Context(), other)
	if err != nil || entered.Reference.Version != 4 {
		t.Fatalf("another token of the operation: %v %v", entered.Reference, err)
	}
	f.resolved(t, again, first)
	f.resolved(t, entered, other)
}

func occupied(t *testing.T, f Fixture) {
	if f.Occupy == nil {
		t.Skip("nobody else can write")
	}
	s := sample("shop-1", 1)
	f.Occupy(s.Shop)
	if err := f.Store.Ready(t.Context(), s.Shop); !errors.Is(err, credentials.ErrConflict) {
		t.Errorf("ready: %v, want ErrConflict", err)
	}
	if _, err := f.Store.Prepare(t.Context(), s); !errors.Is(err, credentials.ErrConflict) {
		t.Errorf("prepare: %v, want ErrConflict", err)
	}
	if err := f.Store.Ready(t.Context(), sample("shop-2", 1).Shop); err != nil {
		t.Errorf("another shop: %v", err)
	}
}

// destroyed: a store with secrets outside of the rows destroys them itself.
func destroyed(t *testing.T, f Fixture) {
	var rows []credentials.Prepared
	for version := int64(1); version <= 3; version++ {
		p, err := f.Store.Prepare(t.Context(), sample("shop-1", version))
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, p)
	}
	other, err := f.Store.Prepare(t.Context(), sample("shop-2", 1))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Store.Destroy(t.Context(), rows[1].Row); err != nil {
			t.Fatal(err)
		}
	}
	f.resolved(t, rows[0], sample("shop-1", 1))
	f.resolved(t, rows[2], sample("shop-1", 3))
	f.resolved(t, other, sample("shop-2", 1))
	if f.Occupy == nil {
		return // the journal destroys the secret in a row
	}
	if _, err := f.Store.Read(t.Context(), rows[1].Row); !errors.Is(err, credentials.ErrUnreadable) {
		t.Errorf("a destroyed version is read: %v", err)
	}
	// A row that names another shop's secret destroys nothing.
	moved := other.Row
	moved.Shop.Shop = "shop-1"
	if err := f.Store.Destroy(t.Context(), moved); !errors.Is(err, credentials.ErrConflict) {
		t.Errorf("a row of another shop: %v, want ErrConflict", err)
	}
	f.resolved(t, other, sample("shop-2", 1))
	f.Occupy(journal.ShopKey{Account: "default", Shop: "shop-3"})
	foreign := rows[0].Row
	foreign.Shop.Shop, foreign.Reference = "shop-3", strings.Replace(foreign.Reference, "shop-1", "shop-3", 1)
	if err := f.Store.Destroy(t.Context(), foreign); !errors.Is(err, credentials.ErrConflict) {
		t.Errorf("another writer's secret: %v, want ErrConflict", err)
	}
	// The next version follows the destroyed one.
	if err := f.Store.Destroy(t.Context(), rows[2].Row); err != nil {
		t.Fatal(err)
	}
	if err := f.Store.Ready(t.Context(), sample("shop-1", 4).Shop); err != nil {
		t.Errorf("behind a destroyed version: %v", err)
	}
	next, err := f.Store.Prepare(t.Context(), sample("shop-1", 4))
	if err != nil || next.Reference.Version != 4 {
		t.Fatalf("behind a destroyed version: %v, %v", next.Reference, err)
	}
	f.resolved(t, next, sample("shop-1", 4))
}

func refused(t *testing.T, f Fixture) {
	for name, change := range map[string]func(*credentials.Secret){
		"no token":             func(s *credentials.Secret) { s.Token = secret.String{} },
		"no merchant id":       func(s *credentials.Secret) { s.MerchantID = "" },
		"version 0":            func(s *credentials.Secret) { s.Version = 0 },
		"no shop":              func(s *credentials.Secret) { s.Shop.Shop = "" },
		"no account":           func(s *credentials.Secret) { s.Shop.Account = "" },
		"a shop over its size": func(s *credentials.Secret) { s.Shop.Shop = strings.Repeat("x", schemas.MaxShopBytes+1) },
	} {
		s := sample("shop-1", 1)
		change(&s)
		_, err := f.Store.Prepare(t.Context(), s)
		if !errors.Is(err, credentials.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "token:") {
			t.Errorf("%s: the error gives the token away", name)
		}
	}
}

func concurrent(t *testing.T, f Fixture) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			s := sample(fmt.Sprintf("shop-%d", i), 1)
			p, err := f.Store.Prepare(t.Context(), s)
			if err != nil {
				t.Error(err)
				return
			}
			f.resolved(t, p, s)
		})
	}
	wg.Wait()
	// One shop, several operations.
	all := make([]credentials.Prepared, 4)
	for i := range all {
		wg.Go(func() {
			p, err := f.Store.Prepare(t.Context(), sample("shop-99", int64(i+1)))
			if err != nil {
				t.Error(err)
			}
			all[i] = p
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for i, p := range all {
		f.resolved(t, p, sample("shop-99", int64(i+1)))
		seen[p.Reference.Version] = true
	}
	if len(seen) != len(all) {
		t.Errorf("%d operations have %d versions", len(all), len(seen))
	}
}
