package openbao_test

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/credentialstest"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/secret"
)

// requestTarget is what the store may ask for: bytes of the request line, not a path that
// was decoded or cleaned.
var requestTarget = regexp.MustCompile(`^/v1/(?:secret/(?:data|metadata|destroy)/invoicebox/([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)(?:\?version=[0-9]+)?|sys/internal/ui/mounts/secret|auth/token/lookup-self)$`)

// Whatever a shop is named, the requests for it stay in the path of its own, and another
// shop's secret is neither read nor destroyed.
func TestHostileShops(t *testing.T) {
	f := newFake(t)
	var asked []string
	f.set(func(_ http.ResponseWriter, r *http.Request) bool {
		asked = append(asked, r.RequestURI)
		return false
	}, nil)
	store := f.open(t, openbao.WithToken(given("good")), nil)
	begin := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.paths, asked = map[string][]map[string]any{}, nil
	}
	// paths gives the places that were asked for since, and forgets them.
	paths := func(t *rapid.T) map[string]bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		found := map[string]bool{}
		for _, target := range asked {
			m := requestTarget.FindStringSubmatch(target)
			switch {
			case len(m) == 0 || m[1] == "." || m[1] == ".." || m[2] == "." || m[2] == "..":
				t.Fatalf("a request for %s", target)
			case m[1] != "":
				found[m[1]+"/"+m[2]] = true
			}
		}
		asked = nil
		return found
	}
	rapid.Check(t, func(t *rapid.T) {
		begin()
		stored := map[string]journal.ShopKey{}
		var rows []credentials.Prepared
		var want []string
		for i, shop := range rapid.SliceOfNDistinct(credentialstest.HostileShops(), 2, 3, rapid.ID).Draw(t, "shops") {
			token := fmt.Sprintf("token-%d", i)
			readyErr := store.Ready(t.Context(), shop)
			p, err := store.Prepare(t.Context(), credentials.Secret{Shop: shop, Version: 1, Operation: uuid.New(), MerchantID: "m-1", Token: secret.New(token)})
			at := paths(t)
			if (readyErr == nil) != (err == nil) || err != nil && len(at) != 0 {
				t.Fatalf("%q: ready %v, stored %v, requests for %v", shop, readyErr, err, at)
			}
			if err != nil {
				continue
			}
			rows, want = append(rows, p), append(want, token)
			if len(at) != 1 {
				t.Fatalf("%q: requests for %v", shop, at)
			}
			for path := range at {
				if other, taken := stored[path]; taken {
					t.Fatalf("%q and %q are both at %s", shop, other, path)
				}
				stored[path] = shop
			}
		}
		if len(rows) < 2 {
			return
		}
		if err := store.Destroy(t.Context(), rows[0].Row); err != nil {
			t.Fatal(err)
		}
		for i, p := range rows {
			got, err := store.Read(t.Context(), p.Row)
			if (err != nil) != (i == 0) || i > 0 && (got.Token.Reveal() != want[i] || got.Shop != p.Row.Shop) {
				t.Fatalf("%q, after %q was destroyed: %v", p.Row.Shop, rows[0].Row.Shop, err)
			}
		}
		paths(t)
	})
}
