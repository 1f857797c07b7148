package openbao_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
	t.Parallel()
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

// The server is sealed, ends in order, and is killed between two calls: each is an
// error that passes, and what was stored is there afterwards, once.
func TestServerFails(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	roleID, secretID := s.AppRole(t, policy(t, s, baotest.Mount), nil)
	store := open(t, s, func(c *openbao.Config) { c.Login = openbao.WithAppRole("", given(roleID), given(secretID)) })
	p, err := store.Prepare(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		down, up func()
	}{
		{"sealed", func() { s.Seal(t) }, func() { s.Unseal(t) }},
		{"ended", func() { s.Down(syscall.SIGTERM) }, func() { s.Up(t) }},
		{"killed", func() { s.Down(syscall.SIGKILL) }, func() { s.Up(t) }},
	} {
		c.down()
		if err := store.Ready(t.Context(), sample().Shop); err == nil {
			t.Errorf("%s: it is ready", c.name)
		}
		if _, err := store.Prepare(t.Context(), sample()); err == nil {
			t.Errorf("%s: a secret is stored", c.name)
		}
		if _, err := store.Read(t.Context(), p.Row); err == nil || errors.Is(err, credentials.ErrUnreadable) {
			t.Errorf("%s: read: %v", c.name, err)
		}
		c.up()
		if err := store.Ready(t.Context(), sample().Shop); err != nil {
			t.Errorf("after it was %s: %v", c.name, err)
		}
		again, err := store.Prepare(t.Context(), sample())
		if err != nil || again.Reference != p.Reference {
			t.Errorf("after it was %s: %v at %v", c.name, err, again.Reference)
		}
	}
	text, err := os.ReadFile(s.AuditLog())
	if err != nil || len(text) == 0 {
		t.Fatalf("the audit log: %v", err)
	}
	if strings.Contains(string(text), marked) || strings.Contains(string(text), secretID) {
		t.Error("the audit log holds a secret")
	}
	// A destroyed version is lost; a deleted one may come back.
	data := baotest.Mount + "/data/" + sampleKey
	s.Delete(t, data)
	if _, err := store.Read(t.Context(), p.Row); !errors.Is(err, credentials.ErrAbsent) {
		t.Errorf("a deleted version: %v", err)
	}
	s.Write(t, baotest.Mount+"/destroy/"+sampleKey, map[string]any{"versions": []int{1}})
	if _, err := store.Read(t.Context(), p.Row); !errors.Is(err, credentials.ErrUnreadable) {
		t.Errorf("a destroyed version: %v", err)
	}
	if err := store.Ready(t.Context(), sample().Shop); err != nil {
		t.Errorf("behind a destroyed version: %v", err)
	}
}

// Leases are renewed, and replaced when they end; what the policy does not permit is
// not possible.
func TestLeases(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	name := policy(t, s, baotest.Mount)
	ready := func(what string, store *openbao.Store) {
		t.Helper()
		if err := store.Ready(t.Context(), sample().Shop); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	keeping := func(store *openbao.Store) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = store.Keep(ctx)
		}()
		t.Cleanup(func() { stop(); <-done })
	}
	// Three seconds at most, whatever is renewed.
	roleID, secretID := s.AppRole(t, name, map[string]any{"token_ttl": "2s", "token_max_ttl": "3s"})
	ends := open(t, s, func(c *openbao.Config) { c.Login = openbao.WithAppRole("", given(roleID), given(secretID)) })
	kept := open(t, s, func(c *openbao.Config) { c.Login = openbao.WithAppRole("", given(roleID), given(secretID)) })
	token := s.Token(t, name, map[string]any{"ttl": "8s", "period": "8s"})
	periodic := open(t, s, func(c *openbao.Config) { c.Login = openbao.WithToken(given(token)) })
	keeping(kept)
	keeping(periodic)
	ready("a lease that ends", ends)
	ready("a lease that is kept", kept)
	ready("a token that is renewed", periodic)
	<-time.After(9 * time.Second)
	ready("a lease that has ended", ends)
	ready("a lease that was kept", kept)
	ready("a token that was renewed", periodic)
	for path, data := range map[string]map[string]any{
		baotest.Mount + "/data/other/shop-1":                        {"data": map[string]any{}},
		baotest.Mount + "/destroy/other/shop-1":                     {"versions": []int{1}},
		baotest.Mount + "/config":                                   {"max_versions": 1},
		"sys/policies/acl/invoicebox-worker-" + baotest.Mount:       {"policy": ""},
		baotest.Mount + "/delete/invoicebox/default/another-shop-1": {"versions": []int{1}},
	} {
		if err := s.WriteAs(t, token, path, data); err == nil {
			t.Errorf("the policy permits a write to %s", path)
		}
	}
}

// A JWT of another issuer logs in.
func TestJWT(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	name := policy(t, s, baotest.Mount)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s.Write(t, "sys/auth/jwt", map[string]any{"type": "jwt"})
	s.Write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
	s.Write(t, "auth/jwt/role/worker", map[string]any{"role_type": "jwt", "bound_audiences": "openbao", "user_claim": "sub", "policies": name, "ttl": "1h"})
	jwt := func(audience string) string {
		part := func(v any) string {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return base64.RawURLEncoding.EncodeToString(text)
		}
		text := part(map[string]any{"alg": "ES256", "typ": "JWT"}) + "." +
			part(map[string]any{"sub": "worker", "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
		digest := sha256.Sum256([]byte(text))
		r, v, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature := append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		return text + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	now := jwt("others")
	store := open(t, s, func(c *openbao.Config) {
		c.Login = openbao.WithJWT("", "worker", func() secret.String { return secret.New(now) })
	})
	if err := store.Ready(t.Context(), sample().Shop); err == nil || strings.Contains(err.Error(), now) {
		t.Errorf("a JWT for others: %v", err)
	}
	now = jwt("openbao") // its file has changed
	if _, err := store.Prepare(t.Context(), sample()); err != nil {
		t.Error(err)
	}
}
