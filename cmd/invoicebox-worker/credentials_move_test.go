package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// latest returns the newest `activated` event of each shop after n different events, and
// checks that those of a shop differ in sequence and reference. An event that was published
// again counts once.
func (r *rig) latest(n int) map[string]schemas.Activated {
	r.t.Helper()
	sequences, refs := map[string]int64{}, map[string]bool{}
	last := map[string]schemas.Activated{}
	var events map[string]schemas.Event
	for records := n; len(events) < n; records++ {
		events = map[string]schemas.Event{}
		for _, e := range r.results(schemas.TypeActivated, records) {
			events[e.ID] = e
		}
	}
	for _, e := range events {
		d := e.Data.(schemas.Activated)
		if key := d.ShopID + " " + d.Credentials.Ref; refs[key] {
			r.t.Errorf("shop %s was announced twice with %s", d.ShopID, d.Credentials.Ref)
		} else {
			refs[key] = true
		}
		if key := fmt.Sprint(d.ShopID, " ", e.Sequence); refs[key] {
			r.t.Errorf("shop %s has two events with the sequence %d", d.ShopID, e.Sequence)
		} else {
			refs[key] = true
		}
		if e.Sequence > sequences[d.ShopID] {
			sequences[d.ShopID], last[d.ShopID] = e.Sequence, d
		}
	}
	return last
}

// moved runs `credentials move` to its end.
func (r *rig) moved(flags ...string) []moveJSON {
	r.t.Helper()
	var views []moveJSON
	out := r.must(append(append([]string{"credentials", "move", "--wait", "1m", "--actor", "ann", "--output", "json"}, flags...), r.beside()...)...)
	if err := json.Unmarshal([]byte(out), &views); err != nil {
		r.t.Fatal(err)
	}
	return views
}

