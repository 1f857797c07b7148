package openbao_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/credentialstest"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
)

const marked = "mArk:shop/t0ken+abc="

func sample() credentials.Secret {
	return credentials.Secret{
		Shop: journal.ShopKey{Account: "default", Shop: "shop-1"}, Version: 1, Operation: uuid.MustParse("1d7a0c4e-0a5b-5e0e-9a44-2f9b6c1d0b7e"),
		MerchantID: "m-1", Token: secret.New(marked),
	}
}

const (
	sampleKey  = "invoicebox/default/shop-1"
	samplePath = "/v1/secret/data/" + sampleKey
)

func TestStoreConformsOnFake(t *testing.T) {
	credentialstest.Run(t, func(t *testing.T) credentialstest.Fixture {
		f := newFake(t)
		store := f.open(t, openbao.WithToken(given("good")), nil)
		return credentialstest.Fixture{
			Store: store, Resolve: func(ctx context.Context, p credentials.Prepared) (credentials.Secret, error) {
				return store.Resolve(ctx, p.Reference)
			},
			Occupy: func(shop journal.ShopKey) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.paths["invoicebox/"+shop.Account+"/"+shop.Shop] = []map[string]any{{"token": "theirs"}}
			},
		}
	})
}

// Every fault is an error of its own that passes, before a code is spent and when a
// secret is to be stored; it costs one request, and says nothing of the secret, also
// where the answer repeats the request. When it is over, the secret is stored once.
func TestFaults(t *testing.T) {
	elsewhere := atomic.Int64{}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer other.Close()
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, `{"errors":["`+marked+`"]}`, code)
			return true
		}
	}
	cut := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	for _, c := range []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request) bool
		after bool // its effect
		want  openbao.Fault
	}{
		{"Sealed", status(503), false, openbao.FaultUnavailable},
		{"Standby", status(473), false, openbao.FaultUnavailable},
		{"Quota", status(429), false, openbao.FaultLimited},
		{"Behind", status(412), false, openbao.FaultBehind},
		{"Denied", status(403), false, openbao.FaultDenied},
		{"NoMount", status(404), false, openbao.FaultNotFound},
		{"ServerError", status(500), false, openbao.FaultServer},
		{"ServerErrorAfterEffect", status(500), true, openbao.FaultServer},
		{"GatewayRepeatsRequest", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "<html>"+marked+"</html>", http.StatusBadGateway)
			return true
		}, false, openbao.FaultServer},
		{"SuccessInAnotherForm", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(`{"data":{"version":"` + marked + `"}}`))
			return true
		}, true, openbao.FaultAnswer},
		{"Redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			return true
		}, false, openbao.FaultRedirect},
		{"CutBeforeEffect", cut, false, openbao.FaultUnreachable},
		{"AnswerLostAfterEffect", cut, true, openbao.FaultUnreachable},
		{"Slow", func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, false, openbao.FaultTimeout},
		{"SlowAfterEffect", func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, true, openbao.FaultTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			var log bytes.Buffer
			store := f.open(t, openbao.WithToken(given("good")), func(c *openbao.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			fails := func(what string, err error) {
				t.Helper()
				request, ok := errors.AsType[*openbao.RequestError](err)
				if !ok || request.Fault != c.want {
					t.Errorf("%s: %v, want %s", what, err, c.want)
				}
				if err != nil && strings.Contains(err.Error(), marked) || strings.Contains(log.String(), marked) {
					t.Errorf("%s: the error or the log holds the secret: %v", what, err)
				}
				if errors.Is(err, credentials.ErrInvalid) || errors.Is(err, credentials.ErrConflict) || errors.Is(err, credentials.ErrUnreadable) {
					t.Errorf("%s: the fault counts as final: %v", what, err)
				}
			}
			plant := func() {
				fault := func(w http.ResponseWriter, r *http.Request) bool {
					return r.Method == http.MethodPut && r.URL.Path == samplePath && c.fault(w, r)
				}
				if c.after {
					f.set(nil, fault)
				} else {
					f.set(fault, nil)
				}
			}
			short := func() context.Context {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				t.Cleanup(cancel)
				return ctx
			}
			plant()
			fails("ready", store.Ready(short(), sample().Shop))
			if n := f.versions(sampleKey); n != 0 {
				t.Fatalf("ready has stored %d versions", n)
			}
			_, err := store.Prepare(short(), sample())
			fails("prepare", err)
			if n := f.count(http.MethodPut, samplePath); n != 2 {
				t.Errorf("two calls made %d writes", n)
			}
			f.set(nil, nil)
			if err := store.Ready(t.Context(), sample().Shop); err != nil {
				t.Errorf("ready after it: %v", err)
			}
			p, err := store.Prepare(t.Context(), sample())
			if err != nil || p.Reference.Version != 1 || f.versions(sampleKey) != 1 {
				t.Errorf("after it: %v at %v, %d versions", err, p.Reference, f.versions(sampleKey))
			}
			if settings := f.settings[sampleKey]; settings["max_versions"] != float64(openbao.MaxVersions) || settings["cas_required"] != true {
				t.Errorf("the path has the settings %v", settings)
			}
			if n := elsewhere.Load(); n != 0 {
				t.Errorf("%d requests followed the redirect", n)
			}
		})
	}
}

