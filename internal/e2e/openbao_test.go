package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/schemas"
)

// A worker is killed where a response is kept and its secret is not stored, where it is
// stored in OpenBao and the journal does not know it, and where it is stored and its
// verification goes on. Each secret is stored once, under one version, and each event
// refers to the token that was issued.
func TestKilledWithOpenBao(t *testing.T) {
	t.Parallel()
	for _, p := range crashPoints {
		if p.name != "storing" && p.name != "stored" && (p.name != "received" || !wholeMatrix()) {
			continue // at received the store does not matter yet
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := baotest.Start(t)
			rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "openbao", "policy.hcl"))
			if err != nil {
				t.Fatal(err)
			}
			s.Policy(t, "invoicebox-worker", string(rules))
			r := newCrashRig(t, subjects(false, "probe-once"), "probe-once")
			r.write("vault-token", s.Token(t, "invoicebox-worker", nil))
			r.vault = map[string]string{
				"vault-address": s.URL(), "vault-ca-file": s.CAFile(), "vault-mount": baotest.Mount, "vault-token-file": r.path("vault-token"),
			}
			r.store = func(keys *keyset.Set) credentials.Store {
				store, err := openbao.New(openbao.Config{
					Name: schemas.StoreOpenBao, Address: s.URL(), CAFile: s.CAFile(), Mount: baotest.Mount, Keys: keys,
					Login: openbao.WithToken(func() secret.String { return secret.New(s.Root()) }),
				})
				if err != nil {
					t.Fatal(err)
				}
				return store
			}
			r.produce()
			w := r.watch(p.name)
			n := r.awaitParked(p, w)
			w.kill()
			after := r.restart()
			after.awaitReady()
			r.awaitSettled(r.patience())
			r.judgeCrash(p, p.mayEnd)
			found := r.judgeVault(s)
			if code, _ := after.terminate(40 * time.Second); code != 0 {
				t.Errorf("exit status %d after SIGTERM", code)
			}
			if n == 0 || found == 0 {
				t.Errorf("%d operations stood at the point, %d secrets are stored", n, found)
			}
			t.Logf("%d operations at the point, %d secrets", n, found)
		})
	}
}

// judgeVault compares what is in the store with what was issued, and returns how many
// shops have a secret there.
func (r *crashRig) judgeVault(s *baotest.Server) (found int) {
	r.t.Helper()
	for _, x := range r.subjects {
		if x.kind != "activate" {
			continue
		}
		ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: baotest.Mount, Account: x.account(), Shop: x.shop}
		answer := s.Read(r.t, strings.Replace(ref.Key(), baotest.Mount+"/", baotest.Mount+"/data/", 1))
		if answer == nil {
			if r.outcomes()[x.key()].Reason == "activated" {
				r.t.Errorf("%s is activated and has no secret in the store", x.key())
			}
			continue
		}
		found++
		data, _ := answer.Data["data"].(map[string]any)
		metadata, _ := answer.Data["metadata"].(map[string]any)
		if data["token"] != r.sandbox.TokenOf(x.text) {
			r.t.Errorf("%s: the store has another token than the one that was issued", x.key())
		}
		if version, _ := metadata["version"].(interface{ String() string }); version == nil || version.String() != "1" {
			r.t.Errorf("%s: the store has version %v of one operation's secret", x.key(), metadata["version"])
		}
	}
	return found
}