// Secrets move from the journal to a real server and back beside a running worker. Each
// move is announced once, the earlier reference names the newer one, and the secret stays
// at the earlier place.
func TestCredentialsMove(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*rig){
		"SQLite":     func(*rig) {},
		"PostgreSQL": func(r *rig) { r.journal = pgtest.Start(r.t).Database(r.t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := baotest.Start(t)
			r := newRig(t, kafkatest.Embedded(t), calm())
			database(r)
			r.write("caller", callerToken+"\n")
			callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/*]}]")
			flags := r.vaultFlags(s)
			w := r.start(append(flags, "--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", callers)...)
			address := credentialsWord.FindStringSubmatch(w.log.String())[1]
			beside := append(r.beside(), flags...)
			const shops = 4
			for i := range shops {
				r.entered(fmt.Sprintf("shop/%d ü", i), fmt.Sprintf("code-%d", i))
			}
			before := r.latest(shops)
			if views := r.moved("--to", "openbao", "--dry-run"); views[0].Shops != shops || views[0].Action != nil {
				t.Errorf("the dry run says %+v", views)
			}
			reads := func(when string, now, earlier map[string]schemas.Activated, store string, version int64) {
				t.Helper()
				for i := range shops {
					shop := fmt.Sprintf("shop/%d ü", i)
					d, token := now[shop], r.sandbox.TokenOf(fmt.Sprintf("code-%d", i))
					if d.Credentials.Store != store || d.Credentials.Version != version || d.Verification != schemas.VerificationVerified ||
						d.ActivatedAt.Sub(before[shop].ActivatedAt).Abs() > time.Second || d.MerchantID != before[shop].MerchantID {
						t.Errorf("%s: shop %s: the event is %+v", when, shop, d)
					}
					if status, body := readCredentials(t, address, callerToken, d.Credentials.Ref); status != http.StatusOK || !strings.Contains(body, `"token":"`+token+`"`) {
						t.Errorf("%s: shop %s: the endpoint answers %d", when, shop, status)
					}
					if status, body := readCredentials(t, address, callerToken, earlier[shop].Credentials.Ref); status != http.StatusGone || !strings.Contains(body, `"currentRef":"`+d.Credentials.Ref+`"`) {
						t.Errorf("%s: shop %s: the earlier reference: %d %s", when, shop, status, body)
					}
					for _, ref := range []string{d.Credentials.Ref, earlier[shop].Credentials.Ref} {
						if out := r.must(append([]string{"resolve", ref}, beside...)...); strings.TrimSpace(out) != token {
							t.Errorf("%s: %s resolves to another token", when, ref)
						}
					}
				}
			}
			if views := r.moved("--to", "openbao", "--shop", "shop/1 ü"); views[0].Shops != 1 || views[0].Left != 0 || views[0].Action.Result != "credentials_moved" {
				t.Errorf("one shop: %+v", views)
			}
			if d := r.latest(shops + 1)["shop/1 ü"]; d.Credentials.Store != schemas.StoreOpenBao {
				t.Errorf("one shop: the event is %+v", d)
			}
			if views := r.moved("--to", "openbao"); views[0].Shops != shops-1 || views[0].Left != 0 {
				t.Errorf("all shops: %+v", views)
			}
			there := r.latest(2 * shops)
			reads("moved", there, before, schemas.StoreOpenBao, 1)
			if views := r.moved("--to", "openbao"); views[0].Shops != 0 || views[0].Action != nil {
				t.Errorf("again: %+v", views)
			}
			if views := r.moved("--to", "sealed"); views[0].Shops != shops || views[0].Left != 0 {
				t.Errorf("back: %+v", views)
			}
			back := r.latest(3 * shops)
			reads("moved back", back, there, schemas.StoreSealed, 3)
			out := r.must(append([]string{"audit", "list", "--by", "ann", "--limit", "1000"}, r.beside()[:2]...)...)
			if n := strings.Count(out, "credentials.moved"); n != 2*shops {
				t.Errorf("%d moves are in the audit trail, want %d:\n%s", n, 2*shops, out)
			}
			r.must(append([]string{"audit", "verify"}, r.beside()[:2]...)...)
			// A newer code leads to the next version.
			if err := r.sandbox.AddCode(sandbox.Code{Code: "code-newer", MerchantID: before["shop/1 ü"].MerchantID, Token: "newer-token"}); err != nil {
				t.Fatal(err)
			}
			r.send(schemas.TypeCodeEntered, "newer", "shop/1 ü", `{"shopId":"shop/1 ü","activationCode":"code-newer"}`)
			if d := r.latest(3*shops + 1)["shop/1 ü"]; d.Credentials.Version != 4 {
				t.Errorf("after a newer code: %+v", d)
			}
			if code := w.end(); code != exitDone {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

// A move that no worker can make is refused, and says what to set.
func TestCredentialsMove_Refused(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	r.entered("shop-1", "code-1")
	r.results(schemas.TypeActivated, 1)
	for _, c := range []struct {
		want  int
		words string
		args  []string
	}{
		{exitFailed, "not configured for this store", []string{"--to", "openbao"}},
		{exitFailed, `no account "other"`, []string{"--to", "openbao", "--account", "other"}},
		{exitFailed, "has no credentials in use", []string{"--to", "openbao", "--shop", "nobody"}},
		{exitUsage, "--to", []string{"--to", "elsewhere"}},
		{exitUsage, "--to", nil},
		{exitDone, "nothing to move", []string{"--to", "sealed"}},
	} {
		code, out, errs := r.command(append(append([]string{"credentials", "move"}, c.args...), r.beside()...)...)
		if code != c.want || !strings.Contains(out+errs, c.words) {
			t.Errorf("%v: exit status %d, want %d and %q:\n%s%s", c.args, code, c.want, c.words, out, errs)
		}
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}

// The worker is killed again and again while it moves secrets to a real server. Each
// secret is there once, and each move is announced once.
func TestCredentialsMove_Killed(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), calm())
	flags := r.vaultFlags(s)
	const shops = 16
	w := r.start(flags...)
	for i := range shops {
		r.entered(fmt.Sprintf("shop-%d", i), fmt.Sprintf("code-%d", i))
	}
	r.latest(shops)
	if code := w.end(); code != exitDone {
		t.Fatalf("exit status %d", code)
	}
	if code, _, errs := r.command(append([]string{"credentials", "move", "--to", "openbao", "--wait", "0s"}, r.beside()...)...); code != exitDone {
		t.Fatalf("exit status %d: %s", code, errs)
	}
	left := func() int { return r.moved("--to", "openbao", "--dry-run")[0].Shops }
	launch := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], append(append([]string{"run"}, r.service()...), flags...)...) // #nosec G204 -- this test binary
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd
	}
	kills := 0
	for before := left(); before > 0; before = left() {
		cmd := launch()
		await(t, "it has moved something", func() bool { return left() < before })
		time.Sleep(time.Duration(kills) * time.Millisecond) //nolint:forbidigo // another process: each kill hits it at another moment of its work
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		kills++
	}
	t.Logf("%d kills", kills)
	if kills < 2 {
		t.Errorf("only %d kills: the move ended too early", kills)
	}
	launch()
	now := r.latest(2 * shops)
	await(t, "the action has ended", func() bool {
		out := r.must(append([]string{"audit", "list", "--limit", "1000"}, r.beside()[:2]...)...)
		return strings.Contains(out, "move-to-openbao.performed")
	})
	for i := range shops {
		shop := fmt.Sprintf("shop-%d", i)
		d := now[shop]
		metadata := s.Read(t, filepath.Join(baotest.Mount, "metadata", "invoicebox", "default", shop)).Data
		if versions := metadata["versions"].(map[string]any); d.Credentials.Store != schemas.StoreOpenBao || len(versions) != 1 || d.Credentials.Version != 1 {
			t.Errorf("shop %s: the server has %d versions, announced is %+v", shop, len(versions), d.Credentials)
		}
		if out := r.must(append(append([]string{"resolve", d.Credentials.Ref}, r.beside()...), flags...)...); strings.TrimSpace(out) != r.sandbox.TokenOf(fmt.Sprintf("code-%d", i)) {
			t.Errorf("shop %s: another token", shop)
		}
	}
	if n := len(r.latest(2 * shops)); n != shops {
		t.Errorf("%d shops were announced", n)
	}
}