// Reads fail in the same words, and never as if the secret were lost.
func TestFaultsOfReads(t *testing.T) {
	f := newFake(t)
	store := f.open(t, openbao.WithToken(given("good")), nil)
	p, err := store.Prepare(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{400, 403, 404, 412, 429, 473, 500, 502, 503} {
		f.set(func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, marked, code); return true }, nil)
		if _, err := store.Read(t.Context(), p.Row); err == nil || errors.Is(err, credentials.ErrUnreadable) || strings.Contains(err.Error(), marked) {
			t.Errorf("status %d: %v", code, err)
		}
		if err := store.Ready(t.Context(), sample().Shop); code != 404 && err == nil {
			t.Errorf("status %d: ready", code)
		}
	}
	f.set(nil, nil)
	if got, err := store.Read(t.Context(), p.Row); err != nil || !got.Token.Equal(sample().Token) || got.Operation != sample().Operation {
		t.Errorf("afterwards: %v", err)
	}
	moved := p.Row
	moved.MerchantID = "m-2"
	if _, err := store.Read(t.Context(), moved); !errors.Is(err, credentials.ErrUnreadable) {
		t.Errorf("a row with another merchant: %v", err)
	}
	f.mu.Lock()
	f.paths["invoicebox/default/shop-2"] = f.paths[sampleKey]
	f.mu.Unlock()
	moved = p.Row
	moved.Shop.Shop, moved.Reference = "shop-2", "ref+vault://secret/invoicebox/default/shop-2?version=1"
	if _, err := store.Read(t.Context(), moved); !errors.Is(err, credentials.ErrUnreadable) {
		t.Errorf("a secret that was copied to another shop's path: %v", err)
	}
	if err := store.Ready(t.Context(), moved.Shop); !errors.Is(err, credentials.ErrConflict) {
		t.Errorf("ready at another shop's secret: %v", err)
	}
}

