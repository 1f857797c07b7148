package openbao_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/credentialstest"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/schemas"
)

func newKeys(t *testing.T) *keyset.Set {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func given(text string) func() secret.String {
	return func() secret.String { return secret.New(text) }
}

// policy applies the policy of deploy/ to a server, for a mount, and returns its name
// there.
func policy(t *testing.T, s *baotest.Server, mount string) string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "openbao", "policy.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	name := "invoicebox-worker-" + mount
	s.Policy(t, name, strings.ReplaceAll(strings.ReplaceAll(string(rules), `"secret/`, `"`+mount+`/`), "mounts/secret", "mounts/"+mount))
	return name
}

func open(t *testing.T, s *baotest.Server, change func(*openbao.Config)) *openbao.Store {
	t.Helper()
	c := openbao.Config{Name: schemas.StoreOpenBao, Address: s.URL(), CAFile: s.CAFile(), Mount: baotest.Mount, Keys: newKeys(t)}
	change(&c)
	store, err := openbao.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// A real server holds the store to the suite's promises, with the policy of
// deploy/.
func TestStoreConforms(t *testing.T) {
	s := baotest.Start(t)
	mounts := 0
	credentialstest.Run(t, func(t *testing.T) credentialstest.Fixture {
		// A mount for each, so that each begins with nothing.
		mounts++
		mount := fmt.Sprintf("kv-%d", mounts)
		s.Mount(t, mount)
		token := s.Token(t, policy(t, s, mount), nil)
		store := open(t, s, func(c *openbao.Config) { c.Mount, c.Login = mount, openbao.WithToken(given(token)) })
		return credentialstest.Fixture{
			Store: store, Resolve: func(ctx context.Context, p credentials.Prepared) (credentials.Secret, error) {
				return store.Resolve(ctx, p.Reference)
			},
			Occupy: func(shop journal.ShopKey) {
				ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: mount, Account: shop.Account, Shop: shop.Shop}
				s.Write(t, strings.Replace(ref.Key(), mount+"/", mount+"/data/", 1), map[string]any{"data": map[string]any{"merchantId": "theirs", "token": "theirs"}})
			},
		}
	})
}
