package credentials_test

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/credentialstest"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// A place is a store and its mount.
type place struct{ store, mount string }

var places = []place{{schemas.StoreSealed, schemas.SealedMount}, {schemas.StoreOpenBao, "secret"}, {schemas.StoreVault, "kv/team-7"}}

// reference gives the reference of a shop's secret; ok is false for a shop that none can
// name.
func reference(at place, shop journal.ShopKey, version int64) (ref schemas.Reference, ok bool) {
	s := credentials.Secret{Shop: shop, Version: version, MerchantID: "m-1", Token: secret.New("token")}
	ref, err := s.ReferenceIn(at.store, at.mount)
	return ref, err == nil
}

// checkPair checks that the references of two shops stay in their subtrees and differ.
func checkPair(fatal func(format string, args ...any), at place, one, other journal.ShopKey, version int64) {
	a, ok := reference(at, one, version)
	if !ok {
		return
	}
	text := a.String()
	back, err := schemas.ParseReference(text)
	if err != nil || back != a || back.Account != one.Account || back.Shop != one.Shop || back.Version != version {
		fatal("%q is %s, and reads as %+v: %v", one, text, back, err)
	}
	// Whoever reads it as a URL, and cleans the path, gets to the same place.
	u, err := url.Parse(text)
	if err != nil || u.Host+u.Path != a.Key() || path.Clean(u.Host+u.Path) != a.Key() || u.EscapedPath() != u.Path || u.User != nil {
		fatal("%q is %s; a URL parser reads %v: %v", one, text, u, err)
	}
	// Its subtree is the mount, the folder and the account: two more segments.
	rest, inside := strings.CutPrefix(a.Key(), at.mount+"/invoicebox/")
	if segments := strings.Split(rest, "/"); !inside || len(segments) != 2 || slices.Contains(segments, "") || slices.Contains(segments, "..") || slices.Contains(segments, ".") {
		fatal("%q leaves its subtree: %s", one, a.Key())
	}
	b, ok := reference(at, other, version)
	if !ok {
		return
	}
	if (a.Key() == b.Key()) != (one == other) || path.Dir(a.Key()) == path.Dir(b.Key()) != (one.Account == other.Account) {
		fatal("%q and %q: %s and %s", one, other, a.Key(), b.Key())
	}
	if strings.HasPrefix(b.Key(), a.Key()+"/") {
		fatal("%q is below %q: %s and %s", other, one, b.Key(), a.Key())
	}
}

// No shop id leaves its subtree, no two share a reference, and each reference reads as
// the shop that it was made for.
func TestReferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shops := credentialstest.HostileShops()
		checkPair(t.Fatalf, rapid.SampledFrom(places).Draw(t, "place"), shops.Draw(t, "one"), shops.Draw(t, "other"), rapid.Int64Min(1).Draw(t, "version"))
	})
}

func FuzzReferences(f *testing.F) {
	for _, shop := range credentialstest.Shops {
		f.Add("default", shop, "default", "shop-1", int64(1))
	}
	f.Add("a/b", "c", "a", "b/c", int64(1))
	f.Add("b32-mfrgg", "..", "abc", "b32-fyxa", int64(9))
	f.Fuzz(func(t *testing.T, account, shop, otherAccount, otherShop string, version int64) {
		for _, at := range places {
			checkPair(t.Fatalf, at, journal.ShopKey{Account: account, Shop: shop}, journal.ShopKey{Account: otherAccount, Shop: otherShop}, version)
		}
	})
}