// What was changed by hand is not read as the shop's secret, whichever member it is. A
// lost key is told apart: the secret is as it was written.
func TestReadOfChangedSecret(t *testing.T) {
	f := newFake(t)
	keys := newKeys(t)
	withKeys := func(c *openbao.Config) { c.Keys = keys }
	store := f.open(t, openbao.WithToken(given("good")), withKeys)
	p, err := store.Prepare(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	written := f.paths[sampleKey][0]
	for _, c := range []struct{ member, text string }{
		{"token", "token-of-another-shop"}, {"merchantId", "m-2"}, {"operation", "11111111-1111-5111-8111-111111111111"},
		{"account", "second"}, {"shopId", "shop-2"}, {"schema", "2"}, {"proof", ""}, {"proof", "AAAA"}, {"proof", "not base64"},
	} {
		t.Run(c.member+"_"+strings.ReplaceAll(c.text, " ", "-"), func(t *testing.T) {
			changed := maps.Clone(written)
			changed[c.member] = c.text
			f.mu.Lock()
			f.paths[sampleKey][0] = changed
			f.mu.Unlock()
			row := p.Row
			if c.member == "merchantId" {
				row.MerchantID = c.text // the journal was changed too
			}
			_, err := store.Read(t.Context(), row)
			if !errors.Is(err, credentials.ErrUnreadable) || errors.Is(err, keyset.ErrNoKey) {
				t.Errorf("read: %v", err)
			}
			if _, err := store.Resolve(t.Context(), p.Reference); !errors.Is(err, credentials.ErrUnreadable) {
				t.Errorf("resolve: %v", err)
			}
		})
	}
	f.mu.Lock()
	f.paths[sampleKey][0] = written
	f.mu.Unlock()
	if _, err := store.Read(t.Context(), p.Row); err != nil {
		t.Errorf("as it was written: %v", err)
	}
	other := f.open(t, openbao.WithToken(given("good")), nil)
	if _, err := other.Read(t.Context(), p.Row); !errors.Is(err, credentials.ErrUnreadable) || !errors.Is(err, keyset.ErrNoKey) {
		t.Errorf("with another keyset: %v", err)
	}
}

// Every way to log in sends what its method wants, and a token that was revoked is
// replaced without a failed request.
func TestLogins(t *testing.T) {
	for name, c := range map[string]struct {
		login      openbao.Login
		path, body string
	}{
		"AppRole":    {openbao.WithAppRole("", given("role"), given("id")), "/v1/auth/approle/login", `{"role_id":"role","secret_id":"id"}`},
		"Kubernetes": {openbao.WithKubernetes("", "worker", given("jwt")), "/v1/auth/kubernetes/login", `{"jwt":"jwt","role":"worker"}`},
		"JWT":        {openbao.WithJWT("tokens/ci", "worker", given("jwt")), "/v1/auth/tokens/ci/login", `{"jwt":"jwt","role":"worker"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			store := f.open(t, c.login, func(c *openbao.Config) { c.Namespace = "team-7" })
			if _, err := store.Prepare(t.Context(), sample()); err != nil {
				t.Fatal(err)
			}
			if f.requests[0] != "PUT "+c.path || strings.TrimSpace(f.bodies[0]) != c.body {
				t.Errorf("the log-in is %s %s", f.requests[0], f.bodies[0])
			}
			f.mu.Lock()
			f.token = "revoked"
			f.mu.Unlock()
			if err := store.Ready(t.Context(), sample().Shop); err != nil || f.logins != 2 {
				t.Errorf("after the token was revoked: %v, %d log-ins", err, f.logins)
			}
			// A right that the token lacks is no reason to log in again.
			f.set(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != samplePath {
					return false
				}
				w.WriteHeader(http.StatusForbidden)
				return true
			}, nil)
			if err := store.Ready(t.Context(), sample().Shop); err == nil || f.logins != 2 {
				t.Errorf("without a right: %v, %d log-ins", err, f.logins)
			}
		})
	}
	t.Run("TokenFile", func(t *testing.T) {
		f := newFake(t)
		now := "old"
		store := f.open(t, openbao.WithToken(func() secret.String { return secret.New(now) }), nil)
		if err := store.Ready(t.Context(), sample().Shop); err == nil {
			t.Error("a wrong token is taken")
		}
		now = "good"
		if err := store.Ready(t.Context(), sample().Shop); err != nil {
			t.Errorf("after the file has changed: %v", err)
		}
	})
}
